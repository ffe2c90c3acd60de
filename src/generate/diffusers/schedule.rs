//! Noise schedules and samplers of diffusers: DDPM (Ho et al. 2020, <https://arxiv.org/abs/2006.11239>) and DDIM (Song et al. 2021,
//! <https://arxiv.org/abs/2010.02502>) with fewer steps than in training.
//!
//! Coefficients are float32 as in the original: near t = 0 its rounding shows in the results.

use super::config::{BetaSchedule, PredictionType, SchedulerConfig, TimestepSpacing, VarianceType};
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::path::Path;

/// Most noise levels that a configuration may ask for.
const MAX_TIMESTEPS: usize = 100_000;
/// Cosine betas stop here.
const MAX_BETA: f64 = 0.999;
/// Smallest variance of a DDPM step.
const MIN_VARIANCE: f32 = 1e-20;
/// DDIM steps unless asked otherwise, as in the pipelines of diffusers.
const DDIM_STEPS: usize = 50;

/// A noise schedule and what its network predicts.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// Cumulative products of `1 - beta`, one for each timestep.
    pub alphas_cumprod: Vec<f32>,
    config: SchedulerConfig,
}

/// One denoising step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// The timestep that the network is asked at.
    pub timestep: usize,
    /// The timestep that the step leads to; `None` is the image.
    pub previous: Option<usize>,
}

/// A prediction of the network, in both forms.
pub(super) struct Prediction {
    /// The image, cut to its range if the scheduler does so.
    pub image: Tensor,
    /// The noise, as it followed before the image was cut.
    pub noise: Tensor,
}

impl Schedule {
    /// The schedule of a configuration; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is out of range or asks for what is not supported.
    pub(super) fn new(config: &SchedulerConfig, path: &Path) -> Result<Self> {
        let malformed = |reason: &str| Error::malformed(path, reason, "DDPM and DDIM schedules are known");
        let count = config.trained_betas.as_ref().map_or(config.num_train_timesteps, Vec::len);
        if !(1..=MAX_TIMESTEPS).contains(&count) {
            return Err(malformed(&format!(
                "`num_train_timesteps` is {count}, outside 1 to {MAX_TIMESTEPS}"
            )));
        }
        if config.thresholding || config.rescale_betas_zero_snr {
            return Err(malformed(
                "asks for `thresholding` or `rescale_betas_zero_snr`, which are not supported",
            ));
        }
        let betas = betas(config, count);
        if betas.iter().any(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            return Err(malformed("has betas outside 0 to 1"));
        }
        let mut product = 1f64;
        let alphas_cumprod = betas
            .iter()
            .map(|beta| {
                product *= f64::from(1.0 - beta);
                product as f32
            })
            .collect();
        Ok(Self { alphas_cumprod, config: SchedulerConfig { num_train_timesteps: count, ..config.clone() } })
    }

    /// Number of noise levels.
    pub(super) fn timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// `count` timesteps from noise to image, spaced as the configuration says.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are none or more than in training; [`Error::Malformed`] if `steps_offset` leaves the schedule.
    fn spaced(&self, count: usize, path: &Path) -> Result<Vec<usize>> {
        let total = self.timesteps();
        if !(1..=total).contains(&count) {
            let reason = format!("{count} denoising steps were asked for");
            return Err(Error::usage(reason, format!("this model takes 1 to {total}")));
        }
        let timesteps: Vec<usize> = match self.config.timestep_spacing {
            TimestepSpacing::Leading => (0..count)
                .rev()
                .map(|i| (i * (total / count)).saturating_add(self.config.steps_offset))
                .collect(),
            TimestepSpacing::Linspace => {
                let step = (total - 1) as f64 / (count - 1).max(1) as f64;
                (0..count).rev().map(|i| (i as f64 * step).round_ties_even() as usize).collect()
            }
            TimestepSpacing::Trailing => {
                let step = total as f64 / count as f64;
                let at = |i: usize| (total as f64 - i as f64 * step).round_ties_even() as usize;
                (0..count).map(|i| at(i).saturating_sub(1)).collect()
            }
        };
        match timesteps.iter().all(|&t| t < total) {
            true => Ok(timesteps),
            false => Err(Error::malformed(path, "`steps_offset` leads beyond the schedule", "")),
        }
    }

    /// The steps of DDIM: each goes back by the ratio of steps in training to steps now, whatever the spacing.
    ///
    /// # Errors
    /// [`Error::Usage`] if `count` is not between 1 and the steps of training.
    pub(super) fn ddim_steps(&self, count: Option<usize>, path: &Path) -> Result<Vec<Step>> {
        let count = count.unwrap_or(DDIM_STEPS.min(self.timesteps()));
        let timesteps = self.spaced(count, path)?;
        let ratio = self.timesteps() / count;
        Ok(timesteps
            .iter()
            .map(|&timestep| Step { timestep, previous: timestep.checked_sub(ratio) })
            .collect())
    }

    /// The steps of DDPM: each goes to the next in the list.
    ///
    /// # Errors
    /// As [`Schedule::ddim_steps`].
    pub(super) fn ddpm_steps(&self, count: Option<usize>, path: &Path) -> Result<Vec<Step>> {
        if self.config.variance_type == VarianceType::Other {
            let reason = "has a `variance_type` that DDPM steps are not computed with";
            return Err(Error::malformed(path, reason, "DDIM, the default, needs none"));
        }
        let timesteps = self.spaced(count.unwrap_or(self.timesteps()), path)?;
        let previous = timesteps.iter().skip(1).map(|&t| Some(t)).chain([None]);
        Ok(timesteps.iter().zip(previous).map(|(&timestep, previous)| Step { timestep, previous }).collect())
    }

