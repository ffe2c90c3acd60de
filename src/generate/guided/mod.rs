//! OpenAI's diffusion models: IDDPM (Nichol and Dhariwal 2021, <https://arxiv.org/abs/2102.09672>) and ADM (Dhariwal and Nichol 2021,
//! <https://arxiv.org/abs/2105.05233>), one network under the flags of two programs: <https://github.com/openai/improved-diffusion> and
//! <https://github.com/openai/guided-diffusion>. Tensors keep their official names; a checkpoint says nothing of its flags.

mod flags;
mod losses;
mod respacing;
mod schedule;
#[cfg(test)]
mod tests;
mod unet;

use super::config::Config;
use super::diffusion::{Denoised, Diffusion, Process, noise_space};
use super::family::Family;
use super::info::{GeneratorInfo, Quantization};
use super::options::ForwardOptions;
use super::sampler::{Sampler, SamplerRequest};
use super::training::{self, Training};
use super::traits::Generator;
use super::variables::Builder;
use crate::error::{Error, Result};
use crate::remedy::Remedy;
use candle_core::Tensor;
use flags::{Flags, NoiseSchedule, Program};
use respacing::Respacing;
use schedule::{RESCALED_STEPS, Schedule, VarianceType};
use unet::UNet;

/// IDDPM: a `.pt` of improved-diffusion, with its flags as configuration. Neither family is recognised: the tensors say neither
/// heads nor schedule, nor which of the two programs wrote them.
pub(super) const IDDPM: Family = Family::new(
    Program::Iddpm.name(),
    |config, builder, request| build(Program::Iddpm, config, builder, request),
    TRAINING,
);

/// ADM: a `.pt` of guided-diffusion, with its flags as configuration.
pub(super) const ADM: Family = Family::new(
    Program::Adm.name(),
    |config, builder, request| build(Program::Adm, config, builder, request),
    TRAINING,
);

/// Of both programs.
const TRAINING: Training = Training { lr: 1e-4, beta1: 0.9, ..training::GAN };

/// DDIM steps unless asked otherwise.
const DDIM_STEPS: usize = 50;

/// A network with the schedule that it was trained with, and the shorter one that it is sampled with.
struct Guided {
    flags: Flags,
    unet: UNet,
    trained: Schedule,
    sampled: Schedule,
    sampler: Sampler,
}

fn build(
    program: Program,
    config: &Config,
    builder: Builder,
    request: &SamplerRequest,
) -> Result<Box<dyn Generator>> {
    Ok(Box::new(model(program, config, builder, request)?))
}

fn model(
    program: Program,
    config: &Config,
    mut builder: Builder,
    request: &SamplerRequest,
) -> Result<Diffusion<Guided>> {
    let path = config.path();
    let Some(part) = config.part() else {
        return Err(Error::usage(
            format!("{}: the tensors do not say how the model is built and sampled", path.display()),
            Remedy::GiveTrainingFlags,
        ));
    };
    let flags = Flags::read(program, part, path)?;
    let trained = Schedule::new(&flags, Respacing::whole(flags.diffusion_steps), path)?;
    let sampler = request.sampler.unwrap_or(match flags.use_ddim {
        Some(false) => Sampler::Ddpm,
        _ => Sampler::Ddim,
    });
    let kept = match (request.steps, sampler) {
        (Some(count), Sampler::Ddim) => Respacing::ddim(flags.diffusion_steps, count)?,
        (Some(count), Sampler::Ddpm) => Respacing::sections(flags.diffusion_steps, &[count])?,
        (None, _) if !flags.timestep_respacing.is_empty() => {
            Respacing::parse(flags.diffusion_steps, &flags.timestep_respacing)?
        }
        (None, Sampler::Ddim) if flags.diffusion_steps > DDIM_STEPS => {
            Respacing::ddim(flags.diffusion_steps, DDIM_STEPS)?
        }
        _ => Respacing::whole(flags.diffusion_steps),
    };
    let sampled = Schedule::new(&flags, kept, path)?;
    let unet = UNet::new(&mut builder, program, &flags)?;
    let image = [flags::CHANNELS, flags.image_size, flags.image_size];
    let info = GeneratorInfo {
        class_count: flags.class_count(),
        needs_keys: sampler == Sampler::Ddpm,
        quantization: Quantization::Floor,
        assumed: assumed(&flags, sampler, sampled.len()),
        stages: sampled.len(),
        ..GeneratorInfo::new(program.name(), serde_json::json!(flags), image, [noise_space(image)])
    };
    Ok(Diffusion::new(info, Guided { flags, unet, trained, sampled, sampler }, builder.finish(&[])?))
}

/// What a model is sampled with, a phrase each.
fn assumed(flags: &Flags, sampler: Sampler, steps: usize) -> Vec<String> {
    let sampler = match sampler {
        Sampler::Ddim => "DDIM",
        Sampler::Ddpm => "DDPM",
    };
    let schedule = match flags.noise_schedule {
        NoiseSchedule::Linear => "linear",
        NoiseSchedule::Cosine => "cosine",
    };
    vec![
        format!("{sampler} in {steps} steps"),
        format!("{schedule} schedule over {} timesteps, values in -1 to 1", flags.diffusion_steps),
    ]
}

impl Guided {
    /// What the network says of `x` at timesteps of `schedule`.
    fn predict(
        &self,
        schedule: &Schedule,
        x: &Tensor,
        timesteps: &[usize],
        options: &ForwardOptions,
    ) -> Result<Tensor> {
        let times: Vec<f32> = timesteps.iter().map(|&t| schedule.seen_time(t)).collect();
        self.unet.forward(x, &times, options)
    }
}

impl Process for Guided {
    fn step(&self, index: usize, x: &Tensor, options: &ForwardOptions) -> Result<(Denoised, usize)> {
        let t = self.sampled.len() - 1 - index;
        let timesteps = vec![t; x.dim(0)?];
        let output = self.predict(&self.sampled, x, &timesteps, options)?;
        let prediction = self.sampled.prediction(x, &output, &timesteps, self.flags.clip_denoised)?;
        let denoised = match self.sampler {
            Sampler::Ddim => Denoised { mean: self.sampled.ddim(x, &prediction.image, t)?, deviation: None },
            Sampler::Ddpm => Denoised {
                deviation: match t {
                    0 => None,
                    _ => Some((prediction.log_variance * 0.5)?.exp()?),
                },
                mean: prediction.mean,
            },
        };
        Ok((denoised, self.sampled.original(t)))
    }

    fn timesteps(&self) -> usize {
        self.trained.len()
    }

    fn losses(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        options: &ForwardOptions,
    ) -> Result<Tensor> {
        let noisy = self.trained.noisy(images, noise, timesteps)?;
        let output = self.predict(&self.trained, &noisy, timesteps, options)?;
        let steps = self.trained.len() as f64;
        if self.flags.use_kl {
            // One term of the bound is drawn, so it is multiplied by the number of terms.
            return Ok((losses::bound(&self.trained, images, &noisy, &output, timesteps)? * steps)?);
        }
        let error = losses::squared_error(&self.trained, images, noise, &output)?;
        if self.trained.variance != VarianceType::LearnedRange {
            return Ok(error);
        }
        let frozen = losses::freeze_mean(&output, flags::CHANNELS)?;
        let bound = losses::bound(&self.trained, images, &noisy, &frozen, timesteps)?;
        let weight = match self.flags.rescale_learned_sigmas {
            Some(true) => steps / RESCALED_STEPS,
            _ => 1.0,
        };
        Ok((error + (bound * weight)?)?)
    }
}
