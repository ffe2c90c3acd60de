//! Float64 linear algebra of the metrics: products in fixed tiles, symmetric eigendecomposition.
//! Every tile is computed by one thread in one order, and tiles are put together in a fixed tree, so no bit of a result
//! depends on the number of threads.

use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

/// Rows summed as one leaf of a tree.
pub(super) const CHUNK: usize = 1024;
/// Side of the tiles of a `[D, D]` product.
const TILE: usize = 128;

/// Gives the values of a row in a range of columns: `fill(row, columns, out)`.
pub(super) type Fill<'a> = dyn Fn(usize, Range<usize>, &mut [f64]) + Sync + 'a;

/// `left * right^T` of row-major `[m, depth]` and `[n, depth]`, row-major `[m, n]` into `out`.
pub(super) fn product_with_transpose(left: &[f64], right: &[f64], depth: usize, out: &mut Vec<f64>) {
    let (m, n) = (left.len() / depth, right.len() / depth);
    out.clear();
    out.resize(m * n, 0.0);
    let left = MatRef::from_row_major_slice(left, m, depth);
    let right = MatRef::from_row_major_slice(right, n, depth).transpose();
    matmul(MatMut::from_row_major_slice_mut(out, m, n), Accum::Replace, left, right, 1.0, Par::Seq);
}

/// `sum over rows of x x^T` `[D, D]` for `rows` rows of `width` values, which `fill` gives.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn scatter(
    rows: usize,
    width: usize,
    fill: &Fill<'_>,
    progress: &dyn Progress,
) -> Result<Array2<f64>> {
    let tiles = width.div_ceil(TILE);
    let columns = |tile: usize| tile * TILE..width.min((tile + 1) * TILE);
    let pairs: Vec<(usize, usize)> = (0..tiles).flat_map(|i| (i..tiles).map(move |j| (i, j))).collect();
    let blocks: Vec<Vec<f64>> = pairs
        .par_iter()
        .map(|&(i, j)| {
            check_stop(progress, String::new)?;
            let mut scratch = (Vec::new(), Vec::new());
            Ok(tile_sum(0..rows, columns(i), columns(j), fill, &mut scratch))
        })
        .collect::<Result<_>>()?;
    let mut sum = Array2::zeros((width, width));
    for ((i, j), block) in pairs.into_iter().zip(blocks) {
        let (left, right) = (columns(i), columns(j));
        for (a, row) in left.zip(block.chunks_exact(right.len())) {
            for (b, &value) in right.clone().zip(row) {
                sum[[a, b]] = value;
                sum[[b, a]] = value;
            }
        }
    }
    Ok(sum)
}

fn tile_sum(
    rows: Range<usize>,
    left: Range<usize>,
    right: Range<usize>,
    fill: &Fill<'_>,
    scratch: &mut (Vec<f64>, Vec<f64>),
) -> Vec<f64> {
    if rows.len() > CHUNK {
        let middle = rows.start + half(rows.len());
        let mut sum = tile_sum(rows.start..middle, left.clone(), right.clone(), fill, scratch);
        let other = tile_sum(middle..rows.end, left, right, fill, scratch);
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        return sum;
    }
    let panel = |columns: &Range<usize>, out: &mut Vec<f64>| {
        out.clear();
        out.resize(rows.len() * columns.len(), 0.0);
        for (row, out) in rows.clone().zip(out.chunks_exact_mut(columns.len())) {
            fill(row, columns.clone(), out);
        }
    };
    let (a, b) = scratch;
    panel(&left, a);
    panel(&right, b);
    let a = MatRef::from_row_major_slice(a, rows.len(), left.len()).transpose();
    let b = MatRef::from_row_major_slice(b, rows.len(), right.len());
    let mut sum = vec![0.0; left.len() * right.len()];
    let out = MatMut::from_row_major_slice_mut(&mut sum, left.len(), right.len());
    matmul(out, Accum::Replace, a, b, 1.0, Par::Seq);
    sum
}

/// Where a range of more than one chunk is cut: whole chunks, the left side a power of two of them.
fn half(rows: usize) -> usize {
    let chunks = rows.div_ceil(CHUNK);
    chunks.next_power_of_two() / 2 * CHUNK
}

/// The sum of values in the tree that [`scatter`] uses, one value per chunk.
pub(super) fn tree_sum(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
            tree_sum(left) + tree_sum(right)
        }
    }
}

