//! The step of a diffusion model: the denoising objective (Ho et al. 2020, algorithm 1) on weighted real images.

use super::adam::{Adam, AdamConfig};
use super::batches::{Batch, RealBatches};
use super::ema::{EmaConfig, follow};
use super::random::{Purpose, keyed, normals};
use super::share::Share;
use super::trainer::{Scalars, Trainer, mean_over_ranks, warmup_rate};
use crate::collective::Ranks;
use crate::error::{Error, Result};
use crate::generate::{Discriminator, ForwardOptions, Generator, Mode, TrainContext};
use candle_core::{DType, Device, Tensor};
use rand::RngExt;

/// How a diffusion model is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiffusionConfig {
    /// Images of a batch, on all ranks together.
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
    share: Share,
}

impl DiffusionTrainer {
    /// A model with its average, the optimiser at its beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no diffusion model, or the batch cannot be dealt to the ranks.
    pub fn new(
        live: Box<dyn Generator>,
        average: Box<dyn Generator>,
        real: RealBatches,
        config: DiffusionConfig,
        ranks: &Ranks,
    ) -> Result<Self> {
        if live.denoiser().is_none() {
            return Err(Error::usage(format!("{} is no diffusion model", live.info().family), ""));
        }
        let share = Share::new(config.batch, 1, ranks)?;
        let adam = Adam::new(live.weights()?, config.adam)?.across(ranks);
        Ok(Self { live, average, adam, real, config, share })
    }
}

impl Trainer for DiffusionTrainer {
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars> {
        let DiffusionConfig { batch, warmup, ema, .. } = self.config;
        let denoiser = self.live.denoiser().ok_or_else(|| Error::usage("this is no diffusion model", ""))?;
        let Batch { values: images, classes } = self.real.of_step(step, &self.share)?;
        let seed = self.real.seed;
        let [channels, height, width] = self.live.info().image_shape.dims();
        let noise = normals(keyed(seed, Purpose::Noise, step), batch * channels * height * width);
        let noise = Tensor::from_vec(noise, (batch, channels, height, width), &Device::Cpu)?;
        let noise = self.share.of_tensor(&noise)?.to_device(images.device())?.to_dtype(images.dtype())?;
        let mut levels = keyed(seed, Purpose::Timesteps, step);
        let timesteps: Vec<usize> =
            (0..batch).map(|_| levels.random_range(0..denoiser.timesteps() as u32) as usize).collect();
        let timesteps = self.share.of(&timesteps);
        let conditions = ForwardOptions {
            classes: classes.as_deref(),
            keys: Some(&self.share.images_of_step(step)),
            mode: Mode::Train(TrainContext {
                reducer: Some(&self.share.reducer()),
                ..TrainContext::default()
            }),
            ..ForwardOptions::default()
        };
        let loss = denoiser.losses(&images, &noise, &timesteps, &conditions)?.mean_all()?;
        self.adam.step(&loss.backward()?, warmup_rate(step, warmup))?;
        let seen = (step + 1) * batch as u64;
        follow(self.average.weights()?, self.live.weights()?, ema.decay(batch as u64, seen))?;
        if !report {
            return Ok(Vec::new());
        }
        let mut scalars = vec![("loss", loss.to_dtype(DType::F64)?.to_scalar()?)];
        mean_over_ranks(&mut scalars, self.ranks().as_ref());
        Ok(scalars)
    }

    fn batch(&self) -> usize {
        self.config.batch
    }

    fn ranks(&self) -> &Ranks {
        self.share.ranks()
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
