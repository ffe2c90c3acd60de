//! ConvNeXt-T (Liu et al., 2022, <https://arxiv.org/abs/2201.03545>). Features: the global average behind the last layer norm.
//!
//! Names are timm's (`convnext_tiny`).

use super::transformer::{Mlp, norm};
use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, Parameters, center_crop};
use crate::error::Result;
use crate::images::{Filter, Preprocessing};
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::pool::global_average_pool;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 768;
const NORM_EPS: f64 = 1e-6;
/// Pixels of a side of the patches that the image is cut into.
const STEM: usize = 4;
/// Pixels of a side of the depthwise kernels.
const KERNEL: usize = 7;
/// (channels, blocks) of each stage.
const TINY: [(usize, usize); 4] = [(96, 3), (192, 3), (384, 9), (DIMENSION, 3)];

/// timm's evaluation of `convnext_tiny.fb_in1k` at 224 pixels.
pub(super) fn preprocessing() -> Preprocessing {
    center_crop(224, Filter::Bicubic, &IMAGENET_MEAN, &IMAGENET_STD)
}

struct ConvNext {
    stem: (Conv2d, LayerNorm),
    stages: Vec<Stage>,
    norm: LayerNorm,
}

struct Stage {
    downsample: Option<(LayerNorm, Conv2d)>,
    blocks: Vec<Block>,
}

struct Block {
    depthwise: Conv2d,
    norm: LayerNorm,
    mlp: Mlp,
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    let cut = |side: usize| ConvConfig { stride: side, ..ConvConfig::padded(0) };
    let [(first, _), ..] = TINY;
    let stem = (
        parameters.conv("stem.0", [first, 3, STEM, STEM], cut(STEM))?,
        norm(parameters, "stem.1", first, NORM_EPS)?,
    );
    let mut ins = first;
    let mut stages = Vec::new();
    for (s, (width, count)) in TINY.into_iter().enumerate() {
        let module = parameters.at(format!("stages.{s}"));
        let downsample = match s {
            0 => None,
            _ => Some((
                norm(&module, "downsample.0", ins, NORM_EPS)?,
                module.conv("downsample.1", [width, ins, 2, 2], cut(2))?,
            )),
        };
        let block = |i: usize| Block::new(&module.at(format!("blocks.{i}")), width);
        stages.push(Stage { downsample, blocks: (0..count).map(block).collect::<Result<_>>()? });
        ins = width;
    }
    Ok(Box::new(ConvNext { stem, stages, norm: norm(parameters, "head.norm", DIMENSION, NORM_EPS)? }))
}

/// A layer norm over the channels of `[B, C, H, W]`.
fn normed(norm: &LayerNorm, x: &Tensor) -> candle_core::Result<Tensor> {
    norm.forward(&x.flatten_from(2)?)?.reshape(x.shape())
}

impl Block {
    fn new(module: &Parameters, width: usize) -> Result<Self> {
        let config = ConvConfig { groups: width, ..ConvConfig::padded(KERNEL / 2) };
        let scale = module.get("gamma", &[width])?;
        Ok(Self {
            depthwise: module.conv("conv_dw", [width, 1, KERNEL, KERNEL], config)?,
            norm: norm(module, "norm", width, NORM_EPS)?,
            mlp: Mlp::new(module, ("mlp.fc1", "mlp.fc2"), width, Gelu::Exact, Some(scale))?,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.norm.forward(&self.depthwise.forward(x)?.flatten_from(2)?)?;
        self.mlp.forward_add(&y, &x.flatten_from(2)?)?.reshape(x.shape())
    }
}

impl Extractor for ConvNext {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = normed(&self.stem.1, &self.stem.0.forward(images)?)?;
        for stage in &self.stages {
            if let Some((norm, conv)) = &stage.downsample {
                x = conv.forward(&normed(norm, &x)?)?;
            }
            x = stage.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        }
        Ok(self.norm.forward(&global_average_pool(&x)?.unsqueeze(2)?)?.squeeze(2)?)
    }
}
