//! Noise schedules in float64 with the posterior and DDIM on them: `GaussianDiffusion` of the original. A schedule of fewer steps has
//! betas of its own, computed again from the kept cumulative products; posterior and learned range follow from these.

use super::flags::{CHANNELS, Flags, NoiseSchedule};
use super::respacing::Respacing;
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use std::path::Path;

/// Betas of the linear schedule at [`LINEAR_STEPS`] steps; others are scaled.
const LINEAR: (f64, f64) = (1e-4, 0.02);
const LINEAR_STEPS: f64 = 1000.0;
/// Upper limit of the betas of the cosine schedule.
const MAX_BETA: f64 = 0.999;
/// What `rescale_timesteps` and `rescale_learned_sigmas` take for the usual number of timesteps.
pub(super) const RESCALED_STEPS: f64 = 1000.0;

/// What the network says of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MeanType {
    Epsilon,
    StartX,
}

/// Where the variance of a step comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VarianceType {
    FixedSmall,
    FixedLarge,
    LearnedRange,
}

/// Mean and variance of the step back, all `[B, C, H, W]` or broadcast to it.
pub(super) struct Prediction {
    /// The image.
    pub image: Tensor,
    pub mean: Tensor,
    pub log_variance: Tensor,
}

/// A schedule, one number for each of its timesteps.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub betas: Vec<f64>,
    pub alphas_cumprod: Vec<f64>,
    pub mean: MeanType,
    pub variance: VarianceType,
    respacing: Respacing,
    /// What a timestep of training is multiplied with for the network.
    time_scale: f64,
}

