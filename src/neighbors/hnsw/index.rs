//! The index of HNSW graphs. The graphs find candidates; distances, order and ties come from the rows themselves, as in exact search.
//! Several graphs of fixed shares of the rows are built side by side, each in row order, so that any thread count gives the same.
//! The graphs may also be those of shards of the rows, built one by one by several machines ([`super::shards`]).

use super::graph::{Graph, Walk};
use super::parameters::HnswParameters;
use super::search_results::SearchResults;
use super::shares::shares;
use super::space::{Space, prepared};
use crate::error::Result;
use crate::neighbors::exact::ExactIndex;
use crate::neighbors::exact::groups::RowGroups;
use crate::neighbors::kind::{IndexKind, IndexRecord};
use crate::neighbors::recall::{RECALL_SAMPLE, sampled, share_found, warn_of_recall};
use crate::neighbors::search::{
    NeighborIndex, Neighbors, Search, check_excluded, check_finite, check_search, check_width, too_few,
};
use crate::progress::{Progress, Unreported, check_stop};
use candle_core::Device;
use ndarray::{ArcArray2, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Rows answered by exact search at a time: their content is copied.
const EXACT_BATCH: usize = 4096;
/// Rows searched between two looks at whether to stop.
const CHUNK: usize = 256;

/// Approximate nearest neighbours of a set of features `[N, D]`.
pub struct HnswIndex {
    pub(super) space: Space,
    pub(super) groups: RowGroups,
    pub(super) parameters: HnswParameters,
    pub(super) graphs: Vec<Graph>,
    /// Exact search for the queries that the graphs do not answer, prepared when the first comes.
    exact: OnceLock<ExactIndex>,
    device: Device,
}

impl HnswIndex {
    /// Builds the graphs over `features` `[N, D]`: one row of each group of equal rows goes into one of them.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if `features` cannot be indexed, [`crate::Error::Usage`] if `parameters` are out of range,
    /// [`crate::Error::Interrupted`].
    pub fn build(
        features: ArcArray2<f32>,
        parameters: HnswParameters,
        progress: &dyn Progress,
    ) -> Result<Self> {
        parameters.check()?;
        let (space, groups) = prepared(features)?;
        let shares = shares(&groups, parameters.parts);
        progress.start("neighbour graph", shares.iter().map(Vec::len).sum::<usize>() as u64, "rows");
        let graphs = shares
            .into_par_iter()
            .with_max_len(1)
            .map(|rows| {
                Graph::build(rows, parameters.m, parameters.ef_construction, space.clone(), |inserted| {
                    progress.advance(inserted as u64);
                    check_stop(progress, String::new)
                })
            })
            .collect::<Result<_>>()?;
        progress.finish();
        Ok(Self::of_parts(space, groups, parameters, graphs))
    }

    /// Builds the index with the default parameters, measures its recall for `k` neighbours on rows drawn with `seed`, and warns where
    /// it is low. Exact search multiplies matrices on `device`.
    ///
    /// # Errors
    /// As [`HnswIndex::build`] and [`HnswIndex::recall`].
    pub(in crate::neighbors) fn build_measured(
        features: ArcArray2<f32>,
        k: usize,
        seed: u64,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Self, IndexRecord)> {
        let index = Self::build(features, HnswParameters::default(), progress)?.on(device);
        let recall = index.recall(k, RECALL_SAMPLE, seed, progress)?;
        warn_of_recall(recall, progress);
        let (kind, parameters) = (IndexKind::Hnsw, Some(index.parameters()));
        Ok((index, IndexRecord { kind, parameters, shards: None, recall: Some(recall), files: None }))
    }

    /// Exact search, for queries that the graphs do not answer and for the recall, multiplies matrices on `device`.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        HnswIndex { device: device.clone(), ..self }
    }

    pub(super) fn of_parts(
        space: Space,
        groups: RowGroups,
        parameters: HnswParameters,
        graphs: Vec<Graph>,
    ) -> Self {
        HnswIndex { space, groups, parameters, graphs, exact: OnceLock::new(), device: Device::Cpu }
    }

    /// What the graphs were built and are searched with.
    pub fn parameters(&self) -> HnswParameters {
        self.parameters
    }

    /// The share of the true `k` nearest other rows that [`NeighborIndex::search_self`] finds, 0 to 1, over `sample` rows
    /// drawn with `seed` (all, if there are not more). A row as near as the true `k`-th counts as found.
    ///
    /// # Errors
    /// As [`NeighborIndex::search_self`].
    pub fn recall(&self, k: usize, sample: usize, seed: u64, progress: &dyn Progress) -> Result<f64> {
        let search = Search { k, skip_zero: false };
        check_search(search)?;
        let sampled = sampled(self.space.features.nrows(), sample, seed)?;
        let found = self.search_rows(&sampled, search, &Unreported(progress))?;
        let queries: Array2<f32> = self.space.features.select(Axis(0), &sampled);
        let exclude: Vec<Option<u32>> = sampled.iter().map(|&row| Some(row as u32)).collect();
        let exact = self.exact()?.search(queries.view(), Some(&exclude), search, progress)?;
        Ok(share_found(&found, &exact))
    }

    /// The neighbours of `query` that walks over the graphs find, as (exact distance, row), nearest first. `None` where the walks
    /// find fewer than wanted, or distances leave the range of float32.
    fn walk(&self, query: Query<'_>, search: Search, walk: &mut Walk) -> Option<Vec<(f64, u32)>> {
        let own = query.own.map(|row| self.groups.first(row));
        let mut results = SearchResults::new(search);
        for graph in &self.graphs {
            let start = own.and_then(|row| graph.node(row));
            results.walk(query.content, (graph, &self.space), start, self.parameters.ef_search, walk);
        }
        results.answer(&self.groups, query.exclude)
    }

    /// Walks for `count` queries, then searches exactly for those that the walks did not answer.
    pub(super) fn answer<'a>(
        &'a self,
        count: usize,
        search: Search,
        progress: &dyn Progress,
        query: impl Fn(usize) -> Query<'a> + Sync,
    ) -> Result<Neighbors> {
        let k = search.k;
        progress.start("nearest neighbours", count as u64, "rows");
        let mut neighbors = Neighbors { k, rows: vec![0; count * k], distances: vec![0.0; count * k] };
        let unanswered: Vec<Vec<usize>> = neighbors
            .rows
            .par_chunks_mut(CHUNK * k)
            .zip(neighbors.distances.par_chunks_mut(CHUNK * k))
            .enumerate()
            .map_init(Walk::default, |walk, (chunk, (rows, distances))| {
                check_stop(progress, String::new)?;
                let mut unanswered = Vec::new();
                for (at, (rows, distances)) in rows.chunks_mut(k).zip(distances.chunks_mut(k)).enumerate() {
                    let q = chunk * CHUNK + at;
                    match self.walk(query(q), search, walk) {
                        Some(found) => {
                            for ((found, row), distance) in found.into_iter().zip(rows).zip(distances) {
                                (*distance, *row) = found;
                            }
                        }
                        None => unanswered.push(q),
                    }
                }
                progress.advance((rows.len() / k) as u64);
                Ok(unanswered)
            })
            .collect::<Result<_>>()?;
        progress.finish();
        let unanswered: Vec<usize> = unanswered.into_iter().flatten().collect();
        for batch in unanswered.chunks(EXACT_BATCH) {
            self.answer_exactly(batch, search, progress, &query, &mut neighbors)?;
        }
        Ok(neighbors)
    }

    /// Exact search for the queries that the graphs did not answer.
    fn answer_exactly<'a>(
        &'a self,
        unanswered: &[usize],
        search: Search,
        progress: &dyn Progress,
        query: &impl Fn(usize) -> Query<'a>,
        neighbors: &mut Neighbors,
    ) -> Result<()> {
        let width = self.space.features.ncols();
        let mut queries = Array2::zeros((unanswered.len(), width));
        let mut excluded = Vec::with_capacity(unanswered.len());
        for (&q, mut row) in unanswered.iter().zip(queries.outer_iter_mut()) {
            let Query { content, exclude, .. } = query(q);
            let left = self.count_left(content, exclude, search);
            if left < search.k {
                return Err(too_few(q, left, search));
            }
            row.iter_mut().zip(content).for_each(|(to, from)| *to = *from);
            excluded.push(exclude);
        }
        let found = self.exact()?.search(queries.view(), Some(&excluded), search, progress)?;
        for (at, &q) in unanswered.iter().enumerate() {
            let range = q * search.k..(q + 1) * search.k;
            let (rows, distances) = found.of(at);
            neighbors.rows[range.clone()].copy_from_slice(rows);
            neighbors.distances[range].copy_from_slice(distances);
        }
        Ok(())
    }

    /// Rows that count for a query.
    fn count_left(&self, content: &[f32], exclude: Option<u32>, search: Search) -> usize {
        let excluded = exclude.filter(|&row| (row as usize) < self.space.features.nrows());
        let copies = search.skip_zero.then(|| self.groups.find(content)).flatten();
        let apart = excluded.is_some_and(|row| copies.is_none_or(|first| self.groups.first(row) != first));
        let copies = copies.map_or(0, |first| self.groups.members(&first).len());
        self.space.features.nrows() - copies - usize::from(apart)
    }

    fn exact(&self) -> Result<&ExactIndex> {
        if let Some(exact) = self.exact.get() {
            return Ok(exact);
        }
        let exact = ExactIndex::new(self.space.features.clone())?.on(&self.device);
        Ok(self.exact.get_or_init(|| exact))
    }

    fn search_rows(&self, rows: &[usize], search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        self.answer(rows.len(), search, progress, |q| {
            let row = rows[q] as u32;
            Query { content: self.space.row(row), own: Some(row), exclude: Some(row) }
        })
    }
}

