//! What is kept of an index that was built.

use super::approximate::Builder;
use super::kind::IndexKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a manifest keeps of an index: enough to open it again for the same features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// The kind, what `auto` chose.
    pub kind: IndexKind,
    /// The parameters of graphs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Builder>,
    /// How many shards of the rows have a graph each, where the index was built in parts; the neighbours that are found depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// Share of the true neighbours found, 0 to 1 (see [`super::GraphIndex::recall`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// How many rows were in the graph that it was grown from, where it was: the neighbours that are found depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown_from: Option<usize>,
    /// Saved files: name to SHA-256 in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<String, String>>,
}

impl IndexRecord {
    /// The record of an exact index, which has no files.
    pub fn exact() -> Self {
        Self {
            kind: IndexKind::Exact,
            parameters: None,
            shards: None,
            recall: None,
            grown_from: None,
            files: None,
        }
    }

    /// The record of graphs, of one for each of `shards` where they were built in parts.
    pub(super) fn of_graphs(
        builder: Builder,
        shards: Option<usize>,
        recall: Option<f64>,
        files: Option<BTreeMap<String, String>>,
    ) -> Self {
        Self { kind: builder.kind(), parameters: Some(builder), shards, recall, grown_from: None, files }
    }

    /// For a summary: `exact index`, `neighbour graph, recall 0.9993, grown from one of 95000 rows`, or `HNSW index in 16 shards, recall
    /// 0.9991`.
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            IndexKind::Exact | IndexKind::Auto => return "exact index".into(),
            IndexKind::Graph => "neighbour graph",
            IndexKind::Hnsw => "HNSW index",
        };
        let shards = self.shards.map_or(String::new(), |count| format!(" in {count} shards"));
        let recall = self.recall.map_or(String::new(), |recall| format!(", recall {recall:.4}"));
        let grown = self.grown_from.map_or(String::new(), |rows| format!(", grown from one of {rows} rows"));
        format!("{kind}{shards}{recall}{grown}")
    }
}
