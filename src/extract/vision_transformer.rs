//! Vision transformers (Dosovitskiy et al., 2020, <https://arxiv.org/abs/2010.11929>): ViT-B/16, and DINOv2 S/14, B/14 and L/14
//! (Oquab et al., 2023, <https://arxiv.org/abs/2304.07193>) at 224 pixels. Features: the class token after the final norm.
//!
//! Names are timm's, which DINOv2's own files share, or torchvision's. Tokens lie side by side, `[B, C, T]`.

use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, Parameters, center_crop, squash};
use crate::error::{Error, Result};
use crate::images::{AxisMap, Filter, Preprocessing};
use crate::ops::activation::Activation::{Gelu, Identity};
use crate::ops::attention::attention;
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use crate::ops::resize::separable;
use candle_core::{DType, Tensor};

pub(super) const DIMENSION_BASE: usize = 768;
pub(super) const DIMENSION_SMALL: usize = 384;
pub(super) const DIMENSION_LARGE: usize = 1024;
/// Pixels of a side of the input.
const SIDE: usize = 224;
/// Blocks of the sizes S and B, and of L.
const DEPTH: usize = 12;
const DEPTH_LARGE: usize = 24;
/// Channels of one head, in every published size.
const HEAD_WIDTH: usize = 64;
/// Hidden channels of the MLP relative to the width.
const MLP_RATIO: usize = 4;
const NORM_EPS: f64 = 1e-6;

/// The paper's preprocessing for pseudo density, which is not that of the network's own evaluation.
pub(super) fn preprocessing_vit() -> Preprocessing {
    squash(SIDE as u32, &IMAGENET_MEAN, &IMAGENET_STD)
}

/// The published evaluation: the shorter side to 256, bicubic, then the centre.
pub(super) fn preprocessing_dinov2() -> Preprocessing {
    center_crop(SIDE as u32, Filter::Bicubic, &IMAGENET_MEAN, &IMAGENET_STD)
}

pub(super) fn build_vit_b16(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_BASE, DEPTH), 16, false)
}

pub(super) fn build_dinov2_s14(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_SMALL, DEPTH), 14, true)
}

pub(super) fn build_dinov2_b14(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_BASE, DEPTH), 14, true)
}

pub(super) fn build_dinov2_l14(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_LARGE, DEPTH_LARGE), 14, true)
}

/// How a file names its tensors. The joint projection is given by its weight and bias, the others by module.
struct Names {
    class: &'static str,
    positions: &'static str,
    patches: &'static str,
    block: &'static str,
    norm1: &'static str,
    joint: (&'static str, &'static str),
    project: &'static str,
    norm2: &'static str,
    mlp: (&'static str, &'static str),
    norm: &'static str,
}

const TIMM: Names = Names {
    class: "cls_token",
    positions: "pos_embed",
    patches: "patch_embed.proj",
    block: "blocks.",
    norm1: "norm1",
    joint: ("attn.qkv.weight", "attn.qkv.bias"),
    project: "attn.proj",
    norm2: "norm2",
    mlp: ("mlp.fc1", "mlp.fc2"),
    norm: "norm",
};

const TORCHVISION: Names = Names {
    class: "class_token",
    positions: "encoder.pos_embedding",
    patches: "conv_proj",
    block: "encoder.layers.encoder_layer_",
    norm1: "ln_1",
    joint: ("self_attention.in_proj_weight", "self_attention.in_proj_bias"),
    project: "self_attention.out_proj",
    norm2: "ln_2",
    mlp: ("mlp.linear_1", "mlp.linear_2"),
    norm: "encoder.ln",
};

/// What torchvision calls the layers of the MLP since 0.15; its files kept the older names.
const TORCHVISION_MLP: (&str, &str) = ("mlp.0", "mlp.3");

struct Block {
    norm1: LayerNorm,
    joint: Linear,
    project: Linear,
    norm2: LayerNorm,
    mlp: (Linear, Linear),
}

