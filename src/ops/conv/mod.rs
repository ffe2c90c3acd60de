//! Convolutions: [`Conv2d`] with frozen weights, bias, residual branch and activation in one pass (extractors),
//! and [`conv2d`] on weights that are trained. On the CPU in float32 both run on the packed product of [`super::gemm`];
//! on other devices and types, and as the second implementation of the tests, on candle's own operations (`composed`).

mod composed;
mod dense;
mod depthwise;
mod input_grad;
pub(super) mod map;
mod padded;
mod shape;
mod staged;
mod store;
mod trained;
mod usage;
mod weight_grad;
mod weights;
mod winograd;

pub(crate) use shape::Padding;
pub use trained::{conv_transpose2d, conv2d};

use super::activation::{self, Activation};
use super::composed::{with_gradient, with_gradients};
use super::gelu::gelu;
use super::host::{floats, init_with};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape as Dims, Tensor, bail};
use input_grad::TransposedWeights;
use shape::Shape;
use std::sync::{Arc, OnceLock};
use store::Epilogue;
use usage::Usage;
use weights::Weights;

/// How an image is padded before a convolution or pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaddingRule {
    /// The same number of zeros on each side.
    Fixed(Padding),
    /// TensorFlow's `SAME`, which depends on the size of the image.
    TensorflowSame,
}

impl PaddingRule {
    /// Zeros around a `height` x `width` image.
    pub fn resolve(self, height: usize, width: usize, kernel: usize, stride: usize) -> Padding {
        match self {
            PaddingRule::Fixed(padding) => padding,
            PaddingRule::TensorflowSame => Padding::tensorflow_same(height, width, kernel, stride),
        }
    }
}

/// The hyperparameters of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvConfig {
    /// Pixels between output positions.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: PaddingRule,
    /// 1, or the number of channels (depthwise).
    pub groups: usize,
    /// Applied to the sum, bias and residual.
    pub activation: Activation,
}

impl ConvConfig {
    /// Stride 1, `padding` zeros on each side, one group, no activation.
    pub const fn padded(padding: usize) -> Self {
        Self {
            stride: 1,
            padding: PaddingRule::Fixed(Padding::same(padding)),
            groups: 1,
            activation: Activation::Identity,
        }
    }
}

/// A convolution whose weights do not change; differentiable with respect to its input (first order).
#[derive(Clone)]
pub struct Conv2d(Arc<Frozen>);

struct Frozen {
    /// `[O, C / groups, kh, kw]`
    weight: Tensor,
    /// `[O]`
    bias: Option<Tensor>,
    config: ConvConfig,
    /// Whether the layer is used for more than one batch.
    kept: bool,
    /// `None` where candle's operations are used.
    host: Option<HostWeights>,
}

struct HostWeights {
    weights: Weights,
    bias: Option<Vec<f32>>,
    transposed: OnceLock<TransposedWeights>,
}

impl Conv2d {
    /// From `weight` `[O, C / groups, kh, kw]` and `bias` `[O]`.
    ///
    /// # Errors
    /// If the shapes do not fit each other, or `groups` is neither 1 nor the number of channels.
    pub fn new(weight: Tensor, bias: Option<Tensor>, config: ConvConfig) -> Result<Self> {
        Self::for_usage(weight, bias, config, Usage::Kept)
    }

    /// [`Conv2d::new`] for one batch of the shape `dims`: the weights are only transformed where one batch is worth it.
    ///
    /// # Errors
    /// Likewise, or if such a batch does not fit.
    pub fn once(weight: Tensor, bias: Option<Tensor>, config: ConvConfig, dims: &[usize]) -> Result<Self> {
        let usage = Usage::once(&shape_of(dims, &weight, &config)?);
        Self::for_usage(weight, bias, config, usage)
    }

