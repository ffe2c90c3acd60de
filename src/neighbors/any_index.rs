//! An index of any kind: built for a set, saved beside it, and opened again from its record.
//! A further kind is a folder with its index, a variant of [`IndexKind`] and of [`AnyIndex`], and an arm in [`build`] and [`open`]; a
//! further way to build graphs is a variant of [`Builder`] instead.

use super::approximate::{Builder, GraphIndex, Measured, read_earlier};
use super::exact::ExactIndex;
use super::index_files::{place_files, remove_others, unusable};
use super::kind::IndexKind;
use super::record::IndexRecord;
use super::search::{NeighborIndex, Neighbors, Search};
use crate::error::Result;
use crate::progress::Progress;
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An index of any kind.
pub(crate) enum AnyIndex {
    /// All pairs are compared.
    Exact(Box<ExactIndex>),
    /// Graphs are walked.
    Graphs(Box<GraphIndex>),
}

impl AnyIndex {
    fn peer(&self) -> &dyn NeighborIndex {
        match self {
            AnyIndex::Exact(index) => index.as_ref(),
            AnyIndex::Graphs(index) => index.as_ref(),
        }
    }

    /// Writes the files of the index, where its kind has any, as `index.*` into `dir`, removes those of an earlier index, and
    /// enters their names and digests into `record`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(crate) fn save(&self, dir: &Path, record: &mut IndexRecord) -> Result<()> {
        record.files = match self {
            AnyIndex::Exact(_) => None,
            AnyIndex::Graphs(index) => Some(index.save(dir)?),
        };
        remove_others(dir, record.files.as_ref())
    }
}

impl NeighborIndex for AnyIndex {
    fn search(
        &self,
        queries: ArrayView2<f32>,
        exclude: Option<&[Option<u32>]>,
        search: Search,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        self.peer().search(queries, exclude, search, progress)
    }

    fn search_self(&self, search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        self.peer().search_self(search, progress)
    }
}

/// How an index is built.
#[derive(Debug, Clone)]
pub(crate) struct BuildOptions {
    /// The kind; [`IndexKind::Auto`] takes the one that is expected to be faster.
    pub kind: IndexKind,
    /// Neighbours for which the recall of an approximate index is measured, at least 1.
    pub k: usize,
    /// Random seed of the 1 000 rows on which the recall is measured. How many passes a graph takes depends on it.
    pub seed: u64,
    /// A directory that may hold the graph of an earlier set ([`set_graphs_aside`]): a graph of most of its rows begins with it.
    ///
    /// [`set_graphs_aside`]: super::set_graphs_aside
    pub earlier: Option<PathBuf>,
    /// Where exact search multiplies matrices; neighbours and distances are the same on any device.
    pub device: Device,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions { kind: IndexKind::Auto, k: 10, seed: 0, earlier: None, device: Device::Cpu }
    }
}

/// Builds an index of `features` `[N, D]`. A recall below 0.99 is warned about.
///
/// # Errors
/// [`crate::Error::Data`] if `features` cannot be indexed or have no `k` other rows for each, [`crate::Error::Usage`] for a `k` of 0,
/// [`crate::Error::Interrupted`].
pub(crate) fn build(
    features: ArcArray2<f32>,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<(AnyIndex, IndexRecord)> {
    let kind = options.kind.resolve(features.nrows(), features.ncols());
    let device = &options.device;
    let Some(builder) = Builder::of(kind, options.k) else {
        return Ok((AnyIndex::Exact(Box::new(ExactIndex::new(features)?.on(device))), IndexRecord::exact()));
    };
    let measured = Measured { k: options.k, seed: options.seed };
    let earlier = options.earlier.as_deref().filter(|_| kind == IndexKind::Graph).and_then(read_earlier);
    let (index, record) =
        GraphIndex::build_measured(features, builder, measured, earlier.as_ref(), device, progress)?;
    Ok((AnyIndex::Graphs(Box::new(index)), record))
}

/// Opens the index that `record` describes, for the same `features` `[N, D]`: exact search needs no files, graphs are read from `dir`.
/// Exact search multiplies matrices on `device`.
///
/// # Errors
/// [`crate::Error::Malformed`] if the record or a file it names is damaged, missing, or does not belong to `features`.
pub(crate) fn open(
    dir: &Path,
    record: &IndexRecord,
    features: ArcArray2<f32>,
    device: &Device,
    progress: &dyn Progress,
) -> Result<AnyIndex> {
    match record.kind {
        IndexKind::Exact => Ok(AnyIndex::Exact(Box::new(ExactIndex::new(features)?.on(device)))),
        IndexKind::Hnsw | IndexKind::Graph => {
            let index = GraphIndex::open(dir, record, features, progress)?.on(device);
            Ok(AnyIndex::Graphs(Box::new(index)))
        }
        IndexKind::Auto => Err(unusable(dir, "the record of the index does not say which kind it is")),
    }
}

/// Removes the files of an index that was saved into `dir`, if there are any.
///
/// # Errors
/// [`crate::Error::Io`].
pub(crate) fn remove_graphs(dir: &Path) -> Result<()> {
    remove_others(dir, None)
}

/// Puts the files of the index of `record`, which were saved into `from`, into `dir`, where they replace those of an earlier index.
///
/// # Errors
/// [`crate::Error::Io`].
pub(crate) fn place_graphs(from: &Path, dir: &Path, record: &IndexRecord) -> Result<()> {
    place_files(from, dir, record.files.as_ref().unwrap_or(&BTreeMap::new()))
}
