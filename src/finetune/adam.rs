//! Adam (Kingma and Ba 2015, algorithm 1) on the variables of a network, with moments that can be saved: on CPU and GPU alike, and on
//! all ranks of a data-parallel run alike, since it takes the mean of their gradients.

use crate::collective::{Ranks, single};
use crate::error::{Error, Result};
use crate::formats::{HostTensor, StateDict, TensorData};
use crate::generate::Variables;
use crate::ops::all_reduce::{self, Reducer};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
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

/// Added to the root of the second moment, as in PyTorch.
const EPSILON: f64 = 1e-8;

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

/// The names that moments are saved under.
const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

impl Adam {
    /// Of the parameters of `variables`, moments zero.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn new(variables: &Variables, config: AdamConfig) -> Result<Self> {
        let entries = variables
            .parameters()
            .map(|(name, variable)| {
                let zeros = variable.zeros_like()?.detach();
                Ok(Entry {
                    name: name.into(),
                    variable: variable.clone(),
                    first: zeros.clone(),
                    second: zeros,
                })
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
        let (step_size, root) = (rate * lr / correction(beta1), correction(beta2).sqrt());
        let gradients = self.mean_gradients(gradients)?;
        for (Entry { variable, first, second, .. }, gradient) in self.entries.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
            *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let denominator = (second.sqrt()? / root)?.affine(1.0, EPSILON)?;
            let moved = (variable.as_detached_tensor() - ((&*first / denominator)? * step_size)?)?;
            variable.set(&moved)?;
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
                let data = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
                let tensor = HostTensor { shape: tensor.dims().to_vec(), data: TensorData::F32(data) };
                dict.insert(format!("{moment}.{name}"), tensor);
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
    use crate::generate::{Builder, Init};

    fn variables(dtype: DType) -> Variables {
        let mut builder = Builder::from_nothing(3, Path::new("c"), dtype, &Device::Cpu);
        builder.parameter("w", &[4], Init::Normal { mean: 0.0, std: 1.0 }).unwrap();
        builder.parameter("unused", &[2], Init::Constant(5.0)).unwrap();
        builder.finish(&[]).unwrap()
    }

    fn gradients(variables: &Variables, step: usize) -> GradStore {
        let w = variables.get("w").unwrap();
        ((w.as_tensor() - 1.0).unwrap().sqr().unwrap() * (step as f64 + 0.5))
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    }

    const CONFIG: AdamConfig = AdamConfig { lr: 0.01, beta1: 0.5, beta2: 0.99 };

    fn values(variables: &Variables, name: &str) -> Vec<f64> {
        variables.get(name).unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn ten_steps_are_algorithm_one() {
        let variables = variables(DType::F64);
        let mut adam = Adam::new(&variables, CONFIG).unwrap();
        let mut x = values(&variables, "w");
        let (mut m, mut v) = (vec![0.0; 4], vec![0.0; 4]);
        for step in 1..=10 {
            adam.step(&gradients(&variables, step), 0.5).unwrap();
            for i in 0..4 {
                let g = 2.0 * (x[i] - 1.0) * (step as f64 + 0.5);
                m[i] = 0.5 * m[i] + 0.5 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                let (m_hat, v_hat) =
                    (m[i] / (1.0 - 0.5f64.powi(step as i32)), v[i] / (1.0 - 0.99f64.powi(step as i32)));
                x[i] -= 0.5 * 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for (found, expected) in values(&variables, "w").iter().zip(&x) {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
        assert_eq!(values(&variables, "unused"), [5.0, 5.0]);
    }

    #[test]
    fn saved_moments_go_on_to_the_same_bits() {
        let (a, b) = (variables(DType::F32), variables(DType::F32));
        let mut of_a = Adam::new(&a, CONFIG).unwrap();
        for step in 0..3 {
            of_a.step(&gradients(&a, step), 1.0).unwrap();
        }
        let mut of_b = Adam::new(&b, CONFIG).unwrap();
        b.load(&a.state_dict("x").unwrap()).unwrap();
        of_b.load(&of_a.state_dict(Path::new("m")).unwrap(), of_a.steps()).unwrap();
        for step in 3..6 {
            of_a.step(&gradients(&a, step), 1.0).unwrap();
            of_b.step(&gradients(&b, step), 1.0).unwrap();
        }
        assert_eq!(values(&a, "w"), values(&b, "w"));
        assert!(of_b.load(&StateDict::new("empty"), 1).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn lazy_regularisation_scales_rate_and_betas_as_stylegan2_does() {
        let lazy = AdamConfig { lr: 0.002, beta1: 0.0, beta2: 0.99 }.lazy(16);
        assert!((lazy.lr - 0.002 * 16.0 / 17.0).abs() < 1e-15 && lazy.beta1 == 0.0);
        assert!((lazy.beta2 - 0.99f64.powf(16.0 / 17.0)).abs() < 1e-15);
    }
}