/// A query and what is known of it.
pub(super) struct Query<'a> {
    /// `[D]`.
    pub content: &'a [f32],
    /// The indexed row that it is, where it is one.
    pub own: Option<u32>,
    /// An indexed row that is not an answer.
    pub exclude: Option<u32>,
}

impl NeighborIndex for HnswIndex {
    fn search(
        &self,
        queries: ArrayView2<f32>,
        exclude: Option<&[Option<u32>]>,
        search: Search,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        check_search(search)?;
        check_width(queries, self.space.features.ncols())?;
        check_excluded(exclude, queries.nrows())?;
        if queries.nrows() == 0 {
            return Ok(Neighbors { k: search.k, rows: Vec::new(), distances: Vec::new() });
        }
        check_finite(queries)?;
        let queries = queries.as_standard_layout();
        let rows = queries.as_slice().unwrap_or_default();
        let width = queries.ncols();
        self.answer(queries.nrows(), search, progress, |q| Query {
            content: &rows[q * width..][..width],
            own: None,
            exclude: exclude.and_then(|exclude| exclude[q]),
        })
    }

    fn search_self(&self, search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        check_search(search)?;
        let rows: Vec<usize> = (0..self.space.features.nrows()).collect();
        self.search_rows(&rows, search, progress)
    }
}
