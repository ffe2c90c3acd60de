//! Layers with spectral normalisation.

use crate::error::Result;
use crate::generate::layers::{convolution, linear};
use crate::generate::options::Mode;
use crate::generate::variables::{Builder, Init, Parameter};
use crate::ops::conv::ConvConfig;
use crate::ops::spectral_norm::{power_iteration, spectral_norm};
use candle_core::{Device, Tensor, Var};

/// A weight that is divided by its largest singular value, with the vectors that this is known by.
pub(super) struct SpectralWeight {
    original: Parameter,
    u: Var,
    v: Var,
    /// The dimension that comes first in the matrix.
    axis: usize,
}

impl SpectralWeight {
    /// `name.weight_orig` of these dimensions, `name.weight_u` and `name.weight_v`.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        dims: &[usize],
        axis: usize,
        init: Init,
    ) -> Result<Self> {
        let original = builder.parameter(&format!("{name}.weight_orig"), dims, init)?;
        let rows = dims[axis];
        let columns = dims.iter().product::<usize>() / rows.max(1);
        let mut vector = |part: &str, count: usize| {
            let name = format!("{name}.{part}");
            let values = builder.draw(&name, count)?;
            let length = values.iter().map(|v| v * v).sum::<f64>().sqrt();
            let unit: Vec<f64> = values.iter().map(|v| v / length).collect();
            builder.known_buffer(&name, &Tensor::from_vec(unit, count, &Device::Cpu)?)
        };
        Ok(Self { original, u: vector("weight_u", rows)?, v: vector("weight_v", columns)?, axis })
    }

    /// The normalised weight. In training each use first runs one step of the power iteration, which moves the vectors towards the
    /// singular ones.
    pub(super) fn weight(&self, mode: Mode) -> Result<Tensor> {
        let original = self.original.tensor(mode.trains());
        if !mode.batch_statistics() {
            let (u, v) = (self.u.as_detached_tensor(), self.v.as_detached_tensor());
            return Ok(spectral_norm(original, &u, &v, self.axis)?);
        }
        let (u, v) = power_iteration(original, &self.u.as_detached_tensor(), self.axis)?;
        self.u.set(&u)?;
        self.v.set(&v)?;
        // Not the variables themselves: the next use changes them before this one's gradient is taken.
        Ok(spectral_norm(original, &u, &v, self.axis)?)
    }
}

/// A convolution with spectral normalisation.
pub(super) struct SpectralConv {
    weight: SpectralWeight,
    bias: Option<Parameter>,
    config: ConvConfig,
}

impl SpectralConv {
    /// `name.weight_orig` `[O, C, k, k]` and its vectors; `name.bias` `[O]` where asked for.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        dims: [usize; 4],
        bias: bool,
        config: ConvConfig,
    ) -> Result<Self> {
        let init = Init::torch_default(dims[1..].iter().fold(1usize, |n, &dim| n.saturating_mul(dim)));
        let bias = match bias {
            true => Some(builder.parameter(&format!("{name}.bias"), &dims[..1], init)?),
            false => None,
        };
        Ok(Self { weight: SpectralWeight::new(builder, name, &dims, 0, init)?, bias, config })
    }

    /// `[B, C, H, W]` to `[B, O, H', W']`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(mode.trains()));
        convolution(x, &self.weight.weight(mode)?, bias, None, self.config, mode)
    }
}

/// A linear layer with spectral normalisation and a bias.
pub(super) struct SpectralLinear {
    weight: SpectralWeight,
    bias: Parameter,
}

impl SpectralLinear {
    /// `name.weight_orig` `[O, I]` and its vectors; `name.bias` `[O]`.
    pub(super) fn new(builder: &mut Builder, name: &str, ins: usize, outs: usize) -> Result<Self> {
        let init = Init::torch_default(ins);
        Ok(Self {
            weight: SpectralWeight::new(builder, name, &[outs, ins], 0, init)?,
            bias: builder.parameter(&format!("{name}.bias"), &[outs], init)?,
        })
    }

    /// `[B, I]` to `[B, O]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        linear(x, &self.weight.weight(mode)?, Some(self.bias.tensor(mode.trains())), mode)
    }
}

/// Gated linear unit: the first half of the channels times the sigmoid of the second.
pub(super) fn glu(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)? / 2;
    let gate = sigmoid(&x.narrow(1, channels, channels)?)?;
    Ok((x.narrow(1, 0, channels)? * gate)?)
}

/// By the hyperbolic tangent, which never overflows.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x * 0.5)?.tanh()?.affine(0.5, 0.5)?)
}
