//! The settings of `pd finetune`: what was typed, what options.json holds, and what is made of it.

use super::terminal::Terminal;
use candle_core::Device;
use clap::{Args, ValueEnum};
use pseudo_density::density::{Rule, Threshold, TwoLevel};
use pseudo_density::error::{Error, Result};
use pseudo_density::extract::{ExtractorRequest, LoadedExtractor};
use pseudo_density::finetune::{
    AdamConfig, DensityBy, DiffusionConfig, DiffusionTrainer, EmaConfig, Evaluator, GanConfig, GanLoss,
    GanNetworks, GanTrainer, Judge, MEMORY_BYTES, Origin, R1, RealBatches, RealImages, Rejection, Schedule,
    Sheet, Trainer, Truncated, WeightedRows, Weighting, defaults, densities,
};
use pseudo_density::formats::digest::sha256;
use pseudo_density::generate::{
    Discriminator, Generator, GeneratorRequest, Network, SamplerRequest, Variables, initialise,
    initialise_discriminator, load, load_discriminator,
};
use pseudo_density::images::{Fit, ImageSet};
use pseudo_density::reference::Reference;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Which way training leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Bias {
    /// Towards the typical: weight 33 above the 80th percentile
    Fidelity,
    /// Towards the rare: weight 0.03 above the 20th percentile
    Diversity,
}

/// Whose batches are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sides {
    /// The real ones
    Real,
    /// The generated ones too, by rejection: the paper's
    Both,
}

/// Everything that decides what a run computes. As it was typed, what is left out is absent; in options.json nothing is that applies.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Generator to go on from: a directory, a diffusers pipeline or a weights file
    #[arg(long, value_name = "G", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    generator: Option<PathBuf>,
    /// Its discriminator [default: d.safetensors of the generator's directory]
    #[arg(long, value_name = "D", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    discriminator: Option<PathBuf>,
    /// Start from random weights of these sizes instead
    #[arg(long, value_name = "CONFIG.json", conflicts_with_all = ["generator", "discriminator"], help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<PathBuf>,
    /// Architecture, where the files do not say
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<String>,
    /// Configuration of the generator, where its file does not say
    #[arg(long, value_name = "FILE", conflicts_with = "init", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<PathBuf>,
    /// Denoising steps of a diffusion model's sheets and evaluations
    #[arg(long, value_name = "N", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ddim_steps: Option<usize>,

    /// Real images: directory, .zip or .tar
    #[arg(long, value_name = "IMAGES", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// How images of another shape are brought into the generator's [default: crop]
    #[arg(long, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fit: Option<Fit>,
    /// Mirror half of the real images
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<bool>,
    /// Stop at the first image that cannot be used (exit code 3)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,

    /// Indexed reference that densities come from
    #[arg(long, value_name = "REF", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<PathBuf>,
    /// Weights file of the reference's extractor
    #[arg(long, value_name = "FILE", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<PathBuf>,
    /// Weight and threshold in one word
    #[arg(long, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<Bias>,
    /// two-level (a weight above a threshold) or power:B (weight rho^B) [default: two-level]
    #[arg(long, value_name = "RULE", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    /// Weight of images above the threshold; 1 is the control
    #[arg(long, value_name = "W", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    /// Threshold: a density (1.18) or a percentile of the reference (p80)
    #[arg(long, value_name = "TAU", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<Threshold>,
    /// Weight the real batches only, or the generated ones too [default: real]
    #[arg(long, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sides: Option<Sides>,
    /// Weight of the real side alone
    #[arg(long, value_name = "W", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_real: Option<f64>,
    /// Threshold of the real side alone
    #[arg(long, value_name = "TAU", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold_real: Option<Threshold>,
    /// Weight of the generated side alone: its batches are drawn with the inverse
    #[arg(long, value_name = "W", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_fake: Option<f64>,
    /// Threshold of the generated side alone
    #[arg(long, value_name = "TAU", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold_fake: Option<Threshold>,
    /// How generated images are scored [default: knn]
    #[arg(long, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    density: Option<DensityBy>,
    /// Most draws for each accepted generated image [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000), help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rejection: Option<u32>,
    /// Largest weight of rule power:B, in means [default: 100]
    #[arg(long, value_name = "C", value_parser = at_least_1, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    clip: Option<f64>,
    /// Least effective sample size of rule power:B, as a share of the images; weights are cut until it is met [default: 0.3]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ess: Option<f64>,

    /// Steps in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    /// Thousands of real images in all, instead of --steps
    #[arg(long, value_name = "N", conflicts_with = "steps", value_parser = positive, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kimg: Option<f64>,
    /// Images per step [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_536), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u32>,
    /// Loss of a GAN: the family's unless given
    #[arg(long, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<LossChoice>,
    /// Weight of R1 [default: the family's]
    #[arg(long, value_name = "GAMMA", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gamma: Option<f64>,
    /// Steps from one R1 penalty to the next [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    r1_interval: Option<u32>,
    /// Learning rate of Adam [default: the family's]
    #[arg(long, value_name = "RATE", value_parser = positive, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr: Option<f64>,
    /// Decay of Adam's first moment [default: the family's]
    #[arg(long, value_name = "BETA", value_parser = decay, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta1: Option<f64>,
    /// Decay of Adam's second moment [default: the family's]
    #[arg(long, value_name = "BETA", value_parser = decay, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta2: Option<f64>,
    /// Steps over which the learning rate rises [default: the family's]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup: Option<u64>,
    /// Half-life of the averaged generator, in thousands of images [default: 10]
    #[arg(long, value_name = "KIMG", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ema_kimg: Option<f64>,
    /// Half-life at most this share of the images seen so far; 0 for no such bound [default: 0.05 with --init, else 0]
    #[arg(long, value_name = "SHARE", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ema_rampup: Option<f64>,
    /// Key of every random draw [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,

    /// Steps from one snapshot, sheet and saved state to the next [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    snap: Option<u64>,
    /// Steps from one line of the log to the next [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_every: Option<u64>,
    /// Images per row and column of the sample sheets [default: 8, diffusion models 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sheet: Option<u32>,
    /// Steps from one evaluation (fd, precision, recall against the reference) to the next [default: none]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_every: Option<u64>,
    /// Generated images of an evaluation [default: 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=1_000_000), help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_images: Option<u32>,
    /// Keep the snapshot of the lowest fd as snapshot-best, and stop when it no longer falls
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_best: Option<bool>,
    /// Evaluations without a lower fd after which --keep-best stops [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Watching")]
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<u64>,
}

