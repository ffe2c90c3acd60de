//! Unconditional and class-conditional diffusion models of the diffusers library: a pipeline directory with a `UNet2DModel` and a
//! DDPM or DDIM schedule. The latent is the initial noise; each denoising step is one stage.
//!
//! <https://github.com/huggingface/diffusers/blob/main/src/diffusers/models/unets/unet_2d.py>

mod blocks;
mod config;
mod schedule;
#[cfg(test)]
mod tests;
mod unet;

use super::Family;
use super::config::{Config, read_json};
use super::load::{Sampler, SamplerRequest};
use super::random::{Purpose, normals};
use super::traits::{Conditions, Denoiser, Generator, ImageShape, LatentSpace, Quantization};
use super::variables::{Builder, Variables};
use crate::error::{Error, Result};
use crate::formats::{StateDict, read_state_dict};
use candle_core::{Device, Tensor};
use config::PipelineConfig;
use schedule::{Schedule, Step};
use std::path::Path;
use unet::UNet;

/// The line of the registry.
pub(super) const FAMILY: Family = Family {
    name: "diffusers",
    about: "diffusers pipeline directory with a UNet2DModel (model_index.json)",
    // A UNet's tensors say neither the number of heads nor the schedule.
    recognise: |_| None,
    generator: build,
    discriminator: None,
    official: None,
};

/// The file that makes a directory a pipeline.
pub(super) const INDEX: &str = "model_index.json";

/// Configuration and weights of a pipeline directory.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if it is another kind of pipeline or a file is missing.
pub(super) fn open_pipeline(directory: &Path) -> Result<(Config, StateDict)> {
    const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
    let index_path = directory.join(INDEX);
    let index = read_json(&index_path)?;
    let class = index.pointer("/unet/1").and_then(|class| class.as_str()).unwrap_or("none");
    if class != "UNet2DModel" {
        let reason = format!("is a pipeline whose `unet` is {class}");
        return Err(Error::malformed(index_path, reason, "pipelines with a UNet2DModel are read"));
    }
    let unet = directory.join("unet");
    let config = serde_json::json!({
        "unet": read_json(&unet.join("config.json"))?,
        "scheduler": read_json(&directory.join("scheduler/scheduler_config.json"))?,
    });
    let weights = WEIGHTS.iter().map(|name| unet.join(name)).find(|path| path.is_file());
    let weights = read_state_dict(weights.unwrap_or_else(|| unet.join(WEIGHTS[0])))?;
    Ok((Config::new(index_path, Some(config)), weights))
}

struct Diffusion {
    config: PipelineConfig,
    unet: UNet,
    schedule: Schedule,
    sampler: Sampler,
    steps: Vec<Step>,
    shape: ImageShape,
    variables: Variables,
    spaces: Vec<LatentSpace>,
}

fn build(config: &Config, builder: Builder, request: &SamplerRequest) -> Result<Box<dyn Generator>> {
    Ok(Box::new(Diffusion::new(config, builder, request)?))
}

impl Diffusion {
    fn new(config: &Config, mut builder: Builder, request: &SamplerRequest) -> Result<Self> {
        let path = config.path();
        if config.part().is_none() {
            let reason = "the tensors of a diffusion model do not say how it is built and sampled";
            return Err(Error::usage(
                format!("{}: {reason}", path.display()),
                "name the pipeline directory, or give its configuration with --config",
            ));
        }
        let config: PipelineConfig = config.parse()?;
        config.unet.check(path)?;
        let (height, width) = config.unet.size(path)?;
        let shape = ImageShape { channels: config.unet.in_channels, height, width };
        let schedule = Schedule::new(&config.scheduler, path)?;
        let sampler = request.sampler.unwrap_or(Sampler::Ddim);
        let steps = match sampler {
            Sampler::Ddim => schedule.ddim_steps(request.steps, path)?,
            Sampler::Ddpm => schedule.ddpm_steps(request.steps, path)?,
        };
        let unet = UNet::new(&mut builder, &config.unet)?;
        let spaces = vec![LatentSpace::normal("noise", &shape.dims())];
        Ok(Self { config, unet, schedule, sampler, steps, shape, variables: builder.finish(&[])?, spaces })
    }

    /// What DDPM adds at a step: standard normal noise of each row, from its own key.
    fn noise(&self, keys: &[u64], timestep: usize, like: &Tensor) -> Result<Tensor> {
        let count: usize = self.shape.dims().iter().product();
        let values: Vec<f64> = keys
            .iter()
            .flat_map(|&key| normals(key, Purpose::SamplerNoise, timestep as u64).take(count))
            .collect();
        Ok(Tensor::from_vec(values, like.dims(), &Device::Cpu)?
            .to_dtype(like.dtype())?
            .to_device(like.device())?)
    }

    fn predict(&self, x: &Tensor, timesteps: &[usize], conditions: &Conditions) -> Result<Tensor> {
        self.unet.forward(x, timesteps, conditions.classes, conditions.mode)
    }
}

impl Generator for Diffusion {
    fn family(&self) -> &'static str {
        FAMILY.name
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn image_shape(&self) -> ImageShape {
        self.shape
    }

    fn spaces(&self) -> &[LatentSpace] {
        &self.spaces
    }

    fn class_count(&self) -> usize {
        self.config.unet.num_class_embeds.unwrap_or(0)
    }

    fn truncates(&self) -> bool {
        false
    }

    fn needs_keys(&self) -> bool {
        self.sampler == Sampler::Ddpm
    }

    fn quantization(&self) -> Quantization {
        Quantization::HalfToEven
    }

    fn stages(&self) -> usize {
        self.steps.len()
    }

    fn stage(&self, index: usize, state: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let step = self.steps[index];
        let output = self.predict(state, &vec![step.timestep; state.dim(0)?], conditions)?;
        match self.sampler {
            Sampler::Ddim => self.schedule.ddim_step(state, &output, step),
            Sampler::Ddpm => {
                let (mean, variance) = self.schedule.ddpm_posterior(state, &output, step)?;
                if variance == 0.0 {
                    return Ok(mean);
                }
                let keys = conditions
                    .keys
                    .ok_or_else(|| Error::usage("random noise needs a key for each image", "give seeds"))?;
                let noise = self.noise(keys, step.timestep, state)?;
                Ok((mean + (noise * variance.sqrt())?)?)
            }
        }
    }

    fn denoiser(&self) -> Option<&dyn Denoiser> {
        Some(self)
    }
}

impl Denoiser for Diffusion {
    fn timesteps(&self) -> usize {
        self.schedule.timesteps()
    }

    fn losses(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        conditions: &Conditions,
    ) -> Result<Tensor> {
        let rows = images.dims().first().copied().unwrap_or(0);
        let fits = rows == timesteps.len()
            && images.dims() == noise.dims()
            && images.dims()[1..] == self.shape.dims();
        if !fits || timesteps.iter().any(|&t| t >= self.schedule.timesteps()) {
            let reason = format!(
                "images {:?}, noise {:?} and {} timesteps do not fit this model",
                images.dims(),
                noise.dims(),
                timesteps.len()
            );
            return Err(Error::usage(reason, ""));
        }
        let (noisy, target) = self.schedule.training_pair(images, noise, timesteps)?;
        let output = self.predict(&noisy, timesteps, conditions)?;
        Ok((output - target)?.sqr()?.flatten_from(1)?.mean(1)?)
    }
}
