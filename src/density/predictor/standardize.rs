//! Features to mean 0 and deviation 1, column by column.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use ndarray::ArrayView2;

/// Deviations below this fraction of the largest column's are raised to it. Pseudo density follows from Euclidean distances, in
/// which such a column (a dead unit of the extractor, say) has no part; dividing by its own deviation would let a stray
/// value there outweigh everything.
const SMALLEST_RELATIVE_STD: f64 = 1e-3;

/// What is subtracted from and divided out of each column.
#[derive(Debug, Clone)]
pub(super) struct Standardization {
    /// Means, `[D]`, float32.
    pub mean: Tensor,
    /// Deviations, `[D]`, float32, above 0.
    pub std: Tensor,
}

impl Standardization {
    /// Measures the given rows of `features` `[N, D]`, summed in their order.
    ///
    /// # Errors
    /// [`Error::Data`] if a feature is not finite.
    pub(super) fn fit(features: ArrayView2<f32>, rows: &[usize]) -> Result<Standardization> {
        let count = rows.len().max(1) as f64;
        let mut mean = vec![0.0_f64; features.ncols()];
        for &row in rows {
            mean.iter_mut().zip(features.row(row)).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
        let mut std = vec![0.0_f64; features.ncols()];
        for &row in rows {
            for ((sum, x), mean) in std.iter_mut().zip(features.row(row)).zip(&mean) {
                *sum += (f64::from(*x) - mean).powi(2);
            }
        }
        std.iter_mut().for_each(|sum| *sum = (*sum / count).sqrt());
        if let Some(column) = std.iter().position(|std| !std.is_finite()) {
            return Err(Error::data(format!("column {column} of the features is not finite"), ""));
        }
        let widest = std.iter().copied().fold(0.0, f64::max);
        let floor = (SMALLEST_RELATIVE_STD * widest).max(f64::from(f32::MIN_POSITIVE));
        let row = |values: &mut dyn Iterator<Item = f64>| {
            Tensor::from_iter(values.map(|value| value as f32), &Device::Cpu)
        };
        Ok(Standardization {
            mean: row(&mut mean.into_iter())?,
            std: row(&mut std.into_iter().map(|std| std.max(floor)))?,
        })
    }

    /// Number of columns.
    pub(super) fn width(&self) -> usize {
        self.mean.elem_count()
    }

    /// Features `[B, D]`, standardised.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn apply(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features.broadcast_sub(&self.mean)?.broadcast_div(&self.std)?)
    }

    /// The same on another device.
    ///
    /// # Errors
    /// What the device returns.
    pub(super) fn to_device(&self, device: &Device) -> Result<Standardization> {
        Ok(Standardization { mean: self.mean.to_device(device)?, std: self.std.to_device(device)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn applied(found: &Standardization, row: [f32; 2]) -> Vec<f32> {
        values(&found.apply(&Tensor::new(&[row], &Device::Cpu).unwrap()).unwrap())
    }

    #[test]
    fn columns_get_mean_zero_and_deviation_one() {
        let features = array![[1.0f32, 1000.0], [3.0, 1004.0], [99.0, 99.0]];
        let found = Standardization::fit(features.view(), &[0, 1]).unwrap();
        assert_eq!((values(&found.mean), values(&found.std)), (vec![2.0, 1002.0], vec![1.0, 2.0]));
        assert_eq!(applied(&found, [3.0, 1000.0]), [1.0, -1.0]);
    }

    #[test]
    fn dead_columns_are_not_blown_up() {
        let features = array![[0.0f32, 5.0, 0.0], [1000.0, 5.0, 1e-6]];
        let found = Standardization::fit(features.view(), &[0, 1]).unwrap();
        assert_eq!(values(&found.std), [500.0, 0.5, 0.5]);
    }

    #[test]
    fn the_ends_of_the_range_stay_finite() {
        for scale in [2e-38f32, 3e38] {
            let features = array![[-scale, scale], [scale, -scale]];
            let found = Standardization::fit(features.view(), &[0, 1]).unwrap();
            let applied = applied(&found, [scale, -scale]);
            assert!(applied.iter().all(|value| (value.abs() - 1.0).abs() < 1e-2), "{applied:?}");
            assert!(values(&found.std).iter().all(|std| *std > 0.0));
        }
        assert!(Standardization::fit(array![[1.0], [f32::INFINITY]].view(), &[0, 1]).is_err());
    }
}
