//! `FastganSynthesis`: from a latent on the hypersphere through doubling blocks, some of them gated by earlier, smaller maps.

use super::blocks::{InitLayer, Noise, SqueezeExcitation, UpBlock, UpBlocks};
use super::layers::SpectralConv;
use crate::error::{Error, Result};
use crate::generate::config::{Config, bounded};
use crate::generate::info::{GeneratorInfo, ImageShape, LatentSpace, Quantization};
use crate::generate::layers::{Embedding, normalize_2nd_moment};
use crate::generate::options::ForwardOptions;
use crate::generate::sampler::SamplerRequest;
use crate::generate::traits::Generator;
use crate::generate::variables::{Builder, Variables};
use crate::ops::conv::ConvConfig;
use crate::remedy::Remedy;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the family.
pub(super) const FAMILY: &str = "projected-gan";

/// Most channels of the widest layer over [`MOST`].
const MAX_WIDTH: usize = 1 << 12;
/// Multiples of `ngf` at each side, from 4 x 4 on.
const MULTIPLES: [(usize, f64); 9] = [
    (4, 16.0),
    (8, 8.0),
    (16, 4.0),
    (32, 2.0),
    (64, 2.0),
    (128, 1.0),
    (256, 0.5),
    (512, 0.25),
    (1024, 0.125),
];
/// The channels of `init` are the largest multiple.
pub(super) const MOST: usize = 16;
/// Blocks up to this side are there at every resolution.
const ALWAYS: usize = 256;
/// The forward pass needs as large images at least.
const SMALLEST: usize = 128;
/// Which side drives the squeeze-excitation of which.
const EXCITED: [(usize, usize); 4] = [(4, 64), (8, 128), (16, 256), (32, 512)];

/// The sizes of a generator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GeneratorConfig {
    pub z_dim: usize,
    pub img_resolution: usize,
    pub img_channels: usize,
    /// Width: channels are multiples of it.
    pub ngf: usize,
    /// One convolution a block and no noise.
    #[serde(default)]
    pub lite: bool,
    /// As the program was first published: every second block, from 16 x 16 on, is that of a `lite` network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alternating: bool,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub c_dim: usize,
    /// Classes that there are embeddings of, used or not.
    #[serde(default = "num_classes")]
    pub num_classes: usize,
}

/// `num_classes` of the official class, which its training script leaves as it is.
pub(super) fn num_classes() -> usize {
    1000
}

/// Whether there are embeddings of all classes.
///
/// # Errors
/// [`Error::Malformed`].
pub(super) fn check_classes(path: &Path, c_dim: usize, num_classes: usize) -> Result<()> {
    bounded(path, "num_classes", num_classes, 1..=MAX_WIDTH)?;
    bounded(path, "c_dim", c_dim, 0..=num_classes)?;
    Ok(())
}

impl GeneratorConfig {
    fn check(&self, path: &Path) -> Result<()> {
        bounded(path, "z_dim", self.z_dim, 1..=MAX_WIDTH)?;
        bounded(path, "ngf", self.ngf, 1..=MAX_WIDTH)?;
        check_classes(path, self.c_dim, self.num_classes)?;
        let known = MULTIPLES.iter().any(|(side, _)| *side == self.img_resolution);
        if !known || self.img_resolution < SMALLEST {
            let reason =
                format!("`img_resolution` is {}, no power of two from 128 to 1024", self.img_resolution);
            return Err(Error::malformed(path, reason, ""));
        }
        if !matches!(self.img_channels, 1 | 3) || self.channels(self.img_resolution) == 0 {
            let reason =
                format!("cannot make images of {} channels from `ngf` {}", self.img_channels, self.ngf);
            return Err(Error::malformed(path, reason, ""));
        }
        Ok(())
    }

    /// Channels of the maps of this side.
    fn channels(&self, side: usize) -> usize {
        let multiple = MULTIPLES.iter().find(|(at, _)| *at == side).map_or(0.0, |(_, multiple)| *multiple);
        (multiple * self.ngf as f64) as usize
    }

    /// Sides of the blocks that there are, used or not.
    fn blocks(&self) -> impl Iterator<Item = usize> {
        let most = self.img_resolution.max(ALWAYS);
        MULTIPLES.iter().map(|(side, _)| *side).filter(move |side| (8..=most).contains(side))
    }
}

