//! The Inception-v3 of 2015-12-05 behind the Fréchet Inception distance (Heusel et al., 2017), as pytorch-fid converted it
//! (Szegedy et al., 2015, <https://arxiv.org/abs/1512.00567>): average pools that do not count padding, and a max-pool in the last block.
//!
//! Names are those of pytorch-fid's weights file. Its resize to 299 pixels, which is no part of the weights, is that of the preprocessing.
//! Three kinds of features are of this network: the global average of the last 2048 channels (FID), the spatial features of sFID, and
//! the scores of the classes (Inception score). Any of them are given side by side by one pass.

use super::{Extractor, Family, Parameters, squash};
use crate::error::{Error, Result};
use crate::images::{Filter, Preprocessing};
use crate::ops::activation::Activation::{Identity, Relu};
use crate::ops::conv::{Conv2d, ConvConfig, Padding, PaddingRule};
use crate::ops::linear::Linear;
use crate::ops::pool::{average_pool2d, global_average_pool, max_pool2d};
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 2048;
/// The classes of 2015's ImageNet, and some that are never used.
pub(super) const CLASSES: usize = 1008;
/// Of a grid of 17 x 17 places, the first seven channels.
pub(super) const SPATIAL_DIMENSION: usize = 17 * 17 * SPATIAL_CHANNELS;
const SPATIAL_CHANNELS: usize = 7;
/// The block whose first branch the spatial features are: TensorFlow's `mixed_6/conv`, as in the evaluator of Dhariwal and Nichol (2021).
const SPATIAL_BLOCK: &str = "Mixed_6d";

/// The names of the extractors that are parts of this network.
pub(crate) const FEATURES: &str = "inception-fid";
pub(crate) const SPATIAL: &str = "inception-spatial";
pub(crate) const LOGITS: &str = "inception-logits";

/// All of them have one weights file.
pub(super) const FAMILY: Family = Family { weights: FEATURES, build: build_together };

const SIDE: u32 = 299;
const NORM_EPS: f64 = 1e-3;

const UNPADDED: PaddingRule = PaddingRule::Fixed(Padding::same(0));
const PADDED: PaddingRule = PaddingRule::Fixed(Padding::same(1));

/// `2 x - 1` after an interpolation of two pixels per axis in float, which aliases when it shrinks.
pub(super) fn preprocessing() -> Preprocessing {
    Preprocessing { filter: Filter::Interpolate, ..squash(SIDE, &[0.5; 3], &[0.5; 3]) }
}

/// A convolution of a block: name, output channels, (height, width) of the kernel. Those of one branch follow each other.
type Layer = (&'static str, usize, (usize, usize));

/// A block: the branches that are chains of convolutions without stride.
type Branches = &'static [&'static [Layer]];

