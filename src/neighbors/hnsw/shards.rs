//! HNSW in parts: each shard of the rows has a graph of its own, which one machine builds and searches for the rows of all shards.
//! The answers of the shards are merged by (distance, row); all their graphs side by side are an [`HnswIndex`].
//! Smaller graphs find more of the true neighbours: the answers depend on the number of shards, and on nothing else.

use super::index::{HnswIndex, Query};
use super::parameters::HnswParameters;
use super::space::check_rows;
use crate::error::Result;
use crate::neighbors::kind::IndexRecord;
use crate::neighbors::search::{Neighbors, Search, check_finite, check_width};
use crate::progress::{Progress, Unreported};
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// The graph of a shard of the rows of a set.
pub(crate) struct GraphShard {
    index: HnswIndex,
    /// The rows of the set that are in the shard.
    rows: Range<usize>,
}

impl GraphShard {
    /// Builds the graph over `features` `[n, D]`, which are the `rows` of a set.
    ///
    /// # Errors
    /// As [`HnswIndex::build`].
    pub(crate) fn build(
        features: ArcArray2<f32>,
        rows: Range<usize>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        check_rows(rows.end)?;
        Ok(Self { index: HnswIndex::build(features, HnswParameters::of_shard(), progress)?, rows })
    }

    /// Reads what [`GraphShard::save`] has written.
    ///
    /// # Errors
    /// As [`HnswIndex::open`].
    pub(crate) fn load(
        dir: &Path,
        features: ArcArray2<f32>,
        rows: Range<usize>,
        files: &BTreeMap<String, String>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let record = IndexRecord::hnsw(HnswParameters::of_shard(), files.clone());
        Ok(Self { index: HnswIndex::open(dir, &record, features, progress)?, rows })
    }

    /// Exact search, for queries that the graph does not answer, multiplies matrices on `device`.
    #[must_use]
    pub(crate) fn on(self, device: &Device) -> Self {
        Self { index: self.index.on(device), ..self }
    }

    /// Writes the graph into `dir` as [`HnswIndex::save`] does, with its rows counted from 0; gives the digests.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(crate) fn save(&self, dir: &Path) -> Result<BTreeMap<String, String>> {
        self.index.save(dir)
    }

    /// Neighbours that [`GraphShard::search`] gives for each query where `k` are wanted: one more, since a query that is a row of
    /// the shard finds itself too, but not more than the shard has rows.
    pub(crate) fn answered(rows: &Range<usize>, k: usize) -> usize {
        rows.len().min(k + 1)
    }

    /// Without reports, the nearest rows of the shard to the `queries` `[Q, D]`, which are the rows `own` of the set; rows are those of the set.
    ///
    /// # Errors
    /// As [`crate::neighbors::NeighborIndex::search`].
    pub(crate) fn search(
        &self,
        queries: ArrayView2<f32>,
        own: Range<usize>,
        k: usize,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        check_finite(queries)?;
        check_width(queries, self.index.space.features.ncols())?;
        let queries = queries.as_standard_layout();
        let (values, width) = (queries.as_slice().unwrap_or_default(), queries.ncols());
        let search = Search { k: Self::answered(&self.rows, k), skip_zero: false };
        let mut found = self.index.answer(queries.nrows(), search, &Unreported(progress), |q| {
            let row = own.start + q;
            let inside = self.rows.contains(&row).then(|| (row - self.rows.start) as u32);
            Query { content: &values[q * width..][..width], own: inside, exclude: None }
        })?;
        found.rows.iter_mut().for_each(|row| *row += self.rows.start as u32);
        Ok(found)
    }
}