struct VisionTransformer {
    patches: Conv2d,
    /// `[1, C, 1]`, its position added.
    class: Tensor,
    /// `[1, C, patches]`
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    width: usize,
}

fn build(
    parameters: &Parameters,
    (width, depth): (usize, usize),
    patch: usize,
    scaled: bool,
) -> Result<Box<dyn Extractor>> {
    let torchvision = !parameters.contains(TIMM.class) && parameters.contains(TORCHVISION.class);
    let names = if torchvision { TORCHVISION } else { TIMM };
    let config = ConvConfig { stride: patch, ..ConvConfig::padded(0) };
    let patches = parameters.conv(names.patches, [width, 3, patch, patch], config)?;
    let positions = positions(parameters, names.positions, width, SIDE / patch)?;
    let class = parameters.get(names.class, &[1, 1, width])?.reshape((1, width, 1))?;
    let class = parameters.placed((class + positions.narrow(2, 0, 1)?)?)?;
    let positions = parameters.placed(positions.narrow(2, 1, (SIDE / patch).pow(2))?.contiguous()?)?;
    let mut blocks = Vec::with_capacity(depth);
    for i in 0..depth {
        let module = parameters.at(format!("{}{i}", names.block));
        let mlp = match torchvision && module.contains(&format!("{}.weight", TORCHVISION_MLP.0)) {
            true => TORCHVISION_MLP,
            false => names.mlp,
        };
        let scale = |name: &str| scaled.then(|| module.at(name).get("gamma", &[width])).transpose();
        let hidden = MLP_RATIO * width;
        blocks.push(Block {
            norm1: norm(&module, names.norm1, width)?,
            joint: module.linear_of(
                module.get(names.joint.0, &[3 * width, width])?,
                module.get(names.joint.1, &[3 * width])?,
                Identity,
            )?,
            project: scaled_linear(&module.at(names.project), [width, width], scale("ls1")?)?,
            norm2: norm(&module, names.norm2, width)?,
            mlp: (
                module.linear(mlp.0, hidden, width, Gelu)?,
                scaled_linear(&module.at(mlp.1), [width, hidden], scale("ls2")?)?,
            ),
        });
    }
    let norm = norm(parameters, names.norm, width)?;
    Ok(Box::new(VisionTransformer { patches, class, positions, blocks, norm, width }))
}

fn norm(parameters: &Parameters, name: &str, width: usize) -> Result<LayerNorm> {
    let module = parameters.at(name);
    let vector = |name: &str| parameters.placed(module.get(name, &[width])?);
    Ok(LayerNorm::new(vector("weight")?, vector("bias")?, NORM_EPS)?)
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
    module.linear_of(weight, bias, Identity)
}

/// Position embeddings as `[1, C, 1 + side * side]`. Those of another image size are resized as timm does
/// (`resample_abs_pos_embed`: bicubic, antialiased, the class token's kept).
fn positions(parameters: &Parameters, name: &str, width: usize, side: usize) -> Result<Tensor> {
    let wanted = side * side + 1;
    let stored = match parameters.dims(name).as_deref() {
        Some(&[1, tokens, stored_width]) if stored_width == width && tokens > 1 => tokens,
        _ => wanted,
    };
    let stored_side = (stored - 1).isqrt();
    if stored == wanted || stored_side * stored_side + 1 != stored {
        return Ok(parameters.get(name, &[1, wanted, width])?.transpose(1, 2)?.contiguous()?);
    }
    let all = parameters.get(name, &[1, stored, width])?.transpose(1, 2)?;
    let grid = all.narrow(2, 1, stored - 1)?.contiguous()?.reshape((1, width, stored_side, stored_side))?;
    let axis = AxisMap::resized(Filter::Bicubic, stored_side as u32, side as u32);
    let matrix = Tensor::from_vec(axis.matrix, (axis.outputs, axis.inputs), all.device())?;
    let grid = separable(&grid, &matrix, &matrix)?.reshape((1, width, side * side))?;
    Ok(Tensor::cat(&[&all.narrow(2, 0, 1)?.contiguous()?, &grid], 2)?)
}

