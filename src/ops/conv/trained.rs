//! Convolution on weights that are trained. The three maps (output, gradient of the input, gradient of the weights)
//! are each other's derivatives, so gradients of any order follow from three operations.

use super::input_grad::{self, TransposedWeights};
use super::map::Kind;
use super::store::Epilogue;
use super::usage::Usage;
use super::weights::Weights;
use super::{ConvConfig, Padding, Shape, composed, shape_of, weight_grad};
use crate::ops::activation::Activation;
use crate::ops::host::{floats, init_with};
use crate::ops::product::product;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape as Dims, Tensor, bail};

/// `x` `[B, C, H, W]` with `weight` `[O, C, kh, kw]`, or `[C, 1, kh, kw]` of as many groups, both differentiable; `config.activation` is
/// not applied.
///
/// # Errors
/// If the shapes do not fit, or where candle has no such operation.
pub fn conv2d(x: &Tensor, weight: &Tensor, config: ConvConfig) -> Result<Tensor> {
    let shape = shape_of(x.dims(), weight, &config)?;
    if config.groups != 1 {
        if weight.dims()[..2] != [config.groups, 1] {
            bail!(
                "a convolution of {} groups with weights {:?} is not supported",
                config.groups,
                weight.shape()
            );
        }
        return composed::depthwise_output(&shape, x, weight);
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return composed::map(&shape, Kind::Output, x, weight);
    }
    if shape.whole() && shape.batch > 1 {
        let x = x.reshape((shape.batch, shape.depth()))?;
        let y = product(&x, &weight.reshape((shape.out_channels, shape.depth()))?)?;
        return y.reshape((shape.batch, shape.out_channels, 1, 1));
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, Map { shape, kind: Kind::Output })
}

/// `x` `[B, C, H, W]` with `weight` `[C, O, kh, kw]` (PyTorch's order), both differentiable, to `[B, O, (H - 1) stride - 2 padding + kh, …]`:
/// the gradient of the input of a convolution from O to C channels.
///
/// # Errors
/// If the shapes do not fit, or where candle has no such operation.
pub fn conv_transpose2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (ins, outs, kernel_height, kernel_width) = weight.dims4()?;
    let size = |n: usize, kernel: usize| (n.checked_sub(1)? * stride + kernel).checked_sub(2 * padding);
    let (Some(out_height), Some(out_width), true) =
        (size(height, kernel_height), size(width, kernel_width), ins == channels && stride > 0)
    else {
        bail!("a transposed convolution with weights {:?} was given {:?}", weight.shape(), x.shape());
    };
    if height * width == 1 && padding == 0 {
        // Each output is a product with the one pixel: far denser as a pointwise convolution.
        let columns = weight.reshape((ins, ()))?.t()?.contiguous()?.reshape(((), ins, 1, 1))?;
        return conv2d(x, &columns, ConvConfig::padded(0))?.reshape((
            batch,
            outs,
            kernel_height,
            kernel_width,
        ));
    }
    let input = (batch, outs, out_height, out_width);
    match Shape::new(input, (ins, kernel_height, kernel_width), stride, Padding::same(padding)) {
        Some(shape) if !x.device().is_cpu() || x.dtype() != DType::F32 => {
            composed::map(&shape, Kind::InputGrad, x, weight)
        }
        Some(shape) => x.contiguous()?.apply_op2(&weight.contiguous()?, Map { shape, kind: Kind::InputGrad }),
        None => bail!("a transposed convolution of {:?} with padding {padding} has no output", x.shape()),
    }
}

struct Map {
    shape: Shape,
    kind: Kind,
}

impl Map {
    fn apply(&self, kind: Kind, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let op = Map { shape: self.shape, kind };
        a.contiguous()?.apply_op2(&b.contiguous()?, op)
    }
}

impl CustomOp2 for Map {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Output => "conv2d",
            Kind::InputGrad => "conv2d-input-grad",
            Kind::WeightGrad => "conv2d-weight-grad",
        }
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Dims)> {
        let s = &self.shape;
        let (a, b) = (floats(a, a_layout)?, floats(b, b_layout)?);
        let inputs = [s.batch, s.in_channels, s.height, s.width];
        let weights = [s.out_channels, s.in_channels, s.kernel_height, s.kernel_width];
        let outputs = [s.batch, s.out_channels, s.out_height, s.out_width];
        let (a_dims, b_dims, dims) = match self.kind {
            Kind::Output => (inputs, weights, outputs),
            Kind::InputGrad => (outputs, weights, inputs),
            Kind::WeightGrad => (inputs, outputs, weights),
        };
        if a.len() != a_dims.iter().product::<usize>() || b.len() != b_dims.iter().product::<usize>() {
            bail!("{}: operands must be {a_dims:?} and {b_dims:?}", self.name());
        }
        let n = dims.iter().product();
        let out = match self.kind {
            Kind::Output => {
                let epilogue = Epilogue { bias: None, residual: None, activation: Activation::Identity };
                let weights =
                    Weights::dense(weights, s.stride, Usage::once(s), |row, k| b[row * s.depth() + k]);
                // SAFETY: a forward pass writes every element.
                unsafe { init_with(n, |out| weights.forward(s, a, epilogue, out)) }
            }
            Kind::InputGrad => {
                let weights = TransposedWeights::new(b, s, Usage::once_for_input_grad(s));
                input_grad::input_grad(s, a, &weights)
            }
            Kind::WeightGrad => {
                let mut out = vec![0f32; n];
                weight_grad::weight_grad(s, a, b, &mut out);
                out
            }
        };
        Ok((CpuStorage::F32(out), Dims::from(dims.to_vec())))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.kind.gradients(a, b, grad, |kind, a, b| self.apply(kind, a, b))
    }
}
