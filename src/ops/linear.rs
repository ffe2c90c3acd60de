//! Fully connected layers: a 1 x 1 convolution whose pixels are the rows, so that they never depend on each other.

use super::activation::Activation;
use super::conv::{Conv2d, ConvConfig};
use super::product::product;
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
        // As pixels of one image all rows share each panel of weights, and tasks split the outputs: weights are read once.
        let pixels = x.t()?.contiguous()?.unsqueeze(0)?;
        self.tokens(&pixels)?.squeeze(0)?.t()?.contiguous()
    }

    /// Tokens side by side, `[B, I, T]`, to `[B, O, T]`.
    ///
    /// # Errors
    /// If `x` has another number of channels.
    pub fn tokens(&self, x: &Tensor) -> Result<Tensor> {
        x.dims3()?;
        self.0.forward(&x.unsqueeze(2)?)?.squeeze(2)
    }

    /// [`Linear::tokens`] with `residual` `[B, O, T]` added before the activation.
    ///
    /// # Errors
    /// If `x` or the residual does not fit.
    pub fn tokens_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        x.dims3()?;
        self.0.forward_add(&x.unsqueeze(2)?, &residual.unsqueeze(2)?)?.squeeze(2)
    }
}

/// `x * weight^T + bias` of `x` `[B, I]`, `weight` `[O, I]` and `bias` `[O]`, all of which are differentiable.
///
/// # Errors
/// If the shapes do not fit each other.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = product(x, weight)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
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
