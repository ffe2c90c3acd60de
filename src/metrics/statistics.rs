//! Mean and covariance of features, in float64, as pytorch-fid keeps them in `.npz` files (`mu`, `sigma`).

use super::matrix::{CHUNK, is_semidefinite, scatter, square_root, tree_sum};
use crate::error::{Error, Result};
use crate::formats::features::{SPATIAL_STATISTICS, STATISTICS};
use crate::formats::npy::{read_npz_f64, write_npz_f64};
use crate::progress::Progress;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewD, IxDyn};
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;

/// Mean and covariance of a set of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// `[D]`
    pub mean: Array1<f64>,
    /// `[D, D]`, divided by `N - 1`.
    pub covariance: Array2<f64>,
    /// Rows they were computed from, where that is known.
    pub rows: Option<usize>,
}

impl Statistics {
    /// Of all rows of `features` `[N, D]`, finite.
    ///
    /// # Errors
    /// [`Error::Data`] for fewer than two rows; [`Error::Interrupted`].
    pub fn of(features: ArrayView2<f32>, progress: &dyn Progress) -> Result<Self> {
        Self::with(features, features.nrows(), |at| at, progress)
    }

    /// Of chosen rows of `features` `[N, D]`; a row named twice counts twice.
    ///
    /// # Errors
    /// As [`Statistics::of`]; [`Error::Data`] for a row that does not exist.
    pub fn of_rows(features: ArrayView2<f32>, rows: &[u32], progress: &dyn Progress) -> Result<Self> {
        if let Some(row) = rows.iter().find(|row| **row as usize >= features.nrows()) {
            return Err(Error::data(format!("row {row} is beyond the {} there are", features.nrows()), ""));
        }
        Self::with(features, rows.len(), |at| rows[at] as usize, progress)
    }

    fn with(
        features: ArrayView2<f32>,
        rows: usize,
        row_at: impl Fn(usize) -> usize + Sync,
        progress: &dyn Progress,
    ) -> Result<Self> {
        check_rows(rows)?;
        let width = features.ncols();
        let mean = column_means(features, rows, &row_at);
        let centred = |at: usize, columns: Range<usize>, out: &mut [f64]| {
            let row = features.row(row_at(at));
            for (out, column) in out.iter_mut().zip(columns) {
                *out = f64::from(row[column]) - mean[column];
            }
        };
        let mut covariance = scatter(rows, width, &centred, progress)?;
        covariance /= (rows - 1) as f64;
        Ok(Statistics { mean, covariance, rows: Some(rows) })
    }

    /// Of rows of `features` `[N, D]` that count by `weights` `[N]`, at least 0: the moments of rows drawn by them.
    ///
    /// # Errors
    /// [`Error::Data`] if the weights do not fit the rows or have no sum; [`Error::Interrupted`].
    pub(crate) fn weighted(
        features: ArrayView2<f32>,
        weights: &[f64],
        progress: &dyn Progress,
    ) -> Result<Self> {
        let total: f64 = weights.iter().sum();
        if weights.len() != features.nrows() || !(total > 0.0 && total.is_finite()) {
            let reason =
                format!("{} weights of sum {total} do not fit {} rows", weights.len(), features.nrows());
            return Err(Error::data(reason, ""));
        }
        let width = features.ncols();
        let mut mean = Array1::zeros(width);
        for (row, weight) in features.outer_iter().zip(weights) {
            mean.zip_mut_with(&row, |sum: &mut f64, &value| *sum += weight / total * f64::from(value));
        }
        let scaled = |at: usize, columns: Range<usize>, out: &mut [f64]| {
            let (row, scale) = (features.row(at), (weights[at] / total).sqrt());
            for (out, column) in out.iter_mut().zip(columns) {
                *out = scale * (f64::from(row[column]) - mean[column]);
            }
        };
        let covariance = scatter(features.nrows(), width, &scaled, progress)?;
        Ok(Statistics { mean, covariance, rows: None })
    }

    /// With `ridge` added to every variance, so that the covariance is not singular.
    pub(crate) fn with_ridge(mut self, ridge: f64) -> Self {
        self.covariance.diag_mut().mapv_inplace(|variance| variance + ridge);
        self
    }

    /// Width of the features.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Prepares the side that others are compared with: the root of its covariance is computed once.
    ///
    /// # Errors
    /// [`Error::Data`] if the covariance is not finite.
    pub fn rooted(self) -> Result<RootedStatistics> {
        let root = square_root(self.covariance.view())?;
        Ok(RootedStatistics { statistics: self, root })
    }

