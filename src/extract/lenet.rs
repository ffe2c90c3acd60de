//! LeNet-5 with ReLU and max-pool, as small classifiers of digits are published (LeCun et al., 1998).
//!
//! Names `convnet.c1`, `convnet.c3`, `convnet.c5`, `fc.f6`; features: the 84 units of `f6` after ReLU.

use super::{Extractor, Parameters, squash};
use crate::error::Result;
use crate::images::Preprocessing;
use crate::ops::activation::Activation::Relu;
use crate::ops::conv::{Conv2d, ConvConfig, Padding, PaddingRule};
use crate::ops::linear::Linear;
use crate::ops::pool::max_pool2d;
use candle_core::Tensor;

pub(super) const DIMENSION: usize = 84;

struct LeNet {
    c1: Conv2d,
    c3: Conv2d,
    c5: Conv2d,
    f6: Linear,
}

/// Values in 0..=1, as these classifiers are trained.
pub(super) fn preprocessing() -> Preprocessing {
    squash(32, &[0.0], &[1.0])
}

pub(super) fn build(parameters: &Parameters) -> Result<Box<dyn Extractor>> {
    let convnet = parameters.at("convnet");
    let config = ConvConfig { activation: Relu, ..ConvConfig::padded(0) };
    Ok(Box::new(LeNet {
        c1: convnet.conv("c1", [6, 1, 5, 5], config)?,
        c3: convnet.conv("c3", [16, 6, 5, 5], config)?,
        c5: convnet.conv("c5", [120, 16, 5, 5], config)?,
        f6: parameters.at("fc").linear("f6", DIMENSION, 120, Relu)?,
    }))
}

impl Extractor for LeNet {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let pool = |x: &Tensor| max_pool2d(x, 2, 2, PaddingRule::Fixed(Padding::same(0)));
        let x = pool(&self.c1.forward(images)?)?;
        let x = pool(&self.c3.forward(&x)?)?;
        let x = self.c5.forward(&x)?.flatten_from(1)?;
        Ok(self.f6.forward(&x)?)
    }
}
