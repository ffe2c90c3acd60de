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
use super::diffusion::{Denoised, Diffusion, Process};
use super::load::{Sampler, SamplerRequest};
use super::traits::{Conditions, Generator, ImageShape, Quantization};
use super::variables::Builder;
use super::{Family, training};
use crate::error::{Error, Result};
use candle_core::Tensor;
use flags::{Flags, Program};
use respacing::Respacing;
use schedule::{RESCALED_STEPS, Schedule, VarianceType};
use unet::UNet;

/// The line of IDDPM in the registry.
pub(super) const IDDPM: Family = Family {
    name: "iddpm",
    about: "IDDPM: a .pt of OpenAI's improved-diffusion, with its flags in --config",
    // Neither heads nor schedule can be told from the tensors, nor one program from the other.
    recognise: |_| None,
    generator: |config, builder, request| build(Program::Iddpm, config, builder, request),
    discriminator: None,
    official: None,
    training: training::GUIDED,
};

/// The line of ADM in the registry.
pub(super) const ADM: Family = Family {
    name: "adm",
    about: "ADM: a .pt of OpenAI's guided-diffusion, with its flags in --config",
    generator: |config, builder, request| build(Program::Adm, config, builder, request),
    ..IDDPM
};

/// DDIM steps unless asked otherwise.
const DDIM_STEPS: usize = 50;

/// A network with the schedule that it was trained with, and the shorter one that it is sampled with.
struct Guided {
    program: Program,
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
            "give the flags of its training with --config, as JSON: {\"image_size\": 64, …}",
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
    let shape = ImageShape { channels: flags::CHANNELS, height: flags.image_size, width: flags.image_size };
    let process = Guided { program, flags, unet, trained, sampled, sampler };
    Ok(Diffusion::new(process, shape, builder.finish(&[])?))
}

impl Guided {
    /// What the network says of `x` at timesteps of `schedule`.
    fn predict(
        &self,
        schedule: &Schedule,
        x: &Tensor,
        timesteps: &[usize],
        conditions: &Conditions,
    ) -> Result<Tensor> {
        let times: Vec<f32> = timesteps.iter().map(|&t| schedule.seen_time(t)).collect();
        self.unet.forward(x, &times, conditions)
    }
}

impl Process for Guided {
    fn family(&self) -> &'static str {
        self.program.name()
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.flags)
    }

    fn class_count(&self) -> usize {
        self.flags.class_count()
    }

    fn quantization(&self) -> Quantization {
        Quantization::Floor
    }

    fn sampler(&self) -> Sampler {
        self.sampler
    }

    fn steps(&self) -> usize {
        self.sampled.len()
    }

    fn step(&self, index: usize, x: &Tensor, conditions: &Conditions) -> Result<(Denoised, usize)> {
        let t = self.sampled.len() - 1 - index;
        let timesteps = vec![t; x.dim(0)?];
        let output = self.predict(&self.sampled, x, &timesteps, conditions)?;
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
        conditions: &Conditions,
    ) -> Result<Tensor> {
        let noisy = self.trained.noisy(images, noise, timesteps)?;
        let output = self.predict(&self.trained, &noisy, timesteps, conditions)?;
        let steps = self.trained.len() as f64;
        if self.flags.use_kl {
            // Of the whole bound one step is drawn.
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