fn block_a(pool: usize) -> Vec<Vec<Layer>> {
    vec![
        vec![("branch1x1", 64, (1, 1))],
        vec![("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))],
        vec![("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
        vec![("branch_pool", pool, (1, 1))],
    ]
}

fn block_c(width: usize) -> Vec<Vec<Layer>> {
    vec![
        vec![("branch1x1", 192, (1, 1))],
        vec![("branch7x7_1", width, (1, 1)), ("branch7x7_2", width, (1, 7)), ("branch7x7_3", 192, (7, 1))],
        vec![
            ("branch7x7dbl_1", width, (1, 1)),
            ("branch7x7dbl_2", width, (7, 1)),
            ("branch7x7dbl_3", width, (1, 7)),
            ("branch7x7dbl_4", width, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        ],
        vec![("branch_pool", 192, (1, 1))],
    ]
}

/// The branches of the blocks that halve the image; the last convolution of each carries the stride, and a max-pool goes beside them.
const BLOCK_B: Branches = &[
    &[("branch3x3", 384, (3, 3))],
    &[("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))],
];
const BLOCK_D: Branches = &[
    &[("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3))],
    &[
        ("branch7x7x3_1", 192, (1, 1)),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, (3, 3)),
    ],
];

#[derive(Clone, Copy)]
enum Pool {
    Average,
    Max,
}

enum Block {
    /// Branches beside each other; the last one sees the pooled image.
    Wide(Vec<Vec<Conv2d>>),
    /// Branches that end with stride 2, and a max-pool of stride 2.
    Halving(Vec<Vec<Conv2d>>),
    /// Branches whose ends fork into 1 x 3 and 3 x 1.
    Forked { single: Conv2d, forks: Vec<(Vec<Conv2d>, [Conv2d; 2])>, pooled: Conv2d, pool: Pool },
}

/// What the network gives of an image.
enum Output {
    /// The global average of the last block.
    Pooled,
    /// Channels of a block in the middle, place by place.
    Spatial(Conv2d),
    /// The scores of the classes without their bias, as the programs that compute the Inception score take them.
    Scores(Linear),
}

struct Inception {
    stem: Vec<Vec<Conv2d>>,
    /// Before the block of the spatial features.
    before: Vec<Block>,
    /// That block and those after it.
    after: Vec<Block>,
    /// Side by side in the features.
    outputs: Vec<Output>,
}

/// Padding that keeps the size.
fn same((height, width): (usize, usize)) -> PaddingRule {
    PaddingRule::Fixed(Padding { top: height / 2, bottom: height / 2, left: width / 2, right: width / 2 })
}

/// A convolution with its batch norm and ReLU, pytorch-fid's `BasicConv2d`.
fn conv(
    parameters: &Parameters,
    name: &str,
    (ins, outs): (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    padding: PaddingRule,
) -> Result<Conv2d> {
    let config = ConvConfig { stride, padding, groups: 1, activation: Relu };
    parameters.at(name).conv_norm("conv", "bn", [outs, ins, kernel.0, kernel.1], NORM_EPS, config)
}

/// A chain of convolutions that keep the size, but for the last if `halving`.
fn chain(parameters: &Parameters, ins: usize, layers: &[Layer], halving: bool) -> Result<Vec<Conv2d>> {
    let mut ins = ins;
    let mut convs = Vec::new();
    for (i, &(name, outs, kernel)) in layers.iter().enumerate() {
        let (stride, padding) =
            if halving && i + 1 == layers.len() { (2, UNPADDED) } else { (1, same(kernel)) };
        convs.push(conv(parameters, name, (ins, outs), kernel, stride, padding)?);
        ins = outs;
    }
    Ok(convs)
}

fn forked(module: &Parameters, ins: usize, pool: Pool) -> Result<Block> {
    let fork = |name: &str, ins: usize| -> Result<[Conv2d; 2]> {
        let end =
            |end: &str, kernel| conv(module, &format!("{name}{end}"), (ins, 384), kernel, 1, same(kernel));
        Ok([end("a", (1, 3))?, end("b", (3, 1))?])
    };
    let short = chain(module, ins, &[("branch3x3_1", 384, (1, 1))], false)?;
    let long =
        chain(module, ins, &[("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3))], false)?;
    Ok(Block::Forked {
        single: conv(module, "branch1x1", (ins, 320), (1, 1), 1, UNPADDED)?,
        forks: vec![(short, fork("branch3x3_2", 384)?), (long, fork("branch3x3dbl_3", 384)?)],
        pooled: conv(module, "branch_pool", (ins, 192), (1, 1), 1, UNPADDED)?,
        pool,
    })
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build_together(parameters, &[FEATURES])
}

pub(super) fn build_spatial(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build_together(parameters, &[SPATIAL])
}

pub(super) fn build_logits(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build_together(parameters, &[LOGITS])
}

/// The features of the extractors of these names side by side.
fn build_together(parameters: &Parameters, names: &[&str]) -> Result<Box<dyn Extractor>> {
    let output = |name: &&str| match *name {
        FEATURES => Ok(Output::Pooled),
        SPATIAL => {
            let block = parameters.at(SPATIAL_BLOCK);
            Ok(Output::Spatial(conv(&block, "branch1x1", (768, 192), (1, 1), 1, UNPADDED)?))
        }
        LOGITS => {
            let weight = parameters.get("fc.weight", &[CLASSES, DIMENSION])?;
            let bias = Tensor::zeros(CLASSES, weight.dtype(), weight.device())?;
            Ok(Output::Scores(parameters.linear_of(weight, bias, Identity)?))
        }
        other => Err(Error::usage(format!("{other} is no part of the Inception network"), "")),
    };
    let outputs = names.iter().map(output).collect::<Result<_>>()?;
    Ok(Box::new(network(parameters, outputs)?))
}

fn network(parameters: &Parameters, outputs: Vec<Output>) -> Result<Inception> {
    let stem = |name: &str, channels, kernel: usize, stride, padding| {
        conv(parameters, name, channels, (kernel, kernel), stride, padding)
    };
    let stem = vec![
        vec![
            stem("Conv2d_1a_3x3", (3, 32), 3, 2, UNPADDED)?,
            stem("Conv2d_2a_3x3", (32, 32), 3, 1, UNPADDED)?,
            stem("Conv2d_2b_3x3", (32, 64), 3, 1, PADDED)?,
        ],
        vec![
            stem("Conv2d_3b_1x1", (64, 80), 1, 1, UNPADDED)?,
            stem("Conv2d_4a_3x3", (80, 192), 3, 1, UNPADDED)?,
        ],
    ];
    let wide = |name: &str, ins: usize, branches: &[Vec<Layer>]| -> Result<Block> {
        let module = parameters.at(name);
        let chains = branches.iter().map(|layers| chain(&module, ins, layers, false));
        Ok(Block::Wide(chains.collect::<Result<_>>()?))
    };
    let halving = |name: &str, ins: usize, branches: Branches| -> Result<Block> {
        let module = parameters.at(name);
        let chains = branches.iter().map(|layers| chain(&module, ins, layers, true));
        Ok(Block::Halving(chains.collect::<Result<_>>()?))
    };
    let before = vec![
        wide("Mixed_5b", 192, &block_a(32))?,
        wide("Mixed_5c", 256, &block_a(64))?,
        wide("Mixed_5d", 288, &block_a(64))?,
        halving("Mixed_6a", 288, BLOCK_B)?,
        wide("Mixed_6b", 768, &block_c(128))?,
        wide("Mixed_6c", 768, &block_c(160))?,
    ];
    let after = vec![
        wide(SPATIAL_BLOCK, 768, &block_c(160))?,
        wide("Mixed_6e", 768, &block_c(192))?,
        halving("Mixed_7a", 768, BLOCK_D)?,
        forked(&parameters.at("Mixed_7b"), 1280, Pool::Average)?,
        forked(&parameters.at("Mixed_7c"), 2048, Pool::Max)?,
    ];
    Ok(Inception { stem, before, after, outputs })
}

fn run(chain: &[Conv2d], x: &Tensor) -> candle_core::Result<Tensor> {
    chain.iter().try_fold(x.clone(), |x, conv| conv.forward(&x))
}

impl Pool {
    fn same_size(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Pool::Average => average_pool2d(x, 3, 1, PADDED),
            Pool::Max => max_pool2d(x, 3, 1, PADDED),
        }
    }
}

impl Output {
    fn dimension(&self) -> usize {
        match self {
            Output::Pooled => DIMENSION,
            Output::Spatial(_) => SPATIAL_DIMENSION,
            Output::Scores(_) => CLASSES,
        }
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let mut outs = Vec::new();
        match self {
            Block::Wide(branches) => {
                for (i, branch) in branches.iter().enumerate() {
                    let pooled = i + 1 == branches.len();
                    outs.push(match pooled {
                        true => run(branch, &Pool::Average.same_size(x)?)?,
                        false => run(branch, x)?,
                    });
                }
            }
            Block::Halving(branches) => {
                for branch in branches {
                    outs.push(run(branch, x)?);
                }
                outs.push(max_pool2d(x, 3, 2, UNPADDED)?);
            }
            Block::Forked { single, forks, pooled, pool } => {
                outs.push(single.forward(x)?);
                for (chain, ends) in forks {
                    let y = run(chain, x)?;
                    for end in ends {
                        outs.push(end.forward(&y)?);
                    }
                }
                outs.push(pooled.forward(&pool.same_size(x)?)?);
            }
        }
        Tensor::cat(&outs, 1)
    }
}

fn in_turn(blocks: &[Block], x: &Tensor) -> candle_core::Result<Tensor> {
    blocks.iter().try_fold(x.clone(), |x, block| block.forward(&x))
}

/// The first channels of `x` `[B, C, H, W]` as rows `[B, H * W * channels]`, the channels of a place beside each other.
fn spatial(x: &Tensor) -> candle_core::Result<Tensor> {
    x.narrow(1, 0, SPATIAL_CHANNELS)?.permute((0, 2, 3, 1))?.contiguous()?.flatten_from(1)
}

impl Extractor for Inception {
    fn dimension(&self) -> usize {
        self.outputs.iter().map(Output::dimension).sum()
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for convs in &self.stem {
            x = max_pool2d(&run(convs, &x)?, 3, 2, UNPADDED)?;
        }
        let middle = in_turn(&self.before, &x)?;
        // Spatial features need nothing that comes after them.
        let end = match self.outputs.iter().all(|output| matches!(output, Output::Spatial(_))) {
            true => middle.clone(),
            false => global_average_pool(&in_turn(&self.after, &middle)?)?,
        };
        let mut features = Vec::new();
        for output in &self.outputs {
            features.push(match output {
                Output::Pooled => end.clone(),
                Output::Spatial(conv) => spatial(&conv.forward(&middle)?)?,
                Output::Scores(classes) => classes.forward(&end)?,
            });
        }
        Ok(Tensor::cat(&features, 1)?)
    }
}
