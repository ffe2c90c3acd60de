//! The flags of OpenAI's programs, as their scripts take them (`script_util.py`): what is left out is the program's default. A
//! fine-tuned model is written with the same flags. `channel_mult` is read for IDDPM too, and `num_classes` for both, which the
//! programs cannot be told; `model_kwargs`, arguments of the network's constructor, count for more than the flags.

use crate::error::{Error, Result};
use crate::generate::config::{MAX_LAYERS, bounded};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::path::Path;

/// Channels of an image.
pub(super) const CHANNELS: usize = 3;
/// Rows of a conditional model's embedding, of which there are as many whatever the data.
const CLASSES: usize = 1000;
/// Groups of every norm.
pub(super) const GROUPS: usize = 32;
const MAX_CHANNELS: usize = 1 << 14;
const MAX_SIDE: usize = 1 << 12;
const MAX_CLASSES: usize = 1 << 20;
/// Most noise levels.
const MAX_STEPS: usize = 100_000;
/// Most pixels that attend to each other: their weights take 1 GiB for each head.
const MAX_ATTENDING: usize = 1 << 14;

/// Whose flags they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// improved-diffusion.
    Iddpm,
    /// guided-diffusion.
    Adm,
}

impl Program {
    /// The name of its family.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Program::Iddpm => "iddpm",
            Program::Adm => "adm",
        }
    }

    /// Multiples of the width by level, for the image sizes that the program knows.
    fn channel_mult(self, image_size: usize) -> Option<&'static [f64]> {
        match (self, image_size) {
            (Program::Adm, 512) => Some(&[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
            (_, 256) => Some(&[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
            (Program::Adm, 128) => Some(&[1.0, 1.0, 2.0, 3.0, 4.0]),
            (_, 64) => Some(&[1.0, 2.0, 3.0, 4.0]),
            (Program::Iddpm, 32) => Some(&[1.0, 2.0, 2.0, 2.0]),
            _ => None,
        }
    }
}

/// How noise grows over the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NoiseSchedule {
    Linear,
    Cosine,
}

/// The flags that a network and its process are made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Flags {
    pub image_size: usize,
    pub num_channels: usize,
    pub num_res_blocks: usize,
    pub num_heads: usize,
    /// -1: as many as on the way down.
    pub num_heads_upsample: i64,
    /// Other than -1: channels of a head, instead of a number of heads.
    pub num_head_channels: i64,
    /// Sides of the images that attend to themselves.
    #[serde(deserialize_with = "numbers")]
    pub attention_resolutions: Vec<f64>,
    #[serde(deserialize_with = "numbers")]
    pub channel_mult: Vec<f64>,
    /// Share of the values that a residual block drops in training.
    pub dropout: f64,
    pub class_cond: bool,
    pub num_classes: usize,
    pub use_scale_shift_norm: bool,
    pub resblock_updown: bool,
    pub use_new_attention_order: bool,
    pub learn_sigma: bool,
    pub sigma_small: bool,
    pub diffusion_steps: usize,
    pub noise_schedule: NoiseSchedule,
    #[serde(deserialize_with = "respacing")]
    pub timestep_respacing: String,
    pub use_kl: bool,
    pub predict_xstart: bool,
    /// `None`: the program's default.
    pub rescale_timesteps: Option<bool>,
    /// `None`: the program's default.
    pub rescale_learned_sigmas: Option<bool>,
    /// Of the sampling scripts. Here DDIM unless it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_ddim: Option<bool>,
    /// Of the sampling scripts.
    pub clip_denoised: bool,
    #[serde(skip_serializing)]
    model_kwargs: Option<ModelArguments>,
    /// Everything else: what changes how a network was run and not what it computes is passed over, the rest is refused.
    #[serde(flatten, skip_serializing)]
    others: serde_json::Map<String, Value>,
}

/// Arguments of `UNetModel`, where flags cannot say them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ModelArguments {
    model_channels: Option<usize>,
    out_channels: Option<usize>,
    num_res_blocks: Option<usize>,
    /// Factors by which the image is smaller.
    attention_resolutions: Option<Vec<usize>>,
    channel_mult: Option<Vec<f64>>,
    num_classes: Option<usize>,
}

