//! The pixels of an image under each element (tap) of a sliding window, as strided views, and the transpose of that: the building
//! blocks of convolutions and pools on candle's own operations. Each tap is one view of the whole batch.

use candle_core::{Result, Tensor};

/// A window that moves over images `[B, C, height, width]` with zeros around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taps {
    /// (height, width) of the image.
    pub size: (usize, usize),
    /// (height, width) of the window.
    pub kernel: (usize, usize),
    /// Pixels between positions of the window.
    pub stride: usize,
    /// Zeros above and to the left.
    pub before: (usize, usize),
    /// Positions of the window, down and across.
    pub out: (usize, usize),
}

/// An image cut into the remainders of its rows and columns by the stride: `[B, C, rows, stride, columns, stride]`.
pub(super) struct Grid {
    taps: Taps,
    cells: Tensor,
}

impl Taps {
    /// (row, column) of each tap in the window, row by row.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (height, width) = self.kernel;
        (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
    }

    /// Rows and columns of the grid.
    fn grid(&self) -> (usize, usize) {
        let reach = |out: usize, kernel: usize| out + (kernel - 1) / self.stride;
        (reach(self.out.0, self.kernel.0), reach(self.out.1, self.kernel.1))
    }

    /// `x` `[B, C, height, width]`, ready to be looked at.
    ///
    /// # Errors
    /// If `x` is of another size.
    pub(super) fn look_at(&self, x: &Tensor) -> Result<Grid> {
        let (batch, channels, _, _) = x.dims4()?;
        let (rows, columns) = self.grid();
        let x = fit(x, 2, self.before.0, rows * self.stride)?;
        let x = fit(&x, 3, self.before.1, columns * self.stride)?;
        let cells =
            x.contiguous()?.reshape(&[batch, channels, rows, self.stride, columns, self.stride][..])?;
        Ok(Grid { taps: *self, cells })
    }

    /// The transpose of all views: `part(y, x)` `[B, C, out]` of each tap is added where the tap looked, giving `[B, C, height, width]`.
    ///
    /// # Errors
    /// What `part` returns; if a part is of another size.
    pub(super) fn put_back(&self, part: impl Fn(usize, usize) -> Result<Tensor>) -> Result<Tensor> {
        let (rows, columns) = self.grid();
        let mut cells: Vec<Option<Tensor>> = vec![None; self.stride * self.stride];
        for (y, x) in self.places() {
            let (down, across) = (y / self.stride, x / self.stride);
            let part = part(y, x)?;
            let part = part.pad_with_zeros(2, down, rows - down - self.out.0)?.pad_with_zeros(
                3,
                across,
                columns - across - self.out.1,
            )?;
            let cell = &mut cells[y % self.stride * self.stride + x % self.stride];
            *cell = Some(match cell.take() {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        let Some(first) = cells.iter().flatten().next().cloned() else {
            candle_core::bail!("a window without taps")
        };
        let (batch, channels, _, _) = first.dims4()?;
        let cells = cells.into_iter().map(|cell| cell.map_or_else(|| first.zeros_like(), Ok));
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let whole = match cells.as_slice() {
            [only] => only.clone(),
            _ => Tensor::stack(&cells, 4)?
                .reshape(&[batch, channels, rows, columns, self.stride, self.stride][..])?
                .permute([0, 1, 2, 4, 3, 5])?
                .contiguous()?
                .reshape((batch, channels, rows * self.stride, columns * self.stride))?,
        };
        cut(&cut(&whole, 2, self.before.0, self.size.0)?, 3, self.before.1, self.size.1)?.contiguous()
    }
}

impl Grid {
    /// What tap (`y`, `x`) of the window sees, `[B, C, out]`; not contiguous.
    ///
    /// # Errors
    /// If there is no such tap.
    pub(super) fn view(&self, y: usize, x: usize) -> Result<Tensor> {
        let Taps { stride, out, .. } = self.taps;
        let cell = self.cells.narrow(5, x % stride, 1)?.squeeze(5)?.narrow(3, y % stride, 1)?.squeeze(3)?;
        cell.narrow(2, y / stride, out.0)?.narrow(3, x / stride, out.1)
    }
}

/// `before` zeros in front, then zeros or nothing behind, so that `total` positions are left.
fn fit(x: &Tensor, dim: usize, before: usize, total: usize) -> Result<Tensor> {
    let after = total.saturating_sub(before + x.dim(dim)?);
    x.pad_with_zeros(dim, before, after)?.narrow(dim, 0, total)
}

/// Positions `before .. before + len`, zeros where there are none.
pub(super) fn cut(x: &Tensor, dim: usize, before: usize, len: usize) -> Result<Tensor> {
    let missing = (before + len).saturating_sub(x.dim(dim)?);
    x.pad_with_zeros(dim, 0, missing)?.narrow(dim, before, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn numbers(dims: &[usize], seed: usize) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f64> = (0..n).map(|i| ((i * 7919 + seed * 31) % 1013) as f64 / 512.0 - 1.0).collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn views_see_the_pixels_under_the_window_and_parts_go_back_there(
            size in (1usize..8, 1usize..8), kernel in (1usize..5, 1usize..5), stride in 1usize..4, before in (0usize..3, 0usize..3), after in 0usize..3,
        ) {
            let out = |n: usize, before: usize, kernel: usize| Some((n + before + after).checked_sub(kernel)? / stride + 1);
            let out = (out(size.0, before.0, kernel.0), out(size.1, before.1, kernel.1));
            prop_assume!(out.0.is_some() && out.1.is_some());
            let taps = Taps { size, kernel, stride, before, out: (out.0.unwrap(), out.1.unwrap()) };
            let x = numbers(&[2, 3, size.0, size.1], 1);
            let values = flat(&x);
            let grid = taps.look_at(&x).unwrap();
            let mut product = 0.0;
            let part = |y: usize, x: usize| numbers(&[2, 3, taps.out.0, taps.out.1], 7 * y + x);
            for (ky, kx) in taps.places() {
                let view = flat(&grid.view(ky, kx).unwrap());
                for (i, seen) in view.iter().enumerate() {
                    let (plane, y, x) = (i / (taps.out.0 * taps.out.1), i / taps.out.1 % taps.out.0, i % taps.out.1);
                    let (row, column) = (y * stride + ky, x * stride + kx);
                    let inside = row >= before.0 && column >= before.1 && row < before.0 + size.0 && column < before.1 + size.1;
                    let expected = if inside { values[(plane * size.0 + row - before.0) * size.1 + column - before.1] } else { 0.0 };
                    prop_assert_eq!(*seen, expected);
                }
                product += view.iter().zip(flat(&part(ky, kx))).map(|(a, b)| a * b).sum::<f64>();
            }
            // The transpose: <view(x), part> = <x, put_back(part)>.
            let back = taps.put_back(|y, x| Ok(part(y, x))).unwrap();
            prop_assert_eq!(back.dims(), x.dims());
            let transposed: f64 = values.iter().zip(flat(&back)).map(|(a, b)| a * b).sum();
            prop_assert!((product - transposed).abs() < 1e-9 * (1.0 + product.abs()));
        }
    }
}