    fn for_usage(weight: Tensor, bias: Option<Tensor>, config: ConvConfig, usage: Usage) -> Result<Self> {
        let (outs, per_group, kh, kw) = weight.dims4()?;
        if config.groups != 1 && (config.groups != outs || per_group != 1) {
            bail!(
                "a convolution of {} groups with weights {:?} is not supported",
                config.groups,
                weight.shape()
            );
        }
        if let Some(bias) = &bias
            && bias.dims() != [outs]
        {
            bail!("a bias of shape {:?} does not fit {outs} channels", bias.shape());
        }
        let host = if weight.device().is_cpu() && weight.dtype() == DType::F32 {
            let values: Vec<f32> = weight.flatten_all()?.to_vec1()?;
            let weights = match config.groups {
                1 => {
                    let (dims, depth) = ([outs, per_group, kh, kw], per_group * kh * kw);
                    Weights::dense(dims, config.stride, usage, |row, k| values[row * depth + k])
                }
                _ => Weights::Depthwise(values),
            };
            let bias = bias.as_ref().map(|bias| bias.to_vec1()).transpose()?;
            Some(HostWeights { weights, bias, transposed: OnceLock::new() })
        } else {
            None
        };
        Ok(Self(Arc::new(Frozen { weight, bias, config, kept: usage == Usage::Kept, host })))
    }

    /// `[B, C, H, W]` to `[B, O, H', W']`.
    ///
    /// # Errors
    /// If the input does not fit the weights.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.0.host.is_none() || x.dtype() != DType::F32 {
            return Frozen::composed(&self.0, x, None);
        }
        let (fused, after) = self.split(x.track_op());
        let y = x.contiguous()?.apply_op1(fused)?;
        if after { gelu(&y) } else { Ok(y) }
    }

    /// `activation(conv(x) + residual)`, `residual` of the output's shape.
    ///
    /// # Errors
    /// If the input or the residual does not fit.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        if self.0.host.is_none() || x.dtype() != DType::F32 {
            return Frozen::composed(&self.0, x, Some(residual));
        }
        let (fused, after) = self.split(x.track_op() || residual.track_op());
        let y = x.contiguous()?.apply_op2(&residual.contiguous()?, fused)?;
        if after { gelu(&y) } else { Ok(y) }
    }

    /// The operation, and whether GELU is one of its own after it: its gradient needs the value before it, which nothing
    /// else keeps.
    fn split(&self, tracked: bool) -> (Fused, bool) {
        let after = tracked && self.0.config.activation == Activation::Gelu;
        let activation = if after { Activation::Identity } else { self.0.config.activation };
        (Fused { layer: self.0.clone(), activation }, after)
    }
}

impl Frozen {
    fn shape(&self, dims: &[usize]) -> Result<Shape> {
        shape_of(dims, &self.weight, &self.config)
    }

    /// The same on candle's own operations, with the gradient of the fused operation.
    fn composed(this: &Arc<Self>, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let (x, residual) = (x.contiguous()?, residual.map(|r| r.contiguous()).transpose()?);
        let tracked = x.track_op() || residual.as_ref().is_some_and(Tensor::track_op);
        // As in `split`: the gradient of GELU needs the value before it.
        let after = tracked && this.config.activation == Activation::Gelu;
        let activation = if after { Activation::Identity } else { this.config.activation };
        let value = this.composed_value(&x.detach(), residual.as_ref().map(Tensor::detach), activation)?;
        if !tracked {
            return Ok(value);
        }
        let (layer, shape) = (this.clone(), this.shape(x.dims())?);
        let gradients = move |y: &Tensor, dy: &Tensor| {
            let dy = activation::gradient(y, dy, activation)?.contiguous()?;
            let weight = layer.weight.detach().to_dtype(dy.dtype())?;
            let dx = match layer.config.groups {
                1 => composed::input_grad(&shape, &dy, &weight)?,
                _ => composed::depthwise_input_grad(&shape, &dy, &weight)?,
            };
            Ok((dx, dy))
        };
        let y = match residual {
            Some(residual) => with_gradients(&x, &residual, value, move |_, _, y, dy| gradients(y, dy)),
            None => with_gradient(&x, value, move |_, y, dy| Ok(gradients(y, dy)?.0)),
        }?;
        if after { gelu(&y) } else { Ok(y) }
    }

