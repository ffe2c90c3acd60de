//! Mean and variance of the channels of a batch.

use super::all_reduce::{self, Reducer, processes};
use super::floats;
use crate::ops::host::sum;
use crate::ops::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Mean and biased variance of each channel, `[2, C]`, from `[B, C, H, W]` of each process; not differentiable.
///
/// # Errors
/// If `x` is not a batch of images.
pub fn batch_statistics(x: &Tensor, reducer: Option<&Reducer>) -> Result<Tensor> {
    let own = if !x.device().is_cpu() || x.dtype() != DType::F32 {
        let x = x.detach().transpose(0, 1)?.flatten_from(1)?;
        let mean = x.mean_keepdim(1)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean(1)?;
        Tensor::stack(&[mean.squeeze(1)?, variance], 0)?
    } else {
        x.contiguous()?.apply_op1_no_bwd(&Statistics)?
    };
    if processes(reducer) == 1 {
        return Ok(own);
    }
    // In float64, where nothing is lost to the difference: the square of a float32 is exact.
    let wide = own.to_dtype(DType::F64)?;
    let (mean, variance) = (wide.get(0)?, wide.get(1)?);
    let moments = all_reduce::mean(&Tensor::stack(&[&mean, &(variance + mean.sqr()?)?], 0)?, reducer)?;
    let mean = moments.get(0)?;
    let variance = (moments.get(1)? - mean.sqr()?)?.relu()?;
    Tensor::stack(&[mean, variance], 0)?.to_dtype(own.dtype())
}

struct Statistics;

impl CustomOp1 for Statistics {
    fn name(&self) -> &'static str {
        "batch-statistics"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let plane = height * width;
        Ok(by_channel(channels, |channel| simd::run(ChannelMoments { x, channel, channels, plane, batch })))
    }
}

/// Mean and biased variance of one channel: computed for each plane while it is in the cache, and combined by the formula of Chan,
/// Golub and LeVeque (1983).
struct ChannelMoments<'a> {
    x: &'a [f32],
    channel: usize,
    channels: usize,
    plane: usize,
    batch: usize,
}

impl Kernel for ChannelMoments<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn call(self) -> (f32, f32) {
        let Self { x, channel, channels, plane, batch } = self;
        let n = plane as f64;
        let (mut mean, mut squares) = (0f64, 0f64);
        for (done, values) in planes(x, channel, channels, plane).enumerate() {
            let own = sum(values, |v| v) / n;
            let (apart, done) = (own - mean, done as f64);
            squares += sum(values, |v| (v - own) * (v - own)) + apart * apart * n * done / (done + 1.0);
            mean += apart / (done + 1.0);
        }
        (mean as f32, (squares / (n * batch as f64)) as f32)
    }
}

/// `[2, C]` of two numbers for each channel.
fn by_channel(channels: usize, of: impl Fn(usize) -> (f32, f32) + Send + Sync) -> (CpuStorage, Shape) {
    let (mut rows, second): (Vec<f32>, Vec<f32>) = (0..channels).into_par_iter().map(of).unzip();
    rows.extend(second);
    (CpuStorage::F32(rows), Shape::from((2, channels)))
}

/// The planes of one channel, image by image.
pub(super) fn planes(
    x: &[f32],
    channel: usize,
    channels: usize,
    plane: usize,
) -> impl Iterator<Item = &[f32]> {
    x.chunks_exact(plane).skip(channel).step_by(channels)
}
