//! What was typed for `pd finetune`, and what options.json holds of a run.

use crate::cli::trial::try_onnx;
use crate::cli::{presets, similar};
use crate::density::{Preset, RuleChoice, Threshold};
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::generate::{Training, family, written_family};
use crate::images::Fit;
use crate::reference::{DensityBy, Reference};
use crate::runs::COMMAND;
use candle_core::Device;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What a setting is that is not typed, as its help says; where the family decides, see `generate::Training`.
pub(super) mod default {
    pub(crate) const SEED: u64 = 0;
    pub(crate) const BATCH: u32 = 64;
    pub(crate) const R1_INTERVAL: u32 = 16;
    pub(crate) const PATH_LENGTH_INTERVAL: u32 = 4;
    pub(crate) const FRECHET_INTERVAL: u32 = 8;
    pub(crate) const EMA_KIMG: f64 = 10.0;
    pub(crate) const EMA_RAMPUP_FROM_NOTHING: f64 = 0.05;
    pub(crate) const MAX_REJECTION: u32 = 100;
    pub(crate) const SNAP: u64 = 500;
    pub(crate) const LOG_EVERY: u64 = 10;
    pub(crate) const SHEET: u32 = 8;
    pub(crate) const DIFFUSION_SHEET: u32 = 4;
    pub(crate) const EVAL_IMAGES: u32 = 2000;
    pub(crate) const PILOT: u32 = 2000;
    pub(crate) const PILOT_EVERY: u64 = 200;
    pub(crate) const SHARE: f64 = 0.25;
    pub(crate) const PATIENCE: u64 = 5;
}

/// Which batches are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sides {
    /// Real batches only
    Real,
    /// Real batches, and generated ones by rejection, as in the paper
    Both,
}

