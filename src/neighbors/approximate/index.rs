//! The index of graphs. The graphs find candidates; distances, order and ties come from the rows themselves, as in exact search.
//! HNSW graphs of fixed shares of the rows are built side by side, each in row order, so that any thread count gives the same.
//! The graphs may also be those of shards of the rows, built one by one by several machines ([`super::shards`]).

use super::builder::Builder;
use super::shares::shares;
use crate::error::Result;
use crate::neighbors::exact::ExactIndex;
use crate::neighbors::exact::groups::RowGroups;
use crate::neighbors::graph::{self, EXPLORED, Earlier, Sample};
use crate::neighbors::hnsw::{HnswParameters, insert};
use crate::neighbors::recall::{RECALL_SAMPLE, sampled, share_found, warn_of_recall};
use crate::neighbors::record::IndexRecord;
use crate::neighbors::search::{
    NeighborIndex, Neighbors, Search, check_excluded, check_finite, check_search, check_width, too_few,
};
use crate::neighbors::walk::{Graph, SLACK, SearchResults, Space, Walk, prepared};
use crate::progress::{Progress, Unreported, check_stop};
use candle_core::Device;
use ndarray::{ArcArray2, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Rows answered by exact search at a time: their content is copied.
const EXACT_BATCH: usize = 4096;
/// Rows searched between two looks at whether to stop.
const CHUNK: usize = 256;

/// What a recall is measured by.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Neighbours of each row, at least 1.
    pub k: usize,
    /// Random seed of the rows.
    pub seed: u64,
}

/// Approximate nearest neighbours of a set of features `[N, D]`.
pub struct GraphIndex {
    pub(super) space: Space,
    pub(super) groups: RowGroups,
    pub(super) builder: Builder,
    pub(super) graphs: Vec<Graph>,
    /// Exact search for the queries that the graphs do not answer, prepared when the first comes.
    exact: OnceLock<ExactIndex>,
    device: Device,
}

impl GraphIndex {
    /// Builds the graphs over `features` `[N, D]`: one row of each group of equal rows goes into one of them. Exact search, for the
    /// recall and for queries that the graphs do not answer, multiplies matrices on `device`.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if `features` cannot be indexed or have no `k` other rows for each, [`crate::Error::Usage`] if a number is
    /// out of range, [`crate::Error::Interrupted`].
    pub fn build(
        features: ArcArray2<f32>,
        builder: Builder,
        measured: Measured,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Ok(Self::grow(features, builder, measured, None, device, progress)?.0)
    }

    /// Builds the index, measures its recall, and warns where it is low. A graph of most of the rows begins with an `earlier` one.
    ///
    /// # Errors
    /// As [`GraphIndex::build`].
    pub(in crate::neighbors) fn build_measured(
        features: ArcArray2<f32>,
        builder: Builder,
        measured: Measured,
        earlier: Option<&Earlier>,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Self, IndexRecord)> {
        let (mut index, known) = Self::grow(features, builder, measured, earlier, device, progress)?;
        let (recall, grown_from) = match known {
            Some(Known { sample, recall, shared }) => {
                index.choose_ef_search(&sample, progress)?;
                (recall, shared)
            }
            None => (index.recall(measured, RECALL_SAMPLE, progress)?, None),
        };
        warn_of_recall(recall, progress);
        let record =
            IndexRecord { grown_from, ..IndexRecord::of_graphs(index.builder, None, Some(recall), None) };
        Ok((index, record))
    }

    /// The index; with what building found out of it.
    fn grow(
        features: ArcArray2<f32>,
        builder: Builder,
        measured: Measured,
        earlier: Option<&Earlier>,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Self, Option<Known>)> {
        builder.check()?;
        let (space, groups) = prepared(features)?;
        let shares = shares(&groups, builder.parts());
        let mut index = Self::of_parts(space, groups, builder, Vec::new()).on(device);
        match builder {
            Builder::Hnsw(parameters) => {
                progress.start("neighbour graph", shares.iter().map(Vec::len).sum::<usize>() as u64, "rows");
                index.graphs = shares
                    .into_par_iter()
                    .with_max_len(1)
                    .map(|rows| {
                        let HnswParameters { m, ef_construction, .. } = parameters;
                        insert::build(rows, m, ef_construction, index.space.clone(), |inserted| {
                            progress.advance(inserted as u64);
                            check_stop(progress, String::new)
                        })
                    })
                    .collect::<Result<_>>()?;
                progress.finish();
                Ok((index, None))
            }
            Builder::Descent(parameters) => {
                let rows: Vec<u32> = shares.into_iter().flatten().collect();
                let mut samples = vec![index.sample(measured, RECALL_SAMPLE, progress)?];
                let shared = earlier.and_then(|earlier| earlier.shared(&index.groups));
                if let Some(shared) = shared.as_ref().filter(|shared| !shared.joined.is_empty()) {
                    // Those that joined are too few among all to be seen in a sample of these.
                    let drawn = sampled(shared.joined.len(), RECALL_SAMPLE, measured.seed)?;
                    let drawn =
                        drawn.into_iter().map(|at| rows[shared.joined[at] as usize] as usize).collect();
                    samples.push(index.sample_of(drawn, measured.k, progress)?);
                }
                let (space, groups, width) = (&index.space, &index.groups, parameters.width);
                let (graph, recall) =
                    graph::build(space, groups, rows, width, &samples, shared.as_ref(), progress)?;
                let shared = shared.map(|shared| shared.count());
                index.graphs = vec![graph];
                Ok((index, Some(Known { sample: samples.swap_remove(0), recall, shared })))
            }
        }
    }

