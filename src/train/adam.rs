//! Adam (Kingma and Ba 2015, algorithm 1): on CPU and GPU alike, and on all ranks of a data-parallel run alike, since it takes the mean
//! of their gradients.
//!
//! `candle_nn::AdamW` cannot take its place: it keeps its moments to itself, and a run that is continued needs them; and its step takes
//! most of the time of training a small network, since each of its operations makes a tensor.

use super::collective::{Ranks, single};
use super::fused::{self, EPSILON, Step};
use crate::error::{Error, Result};
use crate::formats::{HostTensor, StateDict};
use crate::ops::all_reduce::{self, Reducer};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The numbers of Adam.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamConfig {
    /// Step size (alpha).
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
}

impl AdamConfig {
    /// With a penalty that is computed at every `interval`-th step only (lazy regularisation, StyleGAN2 appendix B): rate and
    /// betas as if all steps had it.
    pub fn lazy(self, interval: usize) -> Self {
        let share = interval as f64 / (interval as f64 + 1.0);
        AdamConfig { lr: self.lr * share, beta1: self.beta1.powf(share), beta2: self.beta2.powf(share) }
    }
}

/// Adam of one network.
pub struct Adam {
    config: AdamConfig,
    entries: Vec<Entry>,
    steps: u64,
    ranks: Ranks,
}

struct Entry {
    name: String,
    variable: Var,
    first: Tensor,
    second: Tensor,
}

