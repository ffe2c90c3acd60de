//! HNSW in parts: every shard of the rows has a graph of its own, which one machine builds and walks for the rows of all shards.
//! What the shards find is merged by (distance, row), and their graphs together are an [`HnswIndex`]; no graph is ever merged.
//! Smaller graphs find more of the true neighbours: what is found depends on the number of shards, and on nothing else.

use super::groups::RowGroups;
use super::hnsw::{HnswIndex, HnswParameters, Query, check_rows};
use super::{Neighbors, Search, check_finite, check_width};
use crate::error::Result;
use crate::progress::{Progress, Silent};
use crate::shards::{self, Shard};
use ndarray::{ArcArray2, ArrayView2};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// One graph for each shard: the other machines are what works beside it.
pub(super) fn parameters() -> HnswParameters {
    HnswParameters { parts: 1, ..HnswParameters::default() }
}

/// The rows of the shards that have any, of `count` shards of `rows`.
pub(super) fn ranges(count: usize, rows: usize) -> impl Iterator<Item = Range<u32>> {
    (0..count)
        .map(move |index| shards::of_shard(Shard { index, count }, rows).1)
        .filter(|range| !range.is_empty())
        .map(|range| range.start as u32..range.end as u32)
}

/// The rows of each graph: one row of each group of equal rows of a shard.
pub(super) fn shares_of_shards(groups: &RowGroups, count: usize, rows: usize) -> Vec<Vec<u32>> {
    ranges(count, rows).map(|range| groups.firsts_within(range).collect()).collect()
}

/// The graph of a shard of the rows of a set.
pub struct GraphShard {
    index: HnswIndex,
    /// Rows of the set that it holds.
    rows: Range<usize>,
}

impl GraphShard {
    /// Builds the graph over `features` `[n, D]`, which are the `rows` of a set.
    ///
    /// # Errors
    /// As [`HnswIndex::build`].
    pub fn build(features: ArcArray2<f32>, rows: Range<usize>, progress: &dyn Progress) -> Result<Self> {
        check_rows(rows.end)?;
        Ok(Self { index: HnswIndex::build(features, parameters(), progress)?, rows })
    }

    /// Reads what [`GraphShard::save`] has written.
    ///
    /// # Errors
    /// As [`HnswIndex::load`].
    pub fn load(
        dir: &Path,
        features: ArcArray2<f32>,
        rows: Range<usize>,
        files: &BTreeMap<String, String>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Ok(Self { index: HnswIndex::load(dir, features, (parameters(), None), files, progress)?, rows })
    }

    /// Writes the graph into `dir` as [`HnswIndex::save`] does, with its rows counted from 0; gives the digests.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<BTreeMap<String, String>> {
        self.index.save(dir)
    }

    /// Neighbours that [`GraphShard::search`] finds where `k` are wanted: a query that is a row of the shard finds itself too.
    pub fn found(rows: &Range<usize>, k: usize) -> usize {
        rows.len().min(k + 1)
    }

    /// The nearest rows of the shard to the `queries` `[Q, D]`, which are the rows `own` of the set; rows are those of the set.
    ///
    /// # Errors
    /// As [`super::NeighborIndex::search`].
    pub fn search(&self, queries: ArrayView2<f32>, own: Range<usize>, k: usize) -> Result<Neighbors> {
        check_finite(queries)?;
        check_width(queries, self.index.space.features.ncols())?;
        let queries = queries.as_standard_layout();
        let (values, width) = (queries.as_slice().unwrap_or_default(), queries.ncols());
        let search = Search { k: Self::found(&self.rows, k), skip_zero: false };
        let mut found = self.index.answer(queries.nrows(), search, &Silent, |q| {
            let row = own.start + q;
            let inside = self.rows.contains(&row).then(|| (row - self.rows.start) as u32);
            Query { content: &values[q * width..][..width], own: inside, exclude: None }
        })?;
        found.rows.iter_mut().for_each(|row| *row += self.rows.start as u32);
        Ok(found)
    }
}
