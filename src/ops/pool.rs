//! Pooling: overlapping max-pool and the global average, with gradients.

use super::conv::PaddingRule;
use super::host::floats;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Max-pool of `[B, C, H, W]` with a square window; padding never wins. The gradient goes to the first maximum of a window, as in PyTorch.
///
/// # Errors
/// If `x` is not a float32 image batch on the CPU and the window overlaps (candle has no gradient there), or is smaller than the window.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: PaddingRule) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let p = padding.resolve(height, width, kernel, stride);
    let (padded_height, padded_width) = (height + p.top + p.bottom, width + p.left + p.right);
    if padded_height < kernel || padded_width < kernel || height == 0 || width == 0 {
        bail!("an image of {height} x {width} is smaller than the {kernel} x {kernel} pooling window");
    }
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return plain_max_pool(x, kernel, stride, (p.top, p.bottom), (p.left, p.right));
    }
    x.contiguous()?.apply_op1(MaxPool {
        size: (height, width),
        kernel,
        stride,
        before: (p.top, p.left),
        out: ((padded_height - kernel) / stride + 1, (padded_width - kernel) / stride + 1),
    })
}

/// The maximum over shifted views: slow, but of any type and device, and differentiable.
fn plain_max_pool(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    (top, bottom): (usize, usize),
    (left, right): (usize, usize),
) -> Result<Tensor> {
    // Padding must lose against every value: shift above 0, pad with zeros, shift back.
    let low = (x.flatten_all()?.min(0)?.detach() - 1.0)?;
    let x = x.broadcast_sub(&low)?.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
    let (_, _, height, width) = x.dims4()?;
    let (out_height, out_width) = ((height - kernel) / stride + 1, (width - kernel) / stride + 1);
    let pick = |first: usize, count: usize| {
        Tensor::arange_step(
            first as u32,
            (first + (count - 1) * stride + 1) as u32,
            stride as u32,
            x.device(),
        )
    };
    let mut best: Option<Tensor> = None;
    for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
        let view = x.index_select(&pick(ky, out_height)?, 2)?.index_select(&pick(kx, out_width)?, 3)?;
        best = Some(match best {
            Some(best) => best.maximum(&view)?,
            None => view,
        });
    }
    match best {
        Some(best) => best.broadcast_add(&low),
        None => bail!("a pooling window of no pixel"),
    }
}

#[derive(Clone, Copy)]
struct MaxPool {
    size: (usize, usize),
    kernel: usize,
    stride: usize,
    before: (usize, usize),
    out: (usize, usize),
}

impl MaxPool {
    /// The first maximum under each output pixel of one plane: `found(output pixel, input pixel, value)`.
    fn scan(&self, x: &[f32], mut found: impl FnMut(usize, usize, f32)) {
        let (height, width) = self.size;
        let range = |at: usize, before: usize, limit: usize| {
            let start = at * self.stride;
            start.saturating_sub(before)..(start + self.kernel).saturating_sub(before).min(limit)
        };
        for oy in 0..self.out.0 {
            for ox in 0..self.out.1 {
                let mut best = (0, f32::NEG_INFINITY);
                for y in range(oy, self.before.0, height) {
                    for x_at in range(ox, self.before.1, width) {
                        let value = x[y * width + x_at];
                        if value > best.1 || value.is_nan() {
                            best = (y * width + x_at, value);
                        }
                    }
                }
                found(oy * self.out.1 + ox, best.0, best.1);
            }
        }
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, ..) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let (plane, out_plane) = (self.size.0 * self.size.1, self.out.0 * self.out.1);
        let mut out = vec![0f32; batch * channels * out_plane];
        out.par_chunks_mut(out_plane)
            .zip(x.par_chunks(plane))
            .for_each(|(out, x)| self.scan(x, |to, _, value| out[to] = value));
        Ok((CpuStorage::F32(out), Shape::from((batch, channels, self.out.0, self.out.1))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.contiguous()?.apply_op2_no_bwd(&dy.contiguous()?, &MaxPoolGrad(*self))?))
    }
}