/// A loss, or the family's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LossChoice {
    /// The family's
    Auto,
    /// Non-saturating logistic loss, which is the binary cross entropy of DCGAN
    #[value(alias = "bce")]
    Logistic,
    /// Hinge loss
    Hinge,
}

fn number(text: &str, what: &str, fits: impl Fn(f64) -> bool) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && fits(value) => Ok(value),
        _ => Err(format!("must be a number {what}")),
    }
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    number(text, "above 0", |v| v > 0.0)
}

fn not_negative(text: &str) -> std::result::Result<f64, String> {
    number(text, "of at least 0", |v| v >= 0.0)
}

fn at_least_1(text: &str) -> std::result::Result<f64, String> {
    number(text, "of at least 1", |v| v >= 1.0)
}

fn share(text: &str) -> std::result::Result<f64, String> {
    number(text, "between 0 and 1", |v| (0.0..=1.0).contains(&v))
}

fn decay(text: &str) -> std::result::Result<f64, String> {
    number(text, "from 0 to below 1", |v| (0.0..1.0).contains(&v))
}

/// Any objective.
pub type Model = dyn Trainer;

/// A run that is ready to start.
pub struct Setup {
    pub trainer: Box<Model>,
    pub evaluator: Option<Evaluator>,
    pub schedule: Schedule,
    pub sheet: Sheet,
    pub device: Device,
    pub options: Map<String, Value>,
    pub notes: Vec<String>,
}

/// What identifies the inputs of a run, in options.json; not a setting.
const INPUTS: &str = "inputs";