    /// The image and the noise that a network output stands for at `x_t`, all `[B, C, H, W]`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn prediction(&self, x_t: &Tensor, output: &Tensor, timestep: usize) -> Result<Prediction> {
        let (signal, noise) = self.shares(timestep);
        let (image, noise) = match self.config.prediction_type {
            PredictionType::Epsilon => (((x_t - (output * noise)?)? / signal)?, output.clone()),
            PredictionType::VPrediction => {
                (((x_t * signal)? - (output * noise)?)?, ((output * signal)? + (x_t * noise)?)?)
            }
            PredictionType::Sample => (output.clone(), ((x_t - (output * signal)?)? / noise)?),
        };
        let image = match self.config.clip_sample {
            true => image.maximum(-self.config.clip_sample_range)?.minimum(self.config.clip_sample_range)?,
            false => image,
        };
        Ok(Prediction { image, noise })
    }

    /// One step of DDIM with eta 0; the noise is not derived again from a cut image.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn ddim_step(&self, x_t: &Tensor, output: &Tensor, step: Step) -> Result<Tensor> {
        let Prediction { image, noise } = self.prediction(x_t, output, step.timestep)?;
        let last = if self.config.set_alpha_to_one { 1.0 } else { self.alphas_cumprod[0] };
        let previous = step.previous.map_or(last, |t| self.alphas_cumprod[t]);
        let (signal, share) = (f64::from(previous.sqrt()), f64::from((1.0 - previous).sqrt()));
        Ok(((image * signal)? + (noise * share)?)?)
    }

    /// Mean of one step of DDPM and the variance of what is added to it (0 at timestep 0), equations 6 and 7.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn ddpm_posterior(&self, x_t: &Tensor, output: &Tensor, step: Step) -> Result<(Tensor, f64)> {
        let Prediction { image, .. } = self.prediction(x_t, output, step.timestep)?;
        let now = self.alphas_cumprod[step.timestep];
        let previous = step.previous.map_or(1.0, |t| self.alphas_cumprod[t]);
        let alpha = now / previous;
        let beta = 1.0 - alpha;
        let of_image = previous.sqrt() * beta / (1.0 - now);
        let of_x = alpha.sqrt() * (1.0 - previous) / (1.0 - now);
        let mean = ((image * f64::from(of_image))? + (x_t * f64::from(of_x))?)?;
        let variance = match self.config.variance_type {
            VarianceType::FixedSmall | VarianceType::FixedSmallLog => {
                ((1.0 - previous) / (1.0 - now) * beta).max(MIN_VARIANCE)
            }
            VarianceType::FixedLarge | VarianceType::Other => beta,
        };
        Ok((mean, if step.timestep == 0 { 0.0 } else { f64::from(variance) }))
    }

    /// Noisy images `[B, C, H, W]` (equation 4), and what the network should say of them.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn training_pair(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        let column = |values: Vec<f64>| {
            Tensor::from_vec(values, (timesteps.len(), 1, 1, 1), &candle_core::Device::Cpu)?
                .to_dtype(images.dtype())?
                .to_device(images.device())
        };
        let (signals, shares) = timesteps.iter().map(|&t| self.shares(t)).unzip();
        let (signals, shares) = (column(signals)?, column(shares)?);
        let noisy = (images.broadcast_mul(&signals)? + noise.broadcast_mul(&shares)?)?;
        let target = match self.config.prediction_type {
            PredictionType::Epsilon => noise.clone(),
            PredictionType::VPrediction => {
                (noise.broadcast_mul(&signals)? - images.broadcast_mul(&shares)?)?
            }
            PredictionType::Sample => images.clone(),
        };
        Ok((noisy, target))
    }

    /// Square roots of the shares of image and noise.
    fn shares(&self, timestep: usize) -> (f64, f64) {
        let product = self.alphas_cumprod[timestep];
        (f64::from(product.sqrt()), f64::from((1.0 - product).sqrt()))
    }
}

/// `torch.linspace` in float32: counted from either end, each product and sum rounded once.
fn linspace(start: f32, end: f32, count: usize) -> impl Iterator<Item = f32> {
    let step = if count > 1 { (end - start) / (count - 1) as f32 } else { 0.0 };
    (0..count).map(move |i| match i < count / 2 || count == 1 {
        true => step.mul_add(i as f32, start),
        false => step.mul_add(-((count - 1 - i) as f32), end),
    })
}

pub(super) fn betas(config: &SchedulerConfig, count: usize) -> Vec<f32> {
    if let Some(betas) = &config.trained_betas {
        return betas.clone();
    }
    let (start, end) = (config.beta_start, config.beta_end);
    match config.beta_schedule {
        BetaSchedule::Linear => linspace(start as f32, end as f32, count).collect(),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt() as f32, end.sqrt() as f32, count).map(|v| v * v).collect()
        }
        BetaSchedule::SquaredcosCapV2 => {
            let bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
            let at = |i: usize| bar(i as f64 / count as f64);
            (0..count).map(|i| (1.0 - at(i + 1) / at(i)).min(MAX_BETA) as f32).collect()
        }
        BetaSchedule::Sigmoid => linspace(-6.0, 6.0, count)
            .map(|v| 1.0 / (1.0 + (-v).exp()) * (end - start) as f32 + start as f32)
            .collect(),
    }
}
