//! A set, or a group of one, with the values of its metrics.

use crate::metrics::metric::Estimate;
use crate::metrics::spread::rows_of_part;

/// A set with the values of its metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluatedSet {
    /// What it is called.
    pub name: String,
    /// How many rows it has, where that is known.
    pub rows: Option<usize>,
    /// The values.
    pub estimates: Vec<Estimate>,
}

impl EvaluatedSet {
    /// The value of a column of a metric.
    pub fn estimate(&self, column: &str) -> Option<&Estimate> {
        self.estimates.iter().find(|estimate| estimate.column == column)
    }

    /// Rows of each of `count` parts of the set, where it was looked at in parts.
    pub(crate) fn rows_of_part(&self, count: u32) -> Option<usize> {
        let in_parts = self.estimates.iter().any(|estimate| estimate.spread.parts.is_some());
        in_parts.then(|| Some(rows_of_part(self.rows?, count as usize))).flatten()
    }
}

/// A group of a generated set, compared with the same group of the real set.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupedSet {
    /// What the group is called.
    pub group: String,
    /// How many real rows it has.
    pub real_rows: usize,
    /// The generated rows, under the name of their set, with the values of the metrics that the rows suffice for.
    pub set: EvaluatedSet,
}
