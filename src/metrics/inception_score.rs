//! The Inception score (Salimans et al. 2016, arXiv 1606.03498): `exp` of the mean Kullback-Leibler divergence of each image's class
//! probabilities from the set's mean ones, over parts of the set: ten in a random order, as torch-fidelity takes them, or parts of a given
//! size in the order of the images, as ADM's evaluator does. Both take the class scores without their bias. It needs no real set, and
//! knows nothing of one.

use super::comparison::Comparison;
use super::least_rows::LeastRows;
use super::metric::{Better, Measured, Metric, Needs, range};
use super::options::Options;
use super::resampling::{Draws, without_replacement};
use crate::error::{Error, Result};
use crate::generate::RandomState;
use crate::progress::check_stop;
use crate::random::Purpose;
use ndarray::ArrayView1;
use rayon::prelude::*;
use std::borrow::Borrow;

/// Parts of the set, where their size is not given.
const SPLITS: usize = 10;

/// The registry's entry.
pub(crate) const METRIC: Metric = Metric {
    name: "inception-score",
    columns: &["inception_score", "inception_score_std"],
    about: "how certain and how varied the classes are, mean and deviation over 10 parts; of the extractor inception-logits; higher is better",
    better: Better::Higher,
    range: range::NOT_NEGATIVE,
    needs: Needs::ClassScores,
    by_default: false,
    alone: true,
    least_rows: LeastRows::Parts(SPLITS),
    depends_on_rows: true,
    draws: true,
    compute: |comparison| {
        let logits = comparison.generated.features()?;
        let rows = logits.nrows();
        let options = comparison.options;
        let order = match (options.inception_part, options.numpy_seed) {
            (Some(_), _) => (0..rows as u32).collect(),
            (None, Some(seed)) => RandomState::new(seed).permutation(rows as u32),
            (None, None) => without_replacement(rows, rows, options.seed, Purpose::InceptionSplits, 0),
        };
        let (mean, deviation) = over_parts(&parts(&order, options)?, |row| probabilities(logits.row(row)));
        Ok(Measured { values: vec![mean, deviation], mean: None })
    },
    replicates: Some(replicates),
    caution: |_| None,
};

/// The parts whose scores are averaged of rows in this `order`.
///
/// # Errors
/// [`Error::Data`] for fewer rows than parts.
fn parts<'a>(order: &'a [u32], options: &Options) -> Result<Vec<&'a [u32]>> {
    let rows = order.len();
    if let Some(size) = options.inception_part {
        return Ok(order.chunks(size.max(1)).collect());
    }
    if rows < SPLITS {
        return Err(Error::data(
            format!("the Inception score needs at least {SPLITS} rows, there are {rows}"),
            "add images",
        ));
    }
    Ok((0..SPLITS).map(|i| &order[i * rows / SPLITS..(i + 1) * rows / SPLITS]).collect())
}

/// Mean and population deviation of the scores of parts, each given by its rows, of which `of_row` gives the probabilities.
fn over_parts<R: Borrow<Row>>(parts: &[&[u32]], of_row: impl Fn(usize) -> R) -> (f64, f64) {
    let scores: Vec<f64> = parts.iter().map(|rows| score(rows, &of_row)).collect();
    let count = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// The scores of resampled sets: the rows of each in the order that they were drawn in.
fn replicates(comparison: &Comparison<'_>, draws: &Draws) -> Result<Vec<f64>> {
    let logits = comparison.generated.features()?;
    let rows: Vec<Row> =
        (0..logits.nrows()).into_par_iter().map(|row| probabilities(logits.row(row))).collect();
    let score = |drawn: Vec<u32>| {
        check_stop(comparison.progress, String::new)?;
        Ok(over_parts(&parts(&drawn, comparison.options)?, |row| &rows[row]).0)
    };
    let drawn: Vec<Vec<u32>> = draws.rows(rows.len()).collect();
    drawn.into_par_iter().map(score).collect()
}

/// What an image adds to the score of a part.
struct Row {
    /// The probability of each class.
    probabilities: Vec<f64>,
    /// The sum of p ln p over the classes.
    negative_entropy: f64,
}

fn probabilities(logits: ArrayView1<f32>) -> Row {
    let logarithms = log_softmax(logits);
    let probabilities: Vec<f64> = logarithms.iter().map(|logarithm| logarithm.exp()).collect();
    let negative_entropy = probabilities.iter().zip(&logarithms).map(|(p, logarithm)| p * logarithm).sum();
    Row { probabilities, negative_entropy }
}

/// The score of some rows.
fn score<R: Borrow<Row>>(rows: &[u32], of_row: impl Fn(usize) -> R) -> f64 {
    let (mut sums, mut negative_entropy) = (Vec::new(), 0.0);
    for &row in rows {
        let row = of_row(row as usize);
        let Row { probabilities, negative_entropy: own } = row.borrow();
        sums.resize(probabilities.len(), 0.0);
        sums.iter_mut().zip(probabilities).for_each(|(sum, probability)| *sum += probability);
        negative_entropy += own;
    }
    let count = rows.len() as f64;
    let means = sums.iter().map(|sum: &f64| sum / count);
    let of_mean: f64 = means.filter(|p| *p > 0.0).map(|p| p * p.ln()).sum();
    (negative_entropy / count - of_mean).exp()
}

fn log_softmax(logits: ArrayView1<f32>) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, value| largest.max(f64::from(*value)));
    let sum: f64 = logits.iter().map(|value| (f64::from(*value) - largest).exp()).sum();
    logits.iter().map(|value| f64::from(*value) - largest - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Fixture, assert_close, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;

    #[test]
    fn certain_and_even_classes_score_their_number_and_equal_images_score_1() {
        // Far apart, the probabilities are 1 and 0: with every class equally often the score is the number of classes.
        let certain =
            Array2::from_shape_fn((4000, 4), |(row, class)| if row % 4 == class { 50.0 } else { 0.0 });
        let in_splits = |logits: &Array2<f32>, rows: u32| {
            let order = RandomState::new(0).permutation(rows);
            let parts = parts(&order, &Options::default())?;
            Ok::<_, Error>(over_parts(&parts, |row| probabilities(logits.row(row))))
        };
        let (mean, deviation) = in_splits(&certain, 4000).unwrap();
        assert!((mean - 4.0).abs() < 0.02 && deviation < 0.02, "{mean} {deviation}");
        let equal = Array2::from_shape_fn((50, 3), |(_, class)| class as f32);
        let (mean, deviation) = in_splits(&equal, 50).unwrap();
        assert!((mean - 1.0).abs() < 1e-12 && deviation < 1e-12);
        assert!(in_splits(&equal, 9).is_err());
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

    /// `compute_inception_score` of ADM's evaluator of these in float64, with `split_size` of 5 000 and of 900.
    #[test]
    fn with_parts_in_the_order_of_the_images_it_is_the_value_of_adm() {
        for (size, expected) in [(5000, 1.563_005_392_437_320_6), (900, 1.554_174_070_889_767_6)] {
            let options =
                Options { inception_part: Some(size), numpy_seed: Some(2020), ..Options::default() };
            let logits = set(Fixture::load().features("fake_2000"), &options);
            let comparison = Comparison::new(&logits, &logits, &options, &Silent).unwrap();
            assert_close(&(METRIC.compute)(&comparison).unwrap().values[..1], &[expected], 1e-9);
        }
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
        let found = score(&[0, 1, 2, 3, 4, 5, 6], |row| probabilities(logits.row(row)));
        assert!((found - expected).abs() < 1e-12);
    }
}
