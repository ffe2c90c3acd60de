//! What the registry promises of every metric.

use super::manifold::Boundary;
use super::metric::Needs;
use super::resampling::Draws;
use super::test_support::{Fixture, options, set};
use super::*;
use crate::error::Error;
use crate::progress::Silent;
use ndarray::{Array2, ArrayView2, s};
use std::collections::HashSet;

fn values(real: &Array2<f32>, generated: &Array2<f32>, draws: Option<Draws>) -> Vec<Estimate> {
    let mut options = options(3, Boundary::Excluded);
    (options.kid_subsets, options.kid_subset_size) = (3, 50);
    let (real, generated) = (set(real.clone(), &options), set(generated.clone(), &options));
    let comparison = Comparison::new(&real, &generated, &options, &Silent).unwrap();
    estimate(&comparison, METRICS, draws).unwrap()
}

fn of(estimates: &[Estimate], column: &str) -> f64 {
    estimates.iter().find(|estimate| estimate.column == column).unwrap().value
}

fn some_features() -> (Array2<f32>, Array2<f32>) {
    let fixture = Fixture::load();
    let rows = |name: &str, rows: usize| fixture.features(name).slice(s![..rows, ..]).to_owned();
    (rows("real_2000", 400), rows("fake_2000", 300))
}

#[test]
fn names_and_columns_are_unique_and_every_name_is_found() {
    let names: HashSet<_> = METRICS.iter().map(|m| m.name).collect();
    let columns: HashSet<_> = METRICS.iter().flat_map(|m| m.columns).collect();
    // `kid-subsets` and the Inception score have a deviation beside them.
    assert_eq!((names.len(), columns.len()), (METRICS.len(), METRICS.len() + 2));
    assert!(METRICS.iter().all(|m| metric(m.name).unwrap().name == m.name));
    let error = metric("is").err().unwrap();
    assert!(matches!(error, Error::Usage { .. }) && error.hint().unwrap().contains("clipped-density"));
}

#[test]
fn a_collapsed_generator_keeps_precision_and_loses_recall() {
    let (real, _) = some_features();
    let mut collapsed = Array2::zeros((300, real.ncols()));
    for (i, mut row) in collapsed.rows_mut().into_iter().enumerate() {
        row.assign(&real.row(0));
        row[i % 64] += 1e-3 * i as f32;
    }
    let found = values(&real, &collapsed, None);
    assert!(of(&found, "precision") > 0.9 && of(&found, "recall") < 0.1, "{found:?}");
    assert!(
        of(&found, "coverage") < 0.1 && of(&found, "clipped_coverage") < 0.1 && of(&found, "vendi") < 1.1
    );
}

#[test]
fn the_same_set_scores_as_perfect() {
    let (real, _) = some_features();
    let found = values(&real, &real, None);
    for column in ["precision", "recall", "coverage"] {
        assert_eq!(of(&found, column), 1.0, "{column}");
    }
    assert!(of(&found, "fd").abs() < 1e-9 && of(&found, "kid") < 0.0 && of(&found, "authenticity") == 0.0);
}

#[test]
fn every_interval_holds_its_value_and_is_the_same_at_any_thread_count() {
    let (real, fake) = some_features();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| values(&real, &fake, Some(Draws { count: 40, seed: 7 })))
    };
    let (one, three) = (run(1), run(3));
    assert_eq!(one, three);
    let without = ["kid_subsets", "kid_subsets_std", "fd_infinity", "inception_score", "inception_score_std"];
    for estimate in one.iter().filter(|e| !without.contains(&e.column)) {
        let [low, high] = estimate.interval.unwrap();
        assert!(low <= estimate.value && estimate.value <= high && low < high, "{estimate:?}");
    }
}

#[test]
fn an_interval_is_as_wide_as_the_value_moves_from_set_to_set() {
    let [real, fake] = ["real_2000", "fake_2000"].map(|name| Fixture::load().features(name));
    let (first, rest) = real.view().split_at(ndarray::Axis(0), 500);
    for (metric, rows, ratios) in [
        (&frechet_infinity::METRIC, rest, 0.4..2.5),
        (&prdc::recall::METRIC, fake.view(), 0.6..1.7),
        (&prdc::probabilistic::RECALL, fake.view(), 0.6..1.7),
        // The jackknife is wide on average.
        (&prdc::coverage::METRIC, fake.view(), 0.7..2.5),
        (&prdc::clipped::COVERAGE, fake.view(), 0.6..1.7),
    ] {
        assert_interval_fits(metric, |_| first.to_owned(), rows, ratios);
    }
    // The score of the generated set alone.
    assert_interval_fits(&inception_score::METRIC, |set| set.to_owned(), fake.view(), 0.5..2.0);
}