impl Settings {
    /// What was typed, over the settings in a file.
    pub fn over_file(&self, path: &Path) -> Result<Settings> {
        let wrong = |e: serde_json::Error| {
            Error::malformed(
                path,
                format!("holds no settings of a run: {e}"),
                "name the options.json of a run",
            )
        };
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        let mut settings: Map<String, Value> = serde_json::from_slice(&text).map_err(wrong)?;
        settings.remove(INPUTS);
        // One of a pair that says the same in two ways replaces the other.
        const LEVELS: [&str; 4] = ["weight_real", "threshold_real", "weight_fake", "threshold_fake"];
        for (typed, replaced) in [
            (self.kimg.is_some(), &["steps"][..]),
            (self.init.is_some(), &["generator", "discriminator", "config"]),
            (self.generator.is_some(), &["init"]),
            (self.bias.is_some(), &LEVELS),
            (self.weight.is_some(), &["weight_real", "weight_fake"]),
            (self.threshold.is_some(), &["threshold_real", "threshold_fake"]),
            (self.rule.is_some(), &LEVELS),
            (self.rule.is_some(), &["clip", "min_ess"]),
            (self.sides.is_some(), &["weight_fake", "threshold_fake", "density", "max_rejection"]),
            (self.gamma.is_some(), &["r1_interval"]),
            (self.keep_best.is_some(), &["patience"]),
        ] {
            if typed {
                replaced.iter().for_each(|key| drop(settings.remove(*key)));
            }
        }
        settings.extend(self.json()?);
        serde_json::from_value(Value::Object(settings)).map_err(wrong)
    }

    fn json(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => Ok(map),
            other => Err(Error::data(format!("the settings cannot be written: {other:?}"), "")),
        }
    }

    /// Whether R1 is asked for; no family has it by default.
    pub fn needs_second_order(&self) -> bool {
        self.gamma.is_some_and(|gamma| gamma > 0.0)
    }

    /// Refuses settings that would have no effect.
    fn refuse(&self, given: &[(&str, bool)], because: &str) -> Result<()> {
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::usage(format!("{name} has no effect: {because}"), "leave it out")),
            None => Ok(()),
        }
    }

    /// Weight and threshold of one side, from its own settings, those of both, or the bias.
    fn two_level(
        &mut self,
        side: fn(&mut Settings) -> (&mut Option<f64>, &mut Option<Threshold>),
    ) -> Result<(f64, Threshold)> {
        const FIDELITY: (f64, f64) = (33.0, 80.0);
        const DIVERSITY: (f64, f64) = (0.03, 20.0);
        let preset = match self.bias {
            Some(Bias::Fidelity) => Some(FIDELITY),
            Some(Bias::Diversity) => Some(DIVERSITY),
            None => None,
        };
        let weight = self.weight.or(preset.map(|(weight, _)| weight));
        // A weight that was typed alone goes with the threshold of its direction.
        let of_weight = |weight: f64| if weight < 1.0 { DIVERSITY.1 } else { FIDELITY.1 };
        let (typed_weight, typed_threshold) = {
            let (weight, threshold) = side(self);
            (*weight, *threshold)
        };
        let Some(weight) = typed_weight.or(weight) else {
            return Err(Error::usage(
                "nothing says which way to train",
                "give --bias fidelity or diversity, --weight W with --threshold TAU (W 1 is the control), or --rule power:B",
            ));
        };
        let threshold = typed_threshold
            .or(self.threshold)
            .unwrap_or(Threshold::Percentile(preset.map_or(of_weight(weight), |(_, percentile)| percentile)));
        let (to_weight, to_threshold) = side(self);
        (*to_weight, *to_threshold) = (Some(weight), Some(threshold));
        Ok((weight, threshold))
    }
}

fn required<T: Clone>(value: &Option<T>, name: &str) -> Result<T> {
    value.clone().ok_or_else(|| Error::usage(format!("{name} is missing"), "see `pd finetune --help`"))
}

