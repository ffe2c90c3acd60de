//! The step of a GAN: D on real and generated images, R1 at intervals, G through D, the moving average of G (Li et al., TMLR
//! 2024, section 3.5).

use super::batches::{Accepted, Batch, RealBatches, Rejection, latents};
use super::ema::{EmaConfig, update_ema};
use super::frechet::{self, FrechetTerm, Term};
use super::losses::{check_second_order, r1_penalty};
use super::path_length::{Mixing, PathLength, PathLengthConfig, Penalty, check_layers, images_of};
use super::trainer::{NamedState, Scalars, Trainer, mean_over_ranks};
use crate::error::{Error, Result};
use crate::generate::{
    Discriminator, ForwardOptions, GanLoss, Generator, Mode, NoiseMode, TrainContext, Variables,
};
use crate::progress::Progress;
use crate::remedy::Remedy;
use crate::train::collective::Ranks;
use crate::train::{Adam, AdamConfig, RankShard, warmup_rate};
use candle_core::{DType, Device, Tensor};

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
    /// Images of a batch, on all ranks together.
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
    /// How often the styles of two latents are mixed.
    pub style_mixing: f64,
    /// The penalty on the lengths of G's paths, if any.
    pub path_length: Option<PathLengthConfig>,
}

/// A generator with the running average of its weights and its discriminator.
pub struct GanNetworks {
    /// The generator that is trained.
    pub generator: Box<dyn Generator>,
    /// The running average of its weights.
    pub ema: Box<dyn Generator>,
    /// The discriminator.
    pub discriminator: Box<dyn Discriminator>,
}

/// Both networks with their optimisers: what a step changes.
struct Adversaries {
    networks: GanNetworks,
    adam_g: Adam,
    adam_d: Adam,
    config: GanConfig,
    path_length: Option<PathLength>,
    frechet: Vec<FrechetTerm>,
    /// Of the run's random draws.
    seed: u64,
    shard: RankShard,
}

/// What a step measured, still on the device.
struct Measured {
    d_loss: Tensor,
    g_loss: Tensor,
    logits_real: Tensor,
    logits_fake: Tensor,
    r1: Option<Tensor>,
    path_length: Option<Tensor>,
    /// The squared distance that the Fréchet terms lower, their mean over the extractors.
    frechet: Option<f64>,
}

impl Adversaries {
    fn new(
        networks: GanNetworks,
        config: GanConfig,
        (seed, device): (u64, &Device),
        ranks: &Ranks,
    ) -> Result<Self> {
        let GanNetworks { generator, discriminator, .. } = &networks;
        let (made, taken) = (generator.info(), discriminator.info());
        if made.image_shape != taken.image_shape || made.class_count != taken.class_count {
            let reason = format!(
                "the generator makes {:?} of {} classes, the discriminator takes {:?} of {}",
                made.image_shape.dims(),
                made.class_count,
                taken.image_shape.dims(),
                taken.class_count
            );
            return Err(Error::usage(reason, "are they of one model?"));
        }
        let mut adam_of_d = config.adam;
        if let Some(r1) = config.r1 {
            check_second_order()?;
            adam_of_d = adam_of_d.lazy(r1.interval);
        }
        let mut adam_of_g = config.adam;
        let mut group = discriminator.group(config.batch);
        if config.style_mixing > 0.0 {
            check_layers(generator.as_ref(), "style mixing", Remedy::DropStyleMixing)?;
        }
        let path_length = match config.path_length {
            Some(path) => {
                check_layers(generator.as_ref(), "path-length regularisation", Remedy::DropPathLength)?;
                check_second_order()?;
                adam_of_g = adam_of_g.lazy(path.interval);
                group = PathLength::group(group);
                Some(PathLength::new(path, device)?)
            }
            None => None,
        };
        let shard = RankShard::new(config.batch, group, ranks)?;
        let adam_g = Adam::new(generator.weights()?.parameters(), adam_of_g)?.across(ranks);
        let adam_d = Adam::new(discriminator.variables().parameters(), adam_of_d)?.across(ranks);
        Ok(Self { networks, adam_g, adam_d, config, path_length, frechet: Vec::new(), seed, shard })
    }