/// Asserts that the half width of the interval of one set of 100 `rows`, over 1.96 deviations from set to set, lies in `ratios`.
#[track_caller]
fn assert_interval_fits(
    metric: &'static Metric,
    real: impl Fn(ArrayView2<f32>) -> Array2<f32>,
    rows: ArrayView2<f32>,
    ratios: std::ops::Range<f64>,
) {
    let options = Options::default();
    let of_set = |rows: ArrayView2<f32>, draws: Option<Draws>| {
        let (real, generated) = (set(real(rows), &options), set(rows.to_owned(), &options));
        let comparison = Comparison::new(&real, &generated, &options, &Silent).unwrap();
        estimate(&comparison, &[metric], draws).unwrap().remove(0)
    };
    let sets = || rows.axis_chunks_iter(ndarray::Axis(0), 100);
    let values: Vec<f64> = sets().map(|rows| of_set(rows, None).value).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let found = of_set(sets().next().unwrap(), Some(Draws { count: 100, seed: 1 }));
    let [low, high] = found.interval.unwrap();
    let ratio = (high - low) / (2.0 * 1.96 * variance.sqrt());
    assert!(low < found.value && found.value < high, "{found:?}");
    assert!(ratios.contains(&ratio), "{}: {ratio}, {found:?}, {values:?}", metric.name);
}

#[test]
fn resampling_a_set_moves_its_kernel_distance_around_the_value_itself() {
    let (real, fake) = some_features();
    let options = options(3, Boundary::Excluded);
    let (real, fake) = (set(real, &options), set(fake, &options));
    let comparison = Comparison::new(&real, &fake, &options, &Silent).unwrap();
    let value = (kid::METRIC.compute)(&comparison).unwrap().values[0];
    let draws = Draws { count: 300, seed: 0 };
    let replicates = kid::METRIC.replicates.unwrap()(&comparison, &draws).unwrap();
    let mean = replicates.iter().sum::<f64>() / 300.0;
    let deviation = (replicates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 300.0).sqrt();
    assert!((mean - value).abs() < 4.0 * deviation / 300f64.sqrt(), "{mean} {value} {deviation}");
}

#[test]
fn statistics_alone_serve_the_frechet_distance_and_nothing_else() {
    let (real, fake) = some_features();
    let options = options(3, Boundary::Excluded);
    let known = FeatureSet::from_statistics(Statistics::of(real.view(), &Silent).unwrap(), &Silent);
    let generated = set(fake.clone(), &options);
    let comparison = Comparison::new(&known, &generated, &options, &Silent).unwrap();
    let found = estimate(&comparison, &[&frechet::METRIC], None).unwrap();
    assert_eq!(found[0].value, of(&values(&real, &fake, None), "fd"));
    for metric in METRICS.iter().filter(|metric| metric.needs == Needs::Features) {
        // These need features of the generated set alone.
        if !["vendi", "rke", "fd-infinity"].contains(&metric.name) {
            assert!((metric.compute)(&comparison).is_err(), "{}", metric.name);
        }
    }
}

#[test]
fn sets_of_other_widths_and_values_that_are_not_finite_are_refused() {
    let options = Options::default();
    let narrow = set(Array2::zeros((5, 2)), &options);
    let wide = set(Array2::zeros((5, 3)), &options);
    assert!(Comparison::new(&narrow, &wide, &options, &Silent).is_err());
    let broken = Fixture::load().edge_input("not_finite.20x6");
    let error = FeatureSet::new(broken.into_shared(), &options, &Silent).err().unwrap();
    assert!(error.to_string().contains("row 3"), "{error}");
}

#[test]
fn small_sets_are_cautioned_about() {
    let options = Options::default();
    let (real, fake) = some_features();
    let small = set(fake.slice(s![..20, ..]).to_owned(), &options);
    let real = set(real, &options);
    let comparison = Comparison::new(&real, &small, &options, &Silent).unwrap();
    assert!((frechet::METRIC.caution)(&comparison).unwrap().contains("20 rows"));
    assert!((prdc::precision::METRIC.caution)(&comparison).unwrap().contains("20 rows"));
    let comparison = Comparison::new(&real, &real, &options, &Silent).unwrap();
    let mut defaults = METRICS.iter().filter(|metric| metric.by_default);
    assert!(defaults.all(|metric| (metric.caution)(&comparison).is_none()));
}

#[test]
fn sets_of_copies_are_cautioned_about() {
    let options = Options::default();
    let (real, fake) = some_features();
    let copies = |of: usize| {
        let rows: Vec<usize> = (0..fake.nrows()).map(|row| row / of * of).collect();
        set(fake.select(ndarray::Axis(0), &rows), &options)
    };
    let real = set(real, &options);
    let caution = |generated: &FeatureSet<'_>, metric: &Metric| {
        let comparison = Comparison::new(&real, generated, &options, &Silent).unwrap();
        (metric.caution)(&comparison)
    };
    // Of each row three others are equal to it.
    let fours = copies(4);
    assert!(caution(&fours, &prdc::recall::METRIC).unwrap().contains("300 of 300 rows equal 3 others"));
    assert_eq!(caution(&fours, &prdc::density::METRIC), None);
    assert_eq!(caution(&copies(2), &prdc::recall::METRIC), None);
}