    fn composed_value(&self, x: &Tensor, residual: Option<Tensor>, activation: Activation) -> Result<Tensor> {
        let (shape, weight) = (self.shape(x.dims())?, self.weight.detach().to_dtype(x.dtype())?);
        let mut y = match self.config.groups {
            1 => composed::output(&shape, x, &weight)?,
            _ => composed::depthwise_output(&shape, x, &weight)?,
        };
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(&bias.detach().to_dtype(x.dtype())?.reshape((1, (), 1, 1))?)?;
        }
        if let Some(residual) = residual {
            y = (y + residual)?;
        }
        activation::plain(&y, activation)
    }

    fn compute(
        &self,
        x: &[f32],
        dims: &[usize],
        residual: Option<&[f32]>,
        activation: Activation,
    ) -> Result<(CpuStorage, Dims)> {
        let Some(host) = &self.host else { bail!("the weights are not on the CPU") };
        let shape = self.shape(dims)?;
        let out_dims = (shape.batch, shape.out_channels, shape.out_height, shape.out_width);
        let n = shape.batch * shape.out_channels * shape.out_plane();
        if residual.is_some_and(|residual| residual.len() != n) {
            bail!("the residual does not have the shape {out_dims:?} of the output");
        }
        let epilogue = Epilogue { bias: host.bias.as_deref(), residual, activation };
        // SAFETY: the forward passes write every element: their tasks split the output without gaps, and the segments of a task
        // cover each of its columns for each of its channels.
        let out = unsafe { init_with(n, |out| host.weights.forward(&shape, x, epilogue, out)) };
        Ok((CpuStorage::F32(out), Dims::from(out_dims)))
    }
}

fn shape_of(dims: &[usize], weight: &Tensor, config: &ConvConfig) -> Result<Shape> {
    let (outs, per_group, kh, kw) = weight.dims4()?;
    let &[batch, channels, height, width] = dims else {
        bail!("a convolution needs [B, C, H, W], not {dims:?}");
    };
    if channels != per_group * config.groups {
        bail!("a convolution with weights {:?} was given {channels} channels", weight.shape());
    }
    let padding = config.padding.resolve(height, width, kh, config.stride);
    match Shape::new((batch, per_group, height, width), (outs, kh, kw), config.stride, padding) {
        Some(shape) => Ok(shape),
        None => bail!("an image of {height} x {width} is smaller than the {kh} x {kw} kernel"),
    }
}

/// A frozen convolution as an operation of candle's graph.
struct Fused {
    layer: Arc<Frozen>,
    activation: Activation,
}

impl Fused {
    /// Gradients of input and residual.
    fn gradients(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
        let dy = activation::gradient(y, dy, self.activation)?;
        let op = FusedGrad { layer: self.layer.clone(), dims: x.dims().to_vec() };
        Ok((dy.contiguous()?.apply_op1_no_bwd(&op)?, dy))
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        "conv2d-frozen"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Dims)> {
        self.layer.compute(floats(x, layout)?, layout.dims(), None, self.activation)
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.gradients(x, y, dy)?.0))
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        "conv2d-frozen-add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Dims)> {
        let residual = Some(floats(residual, residual_layout)?);
        self.layer.compute(floats(x, x_layout)?, x_layout.dims(), residual, self.activation)
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dr) = self.gradients(x, y, dy)?;
        Ok((Some(dx), Some(dr)))
    }
}

/// The gradient of a frozen convolution with respect to an input of shape `dims`.
struct FusedGrad {
    layer: Arc<Frozen>,
    dims: Vec<usize>,
}

impl CustomOp1 for FusedGrad {
    fn name(&self) -> &'static str {
        "conv2d-frozen-input-grad"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Dims)> {
        let Some(host) = &self.layer.host else { bail!("the weights are not on the CPU") };
        let shape = self.layer.shape(&self.dims)?;
        let dy = floats(dy, layout)?;
        let dx = match &host.weights {
            Weights::Depthwise(weights) => {
                let mut dx = vec![0f32; self.dims.iter().product()];
                depthwise::input_grad(&shape, dy, weights, &mut dx);
                dx
            }
            _ => {
                let values = match host.transposed.get() {
                    Some(_) => Vec::new(),
                    None => self.layer.weight.flatten_all()?.to_vec1()?,
                };
                let usage = if self.layer.kept { Usage::Kept } else { Usage::once_for_input_grad(&shape) };
                let weights = host.transposed.get_or_init(|| TransposedWeights::new(&values, &shape, usage));
                input_grad::input_grad(&shape, dy, weights)
            }
        };
        Ok((CpuStorage::F32(dx), Dims::from(self.dims.clone())))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transpose_tests;
