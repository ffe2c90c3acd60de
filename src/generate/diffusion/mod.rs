//! What every diffusion model shares: the blocks of its UNet, the time embedding, and the steps from noise to image.
//! A family brings its network and its arithmetic as a [`Process`]; [`Diffusion`] makes a [`Generator`] of it.
//! The latent is the initial noise; each denoising step is one stage.

pub(super) mod blocks;
mod dropout;

use super::info::{GeneratorInfo, LatentSpace};
use super::options::ForwardOptions;
use super::traits::{Denoiser, Generator};
use super::variables::Variables;
use crate::error::{Error, Result};
use crate::random::{Purpose, keyed, normals};
use candle_core::{DType, Device, Tensor};

/// The longest wavelength of the time embedding, in radians per timestep.
const MAX_PERIOD: f32 = 10_000.0;

/// Sines and cosines of timesteps (Vaswani et al. 2017, section 3.5), as each program arranges them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sinusoids {
    /// Length of a row; the last number is 0 where it is odd.
    pub width: usize,
    /// Subtracted from the number of frequencies in the denominator of their spacing (`downscale_freq_shift` of diffusers).
    pub shift: f32,
    /// Whether the cosines come first.
    pub cosines_first: bool,
}

impl Sinusoids {
    /// One timestep, in float32 as the originals take it.
    pub(super) fn row(self, timestep: f32) -> Vec<f32> {
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
    pub(super) fn rows(self, timesteps: &[f32], dtype: DType, device: &Device) -> Result<Tensor> {
        let rows: Vec<f32> = timesteps.iter().flat_map(|&t| self.row(t)).collect();
        Ok(Tensor::from_vec(rows, (timesteps.len(), self.width), &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)?)
    }
}

/// What one denoising step leads to.
pub(super) struct Denoised {
    /// Its mean `[B, C, H, W]`.
    pub mean: Tensor,
    /// Standard deviation of what is added to it, which broadcasts to the mean; `None` where nothing is.
    pub deviation: Option<Tensor>,
}

/// The network of a family with its schedule and its sampler; their numbers are in the model's [`GeneratorInfo`].
pub(super) trait Process: Send + Sync {
    /// Step `index` from `x` `[B, C, H, W]`, and the timestep that its noise is keyed by.
    ///
    /// # Errors
    /// What the network returns.
    fn step(&self, index: usize, x: &Tensor, options: &ForwardOptions) -> Result<(Denoised, usize)>;

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
        options: &ForwardOptions,
    ) -> Result<Tensor>;
}

/// A diffusion model as a generator.
pub(super) struct Diffusion<P> {
    info: GeneratorInfo,
    /// What is particular to its family.
    pub process: P,
    variables: Variables,
}

/// The space of the initial noise of images `[C, H, W]`.
pub(super) fn noise_space(image: [usize; 3]) -> LatentSpace {
    LatentSpace::normal("noise", &image)
}

impl<P: Process> Diffusion<P> {
    /// The model that is described by `info`, with [`noise_space`] for its only space.
    pub(super) fn new(info: GeneratorInfo, process: P, variables: Variables) -> Self {
        Self { info, process, variables }
    }

    /// What a random sampler adds at a step: standard normal noise of each row, from its own key.
    fn noise(&self, keys: &[u64], timestep: usize, like: &Tensor) -> Result<Tensor> {
        let count: usize = self.info.image_shape.dims().iter().product();
        let values: Vec<f64> = keys
            .iter()
            .flat_map(|&key| normals(keyed(key, Purpose::SamplerNoise, timestep as u64)).take(count))
            .collect();
        Ok(Tensor::from_vec(values, like.dims(), &Device::Cpu)?
            .to_dtype(like.dtype())?
            .to_device(like.device())?)
    }
}

impl<P: Process> Generator for Diffusion<P> {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        Some(&self.variables)
    }

    fn stage(&self, index: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let (Denoised { mean, deviation }, timestep) = self.process.step(index, state, options)?;
        let Some(deviation) = deviation else { return Ok(mean) };
        let keys = options
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
        options: &ForwardOptions,
    ) -> Result<Tensor> {
        let rows = images.dims().first().copied().unwrap_or(0);
        let fits = rows == timesteps.len()
            && images.dims() == noise.dims()
            && images.dims()[1..] == self.info.image_shape.dims();
        if !fits || timesteps.iter().any(|&t| t >= self.process.timesteps()) {
            let reason = format!(
                "images {:?}, noise {:?} and {} timesteps do not fit this model",
                images.dims(),
                noise.dims(),
                timesteps.len()
            );
            return Err(Error::usage(reason, ""));
        }
        self.process.losses(images, noise, timesteps, options)
    }
}
