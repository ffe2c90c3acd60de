//! What every diffusion model shares: the blocks of its UNet, the time embedding, and the walk from noise to image step by step.
//! A family brings its network and its arithmetic as a [`Process`]; [`Diffusion`] makes a [`Generator`] of it.
//! The latent is the initial noise; each denoising step is one stage.

pub mod blocks;
mod dropout;

use super::load::Sampler;
use super::random::{Purpose, normals};
use super::traits::{Conditions, Denoiser, Generator, ImageShape, LatentSpace, Quantization};
use super::variables::Variables;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The longest wavelength of the time embedding, in radians per timestep.
const MAX_PERIOD: f32 = 10_000.0;

/// Sines and cosines of timesteps (Vaswani et al. 2017, section 3.5), as each program arranges them.
#[derive(Debug, Clone, Copy)]
pub struct Sinusoids {
    /// Length of a row; the last number is 0 where it is odd.
    pub width: usize,
    /// What the number of frequencies is lowered by where they are spaced.
    pub shift: f32,
    /// Whether the cosines come first.
    pub cosines_first: bool,
}

impl Sinusoids {
    /// One timestep, in float32 as the originals take it.
    pub fn row(self, timestep: f32) -> Vec<f32> {
        let half = self.width / 2;
        let angle = |i: usize| {
            let exponent = -MAX_PERIOD.ln() * i as f32 / (half as f32 - self.shift);
            timestep * exponent.exp()
        };
        let (sines, cosines) = ((0..half).map(|i| angle(i).sin()), (0..half).map(|i| angle(i).cos()));
        let mut row: Vec<f32> = match self.cosines_first {
            true => cosines.chain(sines).collect(),
            false => sines.chain(cosines).collect(),
        };
        row.resize(self.width, 0.0);
        row
    }

    /// `[B, width]` of one timestep for each row.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn rows(self, timesteps: &[f32], dtype: DType, device: &Device) -> Result<Tensor> {
        let rows: Vec<f32> = timesteps.iter().flat_map(|&t| self.row(t)).collect();
        Ok(Tensor::from_vec(rows, (timesteps.len(), self.width), &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)?)
    }
}

/// What one denoising step leads to.
pub struct Denoised {
    /// Its mean `[B, C, H, W]`.
    pub mean: Tensor,
    /// Standard deviation of what is added to it, which broadcasts to the mean; `None` where nothing is.
    pub deviation: Option<Tensor>,
}

/// The network of a family with its schedule and its sampler.
pub trait Process: Send + Sync {
    /// Name of the family in [`super::FAMILIES`].
    fn family(&self) -> &'static str;

    /// Its part of `config.json`.
    fn config(&self) -> serde_json::Value;

    /// Number of classes; 0 where it is unconditional.
    fn class_count(&self) -> usize;

    /// How its images become bytes.
    fn quantization(&self) -> Quantization;

    /// How it is sampled.
    fn sampler(&self) -> Sampler;

    /// Number of denoising steps.
    fn steps(&self) -> usize;

    /// Step `index` from `x` `[B, C, H, W]`, and the timestep that its noise is keyed by.
    ///
    /// # Errors
    /// What the network returns.
    fn step(&self, index: usize, x: &Tensor, conditions: &Conditions) -> Result<(Denoised, usize)>;

    /// Number of noise levels in training.
    fn timesteps(&self) -> usize;

    /// The training objective, as [`Denoiser::losses`]; the shapes have been checked.
    ///
    /// # Errors
    /// What the network returns.
    fn losses(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        conditions: &Conditions,
    ) -> Result<Tensor>;
}

/// A diffusion model as a generator.
pub struct Diffusion<P> {
    /// What is particular to its family.
    pub process: P,
    shape: ImageShape,
    variables: Variables,
    spaces: Vec<LatentSpace>,
}

impl<P: Process> Diffusion<P> {
    /// The model that makes images of this shape.
    pub fn new(process: P, shape: ImageShape, variables: Variables) -> Self {
        Self { process, shape, variables, spaces: vec![LatentSpace::normal("noise", &shape.dims())] }
    }

    /// What a random sampler adds at a step: standard normal noise of each row, from its own key.
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
}

impl<P: Process> Generator for Diffusion<P> {
    fn family(&self) -> &'static str {
        self.process.family()
    }

    fn config(&self) -> serde_json::Value {
        self.process.config()
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
        self.process.class_count()
    }

    fn truncates(&self) -> bool {
        false
    }

    fn needs_keys(&self) -> bool {
        self.process.sampler() == Sampler::Ddpm
    }

    fn quantization(&self) -> Quantization {
        self.process.quantization()
    }

    fn stages(&self) -> usize {
        self.process.steps()
    }

    fn stage(&self, index: usize, state: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let (Denoised { mean, deviation }, timestep) = self.process.step(index, state, conditions)?;
        let Some(deviation) = deviation else { return Ok(mean) };
        let keys = conditions
            .keys
            .ok_or_else(|| Error::usage("random noise needs a key for each image", "give seeds"))?;
        Ok((mean + self.noise(keys, timestep, state)?.broadcast_mul(&deviation)?)?)
    }

    fn denoiser(&self) -> Option<&dyn Denoiser> {
        Some(self)
    }
}

impl<P: Process> Denoiser for Diffusion<P> {
    fn timesteps(&self) -> usize {
        self.process.timesteps()
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
        if !fits || timesteps.iter().any(|&t| t >= self.process.timesteps()) {
            let reason = format!(
                "images {:?}, noise {:?} and {} timesteps do not fit this model",
                images.dims(),
                noise.dims(),
                timesteps.len()
            );
            return Err(Error::usage(reason, ""));
        }
        self.process.losses(images, noise, timesteps, conditions)
    }
}