/// Everything that decides what a run computes. As it was typed, what was left out is absent; options.json holds every setting that applies.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Generator to fine-tune: a directory, a diffusers pipeline or a weights file
    #[arg(long, value_name = "G", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<PathBuf>,
    /// Discriminator of the generator [default: d.safetensors in the generator's directory]
    #[arg(long, value_name = "D", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<PathBuf>,
    /// Start from random weights, with the sizes that this file gives
    #[arg(long, value_name = "CONFIG.json", conflicts_with_all = ["generator", "discriminator"], help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Architecture of the networks, if their files do not name it
    #[arg(long, value_name = "NAME", value_parser = similar::arch, help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Configuration file of the generator, if its sizes do not follow from its weights
    #[arg(long, value_name = "FILE", conflicts_with = "init", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Denoising steps of a diffusion model, in contact sheets and evaluations [default: 50]
    #[arg(long, value_name = "N", help_heading = "Model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ddim_steps: Option<usize>,

    /// Real images to train on: a directory, .zip or .tar
    #[arg(long, value_name = "IMAGES", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// How real images are resized to the generator's image shape [default: crop]
    #[arg(long, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
    /// Mirror each real image with probability one half
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<bool>,
    /// Generated images to train on beside the real ones, as if they were real, such as those that `pd sample` kept: a directory, .zip or .tar
    #[arg(long, value_name = "IMAGES", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_generated: Option<PathBuf>,
    /// Share of --data-generated in the real batches [default: 0.25]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Stop at the first image that cannot be used (exit code 3)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,

    /// Reference directory that gives the densities, made by `pd embed` and `pd index` [default, if no network and no --data is named: the built-in demonstration]
    #[arg(long, value_name = "REF", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<PathBuf>,
    /// Weights file of the extractor that the reference was made with [default: embedded, or from the cache]
    #[arg(long, value_name = "FILE", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Preset of --weight, --threshold and --frechet
    #[arg(long, value_parser = presets::of_finetuning(), help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<Preset>,
    /// Importance weights: two-level (a weight above a threshold), power:B (density to the power B) or ratio:B (how much more often such images are real than generated, times density to the power B) [default: two-level]
    #[arg(long, value_name = "RULE", value_parser = similar::rule, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleChoice>,
    /// Importance weight of images above the threshold; 1 trains without weights, as a control
    #[arg(long, value_name = "W", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Threshold of the two-level rule: a density (1.18) or a percentile of the reference (p80)
    #[arg(long, value_name = "TAU", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Which batches are drawn by weight: the real ones only, or the generated ones too [default: real]
    #[arg(long, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sides: Option<Sides>,
    /// Importance weight of real images above the threshold, instead of --weight
    #[arg(long, value_name = "W", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_real: Option<f64>,
    /// Threshold for real images, instead of --threshold
    #[arg(long, value_name = "TAU", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_real: Option<Threshold>,
    /// Importance weight for generated images, instead of --weight; their batches are drawn with its inverse
    #[arg(long, value_name = "W", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_fake: Option<f64>,
    /// Threshold for generated images, instead of --threshold
    #[arg(long, value_name = "TAU", help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_fake: Option<Threshold>,
    /// How the density of generated images is found, with --sides both: from the nearest real images, or by the reference's predictor [default: knn]
    #[arg(long, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<DensityBy>,
    /// Largest number of draws for each accepted generated image [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000), help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rejection: Option<u32>,
    /// Exponent m of the ratio rule [default: the intrinsic dimension of the reference, estimated by Levina and Bickel's method]
    #[arg(long, value_name = "M", value_parser = positive, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<f64>,
    /// Number of generated images that the ratio rule compares with [default: 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=1_000_000), help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<u32>,
    /// Number of steps after which the ratio rule generates new images to compare with [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot_every: Option<u64>,
    /// Largest weight of the rules power:B and ratio:B, as a multiple of the mean weight [default: 100]
    #[arg(long, value_name = "C", value_parser = at_least_1, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Smallest effective sample size of the rules power:B and ratio:B, as a share of the images; weights are clipped until it is reached [default: 0.3]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Importance sampling")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ess: Option<f64>,

    /// Weight of the Frechet term in the generator's loss: the Frechet distance between the features of generated and of real images [default: that of --bias, else 0]
    #[arg(long, value_name = "L", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet: Option<f64>,
    /// Extractors whose features the Frechet term compares (`pd weights list` shows their names); the term is the mean over them [default: the reference's]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = similar::extractor, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet_extractor: Option<Vec<String>>,
    /// Number of steps between Frechet terms, each weighted up for it; 1 pulls a little more, at the cost of a pass through the extractor in every step [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet_interval: Option<u32>,
    /// Total number of training steps; this or --kimg is needed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Total training length in thousands of real images, instead of --steps
    #[arg(long, value_name = "N", conflicts_with = "steps", value_parser = positive, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kimg: Option<f64>,
    /// Images per training step [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65_536), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Loss function of a GAN [default: that of the architecture]
    #[arg(long, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossChoice>,
    /// Weight of the R1 gradient penalty [default: that of the architecture]
    #[arg(long, value_name = "GAMMA", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Number of steps between R1 gradient penalties [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r1_interval: Option<u32>,
    /// Probability of mixing the styles of two latents, for StyleGAN generators [default: that of the architecture]
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style_mixing: Option<f64>,
    /// Weight of path-length regularisation, for StyleGAN generators [default: that of the architecture]
    #[arg(long, value_name = "WEIGHT", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_length: Option<f64>,
    /// Number of steps between path-length penalties [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_length_interval: Option<u32>,
    /// Learning rate of Adam [default: that of the architecture]
    #[arg(long, value_name = "RATE", value_parser = positive, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Decay of Adam's first moment [default: that of the architecture]
    #[arg(long, value_name = "BETA", value_parser = decay, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// Decay of Adam's second moment [default: that of the architecture]
    #[arg(long, value_name = "BETA", value_parser = decay, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// Number of steps over which the learning rate rises to its full value [default: that of the architecture]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// Half-life of the exponential moving average (EMA) of the generator, in thousands of images [default: 10]
    #[arg(long, value_name = "KIMG", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_kimg: Option<f64>,
    /// Upper bound of the EMA's half-life, as a share of the images seen so far; 0 for no bound [default: 0.05 with --init, else 0]
    #[arg(long, value_name = "SHARE", value_parser = not_negative, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_rampup: Option<f64>,
    /// Random seed [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,

    /// Number of steps between snapshots; each saves the networks, a contact sheet and the state [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap: Option<u64>,
    /// Number of snapshots that are kept, the last ones, beside snapshot-best [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u64>,
    /// Number of steps between lines of the log [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_every: Option<u64>,
    /// Images per row and column of the contact sheets [default: 8, diffusion models 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<u32>,
    /// Number of steps between evaluations: Frechet distance, precision, recall and coverage against the reference [default: no evaluations]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<u64>,
    /// Number of generated images in an evaluation [default: 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=1_000_000), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_images: Option<u32>,
    /// Extractor of a second feature space that judges in evaluations, against the training images: the space that scored always looks better. `none` for no judge [default: tiny; where the reference was made with it, efficientnet-lite0 if its weights are in the cache]
    #[arg(long, value_name = "NAME", value_parser = judge, help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_extractor: Option<String>,
    /// Keep the snapshot of the lowest Frechet distance (of the judge's, if there is one) as snapshot-best, and stop when the distance no longer falls
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<bool>,
    /// Number of evaluations without a lower Frechet distance after which --keep-best stops [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Monitoring")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
}

/// A loss, or the family's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum LossChoice {
    /// The family's
    Auto,
    /// Non-saturating logistic loss, which is the binary cross entropy of DCGAN
    #[value(alias = "bce")]
    Logistic,
    /// Hinge loss
    Hinge,
}

/// What `--judge-extractor` says where nothing is to judge.
pub(super) const NO_JUDGE: &str = "none";

