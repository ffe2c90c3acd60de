//! Sums of a kernel over pairs of rows, in float64.

use super::matrix::{product_with_transpose, tree_sum};
use super::resampling::Draws;
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use ndarray::{ArrayView2, s};
use rayon::prelude::*;

/// Rows multiplied at a time; a divisor of the chunks in which sums are taken elsewhere.
const BLOCK: usize = 256;
/// Bootstrap samples that share a pass over all pairs: they take 8 bytes each for every row.
const TOGETHER: usize = 256;

/// Rows `block` of `features` as float64.
fn block(features: ArrayView2<f32>, block: usize) -> Vec<f64> {
    let rows = block * BLOCK..features.nrows().min((block + 1) * BLOCK);
    features.slice(s![rows, ..]).iter().map(|value| f64::from(*value)).collect()
}

/// How alike two rows are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// `(x.y / D + 1)^3` (Bińkowski et al. 2018, arXiv 1801.01401).
    Cubic,
    /// `exp(-|x - y|^2 / (2 sigma^2))`.
    Gaussian {
        /// Its width.
        sigma: f64,
    },
}

impl Kernel {
    /// The one of CMMD (Jayasumana et al. 2024, arXiv 2401.09603).
    pub(super) const CMMD: Kernel = Kernel::Gaussian { sigma: 10.0 };

    /// The kernel of all pairs of two blocks, `out` `[left, right]`.
    fn of_blocks(self, left: &[f64], right: &[f64], depth: usize, out: &mut Vec<f64>) {
        product_with_transpose(left, right, depth, out);
        match self {
            Kernel::Cubic => out.iter_mut().for_each(|value| {
                let base = *value / depth as f64 + 1.0;
                *value = base * base * base;
            }),
            Kernel::Gaussian { sigma } => {
                let squared = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>();
                let of_right: Vec<f64> = right.chunks_exact(depth).map(squared).collect();
                let rows = left.chunks_exact(depth).zip(out.chunks_exact_mut(of_right.len()));
                for (of_left, row) in rows.map(|(left, row)| (squared(left), row)) {
                    for (value, of_right) in row.iter_mut().zip(&of_right) {
                        let distance = (of_left + of_right - 2.0 * *value).max(0.0);
                        *value = (-distance / (2.0 * sigma * sigma)).exp();
                    }
                }
            }
        }
    }
}

/// The mean kernel over pairs of different rows of `features` `[N, D]`.
///
/// # Errors
/// [`Error::Data`] for fewer than two rows; [`Error::Interrupted`].
pub(super) fn own_pairs(features: ArrayView2<f32>, kernel: Kernel, progress: &dyn Progress) -> Result<f64> {
    let rows = features.nrows();
    if rows < 2 {
        return Err(Error::data(
            format!("the kernel distance needs at least 2 rows, there are {rows}"),
            "add images",
        ));
    }
    let sum = weighted_pairs(features, &vec![1.0f32; rows], 1, kernel, progress)?[0];
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
    kernel: Kernel,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let depth = features.ncols();
    let blocks = features.nrows().div_ceil(BLOCK);
    let weights_of = |block: usize, row: usize| &weights[(block * BLOCK + row) * columns..][..columns];
    let sums: Vec<Vec<f64>> = (0..blocks)
        .into_par_iter()
        .map(|i| {
            let left = block(features, i);
            let (mut sums, mut inner, mut values) = (vec![0.0; columns], vec![0.0; columns], Vec::new());
            for j in i..blocks {
                check_stop(progress, String::new)?;
                let right = block(features, j);
                kernel.of_blocks(&left, &right, depth, &mut values);
                let times = if i == j { 1.0 } else { 2.0 };
                for (a, values) in values.chunks_exact(right.len() / depth).enumerate() {
                    inner.fill(0.0);
                    for (b, value) in values.iter().enumerate().filter(|(b, _)| i != j || a != *b) {
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
    kernel: Kernel,
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
            let mut values = Vec::new();
            for other in 0..blocks {
                check_stop(progress, String::new)?;
                let right = block(real, other);
                kernel.of_blocks(&left, &right, depth, &mut values);
                for (sums, values) in sums.iter_mut().zip(values.chunks_exact(right.len() / depth)) {
                    sums.push(values.iter().sum::<f64>());
                }
            }
            Ok(sums.iter().map(|sums| tree_sum(sums) / real.nrows() as f64).collect())
        })
        .collect::<Result<_>>()?;
    Ok(means.into_iter().flatten().collect())
}

/// The squared discrepancy of both sets, without pairs of a row with itself, on resampled generated sets: `real_own` is the real set's
/// mean over pairs of different rows. A row's pairs with its own copies are left out, so that the estimate stays unbiased.
///
/// # Errors
/// As [`cross_means`].
pub(super) fn discrepancy_of_resampled(
    real: ArrayView2<f32>,
    real_own: f64,
    generated: ArrayView2<f32>,
    draws: &Draws,
    kernel: Kernel,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let rows = generated.nrows();
    let cross = cross_means(real, generated, kernel, progress)?;
    let mut samples = draws.multiplicities(rows);
    let mut values = Vec::with_capacity(draws.count);
    loop {
        let times: Vec<Vec<u32>> = samples.by_ref().take(TOGETHER).collect();
        if times.is_empty() {
            return Ok(values);
        }
        let weights: Vec<f32> =
            (0..rows).flat_map(|row| times.iter().map(move |times| times[row] as f32)).collect();
        let own = weighted_pairs(generated, &weights, times.len(), kernel, progress)?;
        values.extend(times.iter().zip(own).map(|(times, own)| {
            let total = rows as f64;
            let pairs = total * total - times.iter().map(|t| f64::from(*t).powi(2)).sum::<f64>();
            let crossed = times.iter().zip(&cross).map(|(t, mean)| f64::from(*t) * mean).sum::<f64>() / total;
            real_own + own / pairs - 2.0 * crossed
        }));
    }
}