/// Reads everything and puts the run together.
pub fn setup(mut settings: Settings, terminal: &Terminal) -> Result<Setup> {
    let device = Device::Cpu;
    let mut notes = Vec::new();
    let data = required(&settings.data, "--data")?;
    let seed = *settings.seed.get_or_insert(0);
    let batch = *settings.batch.get_or_insert(64) as usize;
    settings.steps = match (settings.steps, settings.kimg.take()) {
        (_, Some(kimg)) => Some((kimg * 1000.0 / batch as f64).ceil() as u64),
        (steps, None) => steps,
    };
    let steps = required(&settings.steps, "--steps or --kimg")?;

    let [live, average] = generators(&settings, seed, &device)?;
    let diffusion = live.denoiser().is_some();
    let family = defaults(live.family());

    let reference = settings.reference.as_deref().map(Reference::open).transpose()?;
    let extractor = |reference: &Reference| {
        let request = ExtractorRequest { weights: settings.weights.clone(), ..ExtractorRequest::default() };
        LoadedExtractor::for_identity(&reference.manifest.identity, &request)
    };
    let set = ImageSet::open(&data, terminal)?;
    let fit = settings.fit.unwrap_or(Fit::Crop);
    let strict = settings.strict.unwrap_or(false);
    let images = RealImages::open(set, live.image_shape(), fit, strict, MEMORY_BYTES, terminal)?;
    terminal.report_skipped(images.skipped());
    let densities = match &reference {
        Some(reference) => {
            let (densities, origin) = densities(&images, reference, || extractor(reference), terminal)?;
            notes.push(match origin {
                Origin::Reference => format!("densities of {} images from the reference", images.len()),
                Origin::Scored => format!("{} images scored against the reference", images.len()),
            });
            densities
        }
        None => vec![1.0; images.len()],
    };
    let extractors: [Option<LoadedExtractor>; 2] = match &reference {
        Some(reference) => [
            (settings.sides == Some(Sides::Both)).then(|| extractor(reference)).transpose()?,
            settings.eval_every.map(|_| extractor(reference)).transpose()?,
        ],
        None => [None, None],
    };
    let [judging, evaluating] = extractors;
    settings.fit = Some(fit);
    settings.strict = Some(strict);

    let (weighting, rejection) = weighting(&mut settings, reference.as_ref(), judging, terminal)?;
    let rows = WeightedRows::new(&densities, weighting)?;
    notes.push(format!(
        "effective sample size {:.0} of {} real images",
        rows.effective_sample_size(),
        images.len()
    ));
    if let Some(cut) = rows.lowered_clip() {
        notes.push(format!(
            "weights are cut at {cut:.3} means so that the effective sample size is met (--min-ess)"
        ));
    }
    let classes = match live.class_count() {
        0 => None,
        count => Some(images.classes(count)?),
    };
    let data_digest = images.set().digest();
    let mirror = *settings.mirror.get_or_insert(false);
    let real = RealBatches { images, rows, classes, mirror, seed, device: device.clone() };

    let adam = AdamConfig {
        lr: *settings.lr.get_or_insert(family.lr),
        beta1: *settings.beta1.get_or_insert(family.beta1),
        beta2: *settings.beta2.get_or_insert(family.beta2),
    };
    let warmup = *settings.warmup.get_or_insert(family.warmup);
    const RAMPUP_FROM_NOTHING: f64 = 0.05;
    let rampup = if settings.init.is_some() { RAMPUP_FROM_NOTHING } else { 0.0 };
    let rampup = *settings.ema_rampup.get_or_insert(rampup);
    let ema =
        EmaConfig { kimg: *settings.ema_kimg.get_or_insert(10.0), rampup: (rampup > 0.0).then_some(rampup) };

    let mut inputs = Map::new();
    let mut identify = |name: &str, variables: &Variables| -> Result<()> {
        inputs.insert(name.into(), digest(variables)?.into());
        Ok(())
    };
    identify("generator_sha256", live.variables())?;
    identify("average_sha256", average.variables())?;
    let trainer: Box<Model> = if diffusion {
        settings.refuse(
            &[
                ("--loss", settings.loss.is_some()),
                ("--gamma", settings.gamma.is_some()),
                ("--r1-interval", settings.r1_interval.is_some()),
                ("--discriminator", settings.discriminator.is_some()),
                ("--sides both", settings.sides == Some(Sides::Both)),
            ],
            "a diffusion model has no adversary",
        )?;
        let config = DiffusionConfig { batch, adam, warmup, ema };
        Box::new(DiffusionTrainer::new(live, average, real, config)?)
    } else {
        let gamma = *settings.gamma.get_or_insert(family.gamma);
        let r1 = match gamma > 0.0 {
            true => Some(R1 { gamma, interval: *settings.r1_interval.get_or_insert(16) as usize }),
            false => {
                settings.refuse(
                    &[("--r1-interval", settings.r1_interval.is_some())],
                    "there is no R1 without --gamma",
                )?;
                None
            }
        };
        let loss = match settings.loss {
            None | Some(LossChoice::Auto) => family.loss,
            Some(LossChoice::Logistic) => GanLoss::Logistic,
            Some(LossChoice::Hinge) => GanLoss::Hinge,
        };
        settings.loss = Some(match loss {
            GanLoss::Logistic => LossChoice::Logistic,
            GanLoss::Hinge => LossChoice::Hinge,
        });
        let discriminator = discriminator(&settings, seed, &device)?;
        identify("discriminator_sha256", discriminator.variables())?;
        let networks = GanNetworks { live, average, discriminator };
        let config = GanConfig { batch, loss, r1, adam, warmup, ema };
        Box::new(GanTrainer::new(networks, real, rejection, config)?)
    };

    let (evaluator, patience) = evaluation(&mut settings, reference.as_ref(), evaluating, seed, &device)?;
    let schedule = Schedule {
        steps,
        snap: *settings.snap.get_or_insert(500),
        log_every: *settings.log_every.get_or_insert(10),
        eval_every: settings.eval_every.unwrap_or(u64::MAX),
        patience,
    };
    let sheet = Sheet { side: *settings.sheet.get_or_insert(if diffusion { 4 } else { 8 }) as usize, seed };
    inputs.insert("data_sha256".into(), data_digest.into());
    if let Some(reference) = &reference {
        let record = serde_json::to_vec(&reference.manifest).map_err(|e| Error::data(e.to_string(), ""))?;
        inputs.insert("reference_sha256".into(), sha256(&record).into());
    }
    let mut options = settings.json()?;
    options.insert(INPUTS.into(), Value::Object(inputs));
    Ok(Setup { trainer, evaluator, schedule, sheet, device, options, notes })
}