    /// D, R1 where it is due, G and its running ema, on this rank's part of real images and latents.
    fn step(&mut self, real: &Batch, z: &Batch, step: u64) -> Result<Measured> {
        let GanConfig { batch, loss, r1, warmup, ema: ema_config, .. } = self.config;
        let GanNetworks { generator, ema, discriminator } = &self.networks;
        let rate = warmup_rate(step, warmup);
        let reducer = self.shard.reducer();
        let training = Mode::Train(TrainContext { reducer: Some(&reducer), ..TrainContext::default() });
        let with = |classes, mode| ForwardOptions { classes, mode, ..ForwardOptions::default() };
        let (of_real, of_fake) = (real.classes.as_deref(), z.classes.as_deref());

        // As in DCGAN's program one batch of generated images serves both networks.
        // Noise between the layers, where there is any, is new for each image: what is stored would be learnt by heart.
        let keys = self.shard.images_of_step(step);
        let noisy = ForwardOptions { noise: NoiseMode::Random, keys: Some(&keys), ..with(of_fake, training) };
        let at = (self.seed, step);
        let mixing =
            Mixing::of_step(generator.as_ref(), self.config.style_mixing, &self.shard, at, &z.values)?;
        let images = images_of(generator.as_ref(), &z.values, mixing.as_ref(), &noisy)?;
        // Each pass through D is augmented anew, where D does that.
        const PASSES: u64 = 3;
        let [for_real, for_fake, for_generator] =
            [0, 1, 2].map(|pass| keys.iter().map(|key| key * PASSES + pass).collect::<Vec<u64>>());
        let judged = |classes, mode, keys| ForwardOptions { keys: Some(keys), ..with(classes, mode) };
        let logits_real = discriminator.logits(&real.values, &judged(of_real, training, &for_real))?;
        let logits_fake = discriminator.logits(&images.detach(), &judged(of_fake, training, &for_fake))?;
        let d_loss = loss.discriminator(&logits_real, &logits_fake)?;
        self.adam_d.step(&d_loss.backward()?, rate)?;

        let mut penalty = None;
        if let Some(R1 { gamma, interval }) = r1
            && step.is_multiple_of(interval as u64)
        {
            let r1 = r1_penalty(
                discriminator.as_ref(),
                &real.values,
                &with(of_real, training.second_order()),
                gamma,
            )?;
            self.adam_d.step(&(&r1 * interval as f64)?.backward()?, rate)?;
            penalty = Some(r1.detach());
        }

        let through = judged(of_fake, training.inputs_only(), &for_generator);
        let g_loss = loss.generator(&discriminator.logits(&images, &through)?)?;
        let mut with_terms = g_loss.clone();
        let mut distances = Vec::new();
        for term in &mut self.frechet {
            let term = term.of_images(&images, generator.info().quantization, &self.shard, step)?;
            let Some(Term { loss, distance }) = term else { continue };
            distances.push(distance);
            if let Some(loss) = loss {
                with_terms = (with_terms + loss.to_dtype(g_loss.dtype())?.to_device(g_loss.device())?)?;
            }
        }
        self.adam_g.step(&with_terms.backward()?, rate)?;
        let path_length = match &self.path_length {
            Some(path) if path.is_due(step) => {
                let draws = path.draws(generator.as_ref(), &self.shard, at, &z.values)?;
                let rows = draws.latents.dim(0)?;
                let (classes, keys) = (of_fake.map(|classes| &classes[..rows]), Some(&keys[..rows]));
                let still = ForwardOptions { classes, keys, mode: training.second_order(), ..noisy };
                let Penalty { value, gradients } =
                    path.penalty(generator.as_ref(), &draws, mixing.as_ref(), &still)?;
                self.adam_g.step(&gradients, rate)?;
                Some(value)
            }
            _ => None,
        };
        let seen = (step + 1) * batch as u64;
        update_ema(ema.weights()?, generator.weights()?, ema_config.decay(batch as u64, seen))?;
        let frechet = (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64);
        Ok(Measured { d_loss, g_loss, logits_real, logits_fake, r1: penalty, path_length, frechet })
    }
}

