//! Where a value stands among the values of a reference: quantiles and percentiles.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The q-quantile (`0 <= q <= 1`) of ascending values, interpolated linearly as `numpy.quantile` does by default.
///
/// # Panics
/// If there is no value.
pub(crate) fn quantile_linear(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let share = position - below as f64;
    let (a, b) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    // numpy interpolates from the nearer end.
    if share < 0.5 { a + (b - a) * share } else { b - (b - a) * (1.0 - share) }
}

/// The median, between the two middle values of an even number; NaN without values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    if values.is_empty() { f64::NAN } else { quantile_linear(&values, 0.5) }
}

/// The q-quantile (`0 <= q <= 1`) of ascending values as the paper's code takes it: `sorted[int(q * N)]`.
///
/// # Panics
/// If there is no value.
#[cfg(test)]
pub(super) fn quantile_published(sorted: &[f64], q: f64) -> f64 {
    sorted[((q.clamp(0.0, 1.0) * sorted.len() as f64) as usize).min(sorted.len() - 1)]
}

/// The values of a reference in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    sorted: Vec<f64>,
}

impl Distribution {
    /// Sorts a copy of the values.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no value or one is not a number.
    pub fn new(values: &[f64]) -> Result<Distribution> {
        if values.is_empty() || values.iter().any(|value| value.is_nan()) {
            let reason = if values.is_empty() { "there are no values" } else { "a value is not a number" };
            return Err(Error::data(format!("{reason} to take quantiles of"), ""));
        }
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(Distribution { sorted })
    }

    /// The values, ascending; at least one.
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// The lowest and the highest value.
    pub fn bounds(&self) -> [f64; 2] {
        [self.sorted[0], self.sorted[self.sorted.len() - 1]]
    }

    /// The share of the reference at or below `value`, 0 to 100.
    pub fn percentile(&self, value: f64) -> f64 {
        100.0 * self.sorted.partition_point(|other| *other <= value) as f64 / self.sorted.len() as f64
    }

    /// The value at a percentile between 0 and 100, interpolated linearly.
    pub fn at_percentile(&self, percentile: f64) -> f64 {
        quantile_linear(&self.sorted, percentile / 100.0)
    }

    /// The quantiles that a manifest holds.
    pub fn quantiles(&self) -> Quantiles {
        let at = |percentile| self.at_percentile(percentile);
        Quantiles {
            p1: at(1.0),
            p5: at(5.0),
            p10: at(10.0),
            p20: at(20.0),
            p30: at(30.0),
            p40: at(40.0),
            p50: at(50.0),
            p60: at(60.0),
            p70: at(70.0),
            p80: at(80.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
        }
    }
}

/// Percentiles of a reference, interpolated linearly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub p1: f64,
    pub p5: f64,
    pub p10: f64,
    pub p20: f64,
    pub p30: f64,
    pub p40: f64,
    pub p50: f64,
    pub p60: f64,
    pub p70: f64,
    pub p80: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::{Fixture, assert_close};
    use proptest::prelude::*;

    #[test]
    fn deciles_agree_with_the_fixture_in_both_conventions() {
        let fixture = Fixture::load();
        for k in ["K10", "K20"] {
            let densities = Distribution::new(&fixture.per_sample(&format!("density_real_{k}"))).unwrap();
            let deciles = |quantile: fn(&[f64], f64) -> f64| -> Vec<f64> {
                (1..10).map(|i| quantile(densities.sorted(), f64::from(i) / 10.0)).collect()
            };
            let linear = fixture.numbers(&["pseudo_density", k, "deciles_linear"]);
            assert_close(&deciles(quantile_linear), &linear, 1e-12);
            let published = fixture.numbers(&["pseudo_density", k, "deciles_sorted_at_int_qN"]);
            assert_close(&deciles(quantile_published), &published, 1e-12);
            let q = densities.quantiles();
            assert_close(&[q.p10, q.p20, q.p30, q.p40, q.p50, q.p60, q.p70, q.p80, q.p90], &linear, 1e-12);
        }
    }

    #[test]
    fn a_percentile_counts_the_values_at_or_below() {
        let four = Distribution::new(&[3.0, 1.0, 2.0, 2.0]).unwrap();
        let found = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0].map(|value| four.percentile(value));
        assert_eq!(found, [0.0, 25.0, 25.0, 75.0, 75.0, 100.0, 100.0]);
    }

    #[test]
    fn one_value_is_every_quantile() {
        let one = Distribution::new(&[7.0]).unwrap();
        assert_eq!([0.0, 50.0, 100.0].map(|p| one.at_percentile(p)), [7.0; 3]);
        assert_eq!([0.0, 0.5, 1.0].map(|q| quantile_published(one.sorted(), q)), [7.0; 3]);
    }

    #[test]
    fn nothing_and_nan_have_no_distribution() {
        assert!(matches!(Distribution::new(&[]), Err(Error::Data { .. })));
        assert!(matches!(Distribution::new(&[1.0, f64::NAN]), Err(Error::Data { .. })));
    }

    proptest! {
        #[test]
        fn quantiles_rise_and_stay_inside_the_values(
            values in prop::collection::vec(-1e9..1e9f64, 1..50),
            a in 0.0..100.0f64,
            b in 0.0..100.0f64,
        ) {
            let values = Distribution::new(&values).unwrap();
            let (low, high) = (values.at_percentile(a.min(b)), values.at_percentile(a.max(b)));
            let slack = 1e-15 * (low.abs() + high.abs());
            prop_assert!(low <= high + slack);
            prop_assert!(values.sorted()[0] - slack <= low && high <= values.sorted().last().unwrap() + slack);
        }
    }
}
