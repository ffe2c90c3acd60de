//! Copies and near-copies in a set: what the published formula is pulled up by, and what a collection should know of itself.

use super::random::{Purpose, keyed};
use crate::error::{Error, Result};
use crate::neighbors::Neighbors;
use ndarray::{ArrayView1, ArrayView2};
use rand::RngExt;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Pairs are near-duplicates below this share of the median pair distance.
const NEAR_SHARE_OF_MEDIAN: f64 = 0.25;
/// Pairs sampled to estimate the median pair distance.
const SAMPLED_PAIRS: usize = 100_000;

/// How many rows have a copy: a nearest other row at distance 0. `neighbors` are leave-one-out and did not skip zero.
pub fn count_exact_duplicates(neighbors: &Neighbors) -> usize {
    neighbors.distances.chunks_exact(neighbors.k.max(1)).filter(|row| row[0] == 0.0).count()
}

/// The median Euclidean distance of two rows of `[N, D]`: over all pairs if they are at most 100 000, else over a seeded
/// sample of that many (with replacement). Distances from float32 differences summed in float64.
///
/// # Errors
/// [`Error::Data`] if there are fewer than two rows or a distance is not finite.
pub fn median_pair_distance(features: ArrayView2<f32>, seed: u64) -> Result<f64> {
    let rows = features.nrows();
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
    let mut distances: Vec<f64> =
        pairs.par_iter().map(|&(i, j)| distance(features.row(i), features.row(j))).collect();
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
pub fn near_duplicate_threshold(median_pair_distance: f64) -> f64 {
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

/// What [`near_duplicates`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct NearDuplicates {
    /// The closest pairs, ordered by (distance, rows); at most the limit.
    pub pairs: Vec<Pair>,
    /// How many pairs there are, listed or not.
    pub total: usize,
}

/// The pairs of neighbours closer than `threshold` (copies always), each once; the `limit` closest are listed.
///
/// `neighbors` are leave-one-out: list `i` belongs to row `i`. A row with more than K near-duplicates shows K of them.
pub fn near_duplicates(neighbors: &Neighbors, threshold: f64, limit: usize) -> NearDuplicates {
    let mut closest = BinaryHeap::new();
    let mut total = 0;
    for row in 0..neighbors.len() {
        let (others, distances) = neighbors.of(row);
        for (&other, &distance) in others.iter().zip(distances) {
            if distance >= threshold && distance > 0.0 {
                break;
            }
            let (row, seen_from_other) = (row as u32, other as usize);
            let listed_by_the_lower_row = other < row && neighbors.of(seen_from_other).0.contains(&row);
            if listed_by_the_lower_row {
                continue;
            }
            total += 1;
            closest.push(Pair { row: row.min(other), other: row.max(other), distance });
            if closest.len() > limit {
                closest.pop();
            }
        }
    }
    NearDuplicates { pairs: closest.into_sorted_vec(), total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::{Fixture, brute_force_self, gaussian};
    use ndarray::{Array2, array};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeSet;

    #[test]
    fn every_copy_of_the_fixture_is_counted_and_paired() {
        let features = Fixture::load().edge_input("duplicates.real");
        let neighbors = brute_force_self(&features, 10);
        assert_eq!(count_exact_duplicates(&neighbors), 2 + 11 + 5);
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
        assert_eq!(median_pair_distance(array![[0.0f32], [1.0], [3.0], [7.0]].view(), 0).unwrap(), 3.5);
        assert_eq!(near_duplicate_threshold(3.5), 0.875);
    }

    #[test]
    fn the_median_of_many_pairs_is_close_and_the_same_for_a_seed() {
        let features = gaussian(3000, 3, &mut ChaCha8Rng::seed_from_u64(4));
        let found = median_pair_distance(features.view(), 7).unwrap();
        // The difference of two is normal with variance 2: the median of sqrt(2 * chi-squared of 3), which is sqrt(2 * 2.36597).
        assert!((found / (2.0f64 * 2.36597).sqrt() - 1.0).abs() < 0.03, "{found}");
        assert_eq!(found, median_pair_distance(features.view(), 7).unwrap());
        assert_ne!(found, median_pair_distance(features.view(), 8).unwrap());
    }

    #[test]
    fn sets_without_a_median_are_refused() {
        assert!(matches!(median_pair_distance(Array2::zeros((1, 4)).view(), 0), Err(Error::Data { .. })));
        assert!(matches!(median_pair_distance(array![[0.0], [f32::NAN]].view(), 0), Err(Error::Data { .. })));
    }

    #[test]
    fn huge_features_have_a_finite_median() {
        assert!(median_pair_distance(array![[-3e38f32, 3e38], [3e38, -3e38]].view(), 0).unwrap().is_finite());
    }
}