impl Block {
    /// `x` `[B, C, T]` to the first `queries` tokens of the next.
    fn forward(&self, x: &Tensor, queries: usize) -> candle_core::Result<Tensor> {
        let heads = x.dim(1)? / HEAD_WIDTH;
        let y = attention(&self.joint.tokens(&self.norm1.forward(x)?)?, heads, queries)?;
        let x = self.project.tokens_add(&y, &x.narrow(2, 0, queries)?)?;
        let y = self.mlp.0.tokens(&self.norm2.forward(&x)?)?;
        self.mlp.1.tokens_add(&y, &x)
    }
}

impl Extractor for VisionTransformer {
    fn dimension(&self) -> usize {
        self.width
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = images.dims4()?;
        if height != SIDE || width != SIDE {
            return Err(Error::usage(
                format!("a vision transformer takes images of {SIDE} x {SIDE}, not {height} x {width}"),
                "its position embeddings are of that size",
            ));
        }
        let x = self.patches.forward(images)?.flatten_from(2)?;
        let like = |t: &Tensor| t.to_dtype(x.dtype());
        let class = like(&self.class)?.broadcast_as((batch, self.width, 1))?;
        let mut x = Tensor::cat(&[class, x.broadcast_add(&like(&self.positions)?)?], 2)?;
        for (i, block) in self.blocks.iter().enumerate() {
            // Of the last block's output only the class token is looked at.
            let queries = if i + 1 == self.blocks.len() { 1 } else { x.dim(2)? };
            x = block.forward(&x, queries)?;
        }
        Ok(self.norm.forward(&x)?.squeeze(2)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::FileParameters;
    use candle_core::Device;
    use std::collections::HashMap;

    /// Keys' cubic with a = -0.5, stretched for shrinking, as PyTorch's `interpolate(mode="bicubic", antialias=True)`.
    fn antialiased_bicubic(input: usize, output: usize) -> Vec<Vec<f64>> {
        let scale = input as f64 / output as f64;
        let cubic = |x: f64| match x.abs() {
            x if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x * x + 1.0,
            x if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x * x - 4.0 * x + 2.0,
            _ => 0.0,
        };
        let row = |i: usize| {
            let centre = (i as f64 + 0.5) * scale;
            let weights: Vec<f64> =
                (0..input).map(|j| cubic((j as f64 + 0.5 - centre) / scale.max(1.0))).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect()
        };
        (0..output).map(row).collect()
    }

    #[test]
    fn position_embeddings_of_another_size_are_resized_as_timm_does() {
        const WIDTH: usize = 3;
        let (from, to) = (37, 16);
        let values: Vec<f32> =
            (0..(from * from + 1) * WIDTH).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect();
        let tensor = Tensor::from_vec(values.clone(), (1, from * from + 1, WIDTH), &Device::Cpu).unwrap();
        let source = FileParameters {
            path: "positions".into(),
            architecture: "test".into(),
            tensors: HashMap::from([("pos_embed".to_string(), tensor)]),
        };
        let found = positions(&Parameters::new(&source), "pos_embed", WIDTH, to).unwrap();
        assert_eq!(found.dims(), [1, WIDTH, to * to + 1]);
        let found = found.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        let axis = antialiased_bicubic(from, to);
        for (channel, found) in found.iter().enumerate() {
            assert_eq!(found[0], values[channel]);
            for (at, found) in found[1..].iter().enumerate() {
                let (down, across) = (&axis[at / to], &axis[at % to]);
                let mut expected = 0.0;
                for (y, wy) in down.iter().enumerate() {
                    for (x, wx) in across.iter().enumerate() {
                        expected += wy * wx * f64::from(values[(1 + y * from + x) * WIDTH + channel]);
                    }
                }
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} and {expected}");
            }
        }
        let error = positions(&Parameters::new(&source), "pos_embed", 4, to).unwrap_err().to_string();
        assert!(error.contains("[1, 1370, 3]") && error.contains("[1, 257, 4]"), "{error}");
    }
}
