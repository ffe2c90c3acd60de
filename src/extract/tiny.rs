//! `tiny`: a small residual network trained by this project (`examples/train_tiny.rs`) on small photographs,
//! digits and garments together. Its weights, batch norm folded in, are embedded in the program in half precision.
//!
//! Features: the global average of the last 192 channels. It serves images like those it was trained on and is little
//! better than raw pixels elsewhere.

use super::{Extractor, Parameters, squash};
use crate::error::Result;
use crate::images::Preprocessing;
use crate::ops::activation::Activation::{Identity, Relu};
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::pool::global_average_pool;
use candle_core::Tensor;

/// The weights as a safetensors file.
pub const WEIGHTS: &[u8] = include_bytes!("tiny.safetensors");
/// Width of the features.
pub const DIMENSION: usize = 192;
/// Channels after the first convolution, which halves the image.
pub const STEM: usize = 24;
/// (output channels, stride) of the residual blocks.
pub const BLOCKS: [(usize, usize); 6] = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (DIMENSION, 2)];

struct Tiny {
    stem: Conv2d,
    blocks: Vec<Block>,
}

struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

/// 64 x 64 in colour.
pub fn preprocessing() -> Preprocessing {
    squash(64, &[0.5; 3], &[0.25; 3])
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    let config = ConvConfig { activation: Relu, ..ConvConfig::padded(1) };
    let stem = parameters.conv("stem", [STEM, 3, 3, 3], ConvConfig { stride: 2, ..config })?;
    let mut blocks = Vec::new();
    let mut ins = STEM;
    for (i, (outs, stride)) in BLOCKS.into_iter().enumerate() {
        let module = parameters.at(format!("blocks.{i}"));
        let projection = ConvConfig { stride, activation: Identity, ..ConvConfig::padded(0) };
        blocks.push(Block {
            conv1: module.conv("conv1", [outs, ins, 3, 3], ConvConfig { stride, ..config })?,
            conv2: module.conv("conv2", [outs, outs, 3, 3], config)?,
            shortcut: (ins != outs || stride != 1)
                .then(|| module.conv("shortcut", [outs, ins, 1, 1], projection))
                .transpose()?,
        });
        ins = outs;
    }
    Ok(Box::new(Tiny { stem, blocks }))
}

impl Extractor for Tiny {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(images)?;
        for block in &self.blocks {
            let y = block.conv1.forward(&x)?;
            let shortcut = match &block.shortcut {
                Some(conv) => conv.forward(&x)?,
                None => x,
            };
            x = block.conv2.forward_add(&y, &shortcut)?;
        }
        Ok(global_average_pool(&x)?)
    }
}
