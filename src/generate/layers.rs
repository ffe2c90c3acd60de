//! Layers that several families share, on [`Parameter`]s: names and initial values as in `torch.nn`.

use super::options::Mode;
use super::variables::{Builder, Init, Parameter};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::all_reduce::processes;
use crate::ops::batch_norm::{self, batch_norm, batch_statistics};
use crate::ops::channels::{add_to_channels, scale_channels};
use crate::ops::conv::{self, ConvConfig, conv_transpose2d, conv2d};
use crate::ops::{self, group_norm};
use crate::random::{Purpose, keyed, normals};
use candle_core::{DType, Tensor, Var};

/// Under the root of [`normalize_2nd_moment`].
const SECOND_MOMENT_EPS: f64 = 1e-8;

/// `x * weight^T + bias`: see [`linear`].
pub(super) struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// `name.weight` `[O, I]` and `name.bias` `[O]`.
    pub(super) fn new(builder: &mut Builder, name: &str, ins: usize, outs: usize) -> Result<Self> {
        let init = Init::torch_default(ins);
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &[outs, ins], init)?,
            bias: builder.parameter(&format!("{name}.bias"), &[outs], init)?,
        })
    }

    /// The same layer where it is stored as a convolution of one dimension and one tap: `name.weight` `[O, I, 1]`.
    pub(super) fn pointwise(builder: &mut Builder, name: &str, ins: usize, outs: usize) -> Result<Self> {
        let init = Init::torch_default(ins);
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &[outs, ins, 1], init)?,
            bias: builder.parameter(&format!("{name}.bias"), &[outs], init)?,
        })
    }

    /// `[B, I]` to `[B, O]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(mode.trains()), self.bias.tensor(mode.trains()));
        linear(x, weight, Some(bias), mode)
    }

    /// The same at each pixel of `[B, I, N]`, with a residual `[B, O, N]` added if there is one.
    pub(super) fn forward_pixels(&self, x: &Tensor, residual: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(mode.trains()), self.bias.tensor(mode.trains()));
        let weight = weight.reshape((weight.dim(0)?, weight.dim(1)?, 1, 1))?;
        let residual = residual.map(|residual| residual.unsqueeze(2)).transpose()?;
        let config = ConvConfig::padded(0);
        Ok(convolution(&x.unsqueeze(2)?, &weight, Some(bias), residual.as_ref(), config, mode)?.squeeze(2)?)
    }
}

/// `x` `[B, I]` times `weight` `[O, I]` transposed: a pointwise convolution, so that a row never depends on the others (a matrix
/// product of one row would take another kernel).
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
    let weight = weight.reshape((weight.dim(0)?, weight.dim(1)?))?;
    if !mode.trains() {
        return Ok(ops::linear::Linear::new(&weight, bias.cloned(), Activation::Identity)?.forward(x)?);
    }
    let pixel = |t: &Tensor| t.unsqueeze(2)?.unsqueeze(3);
    let y = convolution(&pixel(x)?, &pixel(&weight)?, bias, None, ConvConfig::padded(0), mode)?;
    Ok(y.squeeze(3)?.squeeze(2)?)
}

/// Convolution, bias and residual: in one pass where nothing is trained (differentiable once, with respect to `x`), else on
/// operations that differentiate to any order.
pub(super) fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    config: ConvConfig,
    mode: Mode,
) -> Result<Tensor> {
    if !mode.trains() {
        let frozen = conv::Conv2d::once(weight.clone(), bias.cloned(), config, x.dims())?;
        return Ok(match residual {
            Some(residual) => frozen.forward_add(x, residual)?,
            None => frozen.forward(x)?,
        });
    }
    let mut y = conv2d(x, weight, config)?;
    if let Some(bias) = bias {
        y = add_to_channels(&y, &bias.unsqueeze(0)?)?;
    }
    match residual {
        Some(residual) => Ok((y + residual)?),
        None => Ok(y),
    }
}

/// Rows of a table, one for each class.
pub(super) struct Embedding {
    weight: Parameter,
}

impl Embedding {
    /// `name.weight` `[count, width]`.
    pub(super) fn new(builder: &mut Builder, name: &str, count: usize, width: usize) -> Result<Self> {
        let init = Init::Normal { mean: 0.0, std: 1.0 };
        Ok(Self { weight: builder.parameter(&format!("{name}.weight"), &[count, width], init)? })
    }

    /// `[B, width]` of B classes.
    pub(super) fn forward(&self, classes: &[u32], mode: Mode) -> Result<Tensor> {
        let weight = self.weight.tensor(mode.trains());
        Ok(weight.index_select(&Tensor::new(classes, weight.device())?, 0)?)
    }
}