/// A GAN in training.
pub struct GanTrainer {
    adversaries: Adversaries,
    real: RealBatches,
    rejection: Option<Rejection>,
}

impl GanTrainer {
    /// Networks that fit each other and the images, both optimisers at their beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] if they do not fit, the batch cannot be split over the ranks, or for R1 where gradients of gradients are not
    /// kept.
    pub fn new(
        networks: GanNetworks,
        real: RealBatches,
        rejection: Option<Rejection>,
        config: GanConfig,
        ranks: &Ranks,
    ) -> Result<Self> {
        let adversaries = Adversaries::new(networks, config, (real.seed, &real.device), ranks)?;
        Ok(Self { adversaries, real, rejection })
    }

    /// With Fréchet terms beside the generator's loss, one for each feature space.
    pub fn with_frechet(mut self, terms: Vec<FrechetTerm>) -> Self {
        self.adversaries.frechet = terms;
        self
    }
}

impl Trainer for GanTrainer {
    fn step(&mut self, step: u64, report: bool) -> Result<Scalars> {
        let shard = &self.adversaries.shard;
        let real = self.real.of_step(step, shard)?;
        let Accepted { batch: z, draws } =
            latents(self.generator(), &self.real, self.rejection.as_ref(), step, shard)?;
        let Measured { d_loss, g_loss, logits_real, logits_fake, r1, path_length, frechet } =
            self.adversaries.step(&real, &z, step)?;
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
        if let Some(r1) = r1 {
            scalars.push(("r1", number(&r1)?));
        }
        if let Some(path_length) = path_length {
            scalars.push(("pl", number(&path_length)?));
        }
        scalars.extend(frechet.map(|distance| ("frechet", distance)));
        mean_over_ranks(&mut scalars, self.ranks().as_ref());
        if self.rejection.is_some() {
            scalars.push(("draws_per_accepted", draws));
        }
        scalars.extend(self.real.changing_sample_size());
        Ok(scalars)
    }

    fn prepares(&self, step: u64) -> bool {
        self.real.weighs_before(step)
    }

    fn prepare(&mut self, step: u64, progress: &dyn Progress) -> Result<()> {
        let Adversaries { networks, shard, .. } = &self.adversaries;
        self.real.weigh(networks.ema.as_ref(), step, shard, progress)
    }

    fn batch(&self) -> usize {
        self.adversaries.config.batch
    }

    fn cycle(&self) -> u64 {
        let Adversaries { config: GanConfig { r1, path_length, .. }, frechet, .. } = &self.adversaries;
        let intervals = [r1.map(|r1| r1.interval), path_length.map(|path| path.interval)];
        let of_terms = frechet.iter().map(FrechetTerm::interval);
        intervals.into_iter().flatten().chain(of_terms).max().unwrap_or(1) as u64
    }

    fn ranks(&self) -> &Ranks {
        self.adversaries.shard.ranks()
    }

    fn generator(&self) -> &dyn Generator {
        self.adversaries.networks.generator.as_ref()
    }

    fn ema(&self) -> &dyn Generator {
        self.adversaries.networks.ema.as_ref()
    }

    fn discriminator(&self) -> Option<&dyn Discriminator> {
        Some(self.adversaries.networks.discriminator.as_ref())
    }

    fn networks(&self) -> Result<Vec<(&'static str, &Variables)>> {
        let GanNetworks { generator, ema, discriminator } = &self.adversaries.networks;
        let mut networks =
            vec![("g", generator.weights()?), ("g_ema", ema.weights()?), ("d", discriminator.variables())];
        networks.extend(self.adversaries.path_length.as_ref().map(PathLength::state));
        Ok(networks)
    }

