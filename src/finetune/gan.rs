//! The step of a GAN: D on real and generated images, R1 now and then, G through D, the average behind G (rule 6).

use super::adam::{Adam, AdamConfig};
use super::batches::{Accepted, RealBatches, Rejection, latents};
use super::ema::{EmaConfig, follow};
use super::losses::{GanLoss, check_second_order, r1_penalty};
use super::trainer::{Scalars, Trainer, warmup_rate};
use crate::error::{Error, Result};
use crate::generate::{Conditions, Discriminator, Generator, Mode};
use candle_core::{DType, Tensor};

/// R1, computed at every `interval`-th step and weighted up for it (lazy regularisation, StyleGAN2 appendix B).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct R1 {
    /// Its weight.
    pub gamma: f64,
    /// Steps from one to the next.
    pub interval: usize,
}

/// How a GAN is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GanConfig {
    /// Images of a batch.
    pub batch: usize,
    /// The loss.
    pub loss: GanLoss,
    /// The penalty on D's gradient, if any.
    pub r1: Option<R1>,
    /// Adam of both networks.
    pub adam: AdamConfig,
    /// Steps over which the learning rate rises.
    pub warmup: u64,
    /// The average of G.
    pub ema: EmaConfig,
}

/// A generator with its average and its discriminator.
pub struct GanNetworks {
    /// The generator that is trained.
    pub live: Box<dyn Generator>,
    /// Its average.
    pub average: Box<dyn Generator>,
    /// The discriminator.
    pub discriminator: Box<dyn Discriminator>,
}

/// A GAN in training.
pub struct GanTrainer {
    networks: GanNetworks,
    adam_g: Adam,
    adam_d: Adam,
    real: RealBatches,
    rejection: Option<Rejection>,
    config: GanConfig,
}

impl GanTrainer {
    /// Networks that fit each other and the images, both optimisers at their beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] if they do not fit, or for R1 where gradients of gradients are not kept.
    pub fn new(
        networks: GanNetworks,
        real: RealBatches,
        rejection: Option<Rejection>,
        config: GanConfig,
    ) -> Result<Self> {
        let GanNetworks { live, discriminator, .. } = &networks;
        if live.image_shape() != discriminator.image_shape()
            || live.class_count() != discriminator.class_count()
        {
            let reason = format!(
                "the generator makes {:?} of {} classes, the discriminator takes {:?} of {}",
                live.image_shape().dims(),
                live.class_count(),
                discriminator.image_shape().dims(),
                discriminator.class_count()
            );
            return Err(Error::usage(reason, "are they of one model?"));
        }
        let mut adam_of_d = config.adam;
        if let Some(r1) = config.r1 {
            check_second_order()?;
            adam_of_d = adam_of_d.lazy(r1.interval);
        }
        let adam_g = Adam::new(live.variables(), config.adam)?;
        let adam_d = Adam::new(discriminator.variables(), adam_of_d)?;
        Ok(Self { networks, adam_g, adam_d, real, rejection, config })
    }
}

impl Trainer for GanTrainer {
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars> {
        let GanConfig { batch, loss, r1, warmup, ema, .. } = self.config;
        let GanNetworks { live, average, discriminator } = &self.networks;
        let rate = warmup_rate(step, warmup);
        let real = self.real.of_step(step, batch)?;
        let Accepted { batch: z, draws } =
            latents(live.as_ref(), &self.real, self.rejection.as_ref(), step, batch)?;
        let with = |classes, mode| Conditions { classes, mode, ..Conditions::default() };
        let (of_real, of_fake) = (real.classes.as_deref(), z.classes.as_deref());

        // As in DCGAN's program one batch of generated images serves both networks.
        let images = live.generate(&z.values, &with(of_fake, Mode::Train))?;
        let logits_real = discriminator.logits(&real.values, &with(of_real, Mode::Train))?;
        let logits_fake = discriminator.logits(&images.detach(), &with(of_fake, Mode::Train))?;
        let d_loss = loss.discriminator(&logits_real, &logits_fake)?;
        self.adam_d.step(&d_loss.backward()?, rate)?;

        let mut penalty = None;
        if let Some(R1 { gamma, interval }) = r1
            && step.is_multiple_of(interval as u64)
        {
            let r1 = r1_penalty(discriminator.as_ref(), &real.values, of_real, gamma)?;
            self.adam_d.step(&(&r1 * interval as f64)?.backward()?, rate)?;
            penalty = Some(r1.detach());
        }

        let g_loss = loss.generator(&discriminator.logits(&images, &with(of_fake, Mode::Through))?)?;
        self.adam_g.step(&g_loss.backward()?, rate)?;
        let seen = (step + 1) * batch as u64;
        follow(average.variables(), live.variables(), ema.decay(batch as u64, seen))?;

        if !report {
            return Ok(Vec::new());
        }
        let number = |t: &Tensor| -> Result<f64> { Ok(t.to_dtype(DType::F64)?.to_scalar()?) };
        let mut scalars = vec![
            ("d_loss", number(&d_loss)?),
            ("g_loss", number(&g_loss)?),
            ("d_real", number(&logits_real.mean_all()?)?),
            ("d_fake", number(&logits_fake.mean_all()?)?),
        ];
        if let Some(penalty) = penalty {
            scalars.push(("r1", number(&penalty)?));
        }
        if self.rejection.is_some() {
            scalars.push(("draws_per_accepted", draws));
        }
        Ok(scalars)
    }

    fn batch(&self) -> usize {
        self.config.batch
    }

    fn live(&self) -> &dyn Generator {
        self.networks.live.as_ref()
    }

    fn average(&self) -> &dyn Generator {
        self.networks.average.as_ref()
    }

    fn discriminator(&self) -> Option<&dyn Discriminator> {
        Some(self.networks.discriminator.as_ref())
    }

    fn optimizers(&mut self) -> Vec<(&'static str, &mut Adam)> {
        vec![("adam_g", &mut self.adam_g), ("adam_d", &mut self.adam_d)]
    }
}