/// `left * right` of two matrices `[D, D]`.
pub(super) fn multiply(left: ArrayView2<f64>, right: ArrayView2<f64>) -> Array2<f64> {
    let width = left.ncols();
    let (left, right) = (left.as_standard_layout(), right.as_standard_layout());
    let mut out = Array2::zeros((left.nrows(), right.ncols()));
    let columns = right.ncols();
    if let (Some(left), Some(right), Some(out)) = (left.as_slice(), right.as_slice(), out.as_slice_mut()) {
        let right = MatRef::from_row_major_slice(right, width, columns);
        left.par_chunks(TILE * width.max(1)).zip(out.par_chunks_mut(TILE * columns.max(1))).for_each(
            |(left, out)| {
                let rows = left.len() / width;
                let left = MatRef::from_row_major_slice(left, rows, width);
                let out = MatMut::from_row_major_slice_mut(out, rows, columns);
                matmul(out, Accum::Replace, left, right, 1.0, Par::Seq);
            },
        );
    }
    out
}

/// Eigenvalues of a symmetric matrix `[D, D]` (the lower half is read), ascending.
///
/// # Errors
/// [`Error::Data`] if a value is not finite or the iteration does not converge.
pub(super) fn eigenvalues(matrix: ArrayView2<f64>) -> Result<Vec<f64>> {
    let (scaled, scale) = scaled(matrix)?;
    let values = scaled.self_adjoint_eigenvalues(Side::Lower).map_err(|_| unsolved())?;
    Ok(values.into_iter().map(|value| value * scale).collect())
}

/// The symmetric square root of a symmetric matrix `[D, D]` that has no negative eigenvalues but by rounding; those count as 0.
///
/// # Errors
/// As [`eigenvalues`].
pub(super) fn square_root(matrix: ArrayView2<f64>) -> Result<Array2<f64>> {
    let (values, vectors) = decompose(matrix)?;
    let width = values.len();
    let at = |i: usize, j: usize| vectors[(i, j)];
    // V s^(1/4) times its transpose.
    let scaled = Array2::from_shape_fn((width, width), |(i, j)| at(i, j) * values[j].max(0.0).sqrt().sqrt());
    Ok(multiply(scaled.view(), scaled.t()))
}

/// The inverse of the symmetric square root of a positive definite matrix `[D, D]`, and the trace of the root itself.
///
/// # Errors
/// As [`eigenvalues`]; [`Error::Data`] for a singular matrix.
pub(super) fn inverse_square_root(matrix: ArrayView2<f64>) -> Result<(Array2<f64>, f64)> {
    let (values, vectors) = decompose(matrix)?;
    let least = f64::EPSILON * values.last().copied().unwrap_or_default();
    if values.iter().any(|value| *value <= least) {
        return Err(Error::data(
            "a covariance is singular",
            "use more images, or features that are not constant",
        ));
    }
    let width = values.len();
    // V s^(-1/4) times its transpose.
    let scaled = Array2::from_shape_fn((width, width), |(i, j)| vectors[(i, j)] / values[j].sqrt().sqrt());
    Ok((multiply(scaled.view(), scaled.t()), values.iter().map(|value| value.sqrt()).sum()))
}

/// Whether no eigenvalue of a symmetric matrix `[D, D]` (the lower half is read, finite) is below `-tolerance` times its largest diagonal
/// value.
pub(super) fn is_semidefinite(matrix: ArrayView2<f64>, tolerance: f64) -> bool {
    let largest = matrix.diag().fold(0.0f64, |largest, &value| largest.max(value));
    if largest == 0.0 {
        return matrix.iter().all(|value| *value == 0.0);
    }
    let raised = |i, j| matrix[[i, j]] / largest + if i == j { tolerance } else { 0.0 };
    Mat::from_fn(matrix.nrows(), matrix.ncols(), raised).llt(Side::Lower).is_ok()
}

/// The sum of the singular values of a matrix `[m, n]`.
///
/// # Errors
/// As [`eigenvalues`].
pub(super) fn nuclear_norm(matrix: ArrayView2<f64>) -> Result<f64> {
    let (scaled, scale) = scaled(matrix)?;
    let values = scaled.singular_values().map_err(|_| unsolved())?;
    Ok(values.iter().sum::<f64>() * scale)
}

/// The matrix over a power of two that brings its largest value to about 1, and that power: the solvers do not take sizes near the ends of
/// the range of float64 well.
fn scaled(matrix: ArrayView2<f64>) -> Result<(Mat<f64>, f64)> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(Error::data(
            "a matrix of second moments holds values that are not finite",
            "scale the features down",
        ));
    }
    let largest = matrix.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scale = if largest > 0.0 { 2f64.powi(largest.log2().floor() as i32) } else { 1.0 };
    Ok((Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[[i, j]] / scale), scale))
}

/// The eigenvalues of a symmetric matrix `[D, D]`, ascending, and its eigenvectors `[D, D]` as columns.
fn decompose(matrix: ArrayView2<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let (scaled, scale) = scaled(matrix)?;
    let eigen = scaled.self_adjoint_eigen(Side::Lower).map_err(|_| unsolved())?;
    let values = eigen.S().column_vector().iter().map(|value| value * scale).collect();
    Ok((values, eigen.U().to_owned()))
}

