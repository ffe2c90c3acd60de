//! The three maps of a convolution on candle's own operations, for other devices and types than float32 on the CPU: products that
//! run on the device's matrix units. Candle's own gradient of the input would be a transposed convolution, which has no such path.
//! As in [`super::trained`] the maps are each other's derivatives, to any order.

use super::map::Kind;
use super::shape::Shape;
use crate::ops::composed::{wide, with_gradients};
use crate::ops::taps::{Taps, cut};
use candle_core::{Result, Tensor};

/// Bytes of the columns that a device's convolution gathers at a time.
const COLUMNS_BYTES: usize = 1 << 30;

/// Map `kind` of its two operands (see [`Kind`]).
pub(super) fn map(shape: &Shape, kind: Kind, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let value = match kind {
        Kind::Output => output(shape, &a.detach(), &b.detach()),
        Kind::InputGrad => input_grad(shape, &a.detach(), &b.detach()),
        Kind::WeightGrad => weight_grad(shape, &a.detach(), &b.detach()),
    }?;
    if !a.track_op() && !b.track_op() {
        return Ok(value);
    }
    let shape = *shape;
    with_gradients(&a, &b, value, move |a, b, _, grad| {
        let [first, second] = kind.derivatives(a, b, grad);
        Ok((map(&shape, first.0, first.1, first.2)?, map(&shape, second.0, second.1, second.2)?))
    })
}

fn taps(s: &Shape) -> Taps {
    Taps {
        size: (s.height, s.width),
        kernel: (s.kernel_height, s.kernel_width),
        stride: s.stride,
        before: (s.top, s.left),
        out: (s.out_height, s.out_width),
    }
}

/// `x` `[B, C, H, W]` and `w` `[O, C, kh, kw]` to `[B, O, H', W']`.
pub(super) fn output(s: &Shape, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if s.pointwise() {
        let x = x.reshape((s.batch, s.in_channels, ()))?;
        let y = w.reshape((s.out_channels, s.in_channels))?.broadcast_left(s.batch)?.matmul(&x)?;
        return y.reshape((s.batch, s.out_channels, s.out_height, s.out_width));
    }
    let reach = |out: usize, kernel: usize| (out - 1) * s.stride + kernel;
    let x = padded(x, 2, s.top, reach(s.out_height, s.kernel_height))?;
    let x = padded(&x, 3, s.left, reach(s.out_width, s.kernel_width))?;
    convolve(&x.contiguous()?, w, s.stride, COLUMNS_BYTES)
}

/// Candle's convolution of as many images at a time as need no more than `bytes` for their columns.
fn convolve(x: &Tensor, w: &Tensor, stride: usize, bytes: usize) -> Result<Tensor> {
    let ((batch, channels, height, width), (_, _, kh, kw)) = (x.dims4()?, w.dims4()?);
    let pixels = ((height - kh) / stride + 1) * ((width - kw) / stride + 1);
    let one = pixels * channels * kh * kw * x.dtype().size_in_bytes();
    let together = (bytes / one.max(1)).clamp(1, batch.max(1));
    let part = |first: usize| x.narrow(0, first, together.min(batch - first))?.conv2d(w, 0, stride, 1, 1);
    if together == batch {
        return x.conv2d(w, 0, stride, 1, 1);
    }
    Tensor::cat(&(0..batch).step_by(together).map(part).collect::<Result<Vec<_>>>()?, 0)
}

/// `before` zeros in front, and as many behind as make `total` positions.
fn padded(x: &Tensor, dim: usize, before: usize, total: usize) -> Result<Tensor> {
    cut(&x.pad_with_zeros(dim, before, 0)?, dim, 0, total)
}