    /// Sets the fewest candidates with which walks find enough of the neighbours of the rows of `sample`, asked for as queries are.
    fn choose_ef_search(&mut self, sample: &Sample, progress: &dyn Progress) -> Result<()> {
        let search = Search { k: sample.exact.k, skip_zero: false };
        for explored in EXPLORED {
            if let Builder::Descent(parameters) = &mut self.builder {
                parameters.ef_search = explored;
            }
            let found = self.answer(sample.rows.len(), search, &Unreported(progress), |q| {
                let row = sample.rows[q] as u32;
                Query { content: self.space.row(row), own: None, exclude: Some(row) }
            })?;
            if share_found(&found, &sample.exact) >= graph::ENOUGH {
                break;
            }
        }
        Ok(())
    }

    /// Exact search, for queries that the graphs do not answer and for the recall, multiplies matrices on `device`.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        GraphIndex { device: device.clone(), ..self }
    }

    pub(super) fn of_parts(space: Space, groups: RowGroups, builder: Builder, graphs: Vec<Graph>) -> Self {
        GraphIndex { space, groups, builder, graphs, exact: OnceLock::new(), device: Device::Cpu }
    }

    /// The share of the true nearest other rows that [`NeighborIndex::search_self`] finds, 0 to 1, over `sample` rows (all, if there
    /// are not more). A row as near as the last of the true ones counts as found.
    ///
    /// # Errors
    /// As [`NeighborIndex::search_self`].
    pub fn recall(&self, measured: Measured, sample: usize, progress: &dyn Progress) -> Result<f64> {
        let sample = self.sample(measured, sample, progress)?;
        let search = Search { k: measured.k, skip_zero: false };
        let found = self.search_rows(&sample.rows, search, &Unreported(progress))?;
        Ok(share_found(&found, &sample.exact))
    }

    /// Some rows with their true neighbours.
    fn sample(&self, measured: Measured, sample: usize, progress: &dyn Progress) -> Result<Sample> {
        check_search(Search { k: measured.k, skip_zero: false })?;
        let rows = sampled(self.space.features.nrows(), sample, measured.seed)?;
        self.sample_of(rows, measured.k, progress)
    }

    /// These rows with their `k` true neighbours.
    fn sample_of(&self, rows: Vec<usize>, k: usize, progress: &dyn Progress) -> Result<Sample> {
        let search = Search { k, skip_zero: false };
        let queries: Array2<f32> = self.space.features.select(Axis(0), &rows);
        let exclude: Vec<Option<u32>> = rows.iter().map(|&row| Some(row as u32)).collect();
        let exact = self.exact()?.search(queries.view(), Some(&exclude), search, progress)?;
        Ok(Sample { rows, exact })
    }

    /// The neighbours of `query` that its own node links to, as [`GraphIndex::walk`] gives them; `None` where it has none or too few links.
    fn look_up(&self, query: &Query<'_>, search: Search) -> Option<Vec<(f64, u32)>> {
        let (Builder::Descent(parameters), [graph]) = (self.builder, self.graphs.as_slice()) else {
            return None;
        };
        if search.k + SLACK > parameters.width {
            return None;
        }
        let first = self.groups.first(query.own?);
        let nearest = graph.lowest.of(graph.node(first)?).iter().take(parameters.width);
        let listed = nearest.map(|&node| graph.rows[node as usize]);
        SearchResults::of_list(search, (&self.space, &self.groups), first, listed, query.exclude)
    }

    /// The neighbours of `query` that walks over the graphs find, as (exact distance, row), nearest first. `None` where the walks
    /// find fewer than wanted, or distances leave the range of float32.
    fn walk(&self, query: &Query<'_>, search: Search, walk: &mut Walk) -> Option<Vec<(f64, u32)>> {
        let own = query.own.map(|row| self.groups.first(row));
        let mut results = SearchResults::new(search);
        for graph in &self.graphs {
            let start = own.and_then(|row| graph.node(row));
            results.walk(query.content, (graph, &self.space), start, self.builder.ef_search(), walk);
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
                    let query = query(q);
                    match self.look_up(&query, search).or_else(|| self.walk(&query, search, walk)) {
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

/// What is known of an index that was just built.
struct Known {
    sample: Sample,
    /// Of the lists, on this sample.
    recall: f64,
    /// Rows that an earlier graph held, where it began with one.
    shared: Option<usize>,
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

impl NeighborIndex for GraphIndex {
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
