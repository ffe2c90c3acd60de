//! How much a graph keeps of each row and how far a walk goes, and the limits of both.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The fewest neighbours kept of each row: with fewer, neighbours of neighbours lead nowhere new.
const LEAST_WIDTH: usize = 16;
/// Neighbours kept beyond those that are wanted. The last places of a list are the last to become right.
const SPARE: usize = 6;
/// The most neighbours kept of each row.
const MOST_WIDTH: usize = 1000;

/// Candidates that a walk may keep, in the order in which they are tried until the recall suffices.
pub(in crate::neighbors) const EXPLORED: [usize; 5] = [48, 96, 192, 384, 768];

/// What a graph of nearest neighbours is built and searched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescentParameters {
    /// Nearest neighbours kept of each row, 16 to 1 000.
    pub width: usize,
    /// Candidates kept while the graph is walked, at least 1; raised to what `k` needs.
    pub ef_search: usize,
}

impl DescentParameters {
    /// For `k` neighbours of each row.
    pub fn for_neighbors(k: usize) -> Self {
        let width = (k + SPARE).clamp(LEAST_WIDTH, MOST_WIDTH);
        DescentParameters { width, ef_search: EXPLORED[2] }
    }

    /// # Errors
    /// [`Error::Usage`] if a number is out of range.
    pub(in crate::neighbors) fn check(&self) -> Result<()> {
        let explored = 1..=crate::neighbors::hnsw::MOST_EXPLORED;
        if (LEAST_WIDTH..=MOST_WIDTH).contains(&self.width) && explored.contains(&self.ef_search) {
            return Ok(());
        }
        Err(Error::usage(
            format!("no graph can be built with {self:?}"),
            format!("width: {LEAST_WIDTH} to {MOST_WIDTH}, ef: {} to {}.", explored.start(), explored.end()),
        ))
    }
}