/// The betas of training.
fn betas(schedule: NoiseSchedule, steps: usize) -> Vec<f64> {
    match schedule {
        NoiseSchedule::Linear => {
            let scale = LINEAR_STEPS / steps as f64;
            let (start, end) = (scale * LINEAR.0, scale * LINEAR.1);
            let stride = (end - start) / (steps - 1) as f64;
            (0..steps).map(|i| if i + 1 == steps { end } else { start + i as f64 * stride }).collect()
        }
        NoiseSchedule::Cosine => {
            let bar = |i: usize| {
                let t = i as f64 / steps as f64;
                ((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0).cos().powi(2)
            };
            (0..steps).map(|i| (1.0 - bar(i + 1) / bar(i)).min(MAX_BETA)).collect()
        }
    }
}

fn cumulative(betas: &[f64]) -> Vec<f64> {
    let mut product = 1f64;
    betas
        .iter()
        .map(|beta| {
            product *= 1.0 - beta;
            product
        })
        .collect()
}

impl Schedule {
    /// The kept timesteps of the schedule that flags ask for.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a beta is not between 0 and 1, as with very few steps.
    pub(super) fn new(flags: &Flags, respacing: Respacing, path: &Path) -> Result<Self> {
        let original = betas(flags.noise_schedule, flags.diffusion_steps);
        if original.iter().any(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            let reason = format!("has betas outside 0 to 1 at {} `diffusion_steps`", flags.diffusion_steps);
            return Err(Error::malformed(path, reason, ""));
        }
        let products = cumulative(&original);
        let mut last = 1.0;
        let betas: Vec<f64> = respacing
            .kept()
            .iter()
            .filter_map(|&t| products.get(t))
            .map(|&product| 1.0 - product / std::mem::replace(&mut last, product))
            .collect();
        Ok(Self {
            alphas_cumprod: cumulative(&betas),
            betas,
            mean: if flags.predict_xstart { MeanType::StartX } else { MeanType::Epsilon },
            variance: match (flags.learn_sigma, flags.sigma_small) {
                (true, _) => VarianceType::LearnedRange,
                (false, true) => VarianceType::FixedSmall,
                (false, false) => VarianceType::FixedLarge,
            },
            respacing,
            time_scale: match flags.rescale_timesteps {
                Some(true) => RESCALED_STEPS / flags.diffusion_steps as f64,
                _ => 1.0,
            },
        })
    }

    /// Number of timesteps.
    pub(super) fn len(&self) -> usize {
        self.betas.len()
    }

    /// The timestep of training that `t` is.
    pub(super) fn original(&self, t: usize) -> usize {
        self.respacing.kept()[t]
    }

    /// The time that the network sees at `t`.
    pub(super) fn seen_time(&self, t: usize) -> f32 {
        self.original(t) as f32 * self.time_scale as f32
    }

    /// Cumulative product before `t`.
    pub(super) fn previous(&self, t: usize) -> f64 {
        t.checked_sub(1).map_or(1.0, |t| self.alphas_cumprod[t])
    }

    /// Variance of the posterior `q(x_{t-1} | x_t, x_0)` (IDDPM, equation 10).
    pub(super) fn posterior_variance(&self, t: usize) -> f64 {
        self.betas[t] * (1.0 - self.previous(t)) / (1.0 - self.alphas_cumprod[t])
    }

    /// Its logarithm; that of timestep 1 at 0, where the variance is 0.
    pub(super) fn posterior_log_variance(&self, t: usize) -> f64 {
        self.posterior_variance(t.max(1).min(self.len() - 1)).ln()
    }

    /// Weights of the image and of `x_t` in the mean of the posterior (equation 11).
    pub(super) fn posterior_weights(&self, t: usize) -> (f64, f64) {
        let (beta, now, before) = (self.betas[t], self.alphas_cumprod[t], self.previous(t));
        (beta * before.sqrt() / (1.0 - now), (1.0 - before) * (1.0 - beta).sqrt() / (1.0 - now))
    }

    /// `value` of each timestep, `[B, 1, 1, 1]`.
    pub(super) fn column(
        &self,
        timesteps: &[usize],
        like: &Tensor,
        value: impl Fn(usize) -> f64,
    ) -> Result<Tensor> {
        let values: Vec<f64> = timesteps.iter().map(|&t| value(t)).collect();
        Ok(Tensor::from_vec(values, (timesteps.len(), 1, 1, 1), &Device::Cpu)?
            .to_dtype(like.dtype())?
            .to_device(like.device())?)
    }

    /// Noisy images (equation 8).
    pub(super) fn noisy(&self, images: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        let signal = self.column(timesteps, images, |t| self.alphas_cumprod[t].sqrt())?;
        let share = self.column(timesteps, images, |t| (1.0 - self.alphas_cumprod[t]).sqrt())?;
        Ok((images.broadcast_mul(&signal)? + noise.broadcast_mul(&share)?)?)
    }

    /// Mean of the posterior of an image.
    pub(super) fn posterior_mean(&self, image: &Tensor, x: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        let of_image = self.column(timesteps, image, |t| self.posterior_weights(t).0)?;
        let of_x = self.column(timesteps, image, |t| self.posterior_weights(t).1)?;
        Ok((image.broadcast_mul(&of_image)? + x.broadcast_mul(&of_x)?)?)
    }

    /// What an output `[B, C or 2 C, H, W]` says at `x`; the image is cut to -1..=1 if `clip`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn prediction(
        &self,
        x: &Tensor,
        output: &Tensor,
        timesteps: &[usize],
        clip: bool,
    ) -> Result<Prediction> {
        let said = output.narrow(1, 0, CHANNELS)?;
        let image = match self.mean {
            MeanType::StartX => said,
            MeanType::Epsilon => {
                let of_x = self.column(timesteps, x, |t| (1.0 / self.alphas_cumprod[t]).sqrt())?;
                let of_noise = self.column(timesteps, x, |t| (1.0 / self.alphas_cumprod[t] - 1.0).sqrt())?;
                (x.broadcast_mul(&of_x)? - said.broadcast_mul(&of_noise)?)?
            }
        };
        let image = if clip { image.maximum(-1.0)?.minimum(1.0)? } else { image };
        let log_variance = match self.variance {
            VarianceType::FixedSmall => self.column(timesteps, x, |t| self.posterior_log_variance(t))?,
            VarianceType::FixedLarge => self.column(timesteps, x, |t| match t {
                0 => self.posterior_log_variance(0),
                _ => self.betas[t].ln(),
            })?,
            VarianceType::LearnedRange => {
                let share = output.narrow(1, CHANNELS, CHANNELS)?.affine(0.5, 0.5)?;
                let least = self.column(timesteps, x, |t| self.posterior_log_variance(t))?;
                let most = self.column(timesteps, x, |t| self.betas[t].ln())?;
                (share.broadcast_mul(&most)? + share.affine(-1.0, 1.0)?.broadcast_mul(&least)?)?
            }
        };
        Ok(Prediction { mean: self.posterior_mean(&image, x, timesteps)?, image, log_variance })
    }

    /// A step of DDIM with eta 0 from `x` at `t`; the noise is derived from the image, cut or not.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn ddim(&self, x: &Tensor, image: &Tensor, t: usize) -> Result<Tensor> {
        let (now, before) = (self.alphas_cumprod[t], self.previous(t));
        let noise = (((x * (1.0 / now).sqrt())? - image)? / (1.0 / now - 1.0).sqrt())?;
        Ok(((image * before.sqrt())? + (noise * (1.0 - before).sqrt())?)?)
    }
}