/// Flags of the programs that make no difference to what a network computes here.
const PASSED_OVER: [&str; 13] = [
    "use_checkpoint",
    "use_fp16",
    "fp16_scale_growth",
    "model_path",
    "num_samples",
    "batch_size",
    "microbatch",
    "data_dir",
    "lr",
    "ema_rate",
    "schedule_sampler",
    "lr_anneal_steps",
    "not_expressible",
];

impl Default for Flags {
    fn default() -> Self {
        Self {
            image_size: 64,
            num_channels: 128,
            num_res_blocks: 2,
            num_heads: 4,
            num_heads_upsample: -1,
            num_head_channels: -1,
            attention_resolutions: vec![16.0, 8.0],
            channel_mult: Vec::new(),
            dropout: 0.0,
            class_cond: false,
            num_classes: CLASSES,
            use_scale_shift_norm: true,
            resblock_updown: false,
            use_new_attention_order: false,
            learn_sigma: false,
            sigma_small: false,
            diffusion_steps: 1000,
            noise_schedule: NoiseSchedule::Linear,
            timestep_respacing: String::new(),
            use_kl: false,
            predict_xstart: false,
            rescale_timesteps: None,
            rescale_learned_sigmas: None,
            use_ddim: None,
            clip_denoised: true,
            model_kwargs: None,
            others: serde_json::Map::new(),
        }
    }
}

/// A list, or its numbers in a text with commas between them, or one number.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let wrong = |value: &Value| serde::de::Error::custom(format!("{value} is no list of numbers"));
    let value = Value::deserialize(deserializer)?;
    match &value {
        Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::String(text) => {
            let all = text.split(',').map(|part| part.trim().parse::<f64>());
            all.collect::<Result<_, _>>().map_err(|_| wrong(&value))
        }
        Value::Array(items) => items.iter().map(|item| item.as_f64().ok_or_else(|| wrong(&value))).collect(),
        Value::Number(number) => number.as_f64().map(|number| vec![number]).ok_or_else(|| wrong(&value)),
        _ => Err(wrong(&value)),
    }
}

/// A text, or one number.
fn respacing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(serde::de::Error::custom(format!("`timestep_respacing` cannot be {other}"))),
    }
}

impl Flags {
    /// The flags in a file, completed by the program's defaults and checked.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first that is unknown or out of range.
    pub(super) fn read(program: Program, part: &Value, path: &Path) -> Result<Self> {
        let mut flags = Flags::deserialize(part)
            .map_err(|e| Error::malformed(path, format!("holds no flags of {}: {e}", program.name()), ""))?;
        let known = |name: &str| PASSED_OVER.contains(&name) || name == "family";
        if let Some((name, _)) = flags.others.iter().find(|(name, _)| !known(name)) {
            let reason = format!("`{name}` is no flag of {}", program.name());
            return Err(Error::malformed(path, reason, "the flags are those of its script_util.py"));
        }
        flags.others.clear();
        flags.take_arguments(path)?;
        if flags.channel_mult.is_empty() {
            let known = program.channel_mult(flags.image_size).ok_or_else(|| {
                let reason =
                    format!("{} has no `channel_mult` for images of {}", program.name(), flags.image_size);
                Error::malformed(path, reason, "give it: \"channel_mult\": \"1,2,2\"")
            })?;
            flags.channel_mult = known.to_vec();
        }
        flags.rescale_timesteps.get_or_insert(program == Program::Iddpm);
        flags.rescale_learned_sigmas.get_or_insert(program == Program::Iddpm);
        flags.check(path)?;
        Ok(flags)
    }

