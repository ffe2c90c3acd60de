//! The step of a diffusion model: the denoising objective (Ho et al. 2020, algorithm 1) on weighted real images (rule 6).

use super::adam::{Adam, AdamConfig};
use super::batches::{Batch, RealBatches};
use super::ema::{EmaConfig, follow};
use super::random::{Purpose, keyed, normals};
use super::trainer::{Scalars, Trainer, warmup_rate};
use crate::error::{Error, Result};
use crate::generate::{Conditions, Discriminator, Generator, Mode};
use candle_core::{DType, Device, Tensor};
use rand::RngExt;

/// How a diffusion model is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiffusionConfig {
    /// Images of a batch.
    pub batch: usize,
    /// The optimiser.
    pub adam: AdamConfig,
    /// Steps over which the learning rate rises.
    pub warmup: u64,
    /// The average.
    pub ema: EmaConfig,
}

/// A diffusion model in training.
pub struct DiffusionTrainer {
    live: Box<dyn Generator>,
    average: Box<dyn Generator>,
    adam: Adam,
    real: RealBatches,
    config: DiffusionConfig,
}

impl DiffusionTrainer {
    /// A model with its average, the optimiser at its beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no diffusion model.
    pub fn new(
        live: Box<dyn Generator>,
        average: Box<dyn Generator>,
        real: RealBatches,
        config: DiffusionConfig,
    ) -> Result<Self> {
        if live.denoiser().is_none() {
            return Err(Error::usage(format!("{} is no diffusion model", live.family()), ""));
        }
        let adam = Adam::new(live.variables(), config.adam)?;
        Ok(Self { live, average, adam, real, config })
    }
}

impl Trainer for DiffusionTrainer {
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars> {
        let DiffusionConfig { batch, warmup, ema, .. } = self.config;
        let denoiser = self.live.denoiser().ok_or_else(|| Error::usage("this is no diffusion model", ""))?;
        let Batch { values: images, classes } = self.real.of_step(step, batch)?;
        let seed = self.real.seed;
        let noise = normals(keyed(seed, Purpose::Noise, step), images.elem_count());
        let noise = Tensor::from_vec(noise, images.dims(), &Device::Cpu)?.to_device(images.device())?;
        let mut levels = keyed(seed, Purpose::Timesteps, step);
        let timesteps: Vec<usize> =
            (0..batch).map(|_| levels.random_range(0..denoiser.timesteps() as u32) as usize).collect();
        let keys: Vec<u64> = (step * batch as u64..).take(batch).collect();
        let conditions = Conditions {
            classes: classes.as_deref(),
            keys: Some(&keys),
            mode: Mode::Train,
            ..Conditions::default()
        };
        let loss = denoiser.losses(&images, &noise, &timesteps, &conditions)?.mean_all()?;
        self.adam.step(&loss.backward()?, warmup_rate(step, warmup))?;
        let seen = (step + 1) * batch as u64;
        follow(self.average.variables(), self.live.variables(), ema.decay(batch as u64, seen))?;
        match report {
            true => Ok(vec![("loss", loss.to_dtype(DType::F64)?.to_scalar()?)]),
            false => Ok(Vec::new()),
        }
    }

    fn batch(&self) -> usize {
        self.config.batch
    }

    fn live(&self) -> &dyn Generator {
        self.live.as_ref()
    }

    fn average(&self) -> &dyn Generator {
        self.average.as_ref()
    }

    fn discriminator(&self) -> Option<&dyn Discriminator> {
        None
    }

    fn optimizers(&mut self) -> Vec<(&'static str, &mut Adam)> {
        vec![("adam", &mut self.adam)]
    }
}
