//! Copies and near-copies in a set: they raise the pseudo density of each other, and whoever keeps the set should know of them.

use crate::error::{Error, Result};
use crate::formats::FeatureRows;
use crate::neighbors::Neighbors;
use crate::random::{Purpose, keyed};
use ndarray::ArrayView1;
use rand::RngExt;
use rayon::prelude::*;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Pairs are near-duplicates below this share of the median pair distance.
const NEAR_SHARE_OF_MEDIAN: f64 = 0.25;
/// Pairs sampled to estimate the median pair distance.
const SAMPLED_PAIRS: usize = 100_000;
/// Pairs whose rows are in memory together.
const PAIRS_TOGETHER: usize = 1 << 14;

/// The median Euclidean distance of two rows of `[N, D]`: over all pairs if they are at most 100 000, else over a seeded
/// sample of that many (with replacement). Distances from float32 differences summed in float64.
///
/// # Errors
/// [`Error::Data`] if there are fewer than two rows or a distance is not finite; what reading rows returns.
pub(crate) fn median_pair_distance(features: &mut dyn FeatureRows, seed: u64) -> Result<f64> {
    let rows = features.dim().0;
    if rows < 2 {
        return Err(Error::data(format!("{rows} images make no pair"), "add images"));
    }
    let pairs: Vec<(usize, usize)> = if rows.saturating_mul(rows - 1) / 2 <= SAMPLED_PAIRS {
        (0..rows).flat_map(|i| (i + 1..rows).map(move |j| (i, j))).collect()
    } else {
        let mut rng = keyed(seed, Purpose::PairSample, 0);
        let mut pair = || {
            let (i, j) = (rng.random_range(0..rows), rng.random_range(0..rows - 1));
            (i, if j < i { j } else { j + 1 })
        };
        (0..SAMPLED_PAIRS).map(|_| pair()).collect()
    };
    let mut distances: Vec<f64> = Vec::with_capacity(pairs.len());
    for pairs in pairs.chunks(PAIRS_TOGETHER) {
        let mut wanted: Vec<usize> = pairs.iter().flat_map(|&(i, j)| [i, j]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let content = features.select(&wanted)?;
        let row = |row: usize| content.row(wanted.partition_point(|&before| before < row));
        distances.par_extend(pairs.par_iter().map(|&(i, j)| distance(row(i), row(j))));
    }
    if distances.iter().any(|d| !d.is_finite()) {
        return Err(Error::data("a feature is not finite", ""));
    }
    distances.sort_unstable_by(f64::total_cmp);
    Ok(super::quantiles::quantile_linear(&distances, 0.5))
}

fn distance(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    });
    squares.sum::<f64>().sqrt()
}

/// The distance below which two rows are near-duplicates: a quarter of the median pair distance.
pub(crate) fn near_duplicate_threshold(median_pair_distance: f64) -> f64 {
    NEAR_SHARE_OF_MEDIAN * median_pair_distance
}

/// Two rows and their distance, `row < other`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The lower row.
    pub row: u32,
    /// The higher row.
    pub other: u32,
    /// Their Euclidean distance.
    pub distance: f64,
}

impl Eq for Pair {}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        let key = |pair: &Pair| (pair.row, pair.other);
        self.distance.total_cmp(&other.distance).then_with(|| key(self).cmp(&key(other)))
    }
}

/// Pairs of near-duplicates.
#[derive(Debug, Clone, PartialEq)]
pub struct NearDuplicates {
    /// The closest pairs, ordered by (distance, rows); at most the limit.
    pub pairs: Vec<Pair>,
    /// How many pairs there are, listed or not.
    pub total: usize,
}

/// Finds the pairs of neighbours closer than a threshold (copies always), each once, in leave-one-out neighbours that come in
/// groups, in the order of rows. A row with more than K near-duplicates shows K of them.
///
/// Memory is for the closest pairs, and for those of which only the lower row has come yet.
#[derive(Debug)]
pub(crate) struct NearDuplicateSearch {
    threshold: f64,
    limit: usize,
    /// The row of the next list.
    next: u32,
    closest: BinaryHeap<Pair>,
    total: usize,
    /// Pairs that the lower row has listed, as (higher, lower), lowest first.
    awaited: BinaryHeap<Reverse<(u32, u32)>>,
}

impl NearDuplicateSearch {
    /// For pairs closer than `threshold`; the `limit` closest are listed.
    pub(crate) fn new(threshold: f64, limit: usize) -> Self {
        let (closest, awaited) = (BinaryHeap::new(), BinaryHeap::new());
        Self { threshold, limit, next: 0, closest, total: 0, awaited }
    }