/// `dy` `[B, O, H', W']` and `w` `[O, C, kh, kw]` to the gradient of the input, `[B, C, H, W]`.
pub(super) fn input_grad(s: &Shape, dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    if s.stride == 1 && !s.pointwise() {
        // A convolution with the flipped kernels, channels exchanged.
        let flipped = w.transpose(0, 1)?.contiguous()?.flip(&[2, 3])?;
        let (rows, columns) = (s.kernel_height - 1, s.kernel_width - 1);
        let dy = dy.pad_with_zeros(2, rows, rows)?.pad_with_zeros(3, columns, columns)?;
        let whole = convolve(&dy.contiguous()?, &flipped, 1, COLUMNS_BYTES)?;
        return cut(&cut(&whole, 2, s.top, s.height)?, 3, s.left, s.width)?.contiguous();
    }
    let dy = dy.reshape((s.batch, s.out_channels, ()))?;
    let columns = w.reshape((s.out_channels, s.depth()))?.t()?.broadcast_left(s.batch)?.matmul(&dy)?;
    if s.pointwise() {
        return columns.reshape((s.batch, s.in_channels, s.height, s.width));
    }
    let columns = columns.reshape((s.batch, s.in_channels, s.taps(), s.out_height, s.out_width))?;
    taps(s).put_back(|y, x| columns.narrow(2, y * s.kernel_width + x, 1)?.squeeze(2))
}

/// `x` `[B, C, H, W]` and `dy` `[B, O, H', W']` to the gradient of the weights, `[O, C, kh, kw]`: one product for each tap.
fn weight_grad(s: &Shape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let taps = taps(s);
    let grid = taps.look_at(x)?;
    let dy = dy.transpose(0, 1)?.contiguous()?.reshape((s.out_channels, ()))?;
    let parts = taps.places().map(|(y, x)| {
        let pixels = grid.view(y, x)?.permute((0, 2, 3, 1))?.contiguous()?.reshape(((), s.in_channels))?;
        dy.matmul(&pixels)
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Tensor::stack(&parts, 2)?.reshape((s.out_channels, s.in_channels, s.kernel_height, s.kernel_width))
}

/// [`output`] where each channel has its own kernel, `w` `[C, 1, kh, kw]`. Candle would run a convolution for each channel.
pub(super) fn depthwise_output(s: &Shape, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let dtype = wide(x.dtype());
    let (taps, grid) = (taps(s), taps(s).look_at(&x.to_dtype(dtype)?)?);
    let w = w.to_dtype(dtype)?;
    let parts = taps.places().map(|(y, x)| grid.view(y, x)?.broadcast_mul(&kernel_at(&w, y, x)?));
    let sum = parts.reduce(|sum, part| sum? + part?);
    sum.unwrap_or_else(|| candle_core::bail!("a kernel without taps"))?.to_dtype(x.dtype())
}

/// [`input_grad`] where each channel has its own kernel.
pub(super) fn depthwise_input_grad(s: &Shape, dy: &Tensor, w: &Tensor) -> Result<Tensor> {
    taps(s).put_back(|y, x| dy.broadcast_mul(&kernel_at(w, y, x)?))
}

/// The weight of one tap for each channel, `[1, C, 1, 1]`.
fn kernel_at(w: &Tensor, y: usize, x: usize) -> Result<Tensor> {
    w.narrow(2, y, 1)?.narrow(3, x, 1)?.reshape((1, (), 1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn batches_convolved_in_parts_give_the_whole() {
        let numbers = |dims: &[usize]| {
            let n: usize = dims.iter().product();
            let data: Vec<f64> = (0..n).map(|i| (i * 7919 % 1013) as f64 / 512.0 - 1.0).collect();
            Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
        };
        let (x, w) = (numbers(&[5, 3, 8, 7]), numbers(&[4, 3, 3, 2]));
        let flat =
            |bytes| convolve(&x, &w, 2, bytes).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let whole = flat(COLUMNS_BYTES);
        // None fits, one, and two.
        for bytes in [0, 9 * 18 * 8, 2 * 9 * 18 * 8] {
            assert_eq!(flat(bytes), whole);
        }
    }
}
