//! Unconditional and class-conditional diffusion models of the diffusers library: a pipeline directory with a `UNet2DModel` and a
//! DDPM or DDIM schedule.
//!
//! <https://github.com/huggingface/diffusers/blob/main/src/diffusers/models/unets/unet_2d.py>

mod config;
mod open;
mod schedule;
mod schedulers;
#[cfg(test)]
mod tests;
mod unet;

use super::config::Config;
use super::diffusion::{Denoised, Diffusion, Process, noise_space};
use super::family::{DirectoryLayout, Family};
use super::info::{GeneratorInfo, Quantization};
use super::options::ForwardOptions;
use super::sampler::{Sampler, SamplerRequest};
use super::training::{self, Training};
use super::traits::Generator;
use super::variables::Builder;
use crate::error::{Error, Result};
use crate::remedy::Remedy;
use candle_core::Tensor;
use config::PipelineConfig;
use schedule::{Schedule, Step};
use unet::UNet;

/// Read from the directories of [`open`]: a UNet's tensors say neither the number of heads nor the schedule.
pub(super) const FAMILY: Family = Family {
    directory: Some(DirectoryLayout {
        name: "diffusers pipeline",
        index: open::INDEX,
        recognise: open::recognise,
        open: open::open,
    }),
    ..Family::new("diffusers", build, TRAINING)
};

/// The training example of the library, with a shorter warm-up.
const TRAINING: Training = Training { lr: 1e-4, beta1: 0.9, warmup: 100, ..training::GAN };

/// `UNet2DModel` with a schedule and a sampler.
struct Pipeline {
    unet: UNet,
    schedule: Schedule,
    sampler: Sampler,
    steps: Vec<Step>,
}

fn build(config: &Config, builder: Builder, request: &SamplerRequest) -> Result<Box<dyn Generator>> {
    Ok(Box::new(model(config, builder, request)?))
}

fn model(config: &Config, mut builder: Builder, request: &SamplerRequest) -> Result<Diffusion<Pipeline>> {
    let path = config.path();
    if config.part().is_none() {
        let reason = "the tensors of a diffusion model do not say how it is built and sampled";
        return Err(Error::usage(format!("{}: {reason}", path.display()), Remedy::GiveConfiguration));
    }
    let config: PipelineConfig = config.parse()?;
    config.unet.check(path)?;
    let (height, width) = config.unet.size(path)?;
    let image = [config.unet.in_channels, height, width];
    let schedule = Schedule::new(&config.scheduler, path)?;
    let sampler = request.sampler.unwrap_or(Sampler::Ddim);
    let steps = match sampler {
        Sampler::Ddim => schedule.ddim_steps(request.steps, path)?,
        Sampler::Ddpm => schedule.ddpm_steps(request.steps, path)?,
    };
    let unet = UNet::new(&mut builder, &config.unet)?;
    let info = GeneratorInfo {
        class_count: config.unet.num_class_embeds.unwrap_or(0),
        needs_keys: sampler == Sampler::Ddpm,
        quantization: Quantization::HalfToEven,
        stages: steps.len(),
        assumed: config.scheduler.assumed(sampler, steps.len()),
        ..GeneratorInfo::new(FAMILY.name, serde_json::json!(config), image, [noise_space(image)])
    };
    Ok(Diffusion::new(info, Pipeline { unet, schedule, sampler, steps }, builder.finish(&[])?))
}

impl Pipeline {
    fn predict(&self, x: &Tensor, timesteps: &[usize], options: &ForwardOptions) -> Result<Tensor> {
        self.unet.forward(x, timesteps, options)
    }
}

impl Process for Pipeline {
    fn step(&self, index: usize, x: &Tensor, options: &ForwardOptions) -> Result<(Denoised, usize)> {
        let step = self.steps[index];
        let output = self.predict(x, &vec![step.timestep; x.dim(0)?], options)?;
        let denoised = match self.sampler {
            Sampler::Ddim => Denoised { mean: self.schedule.ddim_step(x, &output, step)?, deviation: None },
            Sampler::Ddpm => {
                let (mean, variance) = self.schedule.ddpm_posterior(x, &output, step)?;
                let deviation = Tensor::new(variance.sqrt(), x.device())?.to_dtype(x.dtype())?;
                Denoised { mean, deviation: (variance > 0.0).then_some(deviation) }
            }
        };
        Ok((denoised, step.timestep))
    }

    fn timesteps(&self) -> usize {
        self.schedule.timesteps()
    }

    fn losses(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        options: &ForwardOptions,
    ) -> Result<Tensor> {
        let (noisy, target) = self.schedule.training_pair(images, noise, timesteps)?;
        let output = self.predict(&noisy, timesteps, options)?;
        Ok((output - target)?.sqr()?.flatten_from(1)?.mean(1)?)
    }
}
