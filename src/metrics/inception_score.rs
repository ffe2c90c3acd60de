//! The Inception score (Salimans et al. 2016, arXiv 1606.03498): `exp` of the mean Kullback-Leibler divergence of each image's class
//! probabilities from the set's mean ones, over ten parts of the set in a random order. As torch-fidelity computes it, from the class scores
//! without their bias. It needs no real set, and knows nothing of one.

use super::metric::{Better, Measured, Metric, Needs};
use super::resampling::without_replacement;
use crate::error::{Error, Result};
use crate::extract::ARCHITECTURES;
use crate::generate::RandomState;
use crate::random::Purpose;
use ndarray::{ArrayView1, ArrayView2};

/// Parts of the set.
const SPLITS: usize = 10;
/// The extractor whose features are class scores.
pub(super) const LOGITS: &str = "inception-logits";

/// Whether what this extractor makes is known to be no class scores: that of other programs and of ONNX files may be.
pub(super) fn gives_features(extractor: &str) -> bool {
    extractor != LOGITS && ARCHITECTURES.iter().any(|network| network.name == extractor)
}

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "inception-score",
    columns: &["inception_score", "inception_score_std"],
    about: "how certain and how varied the classes are, mean and deviation over 10 parts; needs --extractor inception-logits; higher is better",
    better: Better::Higher,
    needs: Needs::ClassScores,
    by_default: false,
    alone: true,
    compute: |comparison| {
        let logits = comparison.generated.features()?;
        let rows = logits.nrows();
        let order = match comparison.options.numpy_seed {
            Some(seed) => RandomState::new(seed).permutation(rows as u32),
            None => without_replacement(rows, rows, comparison.options.seed, Purpose::InceptionSplits, 0),
        };
        let (mean, deviation) = inception_score(logits, &order)?;
        Ok(Measured { values: vec![mean, deviation], mean: None })
    },
    replicates: None,
    caution: |_| None,
};

/// Mean and population deviation over the parts of `logits` `[N, classes]`, its rows in this order.
///
/// # Errors
/// [`Error::Data`] for fewer rows than parts.
fn inception_score(logits: ArrayView2<f32>, order: &[u32]) -> Result<(f64, f64)> {
    let rows = order.len();
    if rows < SPLITS {
        return Err(Error::data(
            format!("the Inception score needs at least {SPLITS} rows, there are {rows}"),
            "add images",
        ));
    }
    let part = |i: usize| score(logits, &order[i * rows / SPLITS..(i + 1) * rows / SPLITS]);
    let scores: Vec<f64> = (0..SPLITS).map(part).collect();
    let mean = scores.iter().sum::<f64>() / SPLITS as f64;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / SPLITS as f64;
    Ok((mean, variance.sqrt()))
}

/// The score of some rows.
fn score(logits: ArrayView2<f32>, rows: &[u32]) -> f64 {
    let mut mean = vec![0.0; logits.ncols()];
    // The sum of p ln p over all rows and classes.
    let mut negative_entropy = 0.0;
    for &row in rows {
        let logarithms = log_softmax(logits.row(row as usize));
        for (mean, logarithm) in mean.iter_mut().zip(logarithms) {
            let probability = logarithm.exp();
            *mean += probability;
            negative_entropy += probability * logarithm;
        }
    }
    let count = rows.len() as f64;
    let of_mean: f64 = mean.iter().map(|sum| sum / count).filter(|p| *p > 0.0).map(|p| p * p.ln()).sum();
    (negative_entropy / count - of_mean).exp()
}

fn log_softmax(logits: ArrayView1<f32>) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, value| largest.max(f64::from(*value)));
    let sum: f64 = logits.iter().map(|value| (f64::from(*value) - largest).exp()).sum();
    logits.iter().map(|value| f64::from(*value) - largest - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::comparison::{Comparison, Options};
    use super::super::test_support::{Fixture, assert_close, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;

    #[test]
    fn certain_and_even_classes_score_their_number_and_equal_images_score_1() {
        // Far apart, the probabilities are 1 and 0: with every class equally often the score is the number of classes.
        let certain =
            Array2::from_shape_fn((4000, 4), |(row, class)| if row % 4 == class { 50.0 } else { 0.0 });
        let order = |rows: u32| RandomState::new(0).permutation(rows);
        let (mean, deviation) = inception_score(certain.view(), &order(4000)).unwrap();
        assert!((mean - 4.0).abs() < 0.02 && deviation < 0.02, "{mean} {deviation}");
        let equal = Array2::from_shape_fn((50, 3), |(_, class)| class as f32);
        let (mean, deviation) = inception_score(equal.view(), &order(50)).unwrap();
        assert!((mean - 1.0).abs() < 1e-12 && deviation < 1e-12);
        assert!(inception_score(equal.view(), &order(9)).is_err());
    }

    /// torch-fidelity 0.4.0's `isc_features_to_metric` of these in float64.
    #[test]
    fn with_numpys_draws_it_is_the_value_of_torch_fidelity() {
        let options = Options { numpy_seed: Some(2020), ..Options::default() };
        let logits = set(Fixture::load().features("fake_2000"), &options);
        let comparison = Comparison::new(&logits, &logits, &options, &Silent).unwrap();
        let found = (METRIC.compute)(&comparison).unwrap().values;
        assert_close(&found, &[1.558_164_549_109_971_8, 0.024_941_994_569_534_08], 1e-9);
    }

    #[test]
    fn a_part_has_the_score_of_the_formula() {
        // exp(mean over rows of sum p (ln p - ln mean p)), term by term.
        let logits =
            Array2::from_shape_fn((7, 5), |(row, class)| ((row * 31 + class * 17) % 11) as f32 / 3.0);
        let softmax = |row: ArrayView1<f32>| {
            let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            row.iter().map(|v| f64::from(*v).exp() / sum).collect::<Vec<f64>>()
        };
        let p: Vec<Vec<f64>> = logits.outer_iter().map(softmax).collect();
        let mean = |class: usize| p.iter().map(|p| p[class]).sum::<f64>() / 7.0;
        let divergence = |p: &Vec<f64>| -> f64 {
            p.iter().enumerate().map(|(class, p)| p * (p.ln() - mean(class).ln())).sum()
        };
        let expected = (p.iter().map(divergence).sum::<f64>() / 7.0).exp();
        assert!((score(logits.view(), &[0, 1, 2, 3, 4, 5, 6]) - expected).abs() < 1e-12);
    }
}
