//! Graphs in parts: each shard of the rows has a graph of its own, which one machine builds and searches for the rows of all shards.
//! The answers of the shards are merged by (distance, row); all their graphs side by side are an [`GraphIndex`].
//! Smaller graphs find more of the true neighbours: the answers depend on the number of shards, and on nothing else.

use super::builder::Builder;
use super::index::{GraphIndex, Measured, Query};
use crate::error::Result;
use crate::neighbors::record::IndexRecord;
use crate::neighbors::search::{Neighbors, Search, check_finite, check_width};
use crate::neighbors::walk::check_rows;
use crate::progress::{Progress, Unreported};
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// The graph of a shard of the rows of a set.
pub(crate) struct GraphShard {
    index: GraphIndex,
    /// The rows of the set that are in the shard.
    rows: Range<usize>,
}

impl GraphShard {
    /// Builds the graph over `features` `[n, D]`, which are the `rows` of a set. Exact search, for what the graph does not answer,
    /// multiplies matrices on `device`.
    ///
    /// # Errors
    /// As [`GraphIndex::build`].
    pub(crate) fn build(
        features: ArcArray2<f32>,
        rows: Range<usize>,
        builder: Builder,
        measured: Measured,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        check_rows(rows.end)?;
        let measured = Measured { k: measured.k.min(rows.len().saturating_sub(1)).max(1), ..measured };
        Ok(Self { index: GraphIndex::build(features, builder.of_shard(), measured, device, progress)?, rows })
    }

    /// Reads what [`GraphShard::save`] has written.
    ///
    /// # Errors
    /// As [`GraphIndex::open`].
    pub(crate) fn load(
        dir: &Path,
        features: ArcArray2<f32>,
        rows: Range<usize>,
        builder: Builder,
        files: &BTreeMap<String, String>,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let record = IndexRecord::of_graphs(builder.of_shard(), None, None, Some(files.clone()));
        Ok(Self { index: GraphIndex::open(dir, &record, features, progress)?.on(device), rows })
    }

    /// Writes the graph into `dir` as [`GraphIndex::save`] does, with its rows counted from 0; gives the digests.
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
