//! The configuration files of diffusers. A key that is missing takes the default of the class, not that of any published model.

use crate::error::{Error, Result};
use crate::generate::config::{MAX_LAYERS, bounded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Most channels of a level.
const MAX_CHANNELS: usize = 1 << 16;
/// Longest side of an image.
const MAX_SIDE: usize = 1 << 12;
/// Most pixels that attend to each other: their weights take 1 GiB for each head.
const MAX_ATTENDING: usize = 1 << 14;

/// Both parts of a generator's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PipelineConfig {
    /// `unet/config.json`.
    pub unet: UNetConfig,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: SchedulerConfig,
}

/// Side of the images, or rows and columns.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum SampleSize {
    Square(usize),
    Rectangle([usize; 2]),
}

/// `UNet2DModel`'s constructor arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct UNetConfig {
    pub sample_size: Option<SampleSize>,
    pub in_channels: usize,
    pub out_channels: usize,
    pub center_input_sample: bool,
    pub time_embedding_type: String,
    pub time_embedding_dim: Option<usize>,
    pub freq_shift: f32,
    pub flip_sin_to_cos: bool,
    pub down_block_types: Vec<String>,
    pub mid_block_type: Option<String>,
    pub up_block_types: Vec<String>,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub mid_block_scale_factor: f64,
    pub downsample_padding: usize,
    pub downsample_type: String,
    pub upsample_type: String,
    /// Share of the values that a residual block drops in training.
    pub dropout: f64,
    pub act_fn: String,
    /// Channels of a head; one head if there are none given.
    pub attention_head_dim: Option<usize>,
    pub norm_num_groups: usize,
    pub attn_norm_num_groups: Option<usize>,
    pub norm_eps: f64,
    pub resnet_time_scale_shift: String,
    pub add_attention: bool,
    pub class_embed_type: Option<String>,
    pub num_class_embeds: Option<usize>,
    /// For learned time embeddings, which are not supported.
    pub num_train_timesteps: Option<usize>,
    #[serde(flatten)]
    pub others: BTreeMap<String, serde_json::Value>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        let strings = |names: [&str; 4]| names.map(String::from).to_vec();
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".into(),
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: strings([
                "DownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
            ]),
            mid_block_type: Some("UNetMidBlock2D".into()),
            up_block_types: strings(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".into(),
            upsample_type: "conv".into(),
            dropout: 0.0,
            act_fn: "silu".into(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".into(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
            others: BTreeMap::new(),
        }
    }
}

impl UNetConfig {
    /// Rows and columns of the images.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not given, not positive, or cannot be halved as often as the network does.
    pub(super) fn size(&self, path: &Path) -> Result<(usize, usize)> {
        let (height, width) = match self.sample_size {
            Some(SampleSize::Square(side)) => (side, side),
            Some(SampleSize::Rectangle([height, width])) => (height, width),
            None => {
                return Err(Error::malformed(path, "gives no `sample_size`", "add the side of the images"));
            }
        };
        let halvings = self.block_out_channels.len().saturating_sub(1);
        for side in [height, width] {
            bounded(path, "sample_size", side, 1..=MAX_SIDE)?;
            if side % (1usize << halvings.min(MAX_SIDE.ilog2() as usize + 1)) != 0 {
                let reason = format!("`sample_size` {side} cannot be halved {halvings} times");
                return Err(Error::malformed(path, reason, ""));
            }
        }
        let levels = self.down_block_types.iter().zip(self.up_block_types.iter().rev());
        let attending = levels.map(|(down, up)| down.starts_with("Attn") || up.starts_with("Attn"));
        let deepest = self.add_attention.then_some(halvings);
        if let Some(level) =
            attending.enumerate().filter_map(|(level, is)| is.then_some(level)).chain(deepest).min()
        {
            let pixels = (height >> level) * (width >> level);
            if pixels > MAX_ATTENDING {
                let reason = format!("asks for attention between {pixels} pixels, more than {MAX_ATTENDING}");
                return Err(Error::malformed(path, reason, ""));
            }
        }
        Ok((height, width))
    }

