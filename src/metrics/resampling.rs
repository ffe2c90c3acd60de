//! Seeded draws of rows: bootstrap samples, subsets, halves. Each is keyed by what it is for and its number, so that none
//! depends on how many were made before it.

use crate::density::quantile_linear;
use crate::random::{Purpose, keyed};
use rand::RngExt;

/// `count` of `rows` rows without replacement (all of them if there are fewer), in drawn order.
pub(super) fn without_replacement(
    rows: usize,
    count: usize,
    seed: u64,
    purpose: Purpose,
    item: u64,
) -> Vec<u32> {
    let mut rng = keyed(seed, purpose, item);
    let mut all: Vec<u32> = (0..rows as u32).collect();
    let count = count.min(rows);
    for at in 0..count {
        let other = rng.random_range(at..rows);
        all.swap(at, other);
    }
    all.truncate(count);
    all
}

/// Two disjoint random halves of `rows` rows, each ascending; of an odd number the last drawn row is left out.
pub(crate) fn halves(rows: usize, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut all = without_replacement(rows, rows, seed, Purpose::Halves, 0);
    let half = rows / 2;
    all.truncate(2 * half);
    let mut second = all.split_off(half);
    all.sort_unstable();
    second.sort_unstable();
    (all, second)
}

/// The bootstrap samples of one run: the same for every set of as many rows.
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    /// Samples.
    pub count: usize,
    /// Their key.
    pub seed: u64,
}

impl Draws {
    /// Each sample: `rows` row numbers drawn with replacement.
    pub fn rows(self, rows: usize) -> impl Iterator<Item = Vec<u32>> {
        (0..self.count as u64).map(move |item| {
            let mut rng = keyed(self.seed, Purpose::Bootstrap, item);
            (0..rows).map(|_| rng.random_range(0..rows as u32)).collect()
        })
    }

    /// Each sample as the number of times every row was drawn.
    pub fn multiplicities(self, rows: usize) -> impl Iterator<Item = Vec<u32>> {
        self.rows(rows).map(move |drawn| {
            let mut times = vec![0; rows];
            drawn.into_iter().for_each(|row| times[row as usize] += 1);
            times
        })
    }
}

/// Share of the replicates that an interval holds.
const CONFIDENCE: f64 = 0.95;

/// The central 95 % of `replicates`, moved so that their mean is `centre` where one is given: a sample that repeats rows shifts the
/// Fréchet distance and the Vendi score, one of half as many rows the recall, and the shift is no part of their spread. NaN where there
/// are none.
pub(super) fn interval(mut replicates: Vec<f64>, centre: Option<f64>) -> [f64; 2] {
    if replicates.is_empty() || replicates.iter().any(|r| r.is_nan()) {
        return [f64::NAN; 2];
    }
    let mean = replicates.iter().sum::<f64>() / replicates.len() as f64;
    let shift = centre.map_or(0.0, |centre| centre - mean);
    replicates.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    [tail, 1.0 - tail].map(|q| quantile_linear(&replicates, q) + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_disjoint_ascending_and_of_one_size() {
        for rows in [0, 1, 2, 9, 100] {
            let (a, b) = halves(rows, 3);
            assert_eq!((a.len(), b.len()), (rows / 2, rows / 2));
            assert!(a.is_sorted() && b.is_sorted() && a.iter().all(|row| !b.contains(row)));
        }
        assert_ne!(halves(100, 3), halves(100, 4));
    }

    #[test]
    fn a_bootstrap_sample_has_as_many_rows_and_a_subset_no_row_twice() {
        let draws = Draws { count: 3, seed: 1 };
        for times in draws.multiplicities(50) {
            assert_eq!(times.iter().sum::<u32>(), 50);
        }
        let mut subset = without_replacement(20, 8, 0, Purpose::RealSubset, 2);
        subset.sort_unstable();
        subset.dedup();
        assert_eq!(subset.len(), 8);
    }

    #[test]
    fn an_interval_of_means_covers_like_a_normal_one() {
        // 400 flags, 100 of them set: the deviation of their mean is sqrt(0.25 * 0.75 / 400).
        let means: Vec<f64> = Draws { count: 2000, seed: 5 }
            .rows(400)
            .map(|rows| rows.iter().filter(|row| **row < 100).count() as f64 / 400.0)
            .collect();
        let [low, high] = interval(means, None);
        let expected = 1.96 * (0.25f64 * 0.75 / 400.0).sqrt();
        assert!(((high - low) / 2.0 / expected - 1.0).abs() < 0.1, "{low} {high}");
        assert!((low + high - 0.5).abs() < 0.01);
    }
}