/// The generator twice: as it is trained, and its average.
fn generators(settings: &Settings, seed: u64, device: &Device) -> Result<[Box<dyn Generator>; 2]> {
    let request = |network| GeneratorRequest {
        arch: settings.arch.clone(),
        config: settings.config.clone(),
        network,
        sampler: SamplerRequest { sampler: None, steps: settings.ddim_steps },
        device: device.clone(),
        ..GeneratorRequest::default()
    };
    let make = |network| match &settings.init {
        Some(config) => initialise(config, seed, &request(network)),
        None => load(required(&settings.generator, "--generator (or --init)")?, &request(network)),
    };
    Ok([make(Network::Live)?, make(Network::Average)?])
}

fn discriminator(settings: &Settings, seed: u64, device: &Device) -> Result<Box<dyn Discriminator>> {
    let request = GeneratorRequest {
        arch: settings.arch.clone(),
        device: device.clone(),
        ..GeneratorRequest::default()
    };
    match (&settings.init, &settings.discriminator, &settings.generator) {
        // Another seed than the generator's: the layers of both would begin with the same numbers.
        (Some(config), _, _) => initialise_discriminator(config, seed.wrapping_add(1), &request),
        (None, Some(path), _) => load_discriminator(path, &request),
        (None, None, Some(path)) if path.join("d.safetensors").is_file() => {
            load_discriminator(path, &request)
        }
        _ => Err(Error::usage(
            "--discriminator is missing",
            "a GAN is trained with the one it was trained with before",
        )),
    }
}

