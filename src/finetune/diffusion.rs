//! The step of a diffusion model: the denoising objective (Ho et al. 2020, algorithm 1) on weighted real images.

use super::batches::{Batch, RealBatches};
use super::ema::{EmaConfig, update_ema};
use super::trainer::{NamedState, Scalars, Trainer, mean_over_ranks};
use crate::error::{Error, Result};
use crate::generate::{Discriminator, ForwardOptions, Generator, Mode, TrainContext};
use crate::progress::Progress;
use crate::random::{Purpose, keyed, normals};
use crate::train::collective::Ranks;
use crate::train::{Adam, AdamConfig, RankShard, warmup_rate};
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
    generator: Box<dyn Generator>,
    ema: Box<dyn Generator>,
    adam: Adam,
    real: RealBatches,
    config: DiffusionConfig,
    shard: RankShard,
}

impl DiffusionTrainer {
    /// A model with the running average of its weights, the optimiser at its beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no diffusion model, or the batch cannot be split over the ranks.
    pub fn new(
        generator: Box<dyn Generator>,
        ema: Box<dyn Generator>,
        real: RealBatches,
        config: DiffusionConfig,
        ranks: &Ranks,
    ) -> Result<Self> {
        if generator.denoiser().is_none() {
            return Err(Error::usage(format!("{} is no diffusion model", generator.info().family), ""));
        }
        let shard = RankShard::new(config.batch, 1, ranks)?;
        let adam = Adam::new(generator.weights()?.parameters(), config.adam)?.across(ranks);
        Ok(Self { generator, ema, adam, real, config, shard })
    }
}

impl Trainer for DiffusionTrainer {
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars> {
        let DiffusionConfig { batch, warmup, ema: ema_config, .. } = self.config;
        let denoiser =
            self.generator.denoiser().ok_or_else(|| Error::usage("this is no diffusion model", ""))?;
        let Batch { values: images, classes } = self.real.of_step(step, &self.shard)?;
        let seed = self.real.seed;
        let [channels, height, width] = self.generator.info().image_shape.dims();
        let noise: Vec<f32> = normals(keyed(seed, Purpose::Noise, step))
            .take(batch * channels * height * width)
            .map(|value| value as f32)
            .collect();
        let noise = Tensor::from_vec(noise, (batch, channels, height, width), &Device::Cpu)?;
        let noise = self.shard.select_rows(&noise)?.to_device(images.device())?.to_dtype(images.dtype())?;
        let mut levels = keyed(seed, Purpose::Timesteps, step);
        let timesteps: Vec<usize> =
            (0..batch).map(|_| levels.random_range(0..denoiser.timesteps() as u32) as usize).collect();
        let timesteps = self.shard.select(&timesteps);
        let conditions = ForwardOptions {
            classes: classes.as_deref(),
            keys: Some(&self.shard.images_of_step(step)),
            mode: Mode::Train(TrainContext {
                reducer: Some(&self.shard.reducer()),
                ..TrainContext::default()
            }),
            ..ForwardOptions::default()
        };
        let loss = denoiser.losses(&images, &noise, &timesteps, &conditions)?.mean_all()?;
        self.adam.step(&loss.backward()?, warmup_rate(step, warmup))?;
        let seen = (step + 1) * batch as u64;
        update_ema(self.ema.weights()?, self.generator.weights()?, ema_config.decay(batch as u64, seen))?;
        if !report {
            return Ok(Vec::new());
        }
        let mut scalars = vec![("loss", loss.to_dtype(DType::F64)?.to_scalar()?)];
        mean_over_ranks(&mut scalars, self.ranks().as_ref());
        scalars.extend(self.real.changing_sample_size());
        Ok(scalars)
    }

    fn prepares(&self, step: u64) -> bool {
        self.real.weighs_before(step)
    }

    fn prepare(&mut self, step: u64, progress: &dyn Progress) -> Result<()> {
        self.real.weigh(self.ema.as_ref(), step, &self.shard, progress)
    }

    fn other_state(&self) -> Vec<NamedState> {
        self.real.state().into_iter().collect()
    }

    fn take_other_state(&mut self, find: &dyn Fn(&str) -> Result<NamedState>) -> Result<()> {
        self.real.load(find)
    }

    fn batch(&self) -> usize {
        self.config.batch
    }

    fn ranks(&self) -> &Ranks {
        self.shard.ranks()
    }

    fn generator(&self) -> &dyn Generator {
        self.generator.as_ref()
    }

    fn ema(&self) -> &dyn Generator {
        self.ema.as_ref()
    }

    fn discriminator(&self) -> Option<&dyn Discriminator> {
        None
    }

    fn optimizers(&mut self) -> Vec<(&'static str, &mut Adam)> {
        vec![("adam", &mut self.adam)]
    }
}
