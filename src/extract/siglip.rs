//! SigLIP 2's image tower (Tschannen et al., 2025, <https://arxiv.org/abs/2502.14786>): ViT-B/16 at 224 pixels. Features: the output of
//! its pooling head, in which a learned query attends to all tokens.
//!
//! Names are those of transformers (`SiglipModel`, `SiglipVisionModel`). Text towers in the same file are not looked at.

use super::transformer::{
    Block, BlockConfig, HEAD_WIDTH, Joint, Mlp, Size, TRANSFORMERS_BLOCK, check_side, norm, run,
};
use super::{Extractor, Parameters, squash};
use crate::error::Result;
use crate::images::Preprocessing;
use crate::ops::activation::Activation::Identity;
use crate::ops::attention::attention;
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 768;
const NORM_EPS: f64 = 1e-6;

const BASE: Size = Size { side: 224, patch: 16, width: DIMENSION, depth: 12 };

/// The published `preprocessor_config.json`: bilinear, where that of the first SigLIP is bicubic.
pub(super) fn preprocessing() -> Preprocessing {
    squash(BASE.side as u32, &[0.5; 3], &[0.5; 3])
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build_sized(parameters, BASE)
}

struct Siglip {
    size: Size,
    patches: Conv2d,
    /// `[1, C, patches]`
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Head,
}

/// Attention of one learned query to all tokens, then an MLP.
struct Head {
    /// The projected query, `[1, C, 1]`.
    query: Tensor,
    /// To keys and values.
    joint: Linear,
    project: Linear,
    norm: LayerNorm,
    mlp: Mlp,
}

pub(super) fn build_sized(parameters: &Parameters, size: Size) -> Result<Box<dyn Extractor>> {
    let Size { side, patch, width, depth } = size;
    let model = parameters.at("vision_model");
    let embeddings = model.at("embeddings");
    let config = ConvConfig { stride: patch, ..ConvConfig::padded(0) };
    let positions = embeddings.at("position_embedding").get("weight", &[(side / patch).pow(2), width])?;
    let block_config = BlockConfig { width, eps: NORM_EPS, gelu: Gelu::Tanh, scales: None };
    let block = |i| Block::new(&model.at(format!("encoder.layers.{i}")), &TRANSFORMERS_BLOCK, block_config);
    Ok(Box::new(Siglip {
        size,
        patches: embeddings.conv("patch_embedding", [width, 3, patch, patch], config)?,
        positions: parameters.placed(positions.t()?.contiguous()?.unsqueeze(0)?)?,
        blocks: (0..depth).map(block).collect::<Result<_>>()?,
        norm: norm(&model, "post_layernorm", width, NORM_EPS)?,
        head: Head::new(&model.at("head"), width)?,
    }))
}

impl Head {
    fn new(module: &Parameters, width: usize) -> Result<Self> {
        let attention = module.at("attention");
        let (weight, bias) = Joint::Together("in_proj_weight", "in_proj_bias").read(&attention, width)?;
        let part = |t: &Tensor, start: usize, parts: usize| -> Result<Tensor> {
            Ok(t.narrow(0, start * width, parts * width)?.contiguous()?)
        };
        let probe = module.get("probe", &[1, 1, width])?.reshape((1, width))?;
        let query =
            Linear::new(&part(&weight, 0, 1)?, Some(part(&bias, 0, 1)?), Identity)?.forward(&probe)?;
        Ok(Self {
            query: module.placed(query.reshape((1, width, 1))?)?,
            joint: module.linear_of(part(&weight, 1, 2)?, part(&bias, 1, 2)?, Identity)?,
            project: attention.linear("out_proj", width, width, Identity)?,
            norm: norm(module, "layernorm", width, NORM_EPS)?,
            mlp: Mlp::new(module, TRANSFORMERS_BLOCK.mlp, width, Gelu::Tanh, None)?,
        })
    }

    /// `[B, C, T]` to `[B, C]`.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (batch, width, tokens) = x.dims3()?;
        // Beside every token, but only the first is asked for.
        let query = self.query.to_dtype(x.dtype())?.broadcast_as((batch, width, tokens))?.contiguous()?;
        let joint = Tensor::cat(&[query, self.joint.tokens(x)?], 1)?;
        let x = self.project.tokens(&attention(&joint, width / HEAD_WIDTH, 1)?)?;
        self.mlp.forward_add(&self.norm.forward(&x)?, &x)?.squeeze(2)
    }
}

impl Extractor for Siglip {
    fn dimension(&self) -> usize {
        self.size.width
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        check_side(images, self.size.side)?;
        let x = self.patches.forward(images)?.flatten_from(2)?;
        let x = x.broadcast_add(&self.positions.to_dtype(x.dtype())?)?;
        let tokens = x.dim(2)?;
        let x = run(&self.blocks, x, tokens)?;
        Ok(self.head.forward(&self.norm.forward(&x)?)?)
    }
}
