//! Adam (Kingma and Ba, ICLR 2015, algorithm 1) on plain slices; the moments belong to the caller, who may save them.

/// The settings of Adam; the defaults are the paper's and PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Step size (alpha).
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

impl Default for Adam {
    fn default() -> Adam {
        Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// What a group of parameters remembers between steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// First moment (m), one value per parameter.
    pub first: Vec<f32>,
    /// Second moment (v), one value per parameter.
    pub second: Vec<f32>,
}

impl Moments {
    /// The moments of `parameters` values before the first step.
    pub fn zeros(parameters: usize) -> Moments {
        Moments { first: vec![0.0; parameters], second: vec![0.0; parameters] }
    }
}

/// One step of Adam, with its bias corrections worked out.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    beta1: f32,
    beta2: f32,
    step_size: f32,
    epsilon: f32,
}

impl Adam {
    /// The step with this number, counted from 1. The corrections are folded as the paper suggests at the end of its
    /// section 2, with epsilon scaled along, so that the result stays that of algorithm 1.
    pub fn step(self, number: u64) -> AdamStep {
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(number.min(i32::MAX as u64) as i32);
        let second = correction(self.beta2).sqrt();
        AdamStep {
            beta1: self.beta1,
            beta2: self.beta2,
            step_size: (f64::from(self.learning_rate) * second / correction(self.beta1)) as f32,
            epsilon: (f64::from(self.epsilon) * second) as f32,
        }
    }
}

impl AdamStep {
    /// Moves `parameters` against `gradient`. `first` and `second` are the matching parts of their [`Moments`].
    pub fn apply(&self, parameters: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            return unsafe { self.apply_avx2(parameters, gradient, first, second) };
        }
        self.apply_plain(parameters, gradient, first, second);
    }

    /// The plain code with wider registers; nothing is fused, so the bits are the same.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn apply_avx2(&self, parameters: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        self.apply_plain(parameters, gradient, first, second);
    }

    #[inline(always)]
    fn apply_plain(&self, parameters: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let AdamStep { beta1, beta2, step_size, epsilon } = *self;
        for (((parameter, &gradient), m), v) in parameters.iter_mut().zip(gradient).zip(first).zip(second) {
            *m = beta1 * *m + (1.0 - beta1) * gradient;
            *v = beta2 * *v + (1.0 - beta2) * gradient * gradient;
            *parameter -= step_size * *m / (v.sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_steps_agree_with_algorithm_one_in_double_precision() {
        let adam = Adam::default();
        let start = [0.5, -1.5, 2.0];
        let gradient = |x: f64, t: u64| (x - 1.0) * (1.0 + t as f64 * 0.3);
        let mut parameters = start.map(|x| x as f32);
        let mut moments = Moments::zeros(3);
        let (mut x, mut m, mut v) = (start, [0.0; 3], [0.0; 3]);
        for t in 1..=10u64 {
            let gradients = parameters.map(|x| gradient(f64::from(x), t) as f32);
            adam.step(t).apply(&mut parameters, &gradients, &mut moments.first, &mut moments.second);
            for i in 0..3 {
                let g = gradient(x[i], t);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) =
                    (m[i] / (1.0 - 0.9f64.powi(t as i32)), v[i] / (1.0 - 0.999f64.powi(t as i32)));
                x[i] -= 0.001 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for (found, expected) in parameters.iter().zip(x) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_parameter_without_gradient_stays() {
        let mut parameters = [3.0];
        Adam::default().step(1).apply(&mut parameters, &[0.0], &mut [0.0], &mut [0.0]);
        assert_eq!(parameters, [3.0]);
    }

    #[test]
    fn wider_registers_give_the_same_bits() {
        let values =
            |seed: usize| (0..1003).map(move |i| ((i * 7919 + seed) % 1013) as f32 / 507.0 - 1.0).collect();
        let (mut a, gradient): (Vec<f32>, Vec<f32>) = (values(1), values(2));
        let (mut b, mut of_a) = (a.clone(), Moments::zeros(1003));
        let mut of_b = of_a.clone();
        for number in 1..4 {
            let step = Adam::default().step(number);
            step.apply(&mut a, &gradient, &mut of_a.first, &mut of_a.second);
            step.apply_plain(&mut b, &gradient, &mut of_b.first, &mut of_b.second);
        }
        assert_eq!((a, of_a), (b, of_b));
    }
}
