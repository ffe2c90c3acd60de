//! An entry of the registry of metrics, and the values it gives.

use super::comparison::Comparison;
use super::least_rows::LeastRows;
use super::resampling::Draws;
use crate::error::Result;
use serde::Serialize;

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Small values.
    Lower,
    /// Large values.
    Higher,
    /// Neither: the metric only describes a set.
    Neither,
}

/// Values of a metric on resampled generated sets.
pub(super) type Replicates = fn(&Comparison<'_>, &Draws) -> Result<Vec<f64>>;

/// The smallest and the largest value that a metric can have; no interval goes beyond.
pub(super) mod range {
    /// Any number.
    pub(in crate::metrics) const ANY: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];
    /// Numbers from 0.
    pub(in crate::metrics) const NOT_NEGATIVE: [f64; 2] = [0.0, f64::INFINITY];
    /// Numbers from 0 to 1.
    pub(in crate::metrics) const SHARE: [f64; 2] = [0.0, 1.0];
}

/// What a metric needs to know of both sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Mean and covariance.
    Statistics,
    /// The features themselves.
    Features,
    /// The scores of classes in the place of features.
    ClassScores,
    /// Mean and covariance of spatial features.
    SpatialStatistics,
}

/// An entry of the registry.
pub struct Metric {
    /// Its name in options and messages.
    pub name: &'static str,
    /// The columns it fills; an interval belongs to the first.
    pub columns: &'static [&'static str],
    /// What it measures, in one line.
    pub about: &'static str,
    /// Which values are better.
    pub better: Better,
    /// The smallest and the largest value of the first column.
    pub range: [f64; 2],
    /// What it needs to know of both sets.
    pub needs: Needs,
    /// Whether it is computed where no metric is named.
    pub by_default: bool,
    /// Whether it describes the generated set alone, so that the real one has a value too.
    pub alone: bool,
    /// The fewest rows that it can be computed of.
    pub least_rows: LeastRows,
    /// Whether the value to be expected depends on how many generated rows there are, so that sets of other sizes do not compare.
    pub depends_on_rows: bool,
    /// Whether its values depend on random draws, and so on the seed.
    pub draws: bool,
    /// Its values.
    pub compute: fn(&Comparison<'_>) -> Result<Measured>,
    /// Its first value on resampled generated sets, moved by a constant at most; `None` for a function of a mean over generated rows,
    /// which is resampled itself, and for a metric without intervals.
    pub replicates: Option<Replicates>,
    /// A warning if its value means little for these sets.
    pub caution: fn(&Comparison<'_>) -> Option<String>,
}

/// The values of a metric.
pub struct Measured {
    /// One value per column.
    pub values: Vec<f64>,
    /// The rows, if the first value is a function of a mean over generated rows.
    pub mean: Option<RowMean>,
}

/// A function of a mean over generated rows.
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
    /// How far it moves by chance, where that was asked for.
    pub spread: Spread,
}

/// Standard deviations of a value that chance alone moves; `None` where they are not known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// From seed to seed, of a metric that draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<f64>,
    /// From one part of the generated set to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<f64>,
}

impl RowMean {
    pub(super) fn replicates(&self, draws: Draws) -> Vec<f64> {
        let mean =
            |rows: Vec<u32>| rows.iter().map(|row| self.rows[*row as usize]).sum::<f64>() / rows.len() as f64;
        draws.rows(self.rows.len()).map(|rows| (self.value)(mean(rows))).collect()
    }
}
