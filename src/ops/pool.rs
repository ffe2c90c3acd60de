//! Pooling: overlapping max-pool and average pool, and the global average, with gradients.

mod average;

pub use average::average_pool2d;

use super::conv::{Padding, PaddingRule};
use super::host::floats;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::ops::Range;

/// Max-pool of `[B, C, H, W]` with a square window; padding never wins. The gradient goes to the first maximum of a window, as in PyTorch.
///
/// # Errors
/// If `x` is not a float32 image batch on the CPU and the window overlaps (candle has no gradient there), or is smaller than the window.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: PaddingRule) -> Result<Tensor> {
    let window = Window::new(x, kernel, stride, padding)?;
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return plain_max_pool(x, &window);
    }
    x.contiguous()?.apply_op1(MaxPool(window))
}

/// The geometry of a pooling call.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// (height, width) of the image.
    size: (usize, usize),
    kernel: usize,
    stride: usize,
    padding: Padding,
    /// (height, width) of the output.
    out: (usize, usize),
}

impl Window {
    fn new(x: &Tensor, kernel: usize, stride: usize, padding: PaddingRule) -> Result<Self> {
        let (_, _, height, width) = x.dims4()?;
        let padding = padding.resolve(height, width, kernel, stride);
        let padded = (height + padding.top + padding.bottom, width + padding.left + padding.right);
        if kernel == 0 || padded.0 < kernel || padded.1 < kernel || height == 0 || width == 0 {
            bail!("an image of {height} x {width} is smaller than the {kernel} x {kernel} pooling window");
        }
        let out = ((padded.0 - kernel) / stride + 1, (padded.1 - kernel) / stride + 1);
        Ok(Self { size: (height, width), kernel, stride, padding, out })
    }

    /// Input rows under output row `at`.
    fn rows(&self, at: usize) -> Range<usize> {
        self.range(at, self.padding.top, self.size.0)
    }

    /// Input columns under output column `at`.
    fn columns(&self, at: usize) -> Range<usize> {
        self.range(at, self.padding.left, self.size.1)
    }

    fn range(&self, at: usize, before: usize, limit: usize) -> Range<usize> {
        let start = at * self.stride;
        start.saturating_sub(before)..(start + self.kernel).saturating_sub(before).min(limit)
    }

    fn in_plane(&self) -> usize {
        self.size.0 * self.size.1
    }

    fn out_plane(&self) -> usize {
        self.out.0 * self.out.1
    }

    /// `x`, zeros around it, shifted to each place of the window: slow, but of any type and device, and differentiable.
    fn views(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let p = self.padding;
        let x = x.pad_with_zeros(2, p.top, p.bottom)?.pad_with_zeros(3, p.left, p.right)?;
        let pick = |first: usize, count: usize| {
            let end = first + (count - 1) * self.stride + 1;
            Tensor::arange_step(first as u32, end as u32, self.stride as u32, x.device())
        };
        let places = (0..self.kernel).flat_map(|ky| (0..self.kernel).map(move |kx| (ky, kx)));
        places
            .map(|(ky, kx)| {
                x.index_select(&pick(ky, self.out.0)?, 2)?.index_select(&pick(kx, self.out.1)?, 3)
            })
            .collect()
    }
}

/// The maximum over shifted views.
fn plain_max_pool(x: &Tensor, window: &Window) -> Result<Tensor> {
    // Padding must lose against every value: shift above 0, pad with zeros, shift back.
    let low = (x.flatten_all()?.min(0)?.detach() - 1.0)?;
    let views = window.views(&x.broadcast_sub(&low)?)?;
    let best = views.iter().skip(1).try_fold(views[0].clone(), |best, view| best.maximum(view))?;
    best.broadcast_add(&low)
}

#[derive(Clone, Copy)]
struct MaxPool(Window);

impl MaxPool {
    /// The first maximum under each output pixel of one plane: `found(output pixel, input pixel, value)`.
    fn scan(&self, x: &[f32], mut found: impl FnMut(usize, usize, f32)) {
        let window = &self.0;
        for oy in 0..window.out.0 {
            for ox in 0..window.out.1 {
                let mut best = (0, f32::NEG_INFINITY);
                for y in window.rows(oy) {
                    for x_at in window.columns(ox) {
                        let value = x[y * window.size.1 + x_at];
                        if value > best.1 || value.is_nan() {
                            best = (y * window.size.1 + x_at, value);
                        }
                    }
                }
                found(oy * window.out.1 + ox, best.0, best.1);
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
        let (plane, out_plane) = (self.0.in_plane(), self.0.out_plane());
        let mut out = vec![0f32; batch * channels * out_plane];
        out.par_chunks_mut(out_plane)
            .zip(x.par_chunks(plane))
            .for_each(|(out, x)| self.scan(x, |to, _, value| out[to] = value));
        Ok((CpuStorage::F32(out), Shape::from((batch, channels, self.0.out.0, self.0.out.1))))
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
        let window = self.0.0;
        let mut dx = vec![0f32; x.len()];
        dx.par_chunks_mut(window.in_plane())
            .zip(x.par_chunks(window.in_plane()))
            .zip(dy.par_chunks(window.out_plane()))
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
            let window = Window::new(&x, kernel, stride, rule).unwrap();
            let fast = max_pool2d(&x, kernel, stride, rule).unwrap();
            let plain = plain_max_pool(&x.to_dtype(DType::F64).unwrap(), &window).unwrap();
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
