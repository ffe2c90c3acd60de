//! Differentiable separable resizing: two matrix products, one per axis, so that any filter has an exact gradient.

use candle_core::{Device, Result, Tensor};

/// `x` `[B, C, H, W]` with `rows` `[H', H]` and `columns` `[W', W]`: `[B, C, H', W']`.
///
/// # Errors
/// If the matrices do not fit the image.
pub(crate) fn separable(x: &Tensor, rows: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (new_height, new_width) = (rows.dim(0)?, columns.dim(0)?);
    // Planes lie side by side, so that each axis is one product and its gradient another.
    let x = x.reshape((batch * channels * height, width))?.matmul(&columns.t()?.contiguous()?)?;
    let x = x.reshape((batch * channels, height, new_width))?.transpose(1, 2)?.contiguous()?;
    let x = x.reshape((batch * channels * new_width, height))?.matmul(&rows.t()?.contiguous()?)?;
    x.reshape((batch, channels, new_width, new_height))?.transpose(2, 3)?.contiguous()
}

/// Where the outermost pixels of a resized image lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corners {
    /// On those of the image (PyTorch's `align_corners=True`).
    Aligned,
    /// Such that the edges of both images meet.
    Free,
}

/// `[B, C, H, W]` to `[B, C, height, width]` by the two nearest pixels along each axis, whatever the scale: PyTorch's
/// `interpolate(mode="bilinear")`, without antialiasing.
///
/// # Errors
/// If `x` is no batch of images.
pub(crate) fn bilinear(x: &Tensor, (height, width): (usize, usize), corners: Corners) -> Result<Tensor> {
    let (.., from_height, from_width) = x.dims4()?;
    let matrix = |from: usize, to: usize| {
        let mut weights = vec![0f64; from * to];
        for (i, row) in weights.chunks_exact_mut(from.max(1)).enumerate() {
            let place = match corners {
                Corners::Aligned => (i * (from - 1)) as f64 / (to - 1).max(1) as f64,
                Corners::Free => ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0),
            };
            let first = (place as usize).min(from - 1);
            let share = place - first as f64;
            row[first] += 1.0 - share;
            row[(first + 1).min(from - 1)] += share;
        }
        Tensor::from_vec(weights, (to, from), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())
    };
    separable(x, &matrix(from_height, height)?, &matrix(from_width, width)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    // By hand from the definitions in PyTorch's documentation.
    #[test]
    fn bilinear_corners_are_where_they_are_asked_for() {
        let x = Tensor::new(&[[[[0f64, 1.0], [2.0, 3.0]]]], &Device::Cpu).unwrap();
        let row = |corners| {
            let y = bilinear(&x, (4, 4), corners).unwrap();
            y.flatten_all().unwrap().to_vec1::<f64>().unwrap()[..4].to_vec()
        };
        let near = |a: Vec<f64>, b: [f64; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(row(Corners::Aligned), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]));
        assert!(near(row(Corners::Free), [0.0, 0.25, 0.75, 1.0]));
        let smaller = bilinear(&x, (1, 1), Corners::Free).unwrap();
        assert_eq!(smaller.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [1.5]);
    }

    #[test]
    fn each_axis_is_multiplied_by_its_matrix() {
        let device = Device::Cpu;
        let x = Var::new(&[[[[1f64, 2.0, 3.0], [4.0, 5.0, 6.0]]]], &device).unwrap();
        let rows = Tensor::new(&[[0.5f64, 0.5]], &device).unwrap();
        let columns = Tensor::new(&[[1f64, 0.0, 0.0], [0.0, 0.25, 0.75]], &device).unwrap();
        let y = separable(&x, &rows, &columns).unwrap();
        assert_eq!(y.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [2.5, 4.25]);
        let grads = y.sum_all().unwrap().backward().unwrap();
        let dx = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(dx, [0.5, 0.125, 0.375, 0.5, 0.125, 0.375]);
    }
}
