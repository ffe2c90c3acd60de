//! CLIP's image tower (Radford et al., 2021, <https://arxiv.org/abs/2103.00020>): ViT-L/14 as OpenAI trained it, at 224 and at 336
//! pixels. Features: the projected image embedding, as `encode_image` gives it, of any length.
//!
//! Names are OpenAI's, which open_clip shares, or those of transformers. Text towers in the same file are not looked at.

use super::transformer::{
    Block, BlockConfig, BlockNames, ClassAndPlaces, Joint, Size, TRANSFORMERS_BLOCK, check_side, norm, run,
};
use super::{Extractor, Parameters, center_crop};
use crate::error::Result;
use crate::images::{Filter, Preprocessing};
use crate::ops::activation::Activation::Identity;
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 768;
const SIDE: usize = 224;
const SIDE_336: usize = 336;
const NORM_EPS: f64 = 1e-5;
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

const LARGE: Size = Size { side: SIDE, patch: 14, width: 1024, depth: 24 };

/// OpenAI's evaluation: the shorter side to the input size, bicubic, then the centre.
fn preprocessing_of(side: usize) -> Preprocessing {
    Preprocessing { crop_ratio: 1.0, ..center_crop(side as u32, Filter::Bicubic, &MEAN, &STD) }
}

pub(super) fn preprocessing() -> Preprocessing {
    preprocessing_of(SIDE)
}

pub(super) fn preprocessing_336() -> Preprocessing {
    preprocessing_of(SIDE_336)
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build_sized(parameters, LARGE, DIMENSION)
}

pub(super) fn build_336(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    build_sized(parameters, Size { side: SIDE_336, ..LARGE }, DIMENSION)
}

/// How a file names its tensors.
struct Names {
    class: &'static str,
    positions: &'static str,
    patches: &'static str,
    before: &'static str,
    block: &'static str,
    inside: BlockNames,
    after: &'static str,
}

const OPENAI: Names = Names {
    class: "visual.class_embedding",
    positions: "visual.positional_embedding",
    patches: "visual.conv1.weight",
    before: "visual.ln_pre",
    block: "visual.transformer.resblocks.",
    inside: BlockNames {
        norm1: "ln_1",
        joint: Joint::Together("attn.in_proj_weight", "attn.in_proj_bias"),
        project: "attn.out_proj",
        norm2: "ln_2",
        mlp: ("mlp.c_fc", "mlp.c_proj"),
    },
    after: "visual.ln_post",
};

const TRANSFORMERS: Names = Names {
    class: "vision_model.embeddings.class_embedding",
    positions: "vision_model.embeddings.position_embedding.weight",
    patches: "vision_model.embeddings.patch_embedding.weight",
    // As it is written there.
    before: "vision_model.pre_layrnorm",
    block: "vision_model.encoder.layers.",
    inside: TRANSFORMERS_BLOCK,
    after: "vision_model.post_layernorm",
};

/// The last product: `[embedding, width]`, or its transpose.
const OPENAI_PROJECTION: &str = "visual.proj";
const TRANSFORMERS_PROJECTION: &str = "visual_projection.weight";

struct Clip {
    side: usize,
    dimension: usize,
    patches: Conv2d,
    embeddings: ClassAndPlaces,
    before: LayerNorm,
    blocks: Vec<Block>,
    after: LayerNorm,
    projection: Linear,
}

/// A tower with embeddings of so many numbers.
pub(super) fn build_sized(
    parameters: &Parameters,
    Size { side, patch, width, depth }: Size,
    dimension: usize,
) -> Result<Box<dyn Extractor>> {
    let transformers = !parameters.contains(OPENAI.class) && parameters.contains(TRANSFORMERS.class);
    let names = if transformers { TRANSFORMERS } else { OPENAI };
    let config = ConvConfig { stride: patch, ..ConvConfig::padded(0) };
    let weight = parameters.get(names.patches, &[width, 3, patch, patch])?;
    let patches = Conv2d::new(parameters.placed(weight)?, None, config)?;
    let tokens = 1 + (side / patch).pow(2);
    let positions = parameters.get(names.positions, &[tokens, width])?.t()?.unsqueeze(0)?;
    let embeddings = ClassAndPlaces::new(parameters, &parameters.get(names.class, &[width])?, &positions)?;
    let config = BlockConfig { width, eps: NORM_EPS, gelu: Gelu::Quick, scales: None };
    let block = |i| Block::new(&parameters.at(format!("{}{i}", names.block)), &names.inside, config);
    let projection = match transformers {
        true => parameters.get(TRANSFORMERS_PROJECTION, &[dimension, width])?,
        false => parameters.get(OPENAI_PROJECTION, &[width, dimension])?.t()?.contiguous()?,
    };
    Ok(Box::new(Clip {
        side,
        dimension,
        patches,
        embeddings,
        before: norm(parameters, names.before, width, NORM_EPS)?,
        blocks: (0..depth).map(block).collect::<Result<_>>()?,
        after: norm(parameters, names.after, width, NORM_EPS)?,
        projection: Linear::new(&parameters.placed(projection)?, None, Identity)?,
    }))
}

impl Extractor for Clip {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        check_side(images, self.side)?;
        let x = self.patches.forward(images)?.flatten_from(2)?;
        // Only the class token is looked at.
        let x = run(&self.blocks, self.before.forward(&self.embeddings.tokens(&x)?)?, 1)?;
        Ok(self.projection.forward(&self.after.forward(&x)?.squeeze(2)?)?)
    }
}
