//! Features to mean 0 and deviation 1, column by column.

use crate::error::{Error, Result};
use ndarray::ArrayView2;

/// Deviations below this share of the widest column's are raised to it. Pseudo density comes of Euclidean distances, in
/// which such a column (a dead unit of the extractor, say) has no part; dividing by its own deviation would let a stray
/// value there outweigh everything.
const SMALLEST_RELATIVE_STD: f64 = 1e-3;

/// What is subtracted from and divided out of each column.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardization {
    /// Means, `[D]`.
    pub mean: Vec<f32>,
    /// Deviations, `[D]`, above 0.
    pub std: Vec<f32>,
}

impl Standardization {
    /// Measures the given rows of `features` `[N, D]`, summed in their order.
    ///
    /// # Errors
    /// [`Error::Data`] if a feature is not finite.
    pub fn fit(features: ArrayView2<f32>, rows: &[usize]) -> Result<Standardization> {
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
        let std = std.iter().map(|std| std.max(floor) as f32).collect();
        Ok(Standardization { mean: mean.iter().map(|mean| *mean as f32).collect(), std })
    }

    /// One standardised value of column `column`.
    pub fn apply(&self, column: usize, value: f32) -> f32 {
        ((f64::from(value) - f64::from(self.mean[column])) / f64::from(self.std[column])) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn columns_get_mean_zero_and_deviation_one() {
        let features = array![[1.0f32, 1000.0], [3.0, 1004.0], [99.0, 99.0]];
        let found = Standardization::fit(features.view(), &[0, 1]).unwrap();
        assert_eq!(found, Standardization { mean: vec![2.0, 1002.0], std: vec![1.0, 2.0] });
        assert_eq!([found.apply(0, 3.0), found.apply(1, 1000.0)], [1.0, -1.0]);
    }

    #[test]
    fn dead_columns_are_not_blown_up() {
        let features = array![[0.0f32, 5.0, 0.0], [1000.0, 5.0, 1e-6]];
        let found = Standardization::fit(features.view(), &[0, 1]).unwrap();
        assert_eq!(found.std, [500.0, 0.5, 0.5]);
    }

    #[test]
    fn the_ends_of_the_range_stay_finite() {
        for scale in [2e-38f32, 3e38] {
            let features = array![[-scale, scale], [scale, -scale]];
            let found = Standardization::fit(features.view(), &[0, 1]).unwrap();
            assert!((found.apply(0, scale) - 1.0).abs() < 1e-2 && found.std.iter().all(|std| *std > 0.0));
        }
        assert!(Standardization::fit(array![[1.0], [f32::INFINITY]].view(), &[0, 1]).is_err());
    }
}
