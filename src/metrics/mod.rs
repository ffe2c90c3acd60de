//! How a generated set compares with a real one: a registry of metrics, one file each, and what they share.
//! A [`FeatureSet`] holds a side and computes neighbours, statistics and spectra once; [`Comparison`] joins two; [`evaluate`] asks
//! any metrics of [`METRICS`]. All sums are float64 in fixed trees, counts are exact, and memory grows with rows, never with pairs.

mod authenticity;
mod comparison;
pub mod frechet;
mod kernel;
pub mod kid;
mod manifold;
mod matrix;
mod pool_membership;
pub mod prdc;
pub mod rarity;
pub mod realism;
mod resampling;
mod rke;
mod spectrum;
mod statistics;
#[cfg(test)]
mod test_support;
pub mod vendi;

pub use authenticity::{Authenticity, authenticity};
pub use comparison::{Comparison, FeatureSet, Options};
pub use frechet::frechet_distance;
pub use manifold::{Boundary, Manifold, Membership, Test};
pub use pool_membership::PoolMembership;
pub use resampling::{Draws, halves};
pub use statistics::{RootedStatistics, Statistics};

use crate::error::{Error, Result};
use resampling::interval;

/// Every metric; adding one is a file and a line here.
pub const METRICS: &[&Metric] = &[
    &frechet::METRIC,
    &kid::METRIC,
    &kid::SUBSETS,
    &prdc::precision::METRIC,
    &prdc::recall::METRIC,
    &prdc::density::METRIC,
    &prdc::coverage::METRIC,
    &prdc::clipped::DENSITY,
    &prdc::clipped::COVERAGE,
    &vendi::METRIC,
    &rke::METRIC,
    &authenticity::METRIC,
];

/// Which way a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Small values.
    Lower,
    /// Large values.
    Higher,
    /// Neither: it describes.
    Neither,
}

/// Values of a metric on resampled generated sets.
pub type Replicates = fn(&Comparison<'_>, &Draws) -> Result<Vec<f64>>;

/// What must be known of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Mean and covariance.
    Statistics,
    /// The features themselves.
    Features,
}

/// An entry of the registry.
pub struct Metric {
    /// What a user calls it.
    pub name: &'static str,
    /// The columns it fills; an interval belongs to the first.
    pub columns: &'static [&'static str],
    /// What it says, in one line.
    pub about: &'static str,
    /// Which way it is good.
    pub better: Better,
    /// What it needs of both sides.
    pub needs: Needs,
    /// Whether it is computed where no metric is named.
    pub by_default: bool,
    /// Whether it describes the generated set alone, so that the real one has a value too.
    pub alone: bool,
    /// Its values.
    pub compute: fn(&Comparison<'_>) -> Result<Measured>,
    /// Its first value on resampled generated sets, for metrics that are no mean over rows.
    pub replicates: Option<Replicates>,
    /// Why its value means little for these sets, if so.
    pub caution: fn(&Comparison<'_>) -> Option<String>,
}

/// What a metric found.
pub struct Measured {
    /// One value per column.
    pub values: Vec<f64>,
    /// Where the first value is a function of a mean over rows: those rows.
    pub mean: Option<RowMean>,
}

/// A function of a mean over rows, generated or real.
pub struct RowMean {
    /// What each row adds to the mean.
    pub rows: Vec<f64>,
    /// From the mean to the metric.
    pub value: Box<dyn Fn(f64) -> f64>,
}

impl Measured {
    /// One value that is no mean over rows.
    pub fn value(value: f64) -> Self {
        Measured { values: vec![value], mean: None }
    }

    /// A function of the mean of `rows`.
    pub fn mean(rows: Vec<f64>, value: impl Fn(f64) -> f64 + 'static) -> Self {
        let mean = rows.iter().sum::<f64>() / rows.len() as f64;
        Measured { values: vec![value(mean)], mean: Some(RowMean { rows, value: Box::new(value) }) }
    }

    /// The share of rows whose count is above 0.
    pub fn share(counts: &[u32]) -> Self {
        Measured::mean(counts.iter().map(|count| f64::from(u8::from(*count > 0))).collect(), |mean| mean)
    }
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Its column.
    pub column: &'static str,
    /// NaN where it is not defined.
    pub value: f64,
    /// Central 95 % of bootstrap replicates, where they were asked for and the column has them.
    pub interval: Option<[f64; 2]>,
}

/// The metric of this name.
///
/// # Errors
/// [`Error::Usage`] naming the known ones.
pub fn metric(name: &str) -> Result<&'static Metric> {
    METRICS.iter().copied().find(|metric| metric.name == name).ok_or_else(|| {
        let known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        Error::usage(format!("`{name}` is no metric"), format!("known: {}", known.join(", ")))
    })
}

/// The values of `metrics`, with intervals where `draws` are given.
///
/// An interval shows how much a value moves when the rows that it averages are drawn again with all else as it is: generated rows
/// for most, real rows for recall and coverage, whose spheres are kept. (Spheres of a resampled set would shrink: its rows repeat.)
///
/// # Errors
/// What a metric returns.
pub fn evaluate(
    comparison: &Comparison<'_>,
    metrics: &[&'static Metric],
    draws: Option<Draws>,
) -> Result<Vec<Estimate>> {
    let mut estimates = Vec::new();
    for metric in metrics {
        let measured = (metric.compute)(comparison)?;
        let mut bounds = None;
        if let (Some(draws), Some(&value)) = (draws, measured.values.first()) {
            bounds = match (&measured.mean, metric.replicates) {
                (Some(mean), _) => Some(interval(mean.replicates(draws), None)),
                (None, Some(replicates)) => Some(interval(replicates(comparison, &draws)?, Some(value))),
                (None, None) => None,
            };
        }
        for (&column, value) in metric.columns.iter().zip(measured.values) {
            estimates.push(Estimate { column, value, interval: bounds.take() });
        }
    }
    Ok(estimates)
}

impl RowMean {
    fn replicates(&self, draws: Draws) -> Vec<f64> {
        let mean =
            |rows: Vec<u32>| rows.iter().map(|row| self.rows[*row as usize]).sum::<f64>() / rows.len() as f64;
        draws.rows(self.rows.len()).map(|rows| (self.value)(mean(rows))).collect()
    }
}

#[cfg(test)]
mod tests;