    /// Takes the neighbours of the rows that follow those taken before.
    pub(crate) fn add(&mut self, neighbors: &Neighbors) {
        let mut listed_it: Vec<u32> = Vec::new();
        for q in 0..neighbors.len() {
            let row = self.next;
            self.next += 1;
            listed_it.clear();
            while let Some(&Reverse((_, lower))) = self.awaited.peek().filter(|pair| pair.0.0 == row) {
                self.awaited.pop();
                listed_it.push(lower);
            }
            let (others, distances) = neighbors.of(q);
            for (&other, &distance) in others.iter().zip(distances) {
                if distance >= self.threshold && distance > 0.0 {
                    break;
                }
                if listed_it.contains(&other) {
                    continue;
                }
                if other > row {
                    self.awaited.push(Reverse((other, row)));
                }
                self.total += 1;
                self.closest.push(Pair { row: row.min(other), other: row.max(other), distance });
                if self.closest.len() > self.limit {
                    self.closest.pop();
                }
            }
        }
    }

    /// What was found.
    pub(crate) fn finish(self) -> NearDuplicates {
        NearDuplicates { pairs: self.closest.into_sorted_vec(), total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::{Fixture, brute_force_self, gaussian};
    use ndarray::{Array2, array};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeSet;

    fn median(features: Array2<f32>, seed: u64) -> Result<f64> {
        median_pair_distance(&mut features.into_shared(), seed)
    }

    /// Taken in groups of 7 rows.
    fn near_duplicates(neighbors: &Neighbors, threshold: f64, limit: usize) -> NearDuplicates {
        let k = neighbors.k;
        let mut search = NearDuplicateSearch::new(threshold, limit);
        for (rows, distances) in neighbors.rows.chunks(7 * k).zip(neighbors.distances.chunks(7 * k)) {
            search.add(&Neighbors { k, rows: rows.to_vec(), distances: distances.to_vec() });
        }
        assert!(search.awaited.is_empty());
        search.finish()
    }

    #[test]
    fn every_copy_of_the_fixture_is_paired() {
        let features = Fixture::load().edge_input("duplicates.real");
        let neighbors = brute_force_self(&features, 10);
        let found = near_duplicates(&neighbors, 0.0, 1000);
        let pairs: BTreeSet<(u32, u32)> = found.pairs.iter().map(|pair| (pair.row, pair.other)).collect();
        let mut expected = BTreeSet::from([(0, 1)]);
        for group in [10..21, 30..35] {
            expected.extend(
                group.clone().flat_map(|i| group.clone().filter(move |j| i < *j).map(move |j| (i, j))),
            );
        }
        assert_eq!(pairs, expected);
        assert_eq!(found.total, expected.len());
    }

    #[test]
    fn pairs_below_the_threshold_are_those_of_a_full_scan() {
        let features = gaussian(80, 2, &mut ChaCha8Rng::seed_from_u64(3));
        let neighbors = brute_force_self(&features, 79);
        for threshold in [0.1, 0.4, 10.0] {
            let mut expected: Vec<Pair> = (0..80)
                .flat_map(|i| (i + 1..80).map(move |j| (i, j)))
                .map(|(i, j)| Pair {
                    row: i as u32,
                    other: j as u32,
                    distance: distance(features.row(i), features.row(j)),
                })
                .filter(|pair| pair.distance < threshold)
                .collect();
            expected.sort();
            let found = near_duplicates(&neighbors, threshold, usize::MAX);
            assert_eq!((found.total, &found.pairs), (expected.len(), &expected));
            let few = near_duplicates(&neighbors, threshold, 5);
            assert_eq!((few.total, &few.pairs[..]), (expected.len(), &expected[..5.min(expected.len())]));
        }
    }

    #[test]
    fn a_pair_that_only_the_higher_row_lists_is_found() {
        // Row 0's nearest is row 1; row 2's nearest is row 0.
        let neighbors = brute_force_self(&array![[0.0f32], [0.5], [-1.0]], 1);
        let found = near_duplicates(&neighbors, 2.0, 10);
        assert_eq!(
            found.pairs.iter().map(|pair| (pair.row, pair.other)).collect::<Vec<_>>(),
            [(0, 1), (0, 2)]
        );
    }

    #[test]
    fn the_median_of_a_few_pairs_is_exact() {
        assert_eq!(median(array![[0.0f32], [1.0], [3.0], [7.0]], 0).unwrap(), 3.5);
        assert_eq!(near_duplicate_threshold(3.5), 0.875);
    }

    #[test]
    fn the_median_of_many_pairs_is_close_and_the_same_for_a_seed() {
        let features = gaussian(3000, 3, &mut ChaCha8Rng::seed_from_u64(4));
        let found = median(features.clone(), 7).unwrap();
        // The difference of two is normal with variance 2: the median of sqrt(2 * chi-squared of 3), which is sqrt(2 * 2.36597).
        assert!((found / (2.0f64 * 2.36597).sqrt() - 1.0).abs() < 0.03, "{found}");
        assert_eq!(found, median(features.clone(), 7).unwrap());
        assert_ne!(found, median(features.clone(), 8).unwrap());
    }

    #[test]
    fn sets_without_a_median_are_refused() {
        assert!(matches!(median(Array2::zeros((1, 4)), 0), Err(Error::Data { .. })));
        assert!(matches!(median(array![[0.0], [f32::NAN]], 0), Err(Error::Data { .. })));
    }

    #[test]
    fn huge_features_have_a_finite_median() {
        assert!(median(array![[-3e38f32, 3e38], [3e38, -3e38]], 0).unwrap().is_finite());
    }
}
