//! How far apart two images of a set are on average: the scale of distances in it.

use super::quantiles::median;
use crate::error::{Error, Result};
use crate::formats::FeatureRows;
use crate::random::{Purpose, keyed};
use ndarray::ArrayView1;
use rand::RngExt;
use rayon::prelude::*;

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
    Ok(median(distances))
}

fn distance(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    });
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::gaussian;
    use ndarray::{Array2, array};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn median(features: Array2<f32>, seed: u64) -> Result<f64> {
        median_pair_distance(&mut features.into_shared(), seed)
    }

    #[test]
    fn the_median_of_a_few_pairs_is_exact() {
        assert_eq!(median(array![[0.0f32], [1.0], [3.0], [7.0]], 0).unwrap(), 3.5);
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
