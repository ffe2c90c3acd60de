//! Vision transformers (Dosovitskiy et al., 2020, <https://arxiv.org/abs/2010.11929>): ViT-B/16, and DINOv2 S/14, B/14 and L/14
//! (Oquab et al., 2023, <https://arxiv.org/abs/2304.07193>) at 224 pixels. Features: the class token after the final norm.
//!
//! Names are timm's, which DINOv2's own files share, or torchvision's. Tokens lie side by side, `[B, C, T]`.

use super::transformer::{Block, BlockConfig, BlockNames, ClassAndPlaces, Joint, check_side, norm, run};
use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, Parameters, center_crop, squash};
use crate::error::Result;
use crate::images::{AxisMap, Filter, Preprocessing};
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::resize::separable;
use candle_core::Tensor;

pub(super) const DIMENSION_BASE: usize = 768;
pub(super) const DIMENSION_SMALL: usize = 384;
pub(super) const DIMENSION_LARGE: usize = 1024;
/// Pixels of a side of the input.
const SIDE: usize = 224;
/// Blocks of the sizes S and B, and of L.
const DEPTH: usize = 12;
const DEPTH_LARGE: usize = 24;
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
    build(parameters, (DIMENSION_BASE, DEPTH), 16, false, as_timm)
}

pub(super) fn build_dinov2_s14(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_SMALL, DEPTH), 14, true, as_timm)
}

pub(super) fn build_dinov2_b14(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_BASE, DEPTH), 14, true, as_timm)
}

/// Published Fréchet distances of DINOv2 (dgm-eval, EDM2) are of this size as its authors' own program runs it.
pub(super) fn build_dinov2_l14(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build(parameters, (DIMENSION_LARGE, DEPTH_LARGE), 14, true, as_its_authors)
}

/// How a file names its tensors.
struct Names {
    class: &'static str,
    positions: &'static str,
    patches: &'static str,
    block: &'static str,
    inside: BlockNames,
    norm: &'static str,
}

const TIMM: Names = Names {
    class: "cls_token",
    positions: "pos_embed",
    patches: "patch_embed.proj",
    block: "blocks.",
    inside: BlockNames {
        norm1: "norm1",
        joint: Joint::Together("attn.qkv.weight", "attn.qkv.bias"),
        project: "attn.proj",
        norm2: "norm2",
        mlp: ("mlp.fc1", "mlp.fc2"),
    },
    norm: "norm",
};

const TORCHVISION: Names = Names {
    class: "class_token",
    positions: "encoder.pos_embedding",
    patches: "conv_proj",
    block: "encoder.layers.encoder_layer_",
    inside: BlockNames {
        norm1: "ln_1",
        joint: Joint::Together("self_attention.in_proj_weight", "self_attention.in_proj_bias"),
        project: "self_attention.out_proj",
        norm2: "ln_2",
        mlp: ("mlp.linear_1", "mlp.linear_2"),
    },
    norm: "encoder.ln",
};

/// What torchvision calls the layers of the MLP since 0.15; its files kept the older names.
const TORCHVISION_MLP: (&str, &str) = ("mlp.0", "mlp.3");

/// What scales both branches of a block of DINOv2.
const SCALES: (&str, &str) = ("ls1.gamma", "ls2.gamma");

struct VisionTransformer {
    patches: Conv2d,
    embeddings: ClassAndPlaces,
    blocks: Vec<Block>,
    norm: LayerNorm,
    width: usize,
}

fn build(
    parameters: &Parameters,
    (width, depth): (usize, usize),
    patch: usize,
    scaled: bool,
    resizing: Resizing,
) -> Result<Box<dyn Extractor>> {
    let torchvision = !parameters.contains(TIMM.class) && parameters.contains(TORCHVISION.class);
    let names = if torchvision { TORCHVISION } else { TIMM };
    let config = ConvConfig { stride: patch, ..ConvConfig::padded(0) };
    let patches = parameters.conv(names.patches, [width, 3, patch, patch], config)?;
    let positions = positions(parameters, names.positions, width, SIDE / patch, resizing)?;
    let class = parameters.get(names.class, &[1, 1, width])?;
    let embeddings = ClassAndPlaces::new(parameters, &class, &positions)?;
    let config = BlockConfig { width, eps: NORM_EPS, gelu: Gelu::Exact, scales: scaled.then_some(SCALES) };
    let block = |i: usize| {
        let module = parameters.at(format!("{}{i}", names.block));
        let mlp = match torchvision && module.contains(&format!("{}.weight", TORCHVISION_MLP.0)) {
            true => TORCHVISION_MLP,
            false => names.inside.mlp,
        };
        Block::new(&module, &BlockNames { mlp, ..names.inside }, config)
    };
    let blocks = (0..depth).map(block).collect::<Result<_>>()?;
    let norm = norm(parameters, names.norm, width, NORM_EPS)?;
    Ok(Box::new(VisionTransformer { patches, embeddings, blocks, norm, width }))
}