    /// Writes `mu` and `sigma` as pytorch-fid reads them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Self::save_all(path, Some(self), None)
    }

    /// Writes those of features as `mu` and `sigma`, those of spatial features as `mu_s` and `sigma_s`, as ADM's evaluator reads both.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn save_all(
        path: impl AsRef<Path>,
        features: Option<&Self>,
        spatial: Option<&Self>,
    ) -> Result<()> {
        let kinds = [(features, STATISTICS), (spatial, SPATIAL_STATISTICS)];
        let given = kinds.into_iter().filter_map(|(statistics, names)| Some((statistics?, names)));
        let arrays = given.flat_map(|(statistics, [mean, covariance])| {
            [(mean, statistics.mean.view().into_dyn()), (covariance, statistics.covariance.view().into_dyn())]
        });
        write_npz_f64(path, &arrays.collect::<Vec<_>>())
    }

    /// Reads `mu` `[D]` and `sigma` `[D, D]`. `None` if the file holds no such arrays.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] for a damaged file, arrays of other shapes, values that are not finite, or a
    /// covariance that is not symmetric or has negative eigenvalues.
    pub fn load(path: impl AsRef<Path>) -> Result<Option<Self>> {
        Self::load_named(path.as_ref(), STATISTICS)
    }

    /// The same of `mu_s` and `sigma_s`: those of spatial features in ADM's reference files.
    ///
    /// # Errors
    /// As [`Statistics::load`].
    pub(crate) fn load_spatial(path: impl AsRef<Path>) -> Result<Option<Self>> {
        Self::load_named(path.as_ref(), SPATIAL_STATISTICS)
    }

    fn load_named(path: &Path, names: [&str; 2]) -> Result<Option<Self>> {
        let Some(arrays) = read_npz_f64(path, &names)? else { return Ok(None) };
        let [mean, covariance] = &arrays[..] else { return Ok(None) };
        let shape = |array: &ArrayViewD<f64>| array.shape().to_vec();
        let width = mean.len();
        if mean.ndim() != 1 || width == 0 || covariance.raw_dim() != IxDyn(&[width, width]) {
            let [mu, sigma] = names;
            let reason = format!(
                "holds {mu} of shape {:?} and {sigma} of shape {:?}",
                shape(&mean.view()),
                shape(&covariance.view())
            );
            return Err(Error::malformed(path, reason, format!("{mu} is [D] and {sigma} [D, D]")));
        }
        if mean.iter().chain(covariance).any(|value| !value.is_finite()) {
            return Err(Error::malformed(
                path,
                "holds values that are not finite",
                "compute the statistics again",
            ));
        }
        let mean = Array1::from_iter(mean.iter().copied());
        let covariance = Array2::from_shape_vec((width, width), covariance.iter().copied().collect())
            .map_err(|e| Error::malformed(path, e.to_string(), ""))?;
        let largest = covariance.diag().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let skew = |(i, j): (usize, usize)| (covariance[[i, j]] - covariance[[j, i]]).abs();
        if (0..width).any(|i| (0..i).any(|j| skew((i, j)) > ASYMMETRY * largest)) {
            return Err(Error::malformed(
                path,
                format!("{} is not symmetric", names[1]),
                "compute the statistics again",
            ));
        }
        if !is_semidefinite(covariance.view(), NEGATIVE) {
            return Err(Error::malformed(
                path,
                format!("{} is no covariance: it has negative eigenvalues", names[1]),
                "compute the statistics again",
            ));
        }
        Ok(Some(Statistics { mean, covariance, rows: None }))
    }
}

/// # Errors
/// [`Error::Data`] for widths that differ.
pub(super) fn check_widths(first: usize, second: usize) -> Result<()> {
    match first == second {
        true => Ok(()),
        false => Err(Error::data(
            format!("statistics of width {first} and {second} cannot be compared"),
            "use features of the same extractor",
        )),
    }
}

/// # Errors
/// [`Error::Data`] for too few rows to have a covariance.
pub(super) fn check_rows(rows: usize) -> Result<()> {
    match rows {
        0 | 1 => {
            Err(Error::data(format!("a covariance needs at least 2 rows, there are {rows}"), "add images"))
        }
        _ => Ok(()),
    }
}

/// The mean `[D]` of the `rows` rows of `features` `[N, D]` that `row_at` names.
pub(super) fn column_means(
    features: ArrayView2<f32>,
    rows: usize,
    row_at: &(impl Fn(usize) -> usize + Sync),
) -> Array1<f64> {
    let chunks: Vec<Vec<f64>> = (0..rows.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let mut sums = vec![0.0; features.ncols()];
            for at in chunk * CHUNK..rows.min((chunk + 1) * CHUNK) {
                let row = features.row(row_at(at));
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            sums
        })
        .collect();
    let column = |column: usize| {
        let values: Vec<f64> = chunks.iter().map(|sums| sums[column]).collect();
        tree_sum(&values) / rows as f64
    };
    (0..features.ncols()).map(column).collect()
}

/// How far a covariance may be from its transpose, relative to its largest variance: float32 statistics pass.
const ASYMMETRY: f64 = 1e-5;
/// How far below 0 the eigenvalues of a covariance may be, relative to its largest variance: statistics in half precision pass.
const NEGATIVE: f64 = 0.1;

/// Statistics with the symmetric square root of their covariance.
#[derive(Debug, Clone)]
pub struct RootedStatistics {
    pub(super) statistics: Statistics,
    pub(super) root: Array2<f64>,
}

