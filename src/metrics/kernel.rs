//! Sums of the polynomial kernel `(x.y / D + 1)^3` over pairs of rows (Bińkowski et al. 2018, arXiv 1801.01401), in float64.

use super::matrix::{product_with_transpose, tree_sum};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use ndarray::{ArrayView2, s};
use rayon::prelude::*;

/// Rows multiplied at a time; a divisor of the chunks in which sums are taken elsewhere.
const BLOCK: usize = 256;

/// Rows `block` of `features` as float64.
fn block(features: ArrayView2<f32>, block: usize) -> Vec<f64> {
    let rows = block * BLOCK..features.nrows().min((block + 1) * BLOCK);
    features.slice(s![rows, ..]).iter().map(|value| f64::from(*value)).collect()
}

/// The kernel of all pairs of two blocks.
fn kernels(left: &[f64], right: &[f64], depth: usize, out: &mut Vec<f64>) {
    product_with_transpose(left, right, depth, out);
    for value in out {
        let base = *value / depth as f64 + 1.0;
        *value = base * base * base;
    }
}

/// The mean kernel over pairs of different rows of `features` `[N, D]`.
///
/// # Errors
/// [`Error::Data`] for fewer than two rows; [`Error::Interrupted`].
pub(super) fn own_pairs(features: ArrayView2<f32>, progress: &dyn Progress) -> Result<f64> {
    let rows = features.nrows();
    if rows < 2 {
        return Err(Error::data(
            format!("the kernel distance needs at least 2 rows, there are {rows}"),
            "add images",
        ));
    }
    let sum = weighted_pairs(features, &vec![1.0f32; rows], 1, progress)?[0];
    Ok(sum / (rows as f64 * (rows - 1) as f64))
}

/// `sum over i != j of w_i w_j k(x_i, x_j)` for each column of `weights` `[N, W]`, row-major.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn weighted_pairs(
    features: ArrayView2<f32>,
    weights: &[f32],
    columns: usize,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let depth = features.ncols();
    let blocks = features.nrows().div_ceil(BLOCK);
    let weights_of = |block: usize, row: usize| &weights[(block * BLOCK + row) * columns..][..columns];
    let sums: Vec<Vec<f64>> = (0..blocks)
        .into_par_iter()
        .map(|i| {
            let left = block(features, i);
            let (mut sums, mut inner, mut kernel) = (vec![0.0; columns], vec![0.0; columns], Vec::new());
            for j in i..blocks {
                check_stop(progress, String::new)?;
                let right = block(features, j);
                kernels(&left, &right, depth, &mut kernel);
                let times = if i == j { 1.0 } else { 2.0 };
                for (a, kernel) in kernel.chunks_exact(right.len() / depth).enumerate() {
                    inner.fill(0.0);
                    for (b, value) in kernel.iter().enumerate().filter(|(b, _)| i != j || a != *b) {
                        for (inner, weight) in inner.iter_mut().zip(weights_of(j, b)) {
                            *inner += f64::from(*weight) * value;
                        }
                    }
                    for ((sum, inner), weight) in sums.iter_mut().zip(&inner).zip(weights_of(i, a)) {
                        *sum += times * f64::from(*weight) * inner;
                    }
                }
            }
            Ok(sums)
        })
        .collect::<Result<_>>()?;
    Ok((0..columns)
        .map(|column| tree_sum(&sums.iter().map(|sums| sums[column]).collect::<Vec<_>>()))
        .collect())
}

/// The mean kernel of each generated row with all real ones, `[M]`.
///
/// # Errors
/// [`Error::Data`] if the widths differ; [`Error::Interrupted`].
pub(super) fn cross_means(
    real: ArrayView2<f32>,
    generated: ArrayView2<f32>,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let depth = real.ncols();
    if depth != generated.ncols() {
        return Err(Error::data(
            format!("features of width {depth} and {} cannot be compared", generated.ncols()),
            "use features of the same extractor",
        ));
    }
    let blocks = real.nrows().div_ceil(BLOCK);
    let means: Vec<Vec<f64>> = (0..generated.nrows().div_ceil(BLOCK))
        .into_par_iter()
        .map(|own| {
            let left = block(generated, own);
            let mut sums: Vec<Vec<f64>> = vec![Vec::with_capacity(blocks); left.len() / depth];
            let mut kernel = Vec::new();
            for other in 0..blocks {
                check_stop(progress, String::new)?;
                let right = block(real, other);
                kernels(&left, &right, depth, &mut kernel);
                for (sums, kernel) in sums.iter_mut().zip(kernel.chunks_exact(right.len() / depth)) {
                    sums.push(kernel.iter().sum::<f64>());
                }
            }
            Ok(sums.iter().map(|sums| tree_sum(sums) / real.nrows() as f64).collect())
        })
        .collect::<Result<_>>()?;
    Ok(means.into_iter().flatten().collect())
}
