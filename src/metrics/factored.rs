//! The Fréchet distance where sets have no more rows than numbers. Their covariances are singular then, and so is the product of two: the
//! zeros among its eigenvalues come out as rounding errors, whose roots are as large as the root of the machine's precision. Here no such
//! root is taken. Of covariances `F^T F` and `G^T G`, the trace of the root of the product is the sum of the singular values of `F G^T`,
//! which are found to the machine's precision. Of few rows `F` is the rows themselves, of many the symmetric root of the covariance.

use super::matrix::{multiply, nuclear_norm};
use super::statistics::{RootedStatistics, check_rows, check_widths, column_means};
use crate::error::Result;
use ndarray::{Array2, ArrayView2, CowArray, Ix1, Ix2};

/// The mean of a set, and a factor of its covariance.
pub(super) struct Factored<'a> {
    /// `[D]`
    mean: CowArray<'a, f64, Ix1>,
    /// `F` `[r, D]`: the covariance is `F^T F`.
    factor: CowArray<'a, f64, Ix2>,
}

impl<'a> From<&'a RootedStatistics> for Factored<'a> {
    fn from(rooted: &'a RootedStatistics) -> Self {
        Self { mean: rooted.statistics.mean.view().into(), factor: rooted.root.view().into() }
    }
}

impl Factored<'_> {
    /// Of `rows` rows of `features` `[N, D]`, finite, which `row_at` names; it takes as much memory as a covariance where there are no more
    /// rows than numbers.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for fewer than two rows.
    pub(super) fn of_rows(
        features: ArrayView2<f32>,
        rows: usize,
        row_at: impl Fn(usize) -> usize + Sync,
    ) -> Result<Self> {
        check_rows(rows)?;
        let mean = column_means(features, rows, &row_at);
        let scale = ((rows - 1) as f64).sqrt().recip();
        let factor = Array2::from_shape_fn((rows, features.ncols()), |(at, column)| {
            (f64::from(features[[row_at(at), column]]) - mean[column]) * scale
        });
        Ok(Self { mean: mean.into(), factor: factor.into() })
    }

    /// The squared Fréchet distance of two Gaussians. It may come out negative by rounding where they are equal.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the widths differ, or a value is not finite.
    pub(super) fn distance(&self, other: &Factored<'_>) -> Result<f64> {
        check_widths(self.mean.len(), other.mean.len())?;
        let mean_term: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let trace = |factor: &CowArray<'_, f64, Ix2>| factor.iter().map(|value| value * value).sum::<f64>();
        let product = multiply(self.factor.view(), other.factor.t());
        let cross = nuclear_norm(product.view())?;
        Ok(mean_term + trace(&self.factor) + trace(&other.factor) - 2.0 * cross)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frechet::frechet_distance;
    use super::super::statistics::Statistics;
    use super::super::test_support::{Fixture, assert_close};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    fn of(features: ArrayView2<f32>) -> Factored<'static> {
        Factored::of_rows(features, features.nrows(), |at| at).unwrap()
    }

    fn rooted(features: ArrayView2<f32>) -> RootedStatistics {
        Statistics::of(features, &Silent).unwrap().rooted().unwrap()
    }

    /// Rows `scales[i] * e_i` and their negatives, in a space of `width`: mean 0, variance `2 scale^2 / (n - 1)` along each axis.
    fn along_axes(scales: &[(usize, f32)], width: usize) -> Array2<f32> {
        let mut rows = Array2::zeros((2 * scales.len(), width));
        for (i, &(axis, scale)) in scales.iter().enumerate() {
            (rows[[2 * i, axis]], rows[[2 * i + 1, axis]]) = (scale, -scale);
        }
        rows
    }

    #[test]
    fn rows_along_axes_have_the_closed_form_to_the_last_digits() {
        // Far fewer rows than numbers, and variances that differ by ten orders of magnitude.
        let a = [(0, 1.0), (1, 3.0), (2, 1e-5), (7, 0.5)];
        let b = [(0, 2.0), (2, 2e-5), (9, 4.0)];
        let variance = |set: &[(usize, f32)], axis: usize| {
            let scale = set.iter().find(|(at, _)| *at == axis).map_or(0.0, |(_, scale)| f64::from(*scale));
            2.0 * scale * scale / (2.0 * set.len() as f64 - 1.0)
        };
        let step = |axis| (variance(&a, axis).sqrt() - variance(&b, axis).sqrt()).powi(2);
        let expected: f64 = (0..300).map(step).sum();
        let (first, second) = (along_axes(&a, 300), along_axes(&b, 300));
        assert_close(&[of(first.view()).distance(&of(second.view())).unwrap()], &[expected], 1e-14);
        // One side by its root: the zeros of a singular covariance are no larger than the root of the precision there.
        let by_root = rooted(first.view());
        let found = Factored::from(&by_root).distance(&of(second.view())).unwrap();
        assert_close(&[found], &[expected], 1e-7);
    }

    #[test]
    fn two_pairs_of_rows_have_the_closed_form_of_covariances_of_rank_one() {
        let features = Fixture::load().features("real_2000");
        let (a, b) = (features.slice(s![..2, ..]), features.slice(s![2..4, ..]));
        let wide = |rows: ArrayView2<f32>| rows.mapv(f64::from);
        let [a_wide, b_wide] = [wide(a), wide(b)];
        let axis = |rows: &Array2<f64>| (&rows.row(0) - &rows.row(1)) / 2f64.sqrt();
        let mean = |rows: &Array2<f64>| (&rows.row(0) + &rows.row(1)) / 2.0;
        let (along_a, along_b) = (axis(&a_wide), axis(&b_wide));
        let step = mean(&a_wide) - mean(&b_wide);
        let expected = step.dot(&step) + along_a.dot(&along_a) + along_b.dot(&along_b)
            - 2.0 * along_a.dot(&along_b).abs();
        assert_close(&[of(a).distance(&of(b)).unwrap()], &[expected], 1e-13);
    }

    #[test]
    fn of_more_rows_than_numbers_every_way_gives_the_same() {
        let fixture = Fixture::load();
        let (real, fake) = (fixture.features("real_2000"), fixture.features("fake_2000"));
        let (real, fake) = (real.slice(s![..200, ..]), fake.slice(s![..130, ..]));
        let (real_root, fake_root) = (rooted(real), rooted(fake));
        let expected = frechet_distance(&real_root, fake_root.statistics()).unwrap();
        let found = [
            of(real).distance(&of(fake)),
            Factored::from(&real_root).distance(&of(fake)),
            of(real).distance(&Factored::from(&fake_root)),
            Factored::from(&real_root).distance(&Factored::from(&fake_root)),
        ];
        assert_close(&found.map(Result::unwrap), &[expected; 4], 1e-11);
    }

    #[test]
    fn one_row_and_other_widths_are_refused() {
        let rows = Array2::<f32>::eye(4);
        assert!(Factored::of_rows(rows.view(), 1, |at| at).is_err());
        assert!(of(rows.view()).distance(&of(rows.slice(s![.., ..3]))).is_err());
    }
}