impl Entry {
    /// A step of candle's operations, on any device and in any type.
    fn step(&mut self, gradient: &Tensor, Step { beta1, beta2, step_size, root }: Step) -> Result<()> {
        self.first = ((&self.first * beta1)? + (gradient * (1.0 - beta1))?)?;
        self.second = ((&self.second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let denominator = (self.second.sqrt()? / root)?.affine(1.0, EPSILON)?;
        let moved = (self.variable.as_detached_tensor() - ((&self.first / denominator)? * step_size)?)?;
        self.variable.set(&moved)?;
        Ok(())
    }
}

/// The names that moments are saved under.
const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

impl Adam {
    /// Of these named parameters, moments zero.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn new<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a Var)>,
        config: AdamConfig,
    ) -> Result<Self> {
        let entries = parameters
            .into_iter()
            .map(|(name, variable)| {
                // Two tensors, since each is changed in place.
                let zeros = || Ok::<_, Error>(variable.zeros_like()?.detach());
                Ok(Entry { name: name.into(), variable: variable.clone(), first: zeros()?, second: zeros()? })
            })
            .collect::<Result<_>>()?;
        Ok(Self { config, entries, steps: 0, ranks: single() })
    }

    /// With the mean of the gradients of these ranks, each of which has the same variables.
    pub fn across(self, ranks: &Ranks) -> Self {
        Self { ranks: Ranks::clone(ranks), ..self }
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves the parameters against their gradients, with `rate` times the step size. A parameter without gradient stays.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<()> {
        self.steps += 1;
        let AdamConfig { lr, beta1, beta2 } = self.config;
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let step =
            Step { beta1, beta2, step_size: rate * lr / correction(beta1), root: correction(beta2).sqrt() };
        let gradients = self.mean_gradients(gradients)?;
        for (entry, gradient) in self.entries.iter_mut().zip(gradients) {
            match gradient {
                Some(gradient) if fused::applies(&entry.variable) => {
                    fused::step(&entry.variable, &gradient, &entry.first, &entry.second, step)?;
                }
                Some(gradient) => entry.step(&gradient, step)?,
                None => {}
            }
        }
        Ok(())
    }

    /// The gradient of each parameter that has one, as the mean over the ranks: all of them in one message.
    fn mean_gradients(&self, gradients: &GradStore) -> Result<Vec<Option<Tensor>>> {
        // Detached: moments that hold on to a graph would keep every step's graph alive.
        let of = |entry: &Entry| gradients.get(&entry.variable).map(Tensor::detach);
        let own: Vec<Option<Tensor>> = self.entries.iter().map(of).collect();
        if self.ranks.size() == 1 || own.iter().all(Option::is_none) {
            return Ok(own);
        }
        let flat = own.iter().flatten().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
        let reducer: Reducer = self.ranks.clone();
        let packed = all_reduce::mean(&Tensor::cat(&flat, 0)?, Some(&reducer))?;
        let mut start = 0;
        own.iter()
            .map(|gradient| {
                let Some(gradient) = gradient else { return Ok(None) };
                let mean = packed.narrow(0, start, gradient.elem_count())?.reshape(gradient.dims())?;
                start += gradient.elem_count();
                Ok(Some(mean))
            })
            .collect()
    }

    /// Both moments by parameter, float32.
    ///
    /// # Errors
    /// What reading the tensors returns.
    pub fn state_dict(&self, path: &Path) -> Result<StateDict> {
        let mut dict = StateDict::new(path);
        for Entry { name, first, second, .. } in &self.entries {
            for (moment, tensor) in [(FIRST, first), (SECOND, second)] {
                dict.insert(format!("{moment}.{name}"), HostTensor::of(tensor)?);
            }
        }
        Ok(dict)
    }

    /// Goes on from saved moments after `steps` steps.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first moment that is missing or of another shape.
    pub fn load(&mut self, dict: &StateDict, steps: u64) -> Result<()> {
        if dict.len() != 2 * self.entries.len() {
            let reason = format!("holds {} moments of {} parameters", dict.len(), self.entries.len());
            return Err(Error::malformed(dict.path(), reason, "is this the state of another run?"));
        }
        for Entry { name, variable, first, second } in &mut self.entries {
            for (moment, tensor) in [(FIRST, first), (SECOND, second)] {
                let values = dict.f32_shaped(&format!("{moment}.{name}"), variable.dims())?;
                *tensor = Tensor::from_slice(values, variable.dims(), &Device::Cpu)?
                    .to_dtype(variable.dtype())?
                    .to_device(variable.device())?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    /// One parameter that the loss depends on and one that it does not.
    struct Parameters {
        w: Var,
        unused: Var,
    }

    impl Parameters {
        fn new(dtype: DType) -> Self {
            let var = |values: &[f64]| {
                Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap())
                    .unwrap()
            };
            Self { w: var(&[0.3, -1.1, 2.0, 0.7]), unused: var(&[5.0, 5.0]) }
        }

        fn named(&self) -> [(&str, &Var); 2] {
            [("w", &self.w), ("unused", &self.unused)]
        }
    }

    fn gradients(parameters: &Parameters, step: usize) -> GradStore {
        ((parameters.w.as_tensor() - 1.0).unwrap().sqr().unwrap() * (step as f64 + 0.5))
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    }

    const CONFIG: AdamConfig = AdamConfig { lr: 0.01, beta1: 0.5, beta2: 0.99 };

    fn values(variable: &Var) -> Vec<f64> {
        variable.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn ten_steps_are_algorithm_one() {
        let parameters = Parameters::new(DType::F64);
        let mut adam = Adam::new(parameters.named(), CONFIG).unwrap();
        let mut x = values(&parameters.w);
        let (mut m, mut v) = (vec![0.0; 4], vec![0.0; 4]);
        for step in 1..=10 {
            adam.step(&gradients(&parameters, step), 0.5).unwrap();
            for i in 0..4 {
                let g = 2.0 * (x[i] - 1.0) * (step as f64 + 0.5);
                m[i] = 0.5 * m[i] + 0.5 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                let (m_hat, v_hat) =
                    (m[i] / (1.0 - 0.5f64.powi(step as i32)), v[i] / (1.0 - 0.99f64.powi(step as i32)));
                x[i] -= 0.5 * 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for (found, expected) in values(&parameters.w).iter().zip(&x) {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
        assert_eq!(values(&parameters.unused), [5.0, 5.0]);
    }

    #[test]
    fn the_fused_step_has_the_bits_of_candles_operations() {
        let values = |seed: usize| -> Vec<f32> {
            (0..40_001).map(|i| ((i * 7919 + seed * 31) % 1013) as f32 / 507.0 - 1.0).collect()
        };
        let entry = || {
            let variable = Var::new(values(0), &Device::Cpu).unwrap();
            let zeros = || variable.zeros_like().unwrap().detach();
            Entry { name: String::new(), first: zeros(), second: zeros(), variable: variable.clone() }
        };
        let (fused, mut composed) = (entry(), entry());
        assert!(fused::applies(&fused.variable));
        for number in 1..6 {
            let mut gradient = values(number);
            gradient[..2].copy_from_slice(&[0.0, -0.0]);
            let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
            let step = Step { beta1: 0.9, beta2: 0.999, step_size: 1e-3 * number as f64, root: 0.03 };
            fused::step(&fused.variable, &gradient, &fused.first, &fused.second, step).unwrap();
            composed.step(&gradient, step).unwrap();
        }
        let bits =
            |t: &Tensor| -> Vec<u32> { t.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect() };
        assert_eq!(bits(&fused.variable), bits(&composed.variable));
        assert_eq!(bits(&fused.first), bits(&composed.first));
        assert_eq!(bits(&fused.second), bits(&composed.second));
    }

    #[test]
    fn saved_moments_go_on_to_the_same_bits() {
        let (a, b) = (Parameters::new(DType::F32), Parameters::new(DType::F32));
        let mut of_a = Adam::new(a.named(), CONFIG).unwrap();
        for step in 0..3 {
            of_a.step(&gradients(&a, step), 1.0).unwrap();
        }
        let mut of_b = Adam::new(b.named(), CONFIG).unwrap();
        b.w.set(&a.w.as_detached_tensor().copy().unwrap()).unwrap();
        of_b.load(&of_a.state_dict(Path::new("m")).unwrap(), of_a.steps()).unwrap();
        for step in 3..6 {
            of_a.step(&gradients(&a, step), 1.0).unwrap();
            of_b.step(&gradients(&b, step), 1.0).unwrap();
        }
        assert_eq!(values(&a.w), values(&b.w));
        assert!(of_b.load(&StateDict::new("empty"), 1).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn lazy_regularisation_scales_rate_and_betas_as_stylegan2_does() {
        let lazy = AdamConfig { lr: 0.002, beta1: 0.0, beta2: 0.99 }.lazy(16);
        assert!((lazy.lr - 0.002 * 16.0 / 17.0).abs() < 1e-15 && lazy.beta1 == 0.0);
        assert!((lazy.beta2 - 0.99f64.powf(16.0 / 17.0)).abs() < 1e-15);
    }
}
