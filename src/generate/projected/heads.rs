//! The heads of the discriminator: small networks, each on one map of the frozen one.

use super::features::DEPTHS;
use super::layers::SpectralConv;
use crate::error::{Error, Result};
use crate::generate::layers::{BatchNorm, Embedding, Linear};
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::variables::{Builder, Init};
use crate::ops::activation::Activation;
use crate::ops::conv::{ConvConfig, Padding, PaddingRule};
use crate::ops::leaky_relu::leaky_relu;
use crate::ops::modulate::scale_images;
use crate::ops::pool::average_pool2d;
use candle_core::Tensor;

/// Sides of the maps that the heads are built for, whatever the images.
const SIDES: [usize; DEPTHS] = [128, 64, 32, 16];
/// Heads halve their maps until they are of this side.
const LAST_SIDE: usize = 8;
/// Channels at a side, unless `ndf` gives one number for all.
const CHANNELS: [(usize, usize); 5] = [(8, 512), (16, 256), (32, 128), (64, 64), (128, 64)];
/// Slope of the leaky rectified linear unit.
const SLOPE: f64 = 0.2;
/// Side of the last kernel, and of those that halve a map.
const KERNEL: usize = 4;
/// Side of the kernels of single channels.
const SEPARABLE_KERNEL: usize = 3;

/// What all heads have in common.
#[derive(Clone, Copy)]
pub(super) struct HeadConfig {
    /// One number of channels for all layers.
    pub ndf: Option<usize>,
    /// Whether channels are convolved one by one before they are mixed.
    pub separable: bool,
    /// Where there are classes.
    pub classes: Option<ClassWidths>,
}

/// Sizes of what a head knows of classes.
#[derive(Clone, Copy)]
pub(super) struct ClassWidths {
    pub num_classes: usize,
    pub embedding_dim: usize,
    pub cmap_dim: usize,
}

/// The convolution of a block.
enum Halving {
    /// Every other place.
    Strided(SpectralConv),
    /// `SeparableConv2d`: every place, of each channel and then of all; the block ends with the mean of four.
    Separable { depthwise: SpectralConv, pointwise: SpectralConv },
}

/// `DownBlock`: half the size.
struct Down {
    conv: Halving,
    norm: BatchNorm,
}

impl Down {
    fn new(builder: &mut Builder, name: &str, (ins, outs): (usize, usize), separable: bool) -> Result<Self> {
        let conv = format!("{name}.0");
        let conv = match separable {
            false => {
                let config = ConvConfig { stride: 2, ..ConvConfig::padded(1) };
                Halving::Strided(SpectralConv::new(
                    builder,
                    &conv,
                    [outs, ins, KERNEL, KERNEL],
                    true,
                    config,
                )?)
            }
            true => {
                let [first, second] = ["depthwise", "pointwise"].map(|part| format!("{conv}.{part}"));
                let own = [ins, 1, SEPARABLE_KERNEL, SEPARABLE_KERNEL];
                let config = ConvConfig { groups: ins, ..ConvConfig::padded(1) };
                Halving::Separable {
                    depthwise: SpectralConv::new(builder, &first, own, false, config)?,
                    pointwise: SpectralConv::new(
                        builder,
                        &second,
                        [outs, ins, 1, 1],
                        false,
                        ConvConfig::padded(0),
                    )?,
                }
            }
        };
        Ok(Self { conv, norm: BatchNorm::new(builder, &format!("{name}.1"), outs, Init::Constant(1.0))? })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = match &self.conv {
            Halving::Strided(conv) => conv.forward(x, mode)?,
            Halving::Separable { depthwise, pointwise } => {
                pointwise.forward(&depthwise.forward(x, mode)?, mode)?
            }
        };
        let y = leaky_relu(&self.norm.forward(&y, Activation::Identity, mode)?, SLOPE)?;
        match self.conv {
            Halving::Strided(_) => Ok(y),
            Halving::Separable { .. } => Ok(average_pool2d(&y, 2, 2, PaddingRule::Fixed(Padding::same(0)))?),
        }
    }
}

/// The projection of classes: what the last map is compared with.
struct Classes {
    embed: Embedding,
    project: Linear,
    width: usize,
}

impl Classes {
    /// `[B, cmap_dim]` of B classes.
    fn forward(&self, classes: &[u32], mode: Mode) -> Result<Tensor> {
        Ok(leaky_relu(&self.project.forward(&self.embed.forward(classes, mode)?, mode)?, SLOPE)?)
    }
}

/// `SingleDisc`, or `SingleDiscCond` where there are classes.
pub(super) struct Head {
    down: Vec<Down>,
    last: SpectralConv,
    classes: Option<Classes>,
}

impl Head {
    /// Head number `index`, for maps of `ins` channels.
    pub(super) fn new(builder: &mut Builder, index: usize, ins: usize, config: HeadConfig) -> Result<Self> {
        let channels = |side: usize| {
            let own = CHANNELS.iter().find(|(at, _)| *at == side).map_or(0, |(_, channels)| *channels);
            config.ndf.unwrap_or(own)
        };
        let name = format!("discriminator.mini_discs.{index}");
        let (mut side, mut width) = (SIDES[index.min(DEPTHS - 1)], ins);
        let mut down = Vec::new();
        while side > LAST_SIDE {
            side /= 2;
            let block = format!("{name}.main.{}.main", down.len());
            down.push(Down::new(builder, &block, (width, channels(side)), config.separable)?);
            width = channels(side);
        }
        let (last, outs) = match config.classes {
            None => (format!("{name}.main.{}", down.len()), 1),
            Some(classes) => (format!("{name}.cls"), classes.cmap_dim),
        };
        let last =
            SpectralConv::new(builder, &last, [outs, width, KERNEL, KERNEL], false, ConvConfig::padded(0))?;
        let classes = match config.classes {
            None => None,
            Some(ClassWidths { num_classes, embedding_dim, cmap_dim }) => Some(Classes {
                embed: Embedding::new(builder, &format!("{name}.embed"), num_classes, embedding_dim)?,
                project: Linear::new(builder, &format!("{name}.embed_proj.0"), embedding_dim, cmap_dim)?,
                width: cmap_dim,
            }),
        };
        Ok(Self { down, last, classes })
    }

    /// Logits `[B, P]` of a map, one for each of its places.
    pub(super) fn forward(&self, map: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let mode = options.mode;
        let x = self.down.iter().try_fold(map.clone(), |x, block| block.forward(&x, mode))?;
        let y = self.last.forward(&x, mode)?;
        let Some(known) = &self.classes else { return Ok(y.flatten_from(1)?) };
        let classes =
            options.classes.ok_or_else(|| Error::usage("the classes of the images are not given", ""))?;
        let agreement = scale_images(&y, &known.forward(classes, mode)?)?.sum(1)?.flatten_from(1)?;
        Ok((agreement * (1.0 / (known.width as f64).sqrt()))?)
    }
}
