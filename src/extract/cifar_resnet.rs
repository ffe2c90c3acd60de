//! Residual networks for 32 x 32 images (He et al., 2015, <https://arxiv.org/abs/1512.03385>, section 4.2) with
//! parameter-free "option A" shortcuts: every second pixel, new channels zero.
//!
//! Names as in akamaster/pytorch_resnet_cifar10; features: the global average of 64 channels.

use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, Parameters, squash};
use crate::error::Result;
use crate::images::Preprocessing;
use crate::ops::activation::Activation::Relu;
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::pool::global_average_pool;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 64;
const NORM_EPS: f64 = 1e-5;
const STAGES: [usize; 3] = [16, 32, 64];

struct CifarResNet {
    stem: Conv2d,
    blocks: Vec<Block>,
}

struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
    /// Channels of zeros on each side of the shortcut, where the block halves the image.
    widen: Option<usize>,
}

pub(super) fn preprocessing() -> Preprocessing {
    squash(32, &IMAGENET_MEAN, &IMAGENET_STD)
}

/// `depth` counts convolutions and the classifier: 20, 32, 44, 56, 110.
pub(super) fn build<const DEPTH: usize>(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    let config = ConvConfig { activation: Relu, ..ConvConfig::padded(1) };
    let stem = parameters.conv_norm("conv1", "bn1", [STAGES[0], 3, 3, 3], NORM_EPS, config)?;
    let mut blocks = Vec::new();
    let mut ins = STAGES[0];
    for (stage, outs) in STAGES.into_iter().enumerate() {
        for i in 0..(DEPTH - 2) / 6 {
            let module = parameters.at(format!("layer{}.{i}", stage + 1));
            let first = ConvConfig { stride: if ins == outs { 1 } else { 2 }, ..config };
            blocks.push(Block {
                conv1: module.conv_norm("conv1", "bn1", [outs, ins, 3, 3], NORM_EPS, first)?,
                conv2: module.conv_norm("conv2", "bn2", [outs, outs, 3, 3], NORM_EPS, config)?,
                widen: (ins != outs).then_some((outs - ins) / 2),
            });
            ins = outs;
        }
    }
    Ok(Box::new(CifarResNet { stem, blocks }))
}

impl Extractor for CifarResNet {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(images)?;
        for block in &self.blocks {
            let y = block.conv1.forward(&x)?;
            let shortcut = match block.widen {
                Some(zeros) => every_second_pixel(&x)?.pad_with_zeros(1, zeros, zeros)?,
                None => x,
            };
            x = block.conv2.forward_add(&y, &shortcut)?;
        }
        Ok(global_average_pool(&x)?)
    }
}

fn every_second_pixel(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let x = x.pad_with_zeros(2, 0, height % 2)?.pad_with_zeros(3, 0, width % 2)?;
    let x = x.reshape((batch, channels, height.div_ceil(2), 2, width.div_ceil(2), 2))?;
    Ok(x.narrow(3, 0, 1)?.narrow(5, 0, 1)?.squeeze(5)?.squeeze(3)?.contiguous()?)
}