fn judge(text: &str) -> std::result::Result<String, String> {
    if text == NO_JUDGE { Ok(text.to_owned()) } else { similar::extractor(text) }
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

/// The value of a setting that a run cannot do without.
///
/// # Errors
/// [`Error::Usage`] if it is not given.
pub(super) fn required<T: Clone>(value: &Option<T>, name: &str) -> Result<T> {
    value.clone().ok_or_else(|| Error::usage(format!("{name} is missing"), "see `pd finetune --help`"))
}

/// An extractor by its name, on `device`.
///
/// # Errors
/// As [`LoadedExtractor::load`].
pub(super) fn named_extractor(name: &str, device: &Device) -> Result<LoadedExtractor> {
    LoadedExtractor::load(&ExtractorRequest {
        name: Some(name.to_owned()),
        device: device.clone(),
        trial: Some(try_onnx),
        ..ExtractorRequest::default()
    })
}

/// What identifies the inputs of a run, in options.json; not a setting.
pub(super) const INPUTS: &str = "inputs";

impl Settings {
    /// Whether no network, no images and no reference were named.
    pub(super) fn names_nothing(&self) -> bool {
        let named = [&self.generator, &self.discriminator, &self.init, &self.data, &self.reference];
        named.iter().all(|path| path.is_none())
    }

    /// Names them.
    pub(super) fn take(&mut self, generator: PathBuf, data: PathBuf, reference: PathBuf) {
        (self.generator, self.data, self.reference) = (Some(generator), Some(data), Some(reference));
    }

    /// Takes the names out of what is recorded of a run.
    pub(super) fn forget_inputs(options: &mut Map<String, Value>) {
        for name in ["generator", "data", "reference"] {
            options.remove(name);
        }
    }

    /// What was typed, over the settings in a file.
    pub(super) fn over_file(&self, path: &Path) -> Result<Settings> {
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
        settings.remove(COMMAND);
        // One of a pair that says the same in two ways replaces the other.
        const LEVELS: [&str; 4] = ["weight_real", "threshold_real", "weight_fake", "threshold_fake"];
        for (typed, replaced) in [
            (self.kimg.is_some(), &["steps"][..]),
            (self.init.is_some(), &["generator", "discriminator", "config"]),
            (self.generator.is_some(), &["init"]),
            (self.bias.is_some(), &LEVELS),
            (self.bias.is_some(), &["frechet", "frechet_interval"]),
            (self.frechet.is_some(), &["frechet_interval"]),
            (self.weight.is_some(), &["weight_real", "weight_fake"]),
            (self.threshold.is_some(), &["threshold_real", "threshold_fake"]),
            (self.rule.is_some(), &LEVELS),
            (self.rule.is_some(), &["clip", "min_ess", "dimension", "pilot", "pilot_every"]),
            (self.sides.is_some(), &["weight_fake", "threshold_fake", "density", "max_rejection"]),
            (self.gamma.is_some(), &["r1_interval"]),
            (self.path_length.is_some(), &["path_length_interval"]),
            (self.keep_best.is_some(), &["patience"]),
        ] {
            if typed {
                replaced.iter().for_each(|key| drop(settings.remove(*key)));
            }
        }
        settings.extend(self.json()?);
        serde_json::from_value(Value::Object(settings)).map_err(wrong)
    }

    pub(super) fn json(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => Ok(map),
            other => Err(Error::data(format!("the settings cannot be written: {other:?}"), "")),
        }
    }

    /// Whether R1 or path-length regularisation is asked for, or is a default of the family that `--arch` or a configuration names.
    /// A pickle names its family only once it is read, which is too late: most are StyleGAN's, which has R1.
    pub(super) fn needs_second_order(&self) -> bool {
        let source = || self.init.as_ref().or(self.generator.as_ref());
        let named = || self.arch.as_deref().and_then(|name| family(name).ok());
        let is_pickle = || source().is_some_and(|path| path.extension().is_some_and(|e| e == "pkl"));
        let family = named().or_else(|| written_family(source()?));
        let asked = |given: Option<f64>, default: fn(&Training) -> f64| match (given, family) {
            (Some(weight), _) => weight > 0.0,
            (None, Some(family)) => default(&family.training) > 0.0,
            (None, None) => is_pickle(),
        };
        asked(self.gamma, |training| training.gamma)
            || asked(self.path_length, |training| training.path_length)
    }

    /// The extractor that the reference was made with, on `device`.
    pub(super) fn extractor(&self, reference: &Reference, device: &Device) -> Result<LoadedExtractor> {
        let request = ExtractorRequest {
            weights: self.weights.clone(),
            device: device.clone(),
            trial: Some(try_onnx),
            ..ExtractorRequest::default()
        };
        LoadedExtractor::for_identity(&reference.manifest.identity, &request)
    }

    /// Steps from one lazy term of this weight to the next. Without weight there is none, and an interval that was given is refused.
    pub(super) fn interval(
        &mut self,
        weight: f64,
        of: fn(&mut Settings) -> &mut Option<u32>,
        default: u32,
        (flag, because): (&str, &str),
    ) -> Result<Option<usize>> {
        let given = of(self);
        if weight > 0.0 {
            return Ok(Some(*given.get_or_insert(default) as usize));
        }
        let given = [(flag, given.is_some())];
        self.refuse(&given, because)?;
        Ok(None)
    }

    /// Refuses settings that would have no effect.
    pub(super) fn refuse(&self, given: &[(&str, bool)], because: &str) -> Result<()> {
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::usage(format!("{name} has no effect: {because}"), "leave it out")),
            None => Ok(()),
        }
    }
}
