//! Average pool that counts the pixels of the image only, not the padding (PyTorch's `count_include_pad=False`).

use super::Window;
use super::reduce::Mean;
use crate::ops::composed::{wide, with_gradient};
use crate::ops::conv::PaddingRule;
use crate::ops::host::floats;
use crate::ops::taps::Grid;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// The mean of the pixels under a square window, `[B, C, H, W]` to `[B, C, H', W']`; padding is not counted.
///
/// # Errors
/// If `x` is no image batch or smaller than the window.
pub(crate) fn average_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: PaddingRule,
) -> Result<Tensor> {
    let window = Window::new(x, kernel, stride, padding)?;
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return composed(x, window);
    }
    x.contiguous()?.apply_op1(AveragePool(window))
}

/// The sum over the taps of the window, divided by how many of them see the image.
fn composed(x: &Tensor, window: Window) -> Result<Tensor> {
    let sum = |grid: Grid, like: &Tensor| {
        let zero = like.zeros_like()?;
        window.taps().places().try_fold(zero, |sum, (row, column)| sum + grid.view(row, column)?)
    };
    let wide_x = x.detach().to_dtype(wide(x.dtype()))?;
    let (batch, channels, ..) = x.dims4()?;
    let blank = |batch: usize, channels: usize| {
        Tensor::zeros((batch, channels, window.out.0, window.out.1), wide_x.dtype(), x.device())
    };
    let count = sum(window.inside(&wide_x)?, &blank(1, 1)?)?;
    let value = sum(window.taps().look_at(&wide_x)?, &blank(batch, channels)?)?.broadcast_div(&count)?;
    let value = value.to_dtype(x.dtype())?;
    if !x.track_op() {
        return Ok(value);
    }
    with_gradient(x, value, move |_, _, dy| {
        let share = dy.to_dtype(count.dtype())?.broadcast_div(&count)?;
        window.taps().put_back(|_, _| Ok(share.clone()))?.to_dtype(dy.dtype())
    })
}

#[derive(Clone, Copy)]
struct AveragePool(Window);

impl AveragePool {
    fn backward(&self, dy: &[f32], dx: &mut [f32]) {
        let window = &self.0;
        let width = window.size.1;
        let mut shares = vec![0f32; width];
        for (oy, dy) in dy.chunks_exact(window.out.1).enumerate() {
            let rows = window.rows(oy);
            shares.fill(0.0);
            for (ox, dy) in dy.iter().enumerate() {
                let columns = window.columns(ox);
                let share = dy / (rows.len() * columns.len()) as f32;
                shares[columns].iter_mut().for_each(|v| *v += share);
            }
            for row in dx[rows.start * width..rows.end * width].chunks_exact_mut(width) {
                row.iter_mut().zip(&shares).for_each(|(v, share)| *v += share);
            }
        }
    }
}

impl CustomOp1 for AveragePool {
    fn name(&self) -> &'static str {
        "average-pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, ..) = layout.shape().dims4()?;
        let x = floats(x, layout)?;
        let out = self.0.reduce::<Mean>(x, batch * channels);
        Ok((CpuStorage::F32(out), Shape::from((batch, channels, self.0.out.0, self.0.out.1))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(&AveragePoolGrad(*self))?))
    }
}

struct AveragePoolGrad(AveragePool);

impl CustomOp1 for AveragePoolGrad {
    fn name(&self) -> &'static str {
        "average-pool2d-grad"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, ..) = layout.shape().dims4()?;
        let dy = floats(dy, layout)?;
        let window = &self.0.0;
        let mut dx = vec![0f32; batch * channels * window.in_plane()];
        dx.par_chunks_mut(window.in_plane())
            .zip(dy.par_chunks(window.out_plane()))
            .for_each(|(dx, dy)| self.0.backward(dy, dx));
        Ok((CpuStorage::F32(dx), Shape::from((batch, channels, window.size.0, window.size.1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv::Padding;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    fn flat(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn padding_is_not_counted() {
        let x = Tensor::new(&[[[[1f32, 2.0], [3.0, 6.0]]]], &Device::Cpu).unwrap();
        let y = average_pool2d(&x, 3, 1, PaddingRule::Fixed(Padding::same(1))).unwrap();
        assert_eq!(flat(&y), [3.0; 4]);
    }

    proptest! {
        #[test]
        fn both_paths_are_the_mean_of_the_pixels_under_the_window(
            size in (4usize..12, 4usize..12), kernel in 1usize..4, stride in 1usize..4, pad in 0usize..2
        ) {
            let rule = PaddingRule::Fixed(Padding::same(pad.min(kernel / 2)));
            let n = 2 * 3 * size.0 * size.1;
            let data: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect();
            let x = Var::from_vec(data, (2, 3, size.0, size.1), &Device::Cpu).unwrap();
            let wide = Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
            let (fast, slow) = (average_pool2d(&x, kernel, stride, rule).unwrap(), average_pool2d(&wide, kernel, stride, rule).unwrap());
            let window = Window::new(&x, kernel, stride, rule).unwrap();
            let values = flat(&x);
            for (i, (a, b)) in flat(&fast).iter().zip(flat(&slow)).enumerate() {
                let (plane, oy, ox) = (i / window.out_plane(), i / window.out.1 % window.out.0, i % window.out.1);
                let seen = window.rows(oy).flat_map(|row| window.columns(ox).map(move |column| (row, column)));
                let seen: Vec<f64> = seen.map(|(row, column)| values[(plane * size.0 + row) * size.1 + column]).collect();
                let mean = seen.iter().sum::<f64>() / seen.len() as f64;
                prop_assert!((a - mean).abs() < 1e-6 && (b - mean).abs() < 1e-12);
            }
            let (dx, expected) = (fast.sqr().unwrap().backward().unwrap(), slow.sqr().unwrap().backward().unwrap());
            for (a, b) in flat(dx.get(&x).unwrap()).iter().zip(flat(expected.get(&wide).unwrap())) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }
}