/// Group normalisation with a SiLU behind it where asked for.
pub(super) struct GroupNorm {
    weight: Parameter,
    bias: Parameter,
    config: group_norm::GroupNorm,
}

impl GroupNorm {
    /// `name.weight` and `name.bias` `[C]`.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        channels: usize,
        config: group_norm::GroupNorm,
    ) -> Result<Self> {
        if config.groups == 0 || !channels.is_multiple_of(config.groups) {
            let reason = format!("{channels} channels of `{name}` do not fall into {} groups", config.groups);
            return Err(Error::malformed(builder.path(), reason, ""));
        }
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &[channels], Init::Constant(1.0))?,
            bias: builder.parameter(&format!("{name}.bias"), &[channels], Init::Constant(0.0))?,
            config,
        })
    }

    /// `[B, C, H, W]`, normalised.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(mode.trains()), self.bias.tensor(mode.trains()));
        Ok(group_norm::group_norm(x, weight, bias, self.config)?)
    }

    /// The same followed by `* (1 + scale) + shift`, both `[B, C]`, and SiLU; the layer itself is made without it.
    pub(super) fn forward_scaled(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        mode: Mode,
    ) -> Result<Tensor> {
        let pixel = |t: &Tensor| t.unsqueeze(2)?.unsqueeze(3);
        let y = self.forward(x, mode)?;
        Ok(y.broadcast_mul(&pixel(&(scale + 1.0)?)?)?.broadcast_add(&pixel(shift)?)?.silu()?)
    }
}

/// A convolution, with a bias or without.
pub(super) struct Conv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    config: ConvConfig,
}

impl Conv2d {
    /// `name.weight` `[O, C, k, k]` and, if asked for, `name.bias` `[O]`; `init` is for the weights.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        dims: [usize; 4],
        bias: bool,
        init: Init,
        config: ConvConfig,
    ) -> Result<Self> {
        let weight = builder.parameter(&format!("{name}.weight"), &dims, init)?;
        let name = format!("{name}.bias");
        let bias = match bias {
            true => {
                let fan_in = dims[1..].iter().fold(1usize, |product, &dim| product.saturating_mul(dim));
                Some(builder.parameter(&name, &dims[..1], Init::torch_default(fan_in))?)
            }
            false => None,
        };
        Ok(Self { weight, bias, config })
    }

    /// `[B, C, H, W]` to `[B, O, H', W']`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.apply(x, None, mode)
    }

    /// The same plus a residual of the output's shape.
    pub(super) fn forward_add(&self, x: &Tensor, residual: &Tensor, mode: Mode) -> Result<Tensor> {
        self.apply(x, Some(residual), mode)
    }

    fn apply(&self, x: &Tensor, residual: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(mode.trains()));
        convolution(x, self.weight.tensor(mode.trains()), bias, residual, self.config, mode)
    }
}

/// A transposed convolution without bias.
pub(super) struct ConvTranspose2d {
    weight: Parameter,
    stride: usize,
    padding: usize,
}

impl ConvTranspose2d {
    /// `name.weight` `[C, O, k, k]`.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        dims: [usize; 4],
        init: Init,
        (stride, padding): (usize, usize),
    ) -> Result<Self> {
        Ok(Self { weight: builder.parameter(&format!("{name}.weight"), &dims, init)?, stride, padding })
    }

    /// `[B, C, H, W]` to `[B, O, (H - 1) stride - 2 padding + k, …]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(conv_transpose2d(x, self.weight.tensor(mode.trains()), self.stride, self.padding)?)
    }
}

/// Mean and variance of the channels of all images so far, and normalisation by them or by those of the batch (Ioffe and Szegedy 2015),
/// with PyTorch's defaults.
pub(super) struct RunningStatistics {
    mean: Var,
    var: Var,
    /// Batches so far, where they are counted.
    seen: Option<Var>,
}

impl RunningStatistics {
    const EPS: f64 = 1e-5;
    const MOMENTUM: f64 = 0.1;

    /// Buffers `mean` and `var` `[C]`, and the counter `seen`, by their whole names.
    pub(super) fn new(
        builder: &mut Builder,
        (mean, var): (&str, &str),
        seen: Option<&str>,
        channels: usize,
    ) -> Result<Self> {
        Ok(Self {
            mean: builder.buffer(mean, &[channels], Init::Constant(0.0))?,
            var: builder.buffer(var, &[channels], Init::Constant(1.0))?,
            seen: seen.map(|name| builder.counter(name)).transpose()?,
        })
    }

