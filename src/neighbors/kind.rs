//! The kinds of index, and which of them serves a set by measured cost.

use serde::{Deserialize, Serialize};

/// How neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    /// Exact, or the graph where the set is so large that it is faster
    #[default]
    Auto,
    /// Compare all pairs: exact, time grows with the square of the images
    Exact,
    /// Graph of nearest neighbours, built for all images at once: at least 99.9 % of them are found
    Graph,
    /// HNSW graph, built image by image: slower than the graph
    Hnsw,
}

impl IndexKind {
    /// What is meant: for [`IndexKind::Auto`] the one of [`IndexKind::Exact`] and [`IndexKind::Graph`] that is
    /// expected to take less time for `n` rows of `d` values.
    pub fn resolve(self, n: usize, d: usize) -> IndexKind {
        match self {
            IndexKind::Auto => choose(n, d),
            forced => forced,
        }
    }
}

/// Processor seconds, by the number of values in a row.
struct Cost {
    constant: f64,
    per_value: f64,
}

impl Cost {
    fn at(&self, width: f64) -> f64 {
        self.constant + self.per_value * width
    }
}

/// Exact search, for each pair of rows.
const EXACT_PAIR: Cost = Cost { constant: 1.15e-9, per_value: 2.2e-12 };
/// Building a graph and looking up its neighbours, for each row.
const GRAPH_ROW: Cost = Cost { constant: 8.0e-5, per_value: 5.4e-7 };
/// The share of the time of exact search that a graph has to spare. Exact search finds all neighbours: a little time is not worth any of them.
const SPARED: f64 = 0.5;

/// The kind for the neighbours of all of `n` rows of `d` values: the graph where it is expected to take at most half of the processor
/// time of exact search, from about 180 000 rows at a width of 64, 210 000 at 128 and 350 000 at 768.
///
/// From processor seconds of `examples/knn.rs` (build plus all pairs, 10 neighbours, the clustered features of
/// `benches/clustered.py`, default parameters, two AVX2 cores):
///
/// | rows | width | exact | graph |
/// |---|---|---|---|
/// | 100 000 | 64 | 12 | 11 |
/// | 100 000 | 128 | 15 | 17 |
/// | 100 000 | 768 | 28 | 50 |
///
/// Exact search grows with the square of the rows, the graph about as they do.
pub(super) fn choose(n: usize, d: usize) -> IndexKind {
    let (n, d) = (n as f64, d as f64);
    let exact = n * n * EXACT_PAIR.at(d);
    let graph = n * GRAPH_ROW.at(d);
    if graph < exact * SPARED { IndexKind::Graph } else { IndexKind::Exact }
}