impl RootedStatistics {
    /// Mean and covariance.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Fixture;
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn statistics_are_those_of_the_definition_at_a_large_offset() {
        let x = Fixture::load().edge_input("large_offset.200x16");
        let found = Statistics::of(x.view(), &Silent).unwrap();
        let wide = x.mapv(f64::from);
        let mean = wide.mean_axis(ndarray::Axis(0)).unwrap();
        let centred = &wide - &mean;
        let covariance = centred.t().dot(&centred) / 199.0;
        assert!((&found.mean - &mean).iter().all(|d| d.abs() < 1e-9));
        assert!((&found.covariance - &covariance).iter().all(|d| d.abs() < 1e-12));
    }

    #[test]
    fn chosen_rows_give_what_a_copy_of_them_gives() {
        let x = Fixture::load().features("real_2000");
        let rows: Vec<u32> = (0..1500).map(|i| (i * 7) % 1999).collect();
        let copy = x.select(ndarray::Axis(0), &rows.iter().map(|r| *r as usize).collect::<Vec<_>>());
        assert_eq!(
            Statistics::of_rows(x.view(), &rows, &Silent).unwrap(),
            Statistics::of(copy.view(), &Silent).unwrap()
        );
        assert!(Statistics::of_rows(x.view(), &[0, 2000], &Silent).is_err());
        assert!(Statistics::of_rows(x.view(), &[3], &Silent).is_err());
    }

    #[test]
    fn weights_count_rows_as_often_as_they_say() {
        let x = Fixture::load().features("real_2000");
        let x = x.slice(ndarray::s![..300, ..]);
        let weights: Vec<f64> = (0..300).map(|i| f64::from(i % 4)).collect();
        let repeated: Vec<u32> = (0..300).flat_map(|i| std::iter::repeat_n(i, i as usize % 4)).collect();
        let expected = Statistics::of_rows(x, &repeated, &Silent).unwrap();
        let found = Statistics::weighted(x, &weights, &Silent).unwrap();
        let n = repeated.len() as f64;
        assert!((&found.mean - &expected.mean).iter().all(|d| d.abs() < 1e-12));
        assert!((&found.covariance * (n / (n - 1.0)) - &expected.covariance).iter().all(|d| d.abs() < 1e-12));
        assert!(Statistics::weighted(x, &weights[1..], &Silent).is_err());
        assert!(Statistics::weighted(x, &[0.0; 300], &Silent).is_err());
    }

    #[test]
    fn a_saved_file_reads_back_bit_for_bit_and_foreign_ones_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.npz");
        let x = Fixture::load().features("real_2000");
        let statistics = Statistics::of(x.view(), &Silent).unwrap();
        statistics.save(&path).unwrap();
        let read = Statistics::load(&path).unwrap().unwrap();
        assert_eq!((&read.mean, &read.covariance), (&statistics.mean, &statistics.covariance));
        assert_eq!(Statistics::load_spatial(&path).unwrap(), None);
        let other = Statistics::of(x.slice(ndarray::s![..100, ..7]), &Silent).unwrap();
        Statistics::save_all(&path, Some(&statistics), Some(&other)).unwrap();
        assert_eq!(Statistics::load(&path).unwrap().unwrap().mean, statistics.mean);
        let read = Statistics::load_spatial(&path).unwrap().unwrap();
        assert_eq!((&read.mean, &read.covariance), (&other.mean, &other.covariance));
        write_npz_f64(&path, &[("features", statistics.covariance.view().into_dyn())]).unwrap();
        assert_eq!(Statistics::load(&path).unwrap(), None);
        let sigma = statistics.covariance.slice(ndarray::s![..3, ..]);
        write_npz_f64(&path, &[("mu", statistics.mean.view().into_dyn()), ("sigma", sigma.into_dyn())])
            .unwrap();
        assert!(Statistics::load(&path).unwrap_err().to_string().contains("[3, 64]"));
        for (i, j, value) in [(0, 1, f64::NAN), (0, 1, 9.0), (1, 1, -1.0)] {
            let mut broken = statistics.clone();
            broken.covariance[[i, j]] = value;
            broken.save(&path).unwrap();
            assert!(matches!(Statistics::load(&path), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn a_matrix_with_a_negative_eigenvalue_is_no_covariance_and_half_precision_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.npz");
        let load = |covariance: Array2<f64>| {
            let mean = Array1::zeros(covariance.nrows());
            Statistics { mean, covariance, rows: None }.save(&path).unwrap();
            Statistics::load(&path)
        };
        // Each pair of columns could be correlated so, but not all three: the eigenvalues are 1.9, 1.9 and -0.8.
        let impossible = |i, j| if i == j { 1.0 } else { -0.9 };
        let error = load(Array2::from_shape_fn((3, 3), |(i, j)| impossible(i, j))).unwrap_err();
        assert!(error.to_string().contains("negative eigenvalues"), "{error}");
        let x = Fixture::load().features("real_2000");
        let statistics = Statistics::of(x.slice(ndarray::s![..50, ..]), &Silent).unwrap();
        let rounded = statistics.covariance.mapv(|value| half::f16::from_f64(value).to_f64());
        assert_ne!(rounded, statistics.covariance);
        assert!(load(rounded).unwrap().is_some());
        assert!(load(Array2::zeros((2, 2))).unwrap().is_some());
    }
}
