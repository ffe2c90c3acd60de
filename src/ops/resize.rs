//! Differentiable separable resizing: two matrix products, one per axis, so that any filter has an exact gradient.

use candle_core::{Result, Tensor};

/// `x` `[B, C, H, W]` with `rows` `[H', H]` and `columns` `[W', W]`: `[B, C, H', W']`.
///
/// # Errors
/// If the matrices do not fit the image.
pub fn separable(x: &Tensor, rows: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (new_height, new_width) = (rows.dim(0)?, columns.dim(0)?);
    // Planes lie side by side, so that each axis is one product and its gradient another.
    let x = x.reshape((batch * channels * height, width))?.matmul(&columns.t()?.contiguous()?)?;
    let x = x.reshape((batch * channels, height, new_width))?.transpose(1, 2)?.contiguous()?;
    let x = x.reshape((batch * channels * new_width, height))?.matmul(&rows.t()?.contiguous()?)?;
    x.reshape((batch, channels, new_width, new_height))?.transpose(2, 3)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

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
