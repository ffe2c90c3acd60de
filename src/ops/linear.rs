//! Fully connected layers: a 1 x 1 convolution on images of one pixel, so that rows never depend on their batch.

use super::activation::Activation;
use super::conv::{Conv2d, ConvConfig};
use candle_core::{Result, Tensor};

/// `activation(x * weight^T + bias)` with frozen weights; differentiable with respect to `x`.
#[derive(Clone)]
pub struct Linear(Conv2d);

impl Linear {
    /// From `weight` `[O, I]` and `bias` `[O]`.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, activation: Activation) -> Result<Self> {
        let (outs, ins) = weight.dims2()?;
        let config = ConvConfig { activation, ..ConvConfig::padded(0) };
        Ok(Self(Conv2d::new(weight.reshape((outs, ins, 1, 1))?, bias, config)?))
    }

    /// `[B, I]` to `[B, O]`.
    ///
    /// # Errors
    /// If `x` has another width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        self.0.forward(&x.reshape((rows, width, 1, 1))?)?.flatten_from(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_are_products_with_the_weights() {
        let weight = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [-9.0, 0.5]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.5f32, 0.0, 1.0], &Device::Cpu).unwrap();
        let layer = Linear::new(&weight, Some(bias), Activation::Relu).unwrap();
        let x = Tensor::new(&[[1f32, 1.0], [0.0, 2.0]], &Device::Cpu).unwrap();
        assert_eq!(layer.forward(&x).unwrap().to_vec2::<f32>().unwrap(), [[3.5, 7.0, 0.0], [4.5, 8.0, 2.0]]);
    }
}