/// The rules of both sides.
fn weighting(
    settings: &mut Settings,
    reference: Option<&Reference>,
    judging: Option<LoadedExtractor>,
    terminal: &Terminal,
) -> Result<(Weighting, Option<Rejection>)> {
    let sides = *settings.sides.get_or_insert(Sides::Real);
    let Some(reference) = reference else {
        settings.refuse(
            &[
                ("--bias", settings.bias.is_some()),
                ("--rule", settings.rule.is_some()),
                ("--weight", settings.weight.is_some()),
                ("--threshold", settings.threshold.is_some()),
                ("--weight-real", settings.weight_real.is_some()),
                ("--threshold-real", settings.threshold_real.is_some()),
                ("--weight-fake", settings.weight_fake.is_some()),
                ("--threshold-fake", settings.threshold_fake.is_some()),
                ("--sides both", sides == Sides::Both),
                ("--density", settings.density.is_some()),
                ("--max-rejection", settings.max_rejection.is_some()),
                ("--clip", settings.clip.is_some()),
                ("--min-ess", settings.min_ess.is_some()),
                ("--weights", settings.weights.is_some()),
            ],
            "there are no densities without --reference",
        )?;
        return match settings.init {
            Some(_) => Ok((Weighting::Uniform, None)),
            None => Err(Error::usage(
                "--reference is missing",
                "`pd embed` and `pd index` make one; --init does without",
            )),
        };
    };
    let distribution = reference.distribution()?;
    let rule = *settings.rule.get_or_insert(Rule::TwoLevel);
    if sides == Sides::Real {
        settings.refuse(
            &[
                ("--weight-fake", settings.weight_fake.is_some()),
                ("--threshold-fake", settings.threshold_fake.is_some()),
                ("--density", settings.density.is_some()),
                ("--max-rejection", settings.max_rejection.is_some()),
            ],
            "the generated side is weighted with --sides both",
        )?;
    }
    let exponent = match rule {
        Rule::TwoLevel => None,
        Rule::Power(exponent) => Some(exponent),
        Rule::Ratio(_) => {
            let reason =
                "ratio weights compare with what a generator makes, which changes while it is trained";
            return Err(Error::usage(reason, "take --rule two-level or power:B"));
        }
    };
    if let Some(exponent) = exponent {
        settings.refuse(
            &[
                ("--bias", settings.bias.is_some()),
                ("--weight", settings.weight.is_some()),
                ("--threshold", settings.threshold.is_some()),
                ("--weight-real", settings.weight_real.is_some()),
                ("--threshold-real", settings.threshold_real.is_some()),
                ("--sides both", sides == Sides::Both),
            ],
            "power:B weights the real side by a power of the density",
        )?;
        let truncated = Truncated {
            exponent,
            clip: *settings.clip.get_or_insert(100.0),
            min_ess: *settings.min_ess.get_or_insert(0.3),
        };
        return Ok((Weighting::Power(truncated), None));
    }
    settings.refuse(
        &[("--clip", settings.clip.is_some()), ("--min-ess", settings.min_ess.is_some())],
        "they belong to --rule power:B",
    )?;
    let (weight, threshold) = settings.two_level(|s| (&mut s.weight_real, &mut s.threshold_real))?;
    let real = Weighting::TwoLevel(TwoLevel { weight, threshold: threshold.resolve(&distribution) });
    let rejection = match (sides, judging) {
        (Sides::Both, Some(extractor)) => {
            let (weight, threshold) = settings.two_level(|s| (&mut s.weight_fake, &mut s.threshold_fake))?;
            let by = *settings.density.get_or_insert(DensityBy::Knn);
            Some(Rejection {
                rule: TwoLevel { weight: weight.recip(), threshold: threshold.resolve(&distribution) },
                judge: Judge::open(reference, extractor, by, terminal)?,
                max_draws: *settings.max_rejection.get_or_insert(100),
            })
        }
        _ => None,
    };
    // What both sides got is said by side from here on.
    (settings.bias, settings.weight, settings.threshold) = (None, None, None);
    Ok((real, rejection))
}

fn evaluation(
    settings: &mut Settings,
    reference: Option<&Reference>,
    extractor: Option<LoadedExtractor>,
    seed: u64,
    device: &Device,
) -> Result<(Option<Evaluator>, Option<u64>)> {
    let keep_best = *settings.keep_best.get_or_insert(false);
    if settings.eval_every.is_none() {
        settings.refuse(
            &[
                ("--eval-images", settings.eval_images.is_some()),
                ("--keep-best", keep_best),
                ("--patience", settings.patience.is_some()),
            ],
            "nothing is evaluated without --eval-every",
        )?;
        return Ok((None, None));
    }
    let (Some(reference), Some(extractor)) = (reference, extractor) else {
        return Err(Error::usage("--eval-every needs a reference to compare with", "give --reference"));
    };
    let images = *settings.eval_images.get_or_insert(2000) as usize;
    let patience = match keep_best {
        true => Some(*settings.patience.get_or_insert(5)),
        false => {
            settings.refuse(&[("--patience", settings.patience.is_some())], "it belongs to --keep-best")?;
            None
        }
    };
    Ok((Some(Evaluator::new(reference, extractor, images, seed, device)?), patience))
}

/// SHA-256 over names and numbers.
fn digest(variables: &Variables) -> Result<String> {
    let mut bytes = Vec::new();
    for (name, tensor) in variables.state_dict("")?.iter() {
        bytes.extend(name.as_bytes());
        match &tensor.data {
            pseudo_density::formats::TensorData::F32(values) => {
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
            pseudo_density::formats::TensorData::I64(values) => {
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
        }
    }
    Ok(sha256(&bytes))
}
