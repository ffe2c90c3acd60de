//! Sizes and constants of the networks, as `config.json` holds them: the official constructor arguments by their names, but for
//! channels, which are listed.

use crate::error::{Error, Result};
use crate::generate::config::{MAX_LAYERS, bounded};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest side of images, as a power of two above 4 x 4: 4096.
const MAX_DOUBLINGS: usize = 10;
/// Most classes, and widest latents.
const MAX_WIDTH: usize = 1 << 16;

/// The mapping network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MappingConfig {
    pub num_layers: usize,
    /// Width of the class embedding; `w_dim` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed_features: Option<usize>,
    /// Width between the layers; `w_dim` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_features: Option<usize>,
    #[serde(default = "lr_multiplier")]
    pub lr_multiplier: f64,
    /// Decay of the running average of w.
    #[serde(default = "w_avg_beta")]
    pub w_avg_beta: f64,
}

fn lr_multiplier() -> f64 {
    0.01
}

fn w_avg_beta() -> f64 {
    0.998
}

impl MappingConfig {
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        bounded(path, "num_layers", self.num_layers, 1..=MAX_LAYERS)?;
        positive(path, "lr_multiplier", self.lr_multiplier)
    }
}

/// StyleGAN2's generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GeneratorConfig {
    pub z_dim: usize,
    #[serde(default)]
    pub c_dim: usize,
    pub w_dim: usize,
    pub img_channels: usize,
    /// Channels at 4 x 4, 8 x 8, … the image's size.
    pub channels: Vec<usize>,
    pub mapping: MappingConfig,
    #[serde(default)]
    pub conv_clamp: Option<f64>,
}

impl GeneratorConfig {
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        widths(path, self.z_dim, self.c_dim, self.w_dim, self.img_channels)?;
        bounded(path, "channels", self.channels.len(), 1..=MAX_DOUBLINGS + 1)?;
        clamp(path, self.conv_clamp)?;
        self.mapping.check(path)
    }

    /// Entries of ws: two for each size but the first, which has one convolution, and the last image's.
    pub(super) fn num_ws(&self) -> usize {
        2 * self.channels.len()
    }
}

/// StyleGAN3's generator. What is left out has the default of the official class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stylegan3Config {
    pub z_dim: usize,
    #[serde(default)]
    pub c_dim: usize,
    pub w_dim: usize,
    pub img_resolution: usize,
    pub img_channels: usize,
    pub mapping: MappingConfig,
    #[serde(flatten)]
    pub synthesis: SynthesisConfig,
}

/// Constructor arguments of `SynthesisNetwork`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SynthesisConfig {
    pub channel_base: usize,
    pub channel_max: usize,
    /// Layers, the one that makes the image not counted.
    pub num_layers: usize,
    /// Layers at the end that are critically sampled.
    pub num_critical: usize,
    pub first_cutoff: f64,
    pub first_stopband: f64,
    pub last_stopband_rel: f64,
    /// Pixels around the image that are computed and not shown.
    pub margin_size: usize,
    pub output_scale: f64,
    pub conv_kernel: usize,
    /// Taps of a filter for each unit of its rate.
    pub filter_size: usize,
    pub lrelu_upsampling: usize,
    pub use_radial_filters: bool,
    pub conv_clamp: Option<f64>,
    pub magnitude_ema_beta: f64,
}

impl Default for SynthesisConfig {
    fn default() -> Self {
        Self {
            channel_base: 32_768,
            channel_max: 512,
            num_layers: 14,
            num_critical: 2,
            first_cutoff: 2.0,
            first_stopband: 2f64.powf(2.1),
            last_stopband_rel: 2f64.powf(0.3),
            margin_size: 10,
            output_scale: 0.25,
            conv_kernel: 3,
            filter_size: 6,
            lrelu_upsampling: 2,
            use_radial_filters: false,
            conv_clamp: Some(256.0),
            magnitude_ema_beta: 0.999,
        }
    }
}