    /// Refuses what this program cannot compute, and sizes beyond reason.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first field.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let unsupported = |name: &str, value: &dyn std::fmt::Debug| {
            let reason = format!("`{name}` is {value:?}, which is not supported");
            Err(Error::malformed(
                path,
                reason,
                "UNet2DModel with residual blocks, positional times and SiLU is",
            ))
        };
        if let Some((name, value)) = self.others.iter().find(|(name, _)| !name.starts_with('_')) {
            return unsupported(name, value);
        }
        if let Some(class) = self.others.get("_class_name").filter(|class| *class != "UNet2DModel") {
            return unsupported("_class_name", class);
        }
        let only = [
            ("time_embedding_type", self.time_embedding_type.as_str(), &["positional"][..]),
            ("downsample_type", &self.downsample_type, &["conv"]),
            ("upsample_type", &self.upsample_type, &["conv"]),
            ("act_fn", &self.act_fn, &["silu", "swish"]),
            ("resnet_time_scale_shift", &self.resnet_time_scale_shift, &["default", "scale_shift"]),
            ("mid_block_type", self.mid_block_type.as_deref().unwrap_or("null"), &["UNetMidBlock2D"]),
        ];
        for (name, value, known) in only {
            if !known.contains(&value) {
                return unsupported(name, &value);
            }
        }
        for name in &self.down_block_types {
            if !["DownBlock2D", "AttnDownBlock2D"].contains(&name.as_str()) {
                return unsupported("down_block_types", name);
            }
        }
        for name in &self.up_block_types {
            if !["UpBlock2D", "AttnUpBlock2D"].contains(&name.as_str()) {
                return unsupported("up_block_types", name);
            }
        }
        if self.class_embed_type.is_some() {
            return unsupported("class_embed_type", &self.class_embed_type);
        }
        let levels = bounded(path, "block_out_channels", self.block_out_channels.len(), 1..=MAX_LAYERS)?;
        bounded(path, "down_block_types", self.down_block_types.len(), levels..=levels)?;
        bounded(path, "up_block_types", self.up_block_types.len(), levels..=levels)?;
        bounded(path, "layers_per_block", self.layers_per_block, 1..=MAX_LAYERS)?;
        bounded(path, "downsample_padding", self.downsample_padding, 0..=1)?;
        for &channels in self.block_out_channels.iter().chain([&self.in_channels, &self.out_channels]) {
            bounded(path, "channels", channels, 1..=MAX_CHANNELS)?;
        }
        bounded(path, "out_channels", self.out_channels, self.in_channels..=self.in_channels)?;
        for channels in
            [self.time_embedding_dim, self.attention_head_dim, self.num_class_embeds].into_iter().flatten()
        {
            bounded(path, "channels", channels, 1..=MAX_CHANNELS)?;
        }
        for groups in [Some(self.norm_num_groups), self.attn_norm_num_groups].into_iter().flatten() {
            for &channels in &self.block_out_channels {
                if groups == 0 || !channels.is_multiple_of(groups) {
                    let reason = format!("{channels} channels do not fall into {groups} groups");
                    return Err(Error::malformed(path, reason, ""));
                }
            }
        }
        if let Some(head) = self.attention_head_dim {
            for &channels in &self.block_out_channels {
                if !channels.is_multiple_of(head) {
                    let reason = format!("{channels} channels do not fall into heads of {head}");
                    return Err(Error::malformed(path, reason, ""));
                }
            }
        }
        Ok(())
    }
}

/// How noise grows over the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BetaSchedule {
    Linear,
    ScaledLinear,
    SquaredcosCapV2,
    Sigmoid,
}

/// What the network's output stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PredictionType {
    Epsilon,
    VPrediction,
    Sample,
}

/// Which timesteps are kept where there are fewer steps than in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TimestepSpacing {
    Leading,
    Linspace,
    Trailing,
}

/// The variance of a DDPM step; DDIM has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum VarianceType {
    FixedSmall,
    /// The same number, computed by way of its logarithm.
    FixedSmallLog,
    FixedLarge,
    /// Any other, which DDPM steps are refused with.
    #[serde(other)]
    Other,
}

/// The constructor arguments that the DDPM and DDIM schedulers share; others are passed over, as `from_config` does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SchedulerConfig {
    /// The class that wrote it; absent where there was no scheduler.
    #[serde(rename = "_class_name", skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub trained_betas: Option<Vec<f32>>,
    pub variance_type: VarianceType,
    pub clip_sample: bool,
    pub clip_sample_range: f64,
    pub prediction_type: PredictionType,
    pub thresholding: bool,
    pub timestep_spacing: TimestepSpacing,
    pub steps_offset: usize,
    pub rescale_betas_zero_snr: bool,
    pub set_alpha_to_one: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            class_name: None,
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            variance_type: VarianceType::FixedSmall,
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            thresholding: false,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
        }
    }
}
