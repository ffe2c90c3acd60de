//! What vision transformers share (Dosovitskiy et al., 2020, <https://arxiv.org/abs/2010.11929>): blocks of attention and an MLP, each
//! behind a layer norm and added to its input. Tokens lie side by side, `[B, C, T]`.

use super::Parameters;
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::attention::attention;
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use candle_core::{DType, Tensor};

/// Channels of one head, in every published size.
pub(super) const HEAD_WIDTH: usize = 64;
/// Hidden channels of the MLP relative to the width.
const MLP_RATIO: usize = 4;

/// The size of a network.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// Pixels of a side of the image.
    pub(super) side: usize,
    /// Pixels of a side of a patch.
    pub(super) patch: usize,
    /// Channels of a token.
    pub(super) width: usize,
    /// Blocks.
    pub(super) depth: usize,
}

/// How a file names the projections to queries, keys and values.
#[derive(Clone, Copy)]
pub(super) enum Joint {
    /// One weight and one bias.
    Together(&'static str, &'static str),
    /// A layer each.
    Apart([&'static str; 3]),
}

impl Joint {
    /// Weight `[3 * width, width]` and bias `[3 * width]`.
    pub(super) fn read(self, module: &Parameters, width: usize) -> Result<(Tensor, Tensor)> {
        match self {
            Joint::Together(weight, bias) => {
                Ok((module.get(weight, &[3 * width, width])?, module.get(bias, &[3 * width])?))
            }
            Joint::Apart(names) => {
                let part = |kind: &str, dims: &[usize]| -> Result<Tensor> {
                    let parts = names.map(|name| module.at(name).get(kind, dims));
                    let parts: Vec<Tensor> = parts.into_iter().collect::<Result<_>>()?;
                    Ok(Tensor::cat(&parts, 0)?)
                };
                Ok((part("weight", &[width, width])?, part("bias", &[width])?))
            }
        }
    }
}

/// How a file names the tensors of a block.
#[derive(Clone, Copy)]
pub(super) struct BlockNames {
    pub(super) norm1: &'static str,
    pub(super) joint: Joint,
    pub(super) project: &'static str,
    pub(super) norm2: &'static str,
    pub(super) mlp: (&'static str, &'static str),
}

/// How transformers names them in the image towers of CLIP and SigLIP.
pub(super) const TRANSFORMERS_BLOCK: BlockNames = BlockNames {
    norm1: "layer_norm1",
    joint: Joint::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    project: "self_attn.out_proj",
    norm2: "layer_norm2",
    mlp: ("mlp.fc1", "mlp.fc2"),
};

/// What the blocks of a network have in common.
#[derive(Clone, Copy)]
pub(super) struct BlockConfig {
    /// Channels.
    pub(super) width: usize,
    /// Added to the variance by layer norms.
    pub(super) eps: f64,
    /// Between the layers of the MLP.
    pub(super) gelu: Gelu,
    /// What each branch is multiplied by, where it is, `[C]`.
    pub(super) scales: Option<(&'static str, &'static str)>,
}

pub(super) struct Block {
    norm1: LayerNorm,
    joint: Linear,
    project: Linear,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    /// # Errors
    /// As [`super::ParameterSource::get`].
    pub(super) fn new(module: &Parameters, names: &BlockNames, config: BlockConfig) -> Result<Self> {
        let BlockConfig { width, eps, gelu, scales } = config;
        let scale = |name: Option<&str>| name.map(|name| module.get(name, &[width])).transpose();
        let (weight, bias) = names.joint.read(module, width)?;
        Ok(Self {
            norm1: norm(module, names.norm1, width, eps)?,
            joint: module.linear_of(weight, bias, Activation::Identity)?,
            project: scaled_linear(
                &module.at(names.project),
                [width, width],
                scale(scales.map(|(attention, _)| attention))?,
            )?,
            norm2: norm(module, names.norm2, width, eps)?,
            mlp: Mlp::new(module, names.mlp, width, gelu, scale(scales.map(|(_, mlp)| mlp))?)?,
        })
    }

    /// `x` `[B, C, T]` to the first `queries` tokens of the next.
    fn forward(&self, x: &Tensor, queries: usize) -> candle_core::Result<Tensor> {
        let heads = x.dim(1)? / HEAD_WIDTH;
        let y = attention(&self.joint.tokens(&self.norm1.forward(x)?)?, heads, queries)?;
        let x = self.project.tokens_add(&y, &x.narrow(2, 0, queries)?)?;
        self.mlp.forward_add(&self.norm2.forward(&x)?, &x)
    }
}

/// Two layers with GELU between them.
pub(super) struct Mlp {
    first: Linear,
    gelu: Gelu,
    second: Linear,
}

impl Mlp {
    /// The layers of these names, the result multiplied by `scale` `[width]` where there is one.
    ///
    /// # Errors
    /// As [`super::ParameterSource::get`].
    pub(super) fn new(
        module: &Parameters,
        (first, second): (&str, &str),
        width: usize,
        gelu: Gelu,
        scale: Option<Tensor>,
    ) -> Result<Self> {
        let hidden = MLP_RATIO * width;
        // The exact form is one pass with the layer.
        let fused = if gelu == Gelu::Exact { Activation::Gelu } else { Activation::Identity };
        Ok(Self {
            first: module.linear(first, hidden, width, fused)?,
            gelu,
            second: scaled_linear(&module.at(second), [width, hidden], scale)?,
        })
    }

    /// The result for tokens `x` `[B, C, T]`, added to `residual` of the same shape.
    pub(super) fn forward_add(&self, x: &Tensor, residual: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.first.tokens(x)?;
        let y = if self.gelu == Gelu::Exact { y } else { self.gelu.of(&y)? };
        self.second.tokens_add(&y, residual)
    }
}

/// A class token, and embeddings of the places of the patches behind it.
pub(super) struct ClassAndPlaces {
    /// `[1, C, 1]`, its position added.
    class: Tensor,
    /// `[1, C, patches]`
    places: Tensor,
}

impl ClassAndPlaces {
    /// From the class token `[C]`, of whatever shape, and the positions `[1, C, 1 + patches]` of it and of the patches.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn new(parameters: &Parameters, class: &Tensor, positions: &Tensor) -> Result<Self> {
        let (_, width, tokens) = positions.dims3()?;
        let class = (class.reshape((1, width, 1))? + positions.narrow(2, 0, 1)?)?;
        let places = positions.narrow(2, 1, tokens - 1)?.contiguous()?;
        Ok(Self { class: parameters.placed(class)?, places: parameters.placed(places)? })
    }

    /// Patches `[B, C, patches]` to tokens `[B, C, 1 + patches]`.
    pub(super) fn tokens(&self, patches: &Tensor) -> candle_core::Result<Tensor> {
        let like = |t: &Tensor| t.to_dtype(patches.dtype());
        let class = like(&self.class)?.broadcast_as((patches.dim(0)?, self.class.dim(1)?, 1))?;
        Tensor::cat(&[class, patches.broadcast_add(&like(&self.places)?)?], 2)
    }
}

/// The layer norm `name`.
///
/// # Errors
/// As [`super::ParameterSource::get`].
pub(super) fn norm(parameters: &Parameters, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
    let module = parameters.at(name);
    let vector = |name: &str| parameters.placed(module.get(name, &[width])?);
    Ok(LayerNorm::new(vector("weight")?, vector("bias")?, eps)?)
}

/// `scale * (W x + b)` as one layer, folded in float64.
fn scaled_linear(module: &Parameters, dims: [usize; 2], scale: Option<Tensor>) -> Result<Linear> {
    let (mut weight, mut bias) = (module.get("weight", &dims)?, module.get("bias", &dims[..1])?);
    if let Some(scale) = scale {
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let scale = wide(&scale)?;
        weight = wide(&weight)?.broadcast_mul(&scale.reshape(((), 1))?)?.to_dtype(DType::F32)?;
        bias = (wide(&bias)? * scale)?.to_dtype(DType::F32)?;
    }
    module.linear_of(weight, bias, Activation::Identity)
}

/// Tokens `[B, C, T]` through all blocks; only the first `queries` of the last one's are computed.
pub(super) fn run(blocks: &[Block], x: Tensor, queries: usize) -> candle_core::Result<Tensor> {
    let mut x = x;
    for (i, block) in blocks.iter().enumerate() {
        let queries = if i + 1 == blocks.len() { queries } else { x.dim(2)? };
        x = block.forward(&x, queries)?;
    }
    Ok(x)
}

/// # Errors
/// [`Error::Usage`] if images `[B, C, H, W]` are not of `side` pixels, which position embeddings are made for.
pub(super) fn check_side(images: &Tensor, side: usize) -> Result<()> {
    let (_, _, height, width) = images.dims4()?;
    if height == side && width == side {
        return Ok(());
    }
    Err(Error::usage(
        format!("this vision transformer takes images of {side} x {side}, not {height} x {width}"),
        "its position embeddings are of that size",
    ))
}