impl Stylegan3Config {
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let s = &self.synthesis;
        widths(path, self.z_dim, self.c_dim, self.w_dim, self.img_channels)?;
        self.mapping.check(path)?;
        if !self.img_resolution.is_power_of_two() {
            let reason = format!("`img_resolution` is {}, which is no power of two", self.img_resolution);
            return Err(Error::malformed(path, reason, ""));
        }
        bounded(path, "img_resolution", self.img_resolution, 4..=4 << MAX_DOUBLINGS)?;
        bounded(path, "num_layers", s.num_layers, 2..=MAX_LAYERS)?;
        bounded(path, "num_critical", s.num_critical, 0..=s.num_layers - 1)?;
        bounded(path, "margin_size", s.margin_size, 0..=MAX_WIDTH)?;
        bounded(path, "conv_kernel", s.conv_kernel, 1..=31)?;
        bounded(path, "filter_size", s.filter_size, 1..=64)?;
        bounded(path, "lrelu_upsampling", s.lrelu_upsampling, 1..=16)?;
        for (name, value) in [
            ("first_cutoff", s.first_cutoff),
            ("first_stopband", s.first_stopband),
            ("last_stopband_rel", s.last_stopband_rel),
        ] {
            positive(path, name, value)?;
        }
        clamp(path, s.conv_clamp)
    }
}

/// Bounds that every generator has.
pub(super) fn widths(
    path: &Path,
    z_dim: usize,
    c_dim: usize,
    w_dim: usize,
    img_channels: usize,
) -> Result<()> {
    bounded(path, "z_dim", z_dim, 1..=MAX_WIDTH)?;
    bounded(path, "c_dim", c_dim, 0..=MAX_WIDTH)?;
    bounded(path, "w_dim", w_dim, 1..=MAX_WIDTH)?;
    match img_channels {
        1 | 3 => Ok(()),
        _ => Err(Error::malformed(path, format!("`img_channels` is {img_channels}, neither 1 nor 3"), "")),
    }
}

/// The bound of activations, if there is one, is positive.
pub(super) fn clamp(path: &Path, conv_clamp: Option<f64>) -> Result<()> {
    conv_clamp.map_or(Ok(()), |clamp| positive(path, "conv_clamp", clamp))
}

/// A factor or size that is positive and finite.
pub(super) fn positive(path: &Path, name: &str, value: f64) -> Result<()> {
    match value > 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(Error::malformed(path, format!("`{name}` is {value}"), "it must be positive")),
    }
}

/// The discriminator of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiscriminatorConfig {
    #[serde(default)]
    pub c_dim: usize,
    pub img_channels: usize,
    /// Channels at 4 x 4, 8 x 8, … the image's size.
    pub channels: Vec<usize>,
    #[serde(default)]
    pub conv_clamp: Option<f64>,
    /// Images whose deviation is taken together; all of the batch if absent.
    #[serde(default)]
    pub mbstd_group_size: Option<usize>,
    #[serde(default = "mbstd_num_channels")]
    pub mbstd_num_channels: usize,
    /// Width of the label's embedding, with classes only.
    #[serde(default)]
    pub cmap_dim: usize,
    /// With classes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingConfig>,
}

fn mbstd_num_channels() -> usize {
    1
}

impl DiscriminatorConfig {
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        widths(path, 1, self.c_dim, 1, self.img_channels)?;
        bounded(path, "channels", self.channels.len(), 2..=MAX_DOUBLINGS + 1)?;
        clamp(path, self.conv_clamp)?;
        bounded(path, "mbstd_num_channels", self.mbstd_num_channels, 0..=MAX_WIDTH)?;
        if let Some(group) = self.mbstd_group_size {
            bounded(path, "mbstd_group_size", group, 1..=MAX_WIDTH)?;
        }
        let last = self.channels.first().copied().unwrap_or(0);
        if self.mbstd_num_channels > 0 && !last.is_multiple_of(self.mbstd_num_channels) {
            let reason = format!("{last} channels do not fall into {} groups", self.mbstd_num_channels);
            return Err(Error::malformed(path, reason, ""));
        }
        match (&self.mapping, self.c_dim) {
            (None, 0) => Ok(()),
            (Some(mapping), 1..) => {
                bounded(path, "cmap_dim", self.cmap_dim, 1..=MAX_WIDTH)?;
                mapping.check(path)
            }
            _ => Err(Error::malformed(
                path,
                "a discriminator has a `mapping` if it has classes, and only then",
                "",
            )),
        }
    }
}

/// Side of images at a place in `channels`.
pub(super) fn side(level: usize) -> usize {
    4 << level
}
