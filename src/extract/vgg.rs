//! VGG-16 (Simonyan and Zisserman, 2014, <https://arxiv.org/abs/1409.1556>), without batch norm.
//!
//! Names are torchvision's or timm's; features: `fc2` after ReLU, as improved precision and recall use it.

use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, Parameters, center_crop};
use crate::error::{Error, Result};
use crate::images::{Filter, Preprocessing};
use crate::ops::activation::Activation::Relu;
use crate::ops::conv::{Conv2d, ConvConfig, Padding, PaddingRule};
use crate::ops::linear::Linear;
use crate::ops::pool::max_pool2d;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 4096;
const SIDE: usize = 224;
/// (convolutions, channels) between two pools.
const STAGES: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
/// Pixels of a side after the last pool.
const LAST_SIDE: usize = SIDE >> STAGES.len();

struct Vgg {
    stages: Vec<Vec<Conv2d>>,
    fc1: Linear,
    fc2: Linear,
}

pub(super) fn preprocessing() -> Preprocessing {
    center_crop(SIDE as u32, Filter::Bilinear, &IMAGENET_MEAN, &IMAGENET_STD)
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    let config = ConvConfig { activation: Relu, ..ConvConfig::padded(1) };
    let features = parameters.at("features");
    let (mut place, mut ins) = (0, 3);
    let mut stages = Vec::new();
    for (convolutions, outs) in STAGES {
        let mut stage = Vec::new();
        for _ in 0..convolutions {
            stage.push(features.conv(&place.to_string(), [outs, ins, 3, 3], config)?);
            // A ReLU stands between two convolutions.
            place += 2;
            ins = outs;
        }
        // The pool.
        place += 1;
        stages.push(stage);
    }
    let flat = ins * LAST_SIDE * LAST_SIDE;
    let (fc1, fc2) = if parameters.contains("classifier.0.weight")
        || !parameters.contains("pre_logits.fc1.weight")
    {
        let classifier = parameters.at("classifier");
        (classifier.linear("0", DIMENSION, flat, Relu)?, classifier.linear("3", DIMENSION, DIMENSION, Relu)?)
    } else {
        // timm keeps them as convolutions: the same numbers in the same order.
        let flattened = |name: &str, ins: usize, side: usize| {
            let module = parameters.at(name);
            let weight = module.get("weight", &[DIMENSION, ins, side, side])?;
            let weight = weight.reshape((DIMENSION, ins * side * side))?;
            module.linear_of(weight, module.get("bias", &[DIMENSION])?, Relu)
        };
        (flattened("pre_logits.fc1", ins, LAST_SIDE)?, flattened("pre_logits.fc2", DIMENSION, 1)?)
    };
    Ok(Box::new(Vgg { stages, fc1, fc2 }))
}

impl Extractor for Vgg {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for stage in &self.stages {
            for conv in stage {
                x = conv.forward(&x)?;
            }
            x = max_pool2d(&x, 2, 2, PaddingRule::Fixed(Padding::same(0)))?;
        }
        let (_, _, height, width) = x.dims4()?;
        if height != LAST_SIDE || width != LAST_SIDE {
            let (_, _, height, width) = images.dims4()?;
            return Err(Error::usage(
                format!("vgg16 takes images of {SIDE} x {SIDE}, not {height} x {width}"),
                "its fully connected layers are of that size",
            ));
        }
        Ok(self.fc2.forward(&self.fc1.forward(&x.flatten_from(1)?)?)?)
    }
}
