//! Approximate search with hierarchical navigable small world graphs (Malkov and Yashunin, arXiv 1603.09320), by `hnsw_rs`.
//! The graphs find candidates; distances, order and ties come from the rows themselves, as in exact search.
//! Several graphs of fixed shares of the rows are built side by side, each in row order: the same at any thread count.
//! The graphs may also be those of shards of the rows, built one by one by several machines (`hnsw_shards`).

use super::frame::Frame;
use super::graph::{Graph, Space, Walk};
use super::groups::RowGroups;
use super::met::Met;
use super::{
    ExactIndex, NeighborIndex, Neighbors, Search, check_excluded, check_finite, check_search, check_width,
    standard_layout, too_few,
};
use crate::error::{Error, Result};
use crate::progress::{Progress, Silent, check_stop};
use ndarray::{ArcArray2, Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The most connections asked for: `hnsw_rs` ends the process above 256 and stores the number in a byte.
const MOST_CONNECTIONS: usize = 128;
/// The most a graph may be asked to look at.
const MOST_EXPLORED: usize = 100_000;
/// Rows below which a graph is not split further.
const LEAST_ROWS_OF_A_PART: usize = 1000;
/// The most rows that a graph can name: a row number travels as the bits of a float that must not be NaN.
const MOST_ROWS: usize = 1 << 30;
/// Rows answered by exact search at a time: their content is copied.
const LOST_BATCH: usize = 4096;
/// Rows searched between two looks at whether to stop.
const CHUNK: usize = 256;

/// How graphs are built and searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HnswParameters {
    /// Connections of a row on each layer (twice as many on the lowest), 2 to 128. `M` of the paper.
    pub m: usize,
    /// Candidates kept while a row is inserted, at least 1.
    pub ef_construction: usize,
    /// Candidates kept while a graph is searched, at least 1; raised to what `k` needs.
    pub ef_search: usize,
    /// Graphs that the rows are dealt to. More build faster on many cores and search slower.
    pub parts: usize,
}

impl Default for HnswParameters {
    fn default() -> Self {
        HnswParameters { m: 16, ef_construction: 48, ef_search: 64, parts: 2 }
    }
}

impl HnswParameters {
    const MOST_PARTS: usize = 64;

    pub(super) fn check(&self) -> Result<()> {
        let explored = 1..=MOST_EXPLORED;
        let fits = (2..=MOST_CONNECTIONS).contains(&self.m)
            && explored.contains(&self.ef_construction)
            && explored.contains(&self.ef_search)
            && (1..=Self::MOST_PARTS).contains(&self.parts);
        if fits {
            return Ok(());
        }
        Err(Error::usage(
            format!("no graph can be built with {self:?}"),
            format!(
                "m: 2 to {MOST_CONNECTIONS}, ef: 1 to {MOST_EXPLORED}, parts: 1 to {}.",
                Self::MOST_PARTS
            ),
        ))
    }
}

/// Approximate nearest neighbours of a set of features `[N, D]`.
pub struct HnswIndex {
    pub(super) space: Space,
    pub(super) groups: RowGroups,
    pub(super) parameters: HnswParameters,
    pub(super) graphs: Vec<Graph>,
    /// For the rows that the graphs answer badly.
    exact: OnceLock<ExactIndex>,
}