    fn take_arguments(&mut self, path: &Path) -> Result<()> {
        let Some(arguments) = self.model_kwargs.take() else { return Ok(()) };
        self.num_channels = arguments.model_channels.unwrap_or(self.num_channels);
        self.num_res_blocks = arguments.num_res_blocks.unwrap_or(self.num_res_blocks);
        self.learn_sigma = arguments.out_channels.map_or(self.learn_sigma, |outs| outs == 2 * CHANNELS);
        if let Some(mult) = arguments.channel_mult {
            self.channel_mult = mult;
        }
        if let Some(classes) = arguments.num_classes {
            (self.class_cond, self.num_classes) = (true, classes);
        }
        if let Some(factors) = arguments.attention_resolutions {
            let side = |&factor: &usize| {
                let factor = bounded(path, "attention_resolutions", factor, 1..=MAX_SIDE)?;
                Ok(self.image_size as f64 / factor as f64)
            };
            self.attention_resolutions = factors.iter().map(side).collect::<Result<_>>()?;
        }
        Ok(())
    }

    fn check(&self, path: &Path) -> Result<()> {
        let levels = bounded(path, "channel_mult", self.channel_mult.len(), 1..=MAX_LAYERS)?;
        bounded(path, "image_size", self.image_size, 1..=MAX_SIDE)?;
        if !self.image_size.is_multiple_of(1usize << (levels - 1).min(MAX_SIDE.ilog2() as usize + 1)) {
            let reason = format!("`image_size` {} cannot be halved {} times", self.image_size, levels - 1);
            return Err(Error::malformed(path, reason, ""));
        }
        bounded(path, "num_channels", self.num_channels, 1..=MAX_CHANNELS)?;
        bounded(path, "num_res_blocks", self.num_res_blocks, 1..=MAX_LAYERS)?;
        bounded(path, "diffusion_steps", self.diffusion_steps, 2..=MAX_STEPS)?;
        bounded(path, "num_classes", self.num_classes, 1..=MAX_CLASSES)?;
        for level in 0..levels {
            let channels = bounded(path, "channel_mult", self.channels(level), 1..=MAX_CHANNELS)?;
            if !channels.is_multiple_of(GROUPS) {
                let reason = format!("{channels} channels of level {level} do not fall into {GROUPS} groups");
                return Err(Error::malformed(path, reason, ""));
            }
            let pixels = (self.image_size >> level).pow(2);
            if (self.attends(level) || level + 1 == levels) && pixels > MAX_ATTENDING {
                let reason = format!("asks for attention between {pixels} pixels, more than {MAX_ATTENDING}");
                return Err(Error::malformed(path, reason, ""));
            }
            self.head_width(channels, false, path)?;
            self.head_width(channels, true, path)?;
        }
        Ok(())
    }

    /// Channels of a level, 0 the largest image.
    pub(super) fn channels(&self, level: usize) -> usize {
        (self.channel_mult[level] * self.num_channels as f64) as usize
    }

    /// Whether the pixels of a level attend to each other.
    pub(super) fn attends(&self, level: usize) -> bool {
        let side = (self.image_size >> level) as f64;
        self.attention_resolutions.contains(&side)
    }

    /// Channels of a head where there are so many in all.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they do not fall into heads.
    pub(super) fn head_width(&self, channels: usize, up: bool, path: &Path) -> Result<usize> {
        let heads = match (up, usize::try_from(self.num_heads_upsample)) {
            (true, Ok(heads)) => heads,
            _ => self.num_heads,
        };
        let width = match usize::try_from(self.num_head_channels) {
            Ok(width) => width,
            Err(_) => channels.checked_div(heads).filter(|width| width * heads == channels).unwrap_or(0),
        };
        match width {
            1.. if channels.is_multiple_of(width) => Ok(width),
            _ => Err(Error::malformed(path, format!("{channels} channels do not fall into equal heads"), "")),
        }
    }

    /// Number of classes; 0 where it is unconditional.
    pub(super) fn class_count(&self) -> usize {
        if self.class_cond { self.num_classes } else { 0 }
    }

    /// Channels of what the network says.
    pub(super) fn out_channels(&self) -> usize {
        if self.learn_sigma { 2 * CHANNELS } else { CHANNELS }
    }
}
