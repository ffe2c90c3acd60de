//! ResNet-18 and ResNet-50 (He et al., 2015, <https://arxiv.org/abs/1512.03385>), the stride in the 3 x 3 convolution.
//!
//! Names are torchvision's, which timm shares; features: the global average before the classifier.

use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, Parameters, center_crop};
use crate::error::Result;
use crate::images::{Filter, Preprocessing};
use crate::ops::activation::Activation::{self, Identity, Relu};
use crate::ops::conv::{Conv2d, ConvConfig, Padding, PaddingRule};
use crate::ops::pool::{global_average_pool, max_pool2d};
use candle_core::Tensor;

pub(super) const DIMENSION_18: usize = 512;
pub(super) const DIMENSION_50: usize = 2048;
const NORM_EPS: f64 = 1e-5;
const STEM: usize = 64;

struct ResNet {
    stem: Conv2d,
    blocks: Vec<Block>,
    dimension: usize,
}

struct Block {
    /// All but the last, which takes the shortcut as its residual.
    inner: Vec<Conv2d>,
    last: Conv2d,
    downsample: Option<Conv2d>,
}

/// A convolution of a block: (output channels relative to the stage, kernel, carries the stride).
type Layer = (usize, usize, bool);
const BASIC: &[Layer] = &[(1, 3, true), (1, 3, false)];
const BOTTLENECK: &[Layer] = &[(1, 1, false), (1, 3, true), (4, 1, false)];

pub(super) fn preprocessing() -> Preprocessing {
    center_crop(224, Filter::Bilinear, &IMAGENET_MEAN, &IMAGENET_STD)
}

pub(super) fn build_18(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, BASIC, [2, 2, 2, 2], DIMENSION_18)
}

pub(super) fn build_50(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, BOTTLENECK, [3, 4, 6, 3], DIMENSION_50)
}

fn conv(kernel: usize, stride: usize, activation: Activation) -> ConvConfig {
    ConvConfig { stride, activation, ..ConvConfig::padded(kernel / 2) }
}

fn build(
    parameters: &Parameters,
    layers: &[Layer],
    blocks_per_stage: [usize; 4],
    dimension: usize,
) -> Result<Box<dyn Extractor>> {
    let stem = parameters.conv_norm("conv1", "bn1", [STEM, 3, 7, 7], NORM_EPS, conv(7, 2, Relu))?;
    let mut blocks = Vec::new();
    let mut ins = STEM;
    for (stage, count) in blocks_per_stage.into_iter().enumerate() {
        for i in 0..count {
            let module = parameters.at(format!("layer{}.{i}", stage + 1));
            let width = STEM << stage;
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let mut channels = ins;
            let mut convs = Vec::new();
            for (n, (expansion, kernel, strided)) in (1..).zip(layers) {
                let outs = width * expansion;
                let config = conv(*kernel, if *strided { stride } else { 1 }, Relu);
                let dims = [outs, channels, *kernel, *kernel];
                convs.push(module.conv_norm(
                    &format!("conv{n}"),
                    &format!("bn{n}"),
                    dims,
                    NORM_EPS,
                    config,
                )?);
                channels = outs;
            }
            let downsample = (stride != 1 || channels != ins)
                .then(|| {
                    let dims = [channels, ins, 1, 1];
                    module.conv_norm(
                        "downsample.0",
                        "downsample.1",
                        dims,
                        NORM_EPS,
                        conv(1, stride, Identity),
                    )
                })
                .transpose()?;
            let last = convs.remove(convs.len() - 1);
            blocks.push(Block { inner: convs, last, downsample });
            ins = channels;
        }
    }
    Ok(Box::new(ResNet { stem, blocks, dimension }))
}

impl Extractor for ResNet {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(images)?;
        let mut x = max_pool2d(&x, 3, 2, PaddingRule::Fixed(Padding::same(1)))?;
        for block in &self.blocks {
            let mut y = x.clone();
            for conv in &block.inner {
                y = conv.forward(&y)?;
            }
            let shortcut = match &block.downsample {
                Some(conv) => conv.forward(&x)?,
                None => x,
            };
            x = block.last.forward_add(&y, &shortcut)?;
        }
        Ok(global_average_pool(&x)?)
    }
}
