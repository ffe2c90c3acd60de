//! Pooling: overlapping max-pool and average pool, and the global average, with gradients.

mod average;
mod reduce;

pub(crate) use average::average_pool2d;

use super::composed::{wide, with_gradient};
use super::conv::{Padding, PaddingRule};
use super::host::{floats, init_with, sum};
use super::taps::{Grid, Taps};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use reduce::{Largest, Reducer, Reduction};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Max-pool of `[B, C, H, W]` with a square window; padding never wins. The gradient goes to the first maximum of a window, as in PyTorch.
///
/// # Errors
/// If `x` is no image batch or smaller than the window.
pub(crate) fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: PaddingRule) -> Result<Tensor> {
    let window = Window::new(x, kernel, stride, padding)?;
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return composed_max_pool(x, window);
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

    /// `[planes, out height, out width]` of `[planes, height, width]`.
    fn reduce<R: Reduction>(&self, x: &[f32], planes: usize) -> Vec<f32> {
        let write = |out: &mut [MaybeUninit<f32>]| {
            let planes = out.par_chunks_exact_mut(self.out_plane()).zip(x.par_chunks_exact(self.in_plane()));
            planes.for_each_init(|| Reducer::new(self), |reducer, (out, x)| reducer.plane::<R>(x, out));
        };
        // SAFETY: each plane of the output has one of the input, and every element of a plane is written.
        unsafe { init_with(planes * self.out_plane(), write) }
    }

    fn taps(&self) -> Taps {
        Taps {
            size: self.size,
            kernel: (self.kernel, self.kernel),
            stride: self.stride,
            before: (self.padding.top, self.padding.left),
            out: self.out,
        }
    }

    /// 1 where a tap sees the image, 0 where it sees padding.
    fn inside(&self, like: &Tensor) -> Result<Grid> {
        self.taps().look_at(&Tensor::ones((1, 1, self.size.0, self.size.1), like.dtype(), like.device())?)
    }
}

/// The same on candle's own operations.
fn composed_max_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    let p = window.padding;
    // A window that reaches beyond an edge holds that edge: repeating it changes no maximum.
    let padded = x.detach().pad_with_same(2, p.top, p.bottom)?.pad_with_same(3, p.left, p.right)?;
    let (kernel, stride) = ((window.kernel, window.kernel), (window.stride, window.stride));
    let value = padded.contiguous()?.max_pool2d_with_stride(kernel, stride)?;
    if !x.track_op() {
        return Ok(value);
    }
    with_gradient(x, value, move |x, y, dy| {
        let (taps, grid, inside) = (window.taps(), window.taps().look_at(&x.detach())?, window.inside(x)?);
        // Taps in the order of the pixels: the first maximum takes it all.
        let mut open = y.detach().ones_like()?;
        let mut hits = Vec::with_capacity(window.kernel * window.kernel);
        for (row, column) in taps.places() {
            let largest = grid.view(row, column)?.contiguous()?.eq(&y.detach())?.to_dtype(y.dtype())?;
            let hit = (largest.broadcast_mul(&inside.view(row, column)?)? * &open)?;
            open = (open - &hit)?;
            hits.push(hit);
        }
        taps.put_back(|row, column| &hits[row * window.kernel + column] * dy)
    })
}

#[derive(Clone, Copy)]
struct MaxPool(Window);

impl MaxPool {
    /// The first maximum under each output pixel of one plane: `found(output pixel, input pixel)`.
    fn scan(&self, x: &[f32], mut found: impl FnMut(usize, usize)) {
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
                found(oy * window.out.1 + ox, best.0);
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
        let out = self.0.reduce::<Largest>(x, batch * channels);
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
            .for_each(|((dx, x), dy)| self.0.scan(x, |from, to| dx[to] += dy[from]));
        Ok((CpuStorage::F32(dx), x_layout.shape().clone()))
    }
}

/// The mean over all pixels, `[B, C, H, W]` to `[B, C]`.
///
/// # Errors
/// If `x` has another number of dimensions.
pub fn global_average_pool(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return x.to_dtype(wide(x.dtype()))?.flatten_from(2)?.mean(2)?.to_dtype(x.dtype());
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
        let out: Vec<f32> =
            x.par_chunks(plane).map(|plane| (sum(plane, |v| v) / plane.len() as f64) as f32).collect();
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

    /// Maxima and the gradient of `probe` by the definition: the first maximum of each window takes it all.
    fn loops(x: &[f64], planes: usize, window: &Window, probe: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
        for plane in 0..planes {
            for (oy, ox) in (0..window.out.0).flat_map(|oy| (0..window.out.1).map(move |ox| (oy, ox))) {
                let mut best: Option<usize> = None;
                for row in window.rows(oy) {
                    for column in window.columns(ox) {
                        let at = plane * window.in_plane() + row * window.size.1 + column;
                        if best.is_none_or(|best| x[at] > x[best]) {
                            best = Some(at);
                        }
                    }
                }
                let best = best.unwrap();
                dx[best] += probe[y.len()];
                y.push(x[best]);
            }
        }
        (y, dx)
    }

    proptest! {
        #[test]
        fn overlapping_max_pool_is_its_definition_on_both_paths_with_ties_too(
            size in (4usize..12, 4usize..12), kernel in 1usize..4, stride in 1usize..4, same in any::<bool>(), pad in 0usize..2, ties in any::<bool>()
        ) {
            let rule = if same { PaddingRule::TensorflowSame } else { PaddingRule::Fixed(Padding::same(pad.min(kernel / 2))) };
            let mut x = distinct(&[2, 3, size.0, size.1]);
            if ties {
                x = x.relu().unwrap();
            }
            let window = Window::new(&x, kernel, stride, rule).unwrap();
            let probe = distinct(&[2, 3, window.out.0, window.out.1]);
            let (y, dx) = loops(&flat(&x), 6, &window, &flat(&probe));
            for dtype in [DType::F32, DType::F64] {
                let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
                let pooled = max_pool2d(&x, kernel, stride, rule).unwrap();
                prop_assert_eq!(&flat(&pooled), &y);
                prop_assert_eq!(&flat(&max_pool2d(&x.detach(), kernel, stride, rule).unwrap()), &y);
                let grads = (pooled * probe.to_dtype(dtype).unwrap()).unwrap().backward().unwrap();
                for (a, b) in flat(grads.get(&x).unwrap()).iter().zip(&dx) {
                    prop_assert!((a - b).abs() < 1e-5);
                }
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
