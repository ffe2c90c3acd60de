//! The recall of an approximate index: how many of the true neighbours it finds, measured on a sample of the rows.

use super::search::Neighbors;
use crate::error::{Error, Result};
use crate::progress::Progress;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Rows on which the recall of a new index is measured.
pub(super) const RECALL_SAMPLE: usize = 1000;
/// A recall below this is warned about.
const GOOD_RECALL: f64 = 0.99;

/// `sample` of `rows` rows drawn with `seed` (all, if there are not more), ascending.
pub(super) fn sampled(rows: usize, sample: usize, seed: u64) -> Result<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut sampled = rand::seq::index::sample(&mut random, rows, sample.min(rows)).into_vec();
    sampled.sort_unstable();
    if sampled.is_empty() {
        return Err(Error::usage("a recall cannot be measured on 0 rows", "Ask for at least 1."));
    }
    Ok(sampled)
}

/// The share of the neighbours `found` that are at most as far as the last of the true ones.
pub(super) fn share_found(found: &Neighbors, exact: &Neighbors) -> f64 {
    let hits = |q: usize| {
        let farthest = exact.of(q).1[exact.k - 1];
        found.of(q).1.iter().filter(|&&distance| distance <= farthest).count()
    };
    (0..found.len()).map(hits).sum::<usize>() as f64 / found.rows.len() as f64
}

/// Warns of a recall, 0 to 1, that is too low to be trusted.
pub(super) fn warn_of_recall(recall: f64, progress: &dyn Progress) {
    if recall < GOOD_RECALL {
        progress.warn(&format!(
            "the index finds only {:.1} % of the true neighbours; exact search finds all of them",
            100.0 * recall
        ));
    }
}
