//! Eigenvalues of the cosine kernel of a set. Those of the kernel `X X^T / n` are, but for zeros, those of the second moment
//! `X^T X / n` of the rows at unit length, so that a matrix `[D, D]` suffices.

use super::matrix::{eigenvalues, scatter};
use super::resampling::Draws;
use crate::error::Result;
use crate::progress::Progress;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

/// Eigenvalues below this are rounding errors of zeros.
const ZERO: f64 = 1e-12;

/// Eigenvalues, ascending, `[D]`, of the second moment of rows `[N, D]` brought to unit length. They sum to 1, less by the share of
/// rows of zeros, which have no direction and stay zero.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub(super) fn spectrum(features: ArrayView2<f32>, progress: &dyn Progress) -> Result<Vec<f64>> {
    eigenvalues(moment(features, features.nrows(), |at| at, progress)?.view())
}

fn moment(
    features: ArrayView2<f32>,
    rows: usize,
    row_at: impl Fn(usize) -> usize + Sync,
    progress: &dyn Progress,
) -> Result<Array2<f64>> {
    let norms: Vec<f64> = (0..features.nrows())
        .into_par_iter()
        .map(|row| features.row(row).iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt())
        .collect();
    let normalized = |at: usize, columns: Range<usize>, out: &mut [f64]| {
        let at = row_at(at);
        let row = features.row(at);
        let norm = if norms[at] > 0.0 { norms[at] } else { 1.0 };
        for (out, column) in out.iter_mut().zip(columns) {
            *out = f64::from(row[column]) / norm;
        }
    };
    let mut moment = scatter(rows, features.ncols(), &normalized, progress)?;
    moment /= rows as f64;
    Ok(moment)
}

/// Eigenvalues that are not zero.
pub(super) fn nonzero(spectrum: &[f64]) -> impl Iterator<Item = f64> {
    spectrum.iter().copied().filter(|value| *value > ZERO)
}

/// `score` of the spectrum of each bootstrap sample of the rows of `features` `[N, D]`.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub(super) fn of_bootstrap_samples(
    features: ArrayView2<f32>,
    draws: &Draws,
    score: fn(&[f64]) -> f64,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    draws
        .rows(features.nrows())
        .map(|rows| {
            let moment = moment(features, rows.len(), |at| rows[at] as usize, progress)?;
            Ok(score(&eigenvalues(moment.view())?))
        })
        .collect()
}
