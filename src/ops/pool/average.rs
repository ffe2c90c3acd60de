//! Average pool that counts the pixels of the image only, not the padding (PyTorch's `count_include_pad=False`).

use super::Window;
use crate::ops::conv::PaddingRule;
use crate::ops::host::floats;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// The mean of the pixels under a square window, `[B, C, H, W]` to `[B, C, H', W']`; padding is not counted.
///
/// # Errors
/// If `x` is no image batch or smaller than the window.
pub fn average_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: PaddingRule) -> Result<Tensor> {
    let window = Window::new(x, kernel, stride, padding)?;
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        return plain(x, &window);
    }
    x.contiguous()?.apply_op1(AveragePool(window))
}

/// The sum of shifted views over that of shifted ones.
fn plain(x: &Tensor, window: &Window) -> Result<Tensor> {
    let sum = |x: &Tensor| {
        let views = window.views(x)?;
        views.iter().skip(1).try_fold(views[0].clone(), |sum, view| sum + view)
    };
    let ones = Tensor::ones((1, 1, window.size.0, window.size.1), x.dtype(), x.device())?;
    sum(x)?.broadcast_div(&sum(&ones)?)
}

#[derive(Clone, Copy)]
struct AveragePool(Window);

impl AveragePool {
    /// One plane: rows are added up first, so that the inner loops run along memory.
    fn forward(&self, x: &[f32], out: &mut [f32]) {
        let window = &self.0;
        let width = window.size.1;
        let mut sums = vec![0f32; width];
        for (oy, out) in out.chunks_exact_mut(window.out.1).enumerate() {
            let rows = window.rows(oy);
            sums.fill(0.0);
            for row in x[rows.start * width..rows.end * width].chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
            }
            for (ox, out) in out.iter_mut().enumerate() {
                let columns = window.columns(ox);
                let count = rows.len() * columns.len();
                *out = sums[columns].iter().sum::<f32>() / count as f32;
            }
        }
    }

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
        let mut out = vec![0f32; batch * channels * self.0.out_plane()];
        out.par_chunks_mut(self.0.out_plane())
            .zip(x.par_chunks(self.0.in_plane()))
            .for_each(|(out, x)| self.forward(x, out));
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
        fn it_agrees_with_the_mean_of_shifted_views(
            size in (4usize..12, 4usize..12), kernel in 1usize..4, stride in 1usize..4, pad in 0usize..2
        ) {
            let rule = PaddingRule::Fixed(Padding::same(pad.min(kernel / 2)));
            let n = 2 * 3 * size.0 * size.1;
            let data: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect();
            let x = Var::from_vec(data, (2, 3, size.0, size.1), &Device::Cpu).unwrap();
            let wide = Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
            let (fast, slow) = (average_pool2d(&x, kernel, stride, rule).unwrap(), average_pool2d(&wide, kernel, stride, rule).unwrap());
            for (a, b) in flat(&fast).iter().zip(flat(&slow)) {
                prop_assert!((a - b).abs() < 1e-6);
            }
            let (dx, expected) = (fast.sqr().unwrap().backward().unwrap(), slow.sqr().unwrap().backward().unwrap());
            for (a, b) in flat(dx.get(&x).unwrap()).iter().zip(flat(expected.get(&wide).unwrap())) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }
}
