//! Brute force for single queries: every distance is computed from the rows themselves, and given up early where it is too large.
//! For queries so far outside the set that float32 products with them may overflow, where no candidates can be proven complete.
//! Several queries share a pass over each block of the set, so that the block is read from memory once.

use super::candidates::LIMIT_MARGIN;
use super::top_k::Nearest;
use crate::error::Result;
use crate::neighbors::distance::squared_l2_within;
use crate::progress::{Progress, check_stop};
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Queries that share a pass over the features.
const TOGETHER: usize = 32;
/// Bytes of features that stay in the second-level cache while the queries pass over them.
const BLOCK_BYTES: usize = 256 * 1024;

/// One row that is searched for directly.
pub(super) struct Job<'a> {
    /// `[D]`.
    pub query: &'a [f32],
    /// A row that does not count.
    pub exclude: Option<u32>,
}

/// The nearest (distance, row) of each job among `features` `[N, D]`, at most `k`, fewer where there are not more.
pub(super) fn search(
    features: ArrayView2<f32>,
    jobs: &[Job<'_>],
    k: usize,
    skip_zero: bool,
    progress: &dyn Progress,
) -> Result<Vec<Vec<(f64, u32)>>> {
    let together = jobs.len().div_ceil(4 * rayon::current_num_threads()).clamp(1, TOGETHER);
    let batches: Vec<Vec<Vec<(f64, u32)>>> = jobs
        .par_chunks(together)
        .map(|batch| {
            check_stop(progress, String::new)?;
            Ok(search_batch(features, batch, k, skip_zero))
        })
        .collect::<Result<_>>()?;
    Ok(batches.into_iter().flatten().collect())
}

fn search_batch(
    features: ArrayView2<f32>,
    batch: &[Job<'_>],
    k: usize,
    skip_zero: bool,
) -> Vec<Vec<(f64, u32)>> {
    let mut found: Vec<Nearest> = batch.iter().map(|_| Nearest::new(k)).collect();
    let block = (BLOCK_BYTES / (4 * features.ncols().max(1))).max(1);
    for first in (0..features.nrows()).step_by(block) {
        let rows = first..features.nrows().min(first + block);
        for (job, nearest) in batch.iter().zip(&mut found) {
            for row in rows.clone() {
                let limit = nearest.worst().unwrap_or(f64::INFINITY);
                if limit == 0.0 {
                    // Rows come in order, so no later one at distance 0 is preferred.
                    break;
                }
                let Some(content) = features.row(row).to_slice() else { continue };
                if job.exclude == Some(row as u32) {
                    continue;
                }
                let squared = squared_l2_within(job.query, content, limit * limit * (1.0 + LIMIT_MARGIN));
                match squared {
                    Some(squared) if squared > 0.0 || !skip_zero => nearest.offer(squared.sqrt(), row as u32),
                    _ => {}
                }
            }
        }
    }
    found.into_iter().map(Nearest::into_sorted).collect()
}