fn unsolved() -> Error {
    Error::data("the eigenvalues of a matrix of second moments could not be found", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::progress::test_support::StopsAfter;

    fn filled(rows: usize, width: usize) -> Array2<f64> {
        Array2::from_shape_fn((rows, width), |(i, j)| ((i * 7919 + j * 104_729) % 1013) as f64 / 507.0 - 1.0)
    }

    #[test]
    fn a_scatter_matrix_is_the_plain_sum_of_products() {
        for (rows, width) in [(1, 1), (5, 3), (3000, 150)] {
            let x = filled(rows, width);
            let fill = |row: usize, columns: Range<usize>, out: &mut [f64]| {
                out.iter_mut().zip(columns).for_each(|(out, column)| *out = x[[row, column]]);
            };
            let found = scatter(rows, width, &fill, &Silent).unwrap();
            let expected = x.t().dot(&x);
            let error = (&found - &expected).mapv(f64::abs).fold(0.0, |a: f64, &b| a.max(b));
            assert!(error < 1e-9, "{error}");
            assert_eq!(found, found.t());
        }
    }

    #[test]
    fn a_scatter_matrix_is_not_finished_once_a_stop_is_requested() {
        // 300 columns are six pairs of tiles, and each is a safe point.
        let fill = |_: usize, _: Range<usize>, out: &mut [f64]| out.fill(1.0);
        assert!(scatter(4, 300, &fill, &StopsAfter::new(6)).is_ok());
        let stopped = scatter(4, 300, &fill, &StopsAfter::new(5));
        assert!(matches!(stopped, Err(Error::Interrupted { .. })));
    }

    #[test]
    fn a_square_root_squared_is_the_matrix_and_its_eigenvalues_the_roots() {
        let x = filled(40, 30);
        let matrix = x.t().dot(&x);
        let root = square_root(matrix.view()).unwrap();
        let back = multiply(root.view(), root.view());
        let error = (&back - &matrix).mapv(f64::abs).fold(0.0, |a: f64, &b| a.max(b));
        assert!(error < 1e-10, "{error}");
        let values = eigenvalues(matrix.view()).unwrap();
        let trace: f64 = values.iter().sum();
        assert!((trace - matrix.diag().sum()).abs() < 1e-9);
        assert!(values.is_sorted());
    }

    #[test]
    fn a_matrix_of_any_size_has_eigenvalues_and_a_broken_one_is_refused() {
        for size in [1e-280, 1e280, 0.0] {
            let matrix = Array2::from_diag(&ndarray::arr1(&[size, 2.0 * size, 3.0 * size]));
            let values = eigenvalues(matrix.view()).unwrap();
            for (found, expected) in values.iter().zip([1.0, 2.0, 3.0]) {
                assert!((found - expected * size).abs() <= 1e-12 * size);
            }
        }
        assert!(eigenvalues(Array2::from_elem((2, 2), f64::NAN).view()).is_err());
    }

    #[test]
    fn singular_values_are_summed_of_matrices_of_any_shape_and_size() {
        // Of a product of orthogonal columns the singular values are their lengths.
        for (rows, columns) in [(2, 5), (5, 2), (40, 3)] {
            for size in [1e-280, 1.0, 1e280] {
                let mut matrix = Array2::zeros((rows, columns));
                for i in 0..rows.min(columns) {
                    matrix[[i, (i + 1) % columns]] = (i + 1) as f64 * size;
                }
                let expected = (1..=rows.min(columns)).sum::<usize>() as f64 * size;
                assert!((nuclear_norm(matrix.view()).unwrap() / expected - 1.0).abs() < 1e-14);
            }
        }
        let x = filled(30, 20);
        let of_root: f64 = eigenvalues(x.t().dot(&x).view()).unwrap().iter().map(|v| v.max(0.0).sqrt()).sum();
        assert!((nuclear_norm(x.view()).unwrap() / of_root - 1.0).abs() < 1e-6);
        assert_eq!(nuclear_norm(Array2::zeros((0, 3)).view()).unwrap(), 0.0);
        assert!(nuclear_norm(Array2::from_elem((2, 3), f64::NAN).view()).is_err());
    }

    #[test]
    fn a_tree_sum_holds_every_value_once() {
        for n in 0..40 {
            let values: Vec<f64> = (0..n).map(f64::from).collect();
            assert_eq!(tree_sum(&values), values.iter().sum::<f64>());
        }
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() {
        let x = filled(2500, 300);
        let fill = |row: usize, columns: Range<usize>, out: &mut [f64]| {
            out.iter_mut().zip(columns).for_each(|(out, column)| *out = x[[row, column]]);
        };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| square_root(scatter(2500, 300, &fill, &Silent).unwrap().view()).unwrap())
        };
        assert_eq!(run(1), run(3));
    }
}