/// The network.
pub(super) struct FastGan {
    info: GeneratorInfo,
    config: GeneratorConfig,
    init: InitLayer,
    /// By side.
    blocks: Vec<(usize, UpBlock)>,
    /// By the sides of the driving and of the driven maps.
    excitations: Vec<(usize, usize, SqueezeExcitation)>,
    to_big: SpectralConv,
    /// Of classes.
    embed: Option<Embedding>,
    variables: Variables,
}

pub(super) fn build(config: &Config, builder: Builder, _: &SamplerRequest) -> Result<Box<dyn Generator>> {
    Ok(Box::new(FastGan::new(config, builder)?))
}

impl FastGan {
    pub(super) fn new(config: &Config, mut builder: Builder) -> Result<Self> {
        let path = config.path();
        let config: GeneratorConfig = match config.part() {
            Some(_) => config.parse()?,
            None => {
                let hint = Remedy::GiveConfiguration;
                return Err(Error::malformed(
                    path,
                    "holds tensors alone, which do not say the resolution",
                    hint,
                ));
            }
        };
        config.check(path)?;
        let at = |side: usize| config.channels(side);
        let builder_ref = &mut builder;
        let init = InitLayer::new(builder_ref, "synthesis.init", config.z_dim, at(4))?;
        let mut blocks = Vec::new();
        let kind = |index: usize| UpBlocks {
            lite: config.lite || (config.alternating && !index.is_multiple_of(2)),
            class_width: (config.c_dim > 0).then_some(config.z_dim),
        };
        for (index, side) in config.blocks().enumerate() {
            // A network too narrow for blocks that it does not use cannot be made by the official program either.
            let name = format!("synthesis.feat_{side}");
            let channels = (at(side / 2), at(side));
            blocks.push((side, UpBlock::new(builder_ref, &name, channels, kind(index), index as u64)?));
        }
        let mut excitations = Vec::new();
        for (small, large) in EXCITED {
            if blocks.iter().any(|(side, _)| *side == large) {
                let name = format!("synthesis.se_{large}");
                let block = SqueezeExcitation::new(builder_ref, &name, at(small), at(large))?;
                excitations.push((small, large, block));
            }
        }
        let dims = [config.img_channels, at(config.img_resolution), 3, 3];
        let to_big = SpectralConv::new(builder_ref, "synthesis.to_big", dims, true, ConvConfig::padded(1))?;
        let embed = match config.c_dim {
            0 => None,
            _ => Some(Embedding::new(builder_ref, "synthesis.embed", config.num_classes, config.z_dim)?),
        };
        let shape = ImageShape::square(config.img_channels, config.img_resolution);
        let z = LatentSpace::normal("z", &[config.z_dim]);
        let info = GeneratorInfo {
            class_count: config.c_dim,
            // Noise is drawn in every noise mode but `NoiseMode::None`.
            needs_keys: !config.lite,
            // As `gen_images.py`, which has no tanh before it.
            quantization: Quantization::Truncated,
            ..GeneratorInfo::new(FAMILY, serde_json::json!(config), shape, [z])
        };
        Ok(Self { info, config, init, blocks, excitations, to_big, embed, variables: builder.finish(&[])? })
    }

    /// Images of latents `[B, z]`.
    pub(super) fn synthesis(&self, z: &Tensor, noise: &Noise, options: &ForwardOptions) -> Result<Tensor> {
        let mode = options.mode;
        let class = match (&self.embed, options.classes) {
            (Some(embed), Some(classes)) => Some(embed.forward(classes, mode)?),
            _ => None,
        };
        let mut x = self.init.forward(&normalize_2nd_moment(z)?, mode)?;
        let mut smaller = vec![(4, x.clone())];
        for (side, block) in self.blocks.iter().filter(|(side, _)| *side <= self.config.img_resolution) {
            x = block.forward(&x, class.as_ref(), noise, mode)?;
            if let Some((small, _, gate)) = self.excitations.iter().find(|(_, large, _)| large == side)
                && let Some((_, driving)) = smaller.iter().find(|(side, _)| side == small)
            {
                x = gate.forward(driving, &x, mode)?;
            }
            smaller.push((*side, x.clone()));
        }
        self.to_big.forward(&x, mode)
    }
}

impl Generator for FastGan {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        Some(&self.variables)
    }

    fn stage(&self, _: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.synthesis(state, &Noise::of(options), options)
    }
}
