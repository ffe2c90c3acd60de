//! Which index serves a set: chosen by measured cost or by the caller, built, remembered in a record, and opened again.
//! The record is what a manifest keeps: the kind, and for a graph its parameters, its measured recall and its files' digests.
//! Callers of this room need nothing else than [`build`], [`open`] and [`build_borrowed`].

use super::{ExactIndex, HnswIndex, HnswParameters, NeighborIndex};
use crate::error::Result;
use crate::progress::Progress;
use ndarray::{ArcArray2, ArrayView2};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;

/// Rows on which the recall of a new graph is measured.
pub(super) const RECALL_SAMPLE: usize = 1000;
/// A recall below this is warned about.
const GOOD_RECALL: f64 = 0.99;

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
    /// [`IndexKind::Exact`] or [`IndexKind::Hnsw`]: what [`choose`] takes for `n` rows of `d` values, unless one was asked for.
    pub fn resolve(self, n: usize, d: usize) -> IndexKind {
        match self {
            IndexKind::Auto => choose(n, d),
            forced => forced,
        }
    }
}

/// What is remembered of an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// [`IndexKind::Exact`] or [`IndexKind::Hnsw`], what `auto` chose.
    pub kind: IndexKind,
    /// How the graphs were built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<HnswParameters>,
    /// Shards of the rows with a graph each, where they were built in parts: what is found depends on their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// Share of the true neighbours found, 0 to 1 (see [`HnswIndex::recall`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Saved files: name to SHA-256 in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<String, String>>,
}

impl IndexRecord {
    /// Of an exact index, which has no files.
    pub fn exact() -> Self {
        Self { kind: IndexKind::Exact, parameters: None, shards: None, recall: None, files: None }
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

/// An index of either kind.
pub enum BuiltIndex {
    /// All pairs are compared.
    Exact(Box<ExactIndex>),
    /// Graphs are walked.
    Hnsw(Box<HnswIndex>),
}

impl Deref for BuiltIndex {
    type Target = dyn NeighborIndex;

    fn deref(&self) -> &Self::Target {
        match self {
            BuiltIndex::Exact(index) => index.as_ref(),
            BuiltIndex::Hnsw(index) => index.as_ref(),
        }
    }
}

impl BuiltIndex {
    /// Writes the graphs, if this is HNSW, as `index.*` into `dir`, removes such files of an earlier index, and notes
    /// names and digests in `record`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn save(&self, dir: &Path, record: &mut IndexRecord) -> Result<()> {
        record.files = match self {
            BuiltIndex::Exact(_) => None,
            BuiltIndex::Hnsw(index) => Some(index.save(dir)?),
        };
        super::dump::remove_others(dir, record.files.as_ref())
    }
}

/// Processor seconds of exact search for each pair of all pairs, and for each value of a row in it.
const EXACT_PAIR: (f64, f64) = (7.6e-11, 9.65e-12);
/// Processor seconds of building and walking graphs for each row, and for each value of it, near the crossover.
const GRAPH_ROW: (f64, f64) = (8.0e-4, 3.7e-7);

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
/// Exact search grows with the square of the rows, HNSW as their power 1.3; the crossovers follow from carrying both on.
pub fn choose(n: usize, d: usize) -> IndexKind {
    let (n, d) = (n as f64, d as f64);
    let exact = n * n * (EXACT_PAIR.0 + EXACT_PAIR.1 * d);
    let graph = n * (GRAPH_ROW.0 + GRAPH_ROW.1 * d);
    if graph < exact { IndexKind::Hnsw } else { IndexKind::Exact }
}

/// Builds the index of `kind` for `features` `[N, D]`. The recall of a graph is measured for `k` neighbours on 1 000 rows drawn
/// with `seed` (the graphs themselves are the same for every seed); below 0.99 it is warned about.
///
/// # Errors
/// [`crate::Error::Data`] if `features` cannot be indexed or have no `k` other rows for each, [`crate::Error::Usage`] for a `k` of 0,
/// [`crate::Error::Interrupted`].
pub fn build(
    kind: IndexKind,
    features: ArcArray2<f32>,
    k: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<(BuiltIndex, IndexRecord)> {
    if kind.resolve(features.nrows(), features.ncols()) != IndexKind::Hnsw {
        return Ok((BuiltIndex::Exact(Box::new(ExactIndex::new(features)?)), IndexRecord::exact()));
    }
    let index = HnswIndex::build(features, HnswParameters::default(), progress)?;
    let recall = index.recall(k, RECALL_SAMPLE, seed, progress)?;
    warn_of_recall(recall, progress);
    let (kind, parameters) = (IndexKind::Hnsw, Some(index.parameters()));
    let record = IndexRecord { kind, parameters, shards: None, recall: Some(recall), files: None };
    Ok((BuiltIndex::Hnsw(Box::new(index)), record))
}

pub(super) fn warn_of_recall(recall: f64, progress: &dyn Progress) {
    if recall < GOOD_RECALL {
        progress.warn(&format!(
            "the HNSW index finds only {:.1} % of the true neighbours; --index exact finds all of them",
            100.0 * recall
        ));
    }
}

/// Removes the files of an index that was saved into `dir`, if there are any.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn remove_graphs(dir: &Path) -> Result<()> {
    super::dump::remove_others(dir, None)
}

/// Puts the files of `record`, which were written into `from`, into `dir`, for those of an earlier index.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn place_graphs(from: &Path, dir: &Path, record: &IndexRecord) -> Result<()> {
    super::dump::place_files(from, dir, record.files.as_ref().unwrap_or(&BTreeMap::new()))
}

/// Makes the index that `record` remembers for the same `features` `[N, D]`: an exact one anew, graphs from the files in `dir`.
///
/// # Errors
/// [`crate::Error::Malformed`] if the record or a file it names is damaged, missing, or does not belong to `features`.
pub fn open(
    dir: &Path,
    record: &IndexRecord,
    features: ArcArray2<f32>,
    progress: &dyn Progress,
) -> Result<BuiltIndex> {
    match record.kind {
        IndexKind::Exact => Ok(BuiltIndex::Exact(Box::new(ExactIndex::new(features)?))),
        IndexKind::Hnsw => {
            let (Some(parameters), Some(files)) = (record.parameters, &record.files) else {
                return Err(super::dump::broken(
                    dir,
                    "the record of the HNSW index lacks its parameters or files",
                ));
            };
            let index = HnswIndex::load(dir, features, (parameters, record.shards), files, progress)?;
            Ok(BuiltIndex::Hnsw(Box::new(index)))
        }
        IndexKind::Auto => {
            Err(super::dump::broken(dir, "the record of the index does not say which kind it is"))
        }
    }
}

/// An exact index of a view `[N, D]`, for sets that are small beside the whole; the rows are copied.
///
/// # Errors
/// [`crate::Error::Data`] as [`ExactIndex::new`].
pub fn build_borrowed<'a>(features: ArrayView2<'a, f32>) -> Result<Box<dyn NeighborIndex + 'a>> {
    Ok(Box::new(ExactIndex::new(features.to_owned().into_shared())?))
}
