//! How far values move by chance: from seed to seed, for metrics that draw, and from one part of the generated set to another.

use super::comparison::Comparison;

use super::feature_set::FeatureSet;

use super::metric::{Estimate, Metric};
use super::options::Options;
use super::resampling::without_replacement;
use crate::error::{Error, Result};
use crate::progress::check_stop;
use crate::random::Purpose;
use ndarray::Axis;

/// A part of a set has so many rows at least.
const LEAST_ROWS: usize = 2;

/// Rows of each of `count` parts of a set of `rows`.
pub(super) fn rows_of_part(rows: usize, count: usize) -> usize {
    rows / count.max(1)
}

/// Adds to the `estimates` of `metrics` the standard deviations over `count` seeds (that of the options and those after it), and over
/// `count` disjoint random parts of the generated set, each compared with the whole real set. A metric that cannot be computed of a part
/// is left without.
///
/// # Errors
/// What a metric returns; [`Error::Interrupted`].
pub(super) fn add_spread(
    estimates: &mut [Estimate],
    comparison: &Comparison<'_>,
    metrics: &[&'static Metric],
    count: usize,
) -> Result<()> {
    let drawing: Vec<&'static Metric> = metrics.iter().copied().filter(|metric| metric.draws).collect();
    let mut by_seed: Vec<Values> = Vec::new();
    for item in 0..count {
        check_stop(comparison.progress, String::new)?;
        let options = with_seed(comparison.options, item);
        let seeded = Comparison::new(comparison.real, comparison.generated, &options, comparison.progress)?;
        let values = drawing.iter().map(|metric| Ok((metric.compute)(&seeded)?.values));
        by_seed.push(values.collect::<Result<Vec<_>>>()?);
    }
    for_columns(estimates, &drawing, &by_seed, |estimate, deviation| estimate.spread.seeds = deviation);
    let by_part = of_parts(comparison, metrics, count)?;
    for_columns(estimates, metrics, &by_part, |estimate, deviation| estimate.spread.parts = deviation);
    Ok(())
}

/// The values of each metric; none where it cannot be computed.
type Values = Vec<Vec<f64>>;

/// The options with the `item`-th seed after their own.
fn with_seed(options: &Options, item: usize) -> Options {
    let mut options = options.clone();
    options.seed = options.seed.wrapping_add(item as u64);
    options.numpy_seed = options.numpy_seed.map(|seed| seed.wrapping_add(item as u32));
    options
}

fn of_parts(comparison: &Comparison<'_>, metrics: &[&'static Metric], count: usize) -> Result<Vec<Values>> {
    if !comparison.generated.has_features() {
        return Ok(Vec::new());
    }
    let features = comparison.generated.features()?;
    let (rows, options) = (features.nrows(), comparison.options);
    let size = rows_of_part(rows, count);
    if size < LEAST_ROWS {
        return Ok(Vec::new());
    }
    let order = without_replacement(rows, rows, options.seed, Purpose::SpreadParts, 0);
    let mut all = Vec::new();
    for part in order.chunks_exact(size).take(count) {
        check_stop(comparison.progress, String::new)?;
        let mut part: Vec<usize> = part.iter().map(|&row| row as usize).collect();
        part.sort_unstable();
        let part = features.select(Axis(0), &part).into_shared();
        let part = FeatureSet::new(part, options, comparison.progress)?;
        let comparison = Comparison::new(comparison.real, &part, options, comparison.progress)?;
        let value = |metric: &&'static Metric| match (metric.compute)(&comparison) {
            Ok(measured) => Ok(measured.values),
            Err(Error::Data { .. } | Error::Usage { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        all.push(metrics.iter().map(value).collect::<Result<_>>()?);
    }
    Ok(all)
}

/// Hands each column of `metrics` and the deviation of its values over `samples` to `put`.
fn for_columns(
    estimates: &mut [Estimate],
    metrics: &[&'static Metric],
    samples: &[Values],
    put: impl Fn(&mut Estimate, Option<f64>),
) {
    for (i, metric) in metrics.iter().enumerate() {
        for (j, column) in metric.columns.iter().enumerate() {
            let values: Vec<f64> =
                samples.iter().filter_map(|values| values.get(i)?.get(j).copied()).collect();
            if let Some(estimate) = estimates.iter_mut().find(|estimate| estimate.column == *column) {
                put(estimate, deviation(&values).filter(|_| values.len() == samples.len()));
            }
        }
    }
}

/// The sample standard deviation; `None` of fewer than two values.
fn deviation(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let sum: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (sum / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::super::registry::{estimate, metric};
    use super::super::test_support::{Fixture, set};
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;

    #[test]
    fn the_spread_is_that_of_other_seeds_and_of_disjoint_parts() {
        let fixture = Fixture::load();
        let options = Options { kid_subsets: 3, kid_subset_size: 400, seed: 5, ..Options::default() };
        let real = set(fixture.features("real_2000"), &options);
        let features = fixture.features("fake_2000").slice(s![..1000, ..]).to_owned();
        let generated = set(features.clone(), &options);
        let metrics = ["fd", "kid-subsets", "precision"].map(|name| metric(name).unwrap());
        let comparison = Comparison::new(&real, &generated, &options, &Silent).unwrap();
        let mut found = estimate(&comparison, &metrics, None).unwrap();
        add_spread(&mut found, &comparison, &metrics, 4).unwrap();
        let [fd, kid, kid_std, precision] = &found[..] else { panic!("{found:?}") };
        // Metrics that draw nothing do not depend on the seed; subsets of 400 cannot be drawn from parts of 250.
        assert_eq!((fd.spread.seeds, precision.spread.seeds), (None, None));
        assert_eq!((kid.spread.parts, kid_std.spread.parts), (None, None));
        let at = |seed| {
            let options = Options { seed, ..options.clone() };
            let comparison = Comparison::new(&real, &generated, &options, &Silent).unwrap();
            (metrics[1].compute)(&comparison).unwrap().values[0]
        };
        let seeds: Vec<f64> = (5..9).map(at).collect();
        assert_eq!(kid.spread.seeds, deviation(&seeds));
        assert!(kid.spread.seeds.unwrap() > 0.0 && kid_std.spread.seeds.is_some());
        // The share of 1 000 that lie inside is the mean of the shares of the four parts.
        let order = without_replacement(1000, 1000, 5, Purpose::SpreadParts, 0);
        let part = |rows: &[u32]| {
            let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
            let part = set(features.select(Axis(0), &rows), &options);
            let comparison = Comparison::new(&real, &part, &options, &Silent).unwrap();
            (metrics[2].compute)(&comparison).unwrap().values[0]
        };
        let shares: Vec<f64> = order.chunks(250).map(part).collect();
        assert!((shares.iter().sum::<f64>() / 4.0 - precision.value).abs() < 1e-12);
        assert!((precision.spread.parts.unwrap() - deviation(&shares).unwrap()).abs() < 1e-12);
        assert!((deviation(&[1.0, 2.0, 4.0]).unwrap() - (7.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
