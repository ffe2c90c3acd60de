//! The kinds of index: which of them serves a set by measured cost, and the record of one that was built.

use super::hnsw::HnswParameters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    /// Exact, or HNSW where the set is so large that it is faster
    #[default]
    Auto,
    /// Compare all pairs: exact, time grows with the square of the images
    Exact,
    /// Graph search: approximate, for very large sets
    Hnsw,
}

impl IndexKind {
    /// [`IndexKind::Exact`] or [`IndexKind::Hnsw`]: for [`IndexKind::Auto`] the kind
    /// that is expected to take less time for `n` rows of `d` values.
    pub fn resolve(self, n: usize, d: usize) -> IndexKind {
        match self {
            IndexKind::Auto => choose(n, d),
            forced => forced,
        }
    }
}

/// What a manifest keeps of an index: enough to open it again for the same features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// [`IndexKind::Exact`] or [`IndexKind::Hnsw`], what `auto` chose.
    pub kind: IndexKind,
    /// The parameters of HNSW graphs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<HnswParameters>,
    /// How many shards of the rows have a graph each, where the index was built in parts; the neighbours that are found depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// Share of the true neighbours found, 0 to 1 (see [`super::HnswIndex::recall`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Saved files: name to SHA-256 in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<String, String>>,
}

impl IndexRecord {
    /// The record of an exact index, which has no files.
    pub fn exact() -> Self {
        Self { kind: IndexKind::Exact, parameters: None, shards: None, recall: None, files: None }
    }

    /// The record of HNSW graphs that were saved as `files`, in one piece.
    pub(super) fn hnsw(parameters: HnswParameters, files: BTreeMap<String, String>) -> Self {
        let files = Some(files);
        Self { kind: IndexKind::Hnsw, parameters: Some(parameters), shards: None, recall: None, files }
    }

    /// For a summary: `exact index`, `HNSW index, recall 0.9987`, or `HNSW index in 16 shards, recall 0.9991`.
    pub fn describe(&self) -> String {
        if self.kind != IndexKind::Hnsw {
            return "exact index".into();
        }
        let shards = self.shards.map_or(String::new(), |count| format!(" in {count} shards"));
        let recall = self.recall.map_or(String::new(), |recall| format!(", recall {recall:.4}"));
        format!("HNSW index{shards}{recall}")
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
const EXACT_PAIR: Cost = Cost { constant: 7.6e-11, per_value: 9.65e-12 };
/// Building and walking HNSW graphs, for each row, near the number of rows from which they are faster.
const HNSW_ROW: Cost = Cost { constant: 8.0e-4, per_value: 3.7e-7 };

/// The kind that is expected to take less processor time for the neighbours of all of `n` rows of `d` values:
/// HNSW from about 1.2 million rows at a width of 64 and 140 000 at 768.
///
/// From processor seconds of `examples/knn.rs` (build plus all pairs, 10 neighbours, the clustered features of
/// `benches/clustered.py`, default parameters, two quiet AVX-512 cores):
///
/// | rows | width | exact | HNSW |
/// |---|---|---|---|
/// | 50 000 | 64 | 2.0 | 15.7 |
/// | 400 000 | 64 | 111 | 236 |
/// | 50 000 | 768 | 19 | 37.6 |
/// | 100 000 | 768 | 75 | 95 |
///
/// Exact search grows with the square of the rows, HNSW as their power 1.3; the numbers of rows at which both take as long are extrapolated.
pub(super) fn choose(n: usize, d: usize) -> IndexKind {
    let (n, d) = (n as f64, d as f64);
    let exact = n * n * EXACT_PAIR.at(d);
    let hnsw = n * HNSW_ROW.at(d);
    if hnsw < exact { IndexKind::Hnsw } else { IndexKind::Exact }
}