/// How position embeddings of another image size are resized along an axis: weights `[outputs, inputs]` for (inputs, outputs).
type Resizing = fn(usize, usize) -> Vec<f32>;

/// timm's `resample_abs_pos_embed`: bicubic, antialiased.
fn as_timm(inputs: usize, outputs: usize) -> Vec<f32> {
    AxisMap::resized(Filter::Bicubic, inputs as u32, outputs as u32).matrix
}

/// What DINOv2's own program adds to the size that it asks for.
const OFFSET: f64 = 0.1;
/// The constant of PyTorch's cubic.
const CUBIC: f64 = -0.75;

/// DINOv2's `interpolate_pos_encoding`: PyTorch's bicubic interpolation, not antialiased, by a factor of a little more than the sizes'.
fn as_its_authors(inputs: usize, outputs: usize) -> Vec<f32> {
    let step = inputs as f64 / (outputs as f64 + OFFSET);
    let near = |d: f64| ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0;
    let far = |d: f64| ((CUBIC * d - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC;
    let mut matrix = vec![0.0; inputs * outputs];
    for (output, row) in matrix.chunks_exact_mut(inputs.max(1)).enumerate() {
        let at = (output as f64 + 0.5) * step - 0.5;
        let t = at - at.floor();
        for (tap, weight) in [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)].into_iter().enumerate() {
            let input = at.floor() as i64 + tap as i64 - 1;
            row[input.clamp(0, inputs as i64 - 1) as usize] += weight as f32;
        }
    }
    matrix
}

/// Position embeddings as `[1, C, 1 + side * side]`. Those of another image size are resized, the class token's kept.
fn positions(
    parameters: &Parameters,
    name: &str,
    width: usize,
    side: usize,
    resizing: Resizing,
) -> Result<Tensor> {
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
    let matrix = Tensor::from_vec(resizing(stored_side, side), (side, stored_side), all.device())?;
    let grid = separable(&grid, &matrix, &matrix)?.reshape((1, width, side * side))?;
    Ok(Tensor::cat(&[&all.narrow(2, 0, 1)?.contiguous()?, &grid], 2)?)
}

impl Extractor for VisionTransformer {
    fn dimension(&self) -> usize {
        self.width
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        check_side(images, SIDE)?;
        let x = self.patches.forward(images)?.flatten_from(2)?;
        // Only the class token is looked at.
        Ok(self.norm.forward(&run(&self.blocks, self.embeddings.tokens(&x)?, 1)?)?.squeeze(2)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::FileParameters;
    use crate::extract::rule::uniform;
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
    fn the_large_dinov2_resizes_positions_as_its_authors_do() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/extractors/dinov2_positions.safetensors");
        let expected = &candle_core::safetensors::load(path, &Device::Cpu).unwrap()["grid"];
        let (from, to) = (37, 16);
        let grid: Vec<f32> =
            uniform("positions", 3 * from * from).iter().map(|&value| value as f32).collect();
        let grid = Tensor::from_vec(grid, (1, 3, from, from), &Device::Cpu).unwrap();
        let matrix = Tensor::from_vec(as_its_authors(from, to), (to, from), &Device::Cpu).unwrap();
        let found = separable(&grid, &matrix, &matrix).unwrap();
        let largest = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 5e-6, "{largest}");
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
        let found = positions(&Parameters::new(&source), "pos_embed", WIDTH, to, as_timm).unwrap();
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
        let error =
            positions(&Parameters::new(&source), "pos_embed", 4, to, as_timm).unwrap_err().to_string();
        assert!(error.contains("[1, 1370, 3]") && error.contains("[1, 257, 4]"), "{error}");
    }
}