    /// `activation` of the normalised `[B, C, H, W]` times `weight` plus `bias`, both `[C]`: by the running statistics in
    /// [`Mode::Eval`], else by those of the batch, on all processes, which move the running ones.
    pub(super) fn normalize(
        &self,
        x: &Tensor,
        (weight, bias): (&Tensor, &Tensor),
        activation: Activation,
        mode: Mode,
    ) -> Result<Tensor> {
        if !mode.batch_statistics() {
            let deviation = (self.var.as_detached_tensor() + Self::EPS)?.sqrt()?;
            let scale = (weight / deviation)?;
            let shift = (bias - (self.mean.as_detached_tensor() * &scale)?)?;
            return Ok(scale_channels(x, &scale, &shift, activation)?);
        }
        let reducer = mode.reducer();
        let statistics = batch_statistics(&x.detach(), reducer)?;
        self.track(x.elem_count() / x.dim(1)?.max(1) * processes(reducer), &statistics)?;
        let affine = Tensor::stack(&[weight, bias], 0)?;
        Ok(match mode.is_second_order() {
            true => batch_norm::plain(x, &affine, None, Self::EPS, activation, reducer)?,
            false => batch_norm(x, &affine, None, &statistics, Self::EPS, activation, reducer)?,
        })
    }

    /// Moves the running statistics towards those of `count` values of each channel.
    fn track(&self, count: usize, statistics: &Tensor) -> Result<()> {
        let count = count as f64;
        let mix = |running: &Var, new: Tensor| -> Result<()> {
            let moved = ((running.as_detached_tensor() * (1.0 - Self::MOMENTUM))? + (new * Self::MOMENTUM)?)?;
            Ok(running.set(&moved.to_dtype(running.dtype())?)?)
        };
        mix(&self.mean, statistics.get(0)?)?;
        // The running variance is the unbiased one, as PyTorch keeps it.
        mix(&self.var, (statistics.get(1)? * (count / (count - 1.0).max(1.0)))?)?;
        if let Some(seen) = &self.seen {
            let before = seen.as_detached_tensor();
            let one = Tensor::ones(before.dims(), DType::I64, before.device())?;
            seen.set(&(before + one)?)?;
        }
        Ok(())
    }
}

/// Batch normalisation with a scale and a shift of each channel.
pub(super) struct BatchNorm {
    weight: Parameter,
    bias: Parameter,
    running: RunningStatistics,
}

impl BatchNorm {
    /// `name.{weight, bias, running_mean, running_var}` `[C]` and `name.num_batches_tracked`; `init` is for the weights.
    pub(super) fn new(builder: &mut Builder, name: &str, channels: usize, init: Init) -> Result<Self> {
        let dims = [channels];
        let [mean, var, seen] =
            ["running_mean", "running_var", "num_batches_tracked"].map(|part| format!("{name}.{part}"));
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), &dims, init)?,
            bias: builder.parameter(&format!("{name}.bias"), &dims, Init::Constant(0.0))?,
            running: RunningStatistics::new(builder, (&mean, &var), Some(&seen), channels)?,
        })
    }

    /// `activation` of the normalised `[B, C, H, W]`: see [`RunningStatistics::normalize`].
    pub(super) fn forward(&self, x: &Tensor, activation: Activation, mode: Mode) -> Result<Tensor> {
        let trains = mode.trains();
        self.running.normalize(x, (self.weight.tensor(trains), self.bias.tensor(trains)), activation, mode)
    }
}

/// Each pixel four times: `[B, C, H, W]` to `[B, C, 2 H, 2 W]`.
pub(super) fn double(x: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = x.reshape((b, c, h, 1, w, 1))?.broadcast_as((b, c, h, 2, w, 2))?.contiguous()?;
    Ok(x.reshape((b, c, 2 * h, 2 * w))?)
}

/// `normalize_2nd_moment`: rows of `[B, N]` over their root mean square.
pub(super) fn normalize_2nd_moment(x: &Tensor) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(1)? + SECOND_MOMENT_EPS)?.sqrt()?.recip()?;
    Ok(x.broadcast_mul(&scale)?)
}

/// Noise between the layers of images: `[B, 1, H, W]` standard normal numbers for the maps `like`, of each image by its key; `index` is
/// the layer.
pub(super) fn layer_noise(keys: &[u64], index: u64, like: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = like.dims4()?;
    let of_key = |&key: &u64| normals(keyed(key, Purpose::LayerNoise, index)).take(height * width);
    let values: Vec<f32> = keys.iter().flat_map(of_key).map(|v| v as f32).collect();
    Ok(Tensor::from_vec(values, (keys.len(), 1, height, width), like.device())?.to_dtype(like.dtype())?)
}
