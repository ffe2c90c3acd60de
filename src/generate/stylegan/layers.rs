//! Layers of both systems. Weights are stored without the factor that equalises learning rates (`weight_gain` of the official classes).

use crate::error::Result;
use crate::generate::layers::linear;
use crate::generate::options::Mode;
use crate::generate::variables::{Builder, Init, Parameter};
use crate::ops::channels::add_to_channels;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::modulate::scale_images;
use crate::ops::upfirdn::Filter;
use candle_core::{DType, Device, Tensor};
use std::f64::consts::SQRT_2;

/// Slope of the leaky rectified linear unit.
pub(super) const SLOPE: f64 = 0.2;
/// Under roots and divisions.
pub(super) const EPS: f64 = 1e-8;
/// The filter of up- and down-sampling, along one axis.
const FILTER: [f64; 4] = [1.0, 3.0, 3.0, 1.0];

/// The activation of StyleGAN: slope 0.2, then sqrt(2), then a bound that grows with `gain`.
pub(super) fn activation(gain: f64, clamp: Option<f64>) -> LeakyRelu {
    LeakyRelu { slope: SLOPE, gain: SQRT_2 * gain, clamp: clamp.map(|clamp| clamp * gain) }
}

/// No activation but a bound.
pub(super) fn bound(clamp: Option<f64>) -> LeakyRelu {
    LeakyRelu { slope: 1.0, gain: 1.0, clamp }
}

/// `FullyConnectedLayer`: `x (weight * lr / sqrt(in))^T + bias * lr`.
pub(super) struct FullyConnected {
    weight: Parameter,
    bias: Parameter,
    weight_gain: f64,
    bias_gain: f64,
    activation: Option<LeakyRelu>,
}

/// What a fully connected layer is, beside its sizes.
#[derive(Clone, Copy)]
pub(super) struct Connected {
    pub lr_multiplier: f64,
    pub bias_init: f64,
    pub activated: bool,
}

impl Connected {
    /// Neither learning rate nor activation of its own.
    pub(super) const LINEAR: Self = Self { lr_multiplier: 1.0, bias_init: 0.0, activated: false };
    /// Styles: they start around 1.
    pub(super) const AFFINE: Self = Self { bias_init: 1.0, ..Self::LINEAR };
}

impl FullyConnected {
    /// `name.weight` `[O, I]` and `name.bias` `[O]`.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        ins: usize,
        outs: usize,
        kind: Connected,
    ) -> Result<Self> {
        let lr = kind.lr_multiplier;
        let weights = Init::Normal { mean: 0.0, std: 1.0 / lr };
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &[outs, ins], weights)?,
            bias: builder.parameter(&format!("{name}.bias"), &[outs], Init::Constant(kind.bias_init))?,
            weight_gain: lr / (ins as f64).sqrt(),
            bias_gain: lr,
            activation: kind.activated.then(|| activation(1.0, None)),
        })
    }

    /// `name.affine`, which makes the `outs` styles of a layer from `w` `[B, w_dim]`.
    pub(super) fn affine(builder: &mut Builder, name: &str, w_dim: usize, outs: usize) -> Result<Self> {
        Self::new(builder, &format!("{name}.affine"), w_dim, outs, Connected::AFFINE)
    }

    /// A layer that starts as the constant `start`.
    pub(super) fn constant(builder: &mut Builder, name: &str, ins: usize, start: &[f64]) -> Result<Self> {
        let bias = Tensor::from_slice(start, start.len(), &Device::Cpu)?;
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &[start.len(), ins], Init::Constant(0.0))?,
            bias: builder.known_parameter(&format!("{name}.bias"), &bias)?,
            weight_gain: 1.0 / (ins as f64).sqrt(),
            bias_gain: 1.0,
            activation: None,
        })
    }

    /// `[B, I]` to `[B, O]`; a row never depends on the others.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let weight = scaled(self.weight.tensor(mode.trains()), self.weight_gain)?;
        let bias = scaled(self.bias.tensor(mode.trains()), self.bias_gain)?;
        let y = linear(x, &weight, Some(&bias), mode)?;
        match self.activation {
            Some(activation) => Ok(activation.forward(&y)?),
            None => Ok(y),
        }
    }
}

fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { Ok((x * factor)?) }
}

/// `modulated_conv2d`: a convolution whose weights each image scales by its styles, and normalises again if demodulated.
pub(super) struct Modulated<'a> {
    /// `[O, I, k, k]`
    pub weight: &'a Tensor,
    /// `[B, I]`
    pub styles: &'a Tensor,
    pub demodulate: bool,
}

impl Modulated<'_> {
    /// `convolve` of the scaled activations, and the factors `[B, O]` that scale the result back, if it is to be demodulated.
    pub(super) fn apply(
        &self,
        x: &Tensor,
        mode: Mode,
        convolve: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let y = convolve(&scale_images(x, self.styles)?, self.weight)?;
        if !self.demodulate {
            return Ok((y, None));
        }
        // The squared length of each image's weights, from the squares of both factors.
        let squares = self.weight.sqr()?.flatten_from(2)?.sum(2)?;
        let lengths = (linear(&self.styles.sqr()?, &squares, None, mode)? + EPS)?;
        Ok((y, Some(lengths.sqrt()?.recip()?)))
    }
}

/// A bias `[C]` on the channels, and an activation.
pub(super) fn bias_act(x: &Tensor, bias: &Tensor, activation: LeakyRelu) -> Result<Tensor> {
    Ok(activation.forward(&add_to_channels(x, &bias.unsqueeze(0)?)?)?)
}

/// A buffer `name.resample_filter` of a module, as the official classes keep it.
pub(super) fn resample_filter(builder: &mut Builder, name: &str) -> Result<Filter> {
    let name = format!("{name}.resample_filter");
    let total: f64 = FILTER.iter().sum();
    let start: Vec<f64> = FILTER.iter().flat_map(|y| FILTER.map(|x| x * y / (total * total))).collect();
    let start = Tensor::from_vec(start, (FILTER.len(), FILTER.len()), &Device::Cpu)?;
    let filter = builder.known_buffer(&name, &start)?;
    Ok(Filter::new(&filter.as_detached_tensor().to_dtype(DType::F64)?.to_device(&Device::Cpu)?)?)
}