    fn optimizers(&mut self) -> Vec<(&'static str, &mut Adam)> {
        vec![("adam_g", &mut self.adversaries.adam_g), ("adam_d", &mut self.adversaries.adam_d)]
    }

    fn other_state(&self) -> Vec<NamedState> {
        let of_term = |(i, term): (usize, &FrechetTerm)| NamedState {
            name: frechet::state_name(i),
            tensors: term.state(),
            steps: None,
        };
        self.adversaries.frechet.iter().enumerate().map(of_term).chain(self.real.state()).collect()
    }

    fn take_other_state(&mut self, find: &dyn Fn(&str) -> Result<NamedState>) -> Result<()> {
        for (i, term) in self.adversaries.frechet.iter_mut().enumerate() {
            term.load(&find(&frechet::state_name(i))?.tensors)?;
        }
        self.real.load(find)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{HostTensor, TensorData, read_state_dict};
    use crate::generate::{GeneratorRequest, load, load_discriminator};
    use crate::train::collective::single;
    use std::path::{Path, PathBuf};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/generators/dcgan").join(name)
    }

    /// Largest difference as a share of the largest expected value.
    fn difference(found: &Tensor, expected: &Tensor) -> f64 {
        let flat =
            |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (found, expected) = (flat(found), flat(expected));
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        found.iter().zip(&expected).fold(0f64, |m, (a, b)| m.max((a - b).abs())) / largest
    }

    #[test]
    fn a_step_of_dcgan_is_that_of_pytorch() {
        let request = GeneratorRequest { dtype: DType::F64, ..GeneratorRequest::default() };
        let load_generator = || load(fixture("weights.safetensors"), &request).unwrap();
        let networks = GanNetworks {
            generator: load_generator(),
            ema: load_generator(),
            discriminator: load_discriminator(fixture("weights_d.safetensors"), &request).unwrap(),
        };
        let config = GanConfig {
            batch: 6,
            loss: GanLoss::Logistic,
            r1: None,
            adam: AdamConfig { lr: 2e-4, beta1: 0.5, beta2: 0.999 },
            warmup: 0,
            ema: EmaConfig { kimg: 0.0, rampup: None },
            style_mixing: 0.0,
            path_length: None,
        };
        let dict = read_state_dict(fixture("io.safetensors")).unwrap();
        let expected = |name: &str| match dict.get(name).unwrap() {
            HostTensor { shape, data: TensorData::F32(values) } => {
                Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)
                    .unwrap()
                    .to_dtype(DType::F64)
                    .unwrap()
            }
            other => panic!("{name} is {other:?}"),
        };
        let batch = |values: Tensor| Batch { values, classes: None };
        let z = expected("z").flatten_from(1).unwrap();
        let mut adversaries = Adversaries::new(networks, config, (0, &Device::Cpu), &single()).unwrap();
        let measured = adversaries.step(&batch(expected("real")), &batch(z), 0).unwrap();
        assert!(difference(&measured.d_loss, &expected("train.d_loss")) < 2e-5);
        assert!(difference(&measured.logits_fake, &expected("train.d_logits_fake")) < 2e-5);
        let GanNetworks { generator, ema, discriminator } = &adversaries.networks;
        for name in ["main.0.weight", "main.5.weight", "main.3.bias"] {
            let found = discriminator.variables().get(name).unwrap();
            assert!(difference(found, &expected(&format!("train.after_adam.D.{name}"))) < 2e-4, "{name}");
        }
        for name in ["main.1.running_mean", "main.1.running_var"] {
            let found = generator.weights().unwrap().get(name).unwrap();
            assert!(difference(found, &expected(&format!("train.after_g_step.G.{name}"))) < 2e-5, "{name}");
        }
        // Without a half-life the average is the generator itself, statistics of batch norm included.
        for name in ["main.0.weight", "main.1.running_var"] {
            let [a, b] = [ema, generator].map(|g| g.weights().unwrap().get(name).unwrap());
            assert_eq!(difference(a, b), 0.0);
        }
    }
}
