//! The first principal axes of a sample of rows, by subspace iteration (Halko, Martinsson and Tropp, *Finding structure with
//! randomness*, SIAM Review 2011, algorithm 4.4).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Products with the sample's covariance: each brings the axes closer to the principal ones. Any orthonormal axes are correct.
const ITERATIONS: usize = 2;
/// Rows of the sample that one task multiplies.
const CHUNK: usize = 512;
/// What the products of axes with each other may differ from those of orthonormal ones, as a Frobenius norm.
pub(super) const ORTHONORMAL: f64 = 1e-11;

/// `count` orthonormal axes `[D, count]` along which the rows of `sample` `[S, D]`, which is centred, vary most, the largest variance
/// first. `None` where no such axes are found: `count` is above `D`, or the values are beyond what float64 can square.
pub(super) fn principal_axes(sample: MatRef<f64>, count: usize) -> Option<Mat<f64>> {
    let width = sample.ncols();
    if count > width {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut basis = orthonormal(&Mat::from_fn(width, count, |_, _| random.random_range(-1.0..1.0)));
    for _ in 0..ITERATIONS {
        basis = orthonormal(&scattered(sample, &basis));
    }
    let spread = product(basis.transpose(), scattered(sample, &basis).as_ref());
    let turned = spread.self_adjoint_eigen(Side::Lower).ok()?;
    let axes = product(basis.as_ref(), turned.U().reverse_cols());
    let mut error = product(axes.transpose(), axes.as_ref());
    (0..count).for_each(|i| error[(i, i)] -= 1.0);
    (error.norm_l2() <= ORTHONORMAL).then_some(axes)
}

/// `X^T X B` `[D, m]` of the sample `X` `[S, D]` and `basis` `[D, m]`.
fn scattered(sample: MatRef<f64>, basis: &Mat<f64>) -> Mat<f64> {
    let chunks: Vec<Mat<f64>> = (0..sample.nrows().div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let first = chunk * CHUNK;
            let rows = sample.subrows(first, CHUNK.min(sample.nrows() - first));
            product(rows.transpose(), product(rows, basis.as_ref()).as_ref())
        })
        .collect();
    chunks.into_iter().fold(Mat::zeros(basis.nrows(), basis.ncols()), |sum, chunk| sum + chunk)
}

pub(super) fn product(left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
    let mut out = Mat::zeros(left.nrows(), right.ncols());
    matmul(out.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
    out
}

fn orthonormal(columns: &Mat<f64>) -> Mat<f64> {
    columns.qr().compute_thin_Q()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_of_a_set_that_varies_along_known_ones_are_these() {
        // Column `k` of the set varies by `4^-k`, and two columns are turned by 30 degrees.
        let (sine, cosine) = (0.5f64, 0.75f64.sqrt());
        let sign = |i: usize, k: usize| if (i >> k) & 1 == 1 { 1.0 } else { -1.0 };
        let plain = |i: usize, k: usize| sign(i, k) * 0.25f64.powi(k as i32);
        let sample = Mat::from_fn(64, 6, |i, k| match k {
            0 => cosine * plain(i, 0) - sine * plain(i, 3),
            3 => sine * plain(i, 0) + cosine * plain(i, 3),
            _ => plain(i, k),
        });
        let axes = principal_axes(sample.as_ref(), 3).unwrap();
        let expected = [
            [cosine, 0.0, 0.0, sine, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        ];
        for (axis, expected) in expected.iter().enumerate() {
            let along: f64 = (0..6).map(|k| expected[k] * axes[(k, axis)]).sum();
            assert!((along.abs() - 1.0).abs() < 1e-4, "axis {axis}: {along}");
        }
    }

    #[test]
    fn a_set_without_variance_has_axes_too_and_one_beyond_float64_has_none() {
        assert!(principal_axes(Mat::zeros(20, 5).as_ref(), 2).is_some());
        assert!(principal_axes(Mat::zeros(20, 5).as_ref(), 6).is_none());
        assert!(principal_axes(Mat::from_fn(20, 5, |i, k| 1e200 * (i * k) as f64).as_ref(), 2).is_none());
    }
}