struct MaxPoolGrad(MaxPool);

impl CustomOp2 for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max-pool2d-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, dy) = (floats(x, x_layout)?, floats(dy, dy_layout)?);
        let plane = self.0.size.0 * self.0.size.1;
        let mut dx = vec![0f32; x.len()];
        dx.par_chunks_mut(plane)
            .zip(x.par_chunks(plane))
            .zip(dy.par_chunks(self.0.out.0 * self.0.out.1))
            .for_each(|((dx, x), dy)| self.0.scan(x, |from, to, _| dx[to] += dy[from]));
        Ok((CpuStorage::F32(dx), x_layout.shape().clone()))
    }
}

/// The mean over all pixels, `[B, C, H, W]` to `[B, C]`.
///
/// # Errors
/// If `x` has another number of dimensions.
pub fn global_average_pool(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.flatten_from(2)?.mean(2);
    }
    x.contiguous()?.apply_op1(GlobalAverage)
}

struct GlobalAverage;

impl CustomOp1 for GlobalAverage {
    fn name(&self) -> &'static str {
        "global-average-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let plane = (height * width).max(1);
        let out: Vec<f32> = x
            .par_chunks(plane)
            .map(|plane| (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64) as f32)
            .collect();
        Ok((CpuStorage::F32(out), Shape::from((batch, channels))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, height, width) = x.dims4()?;
        let dy = (dy / (height * width) as f64)?;
        Ok(Some(dy.unsqueeze(2)?.unsqueeze(3)?.broadcast_as(x.shape())?.contiguous()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv::Padding;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    fn distinct(dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f32> = (0..n).map(|i| (i * 7919 % 100_003) as f32 / 50_000.0 - 1.0).collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    fn flat(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn overlapping_max_pool_agrees_with_the_maximum_of_shifted_views(
            size in (4usize..12, 4usize..12), kernel in 1usize..4, stride in 1usize..4, same in any::<bool>(), pad in 0usize..2
        ) {
            let rule = if same { PaddingRule::TensorflowSame } else { PaddingRule::Fixed(Padding::same(pad.min(kernel / 2))) };
            let x = Var::from_tensor(&distinct(&[2, 3, size.0, size.1])).unwrap();
            let p = rule.resolve(size.0, size.1, kernel, stride);
            let fast = max_pool2d(&x, kernel, stride, rule).unwrap();
            let plain = plain_max_pool(&x.to_dtype(DType::F64).unwrap(), kernel, stride, (p.top, p.bottom), (p.left, p.right)).unwrap();
            for (a, b) in flat(&fast).iter().zip(flat(&plain)) {
                prop_assert!((a - b).abs() < 1e-6);
            }
            let probe = distinct(fast.dims());
            let dx = (&fast * &probe).unwrap().backward().unwrap();
            let expected = (plain * probe.to_dtype(DType::F64).unwrap()).unwrap().backward().unwrap();
            for (a, b) in flat(dx.get(&x).unwrap()).iter().zip(flat(expected.get(&x).unwrap())) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_global_average_and_its_gradient_are_the_closed_form() {
        let x = Var::from_tensor(&distinct(&[2, 3, 5, 4])).unwrap();
        let y = global_average_pool(&x).unwrap();
        let expected = x.flatten_from(2).unwrap().mean(2).unwrap();
        for (a, b) in flat(&y).iter().zip(flat(&expected)) {
            assert!((a - b).abs() < 1e-6);
        }
        let grad = y.sum_all().unwrap().backward().unwrap();
        assert!(flat(grad.get(&x).unwrap()).iter().all(|g| (g - 0.05).abs() < 1e-7));
    }

    #[test]
    fn a_window_larger_than_the_image_is_an_error() {
        assert!(max_pool2d(&distinct(&[1, 1, 2, 2]), 3, 2, PaddingRule::Fixed(Padding::same(0))).is_err());
    }
}