impl HnswIndex {
    /// Builds the graphs over `features` `[N, D]`: one row of each group of equal rows goes into one of them.
    ///
    /// # Errors
    /// [`Error::Data`] if `features` cannot be indexed, [`Error::Usage`] if `parameters` are out of range,
    /// [`Error::Interrupted`].
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
                    check_stop(String::new)
                })
            })
            .collect::<Result<_>>()?;
        progress.finish();
        Ok(Self::of_parts(space, groups, parameters, graphs))
    }

    pub(super) fn of_parts(
        space: Space,
        groups: RowGroups,
        parameters: HnswParameters,
        graphs: Vec<Graph>,
    ) -> Self {
        HnswIndex { space, groups, parameters, graphs, exact: OnceLock::new() }
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
        let found = self.search_rows(&sampled, search, &Silent)?;
        let queries: Array2<f32> = self.space.features.select(Axis(0), &sampled);
        let exclude: Vec<Option<u32>> = sampled.iter().map(|&row| Some(row as u32)).collect();
        let exact = self.exact()?.search(queries.view(), Some(&exclude), search, progress)?;
        Ok(share_found(&found, &exact))
    }

    /// Nearest first: what the graphs know of the neighbours of `query`, every row with the content of one that was found,
    /// with exact distances. `own` is the row whose content the query is. `None` where they do not know enough.
    fn walk(&self, query: Query<'_>, search: Search, walk: &mut Walk) -> Option<Vec<(f64, u32)>> {
        let own = query.own.map(|row| self.groups.first(row));
        let mut met = Met::new(search);
        for graph in &self.graphs {
            let start = own.and_then(|row| graph.node(row));
            met.walk(query.content, (graph, &self.space), start, self.parameters.ef_search, walk);
        }
        met.answer(&self.groups, query.exclude)
    }

    /// Walks for `count` queries at once, then searches exactly for those that came back with too little.
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
        let lost: Vec<Vec<usize>> = neighbors
            .rows
            .par_chunks_mut(CHUNK * k)
            .zip(neighbors.distances.par_chunks_mut(CHUNK * k))
            .enumerate()
            .map_init(Walk::default, |walk, (chunk, (rows, distances))| {
                check_stop(String::new)?;
                let mut lost = Vec::new();
                for (at, (rows, distances)) in rows.chunks_mut(k).zip(distances.chunks_mut(k)).enumerate() {
                    let q = chunk * CHUNK + at;
                    match self.walk(query(q), search, walk) {
                        Some(found) => {
                            for ((found, row), distance) in found.into_iter().zip(rows).zip(distances) {
                                (*distance, *row) = found;
                            }
                        }
                        None => lost.push(q),
                    }
                }
                progress.advance((rows.len() / k) as u64);
                Ok(lost)
            })
            .collect::<Result<_>>()?;
        progress.finish();
        let lost: Vec<usize> = lost.into_iter().flatten().collect();
        for batch in lost.chunks(LOST_BATCH) {
            self.answer_exactly(batch, search, progress, &query, &mut neighbors)?;
        }
        Ok(neighbors)
    }

    /// Exact search for the queries that the graphs did not answer.
    fn answer_exactly<'a>(
        &'a self,
        lost: &[usize],
        search: Search,
        progress: &dyn Progress,
        query: &impl Fn(usize) -> Query<'a>,
        neighbors: &mut Neighbors,
    ) -> Result<()> {
        let width = self.space.features.ncols();
        let mut queries = Array2::zeros((lost.len(), width));
        let mut excluded = Vec::with_capacity(lost.len());
        for (&q, mut row) in lost.iter().zip(queries.outer_iter_mut()) {
            let Query { content, exclude, .. } = query(q);
            let left = self.count_left(content, exclude, search);
            if left < search.k {
                return Err(too_few(q, left, search));
            }
            row.iter_mut().zip(content).for_each(|(to, from)| *to = *from);
            excluded.push(exclude);
        }
        let found = self.exact()?.search(queries.view(), Some(&excluded), search, progress)?;
        for (at, &q) in lost.iter().enumerate() {
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
        let exact = ExactIndex::new(self.space.features.clone())?;
        Ok(self.exact.get_or_init(|| exact))
    }

    fn search_rows(&self, rows: &[usize], search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        self.answer(rows.len(), search, progress, |q| {
            let row = rows[q] as u32;
            Query { content: self.space.row(row), own: Some(row), exclude: Some(row) }
        })
    }
}

/// `sample` of `rows` rows drawn with `seed` (all, if there are not more), ascending.
pub(super) fn sampled(rows: usize, sample: usize, seed: u64) -> Result<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut sampled = rand::seq::index::sample(&mut random, rows, sample.min(rows)).into_vec();
    sampled.sort_unstable();
    if sampled.is_empty() {
        return Err(Error::usage("a recall cannot be measured on 0 rows", "Ask for at least 1."));
    }
    Ok(sampled)
}

/// The share of the neighbours `found` that are at most as far as the last of the true ones.
pub(super) fn share_found(found: &Neighbors, exact: &Neighbors) -> f64 {
    let hits = |q: usize| {
        let farthest = exact.of(q).1[exact.k - 1];
        found.of(q).1.iter().filter(|&&distance| distance <= farthest).count()
    };
    (0..found.len()).map(hits).sum::<usize>() as f64 / found.rows.len() as f64
}

/// What is looked for.
pub(super) struct Query<'a> {
    /// `[D]`.
    pub content: &'a [f32],
    /// The indexed row that it is.
    pub own: Option<u32>,
    /// An indexed row that it does not see.
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

pub(super) fn check_rows(rows: usize) -> Result<()> {
    if rows > MOST_ROWS {
        return Err(Error::data(
            format!("{rows} rows are more than a graph can name"),
            "Use the exact index.",
        ));
    }
    Ok(())
}

/// What every index of `features` `[N, D]` begins with: its space, and which rows are equal.
pub(super) fn prepared(features: ArcArray2<f32>) -> Result<(Space, RowGroups)> {
    check_finite(features.view())?;
    check_rows(features.nrows())?;
    let space = space(features);
    let groups = RowGroups::of(space.features.view());
    Ok((space, groups))
}

/// `features` with the scale in which distances between them stay inside float32.
fn space(features: ArcArray2<f32>) -> Space {
    let features = standard_layout(features);
    let scale = scale(&Frame::of(features.view()));
    Space { features, first: 0, scale }
}

/// The scale of a space whose features have this frame.
pub(super) fn scale(frame: &Frame) -> f32 {
    frame.scale().clamp(f64::from(f32::MIN_POSITIVE), 1.0 / f64::from(f32::MIN_POSITIVE)) as f32
}

/// The rows of each graph: one row of each group of equal rows, dealt in turns so that every share is like the whole.
pub(super) fn shares(groups: &RowGroups, parts: usize) -> Vec<Vec<u32>> {
    let firsts: Vec<u32> = groups.firsts().collect();
    let parts = parts.min(firsts.len() / LEAST_ROWS_OF_A_PART).max(1);
    (0..parts).map(|part| firsts.iter().copied().skip(part).step_by(parts).collect()).collect()
}
