//! The two ways to build the graphs of an index, and what each is set to.

use crate::error::Result;
use crate::neighbors::graph::DescentParameters;
use crate::neighbors::hnsw::HnswParameters;
use crate::neighbors::kind::IndexKind;
use serde::{Deserialize, Serialize};

/// How the graphs of an index are built and searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Builder {
    /// Row by row, into several layers.
    Hnsw(HnswParameters),
    /// All rows at once, by comparing neighbours of neighbours.
    Descent(DescentParameters),
}

impl Builder {
    /// The defaults of a kind of index for `k` neighbours; `None` for exact search.
    pub(crate) fn of(kind: IndexKind, k: usize) -> Option<Self> {
        match kind {
            IndexKind::Hnsw => Some(Builder::Hnsw(HnswParameters::default())),
            IndexKind::Graph => Some(Builder::Descent(DescentParameters::for_neighbors(k))),
            IndexKind::Exact | IndexKind::Auto => None,
        }
    }

    /// For the graph of one shard of the rows, which is not split further: several machines work side by side already.
    #[must_use]
    pub(crate) fn of_shard(self) -> Self {
        match self {
            Builder::Hnsw(_) => Builder::Hnsw(HnswParameters::of_shard()),
            descent @ Builder::Descent(_) => descent,
        }
    }

    /// The kind of index.
    pub(in crate::neighbors) fn kind(self) -> IndexKind {
        match self {
            Builder::Hnsw(_) => IndexKind::Hnsw,
            Builder::Descent(_) => IndexKind::Graph,
        }
    }

    /// Graphs that the rows are split into.
    pub(super) fn parts(self) -> usize {
        match self {
            Builder::Hnsw(parameters) => parameters.parts,
            Builder::Descent(_) => 1,
        }
    }

    /// Candidates kept while a graph is walked.
    pub(super) fn ef_search(self) -> usize {
        match self {
            Builder::Hnsw(parameters) => parameters.ef_search,
            Builder::Descent(parameters) => parameters.ef_search,
        }
    }

    /// # Errors
    /// [`crate::Error::Usage`] if a number is out of range.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Builder::Hnsw(parameters) => parameters.check(),
            Builder::Descent(parameters) => parameters.check(),
        }
    }
}
