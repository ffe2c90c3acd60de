//! How HNSW graphs are built and searched, and the limits of each number.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most connections asked for: `hnsw_rs` ends the process above 256 and stores the number in a byte.
const MOST_CONNECTIONS: usize = 128;
/// The most candidates that a walk keeps.
pub(in crate::neighbors) const MOST_EXPLORED: usize = 100_000;

/// How graphs are built and searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HnswParameters {
    /// Connections of a row on each layer (twice as many on the lowest), 2 to 128. `M` of the paper.
    pub m: usize,
    /// Candidates kept while a row is inserted, at least 1.
    pub ef_construction: usize,
    /// Candidates kept while a graph is searched, at least 1; raised to what `k` needs.
    pub ef_search: usize,
    /// Graphs that the rows are split into. More build faster on many cores and search slower.
    pub parts: usize,
}

impl Default for HnswParameters {
    fn default() -> Self {
        HnswParameters { m: 16, ef_construction: 48, ef_search: 64, parts: 2 }
    }
}

impl HnswParameters {
    const MOST_PARTS: usize = 64;

    /// For the graph of one shard of the rows, which is not split further: several machines work side by side already.
    pub(in crate::neighbors) fn of_shard() -> Self {
        HnswParameters { parts: 1, ..HnswParameters::default() }
    }

    /// # Errors
    /// [`Error::Usage`] if a number is out of range.
    pub(in crate::neighbors) fn check(&self) -> Result<()> {
        let explored = 1..=MOST_EXPLORED;
        let fits = (2..=MOST_CONNECTIONS).contains(&self.m)
            && explored.contains(&self.ef_construction)
            && explored.contains(&self.ef_search)
            && (1..=Self::MOST_PARTS).contains(&self.parts);
        if fits {
            return Ok(());
        }
        Err(Error::usage(
            format!("no graph can be built with {self:?}"),
            format!(
                "m: 2 to {MOST_CONNECTIONS}, ef: 1 to {MOST_EXPLORED}, parts: 1 to {}.",
                Self::MOST_PARTS
            ),
        ))
    }
}
