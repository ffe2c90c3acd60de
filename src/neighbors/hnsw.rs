//! Approximate search with hierarchical navigable small world graphs (Malkov and Yashunin, arXiv 1603.09320), by `hnsw_rs`.
//! The graphs find candidates; distances, order and ties come from the rows themselves, as in exact search.
//! Several graphs of fixed shares of the rows are built side by side, each in row order: the same at any thread count.

use super::distance::{squared_l2, squared_l2_f32};
use super::frame::Frame;
use super::groups::RowGroups;
use super::top_k::Nearest;
use super::{
    ExactIndex, NeighborIndex, Neighbors, Search, check_excluded, check_finite, check_search, check_width,
    standard_layout, too_few,
};
use crate::error::{Error, Result};
use crate::progress::{Progress, Silent, check_stop};
use hnsw_rs::prelude::{Distance, Hnsw};
use ndarray::{ArcArray2, Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Layers of a graph: the only number that `hnsw_rs` can write to disk.
const LAYERS: usize = 16;
/// The most connections asked for: `hnsw_rs` ends the process above 256 and stores the number in a byte.
const MOST_CONNECTIONS: usize = 128;
/// The most a graph may be asked to look at.
const MOST_EXPLORED: usize = 100_000;
/// Rows below which a graph is not split further.
const LEAST_ROWS_OF_A_PART: usize = 1000;
/// The most rows that a graph can name: a row number travels as the bits of a float that must not be NaN.
const MOST_ROWS: usize = 1 << 30;
/// Candidates taken beyond the query itself and its `k` neighbours: float32 may misorder the last ones.
const SLACK: usize = 4;
/// Rows answered by exact search at a time: their content is copied.
const LOST_BATCH: usize = 4096;
/// Rows inserted or searched between two looks at whether to stop.
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
    /// Each graph holds only a share of the neighbours, so that a small `ef_search` is enough: on 20 000 clustered rows,
    /// 24 found 0.9993 (width 64) and 0.9998 (width 768) of them in half the time that 100 took or less.
    fn default() -> Self {
        HnswParameters { m: 16, ef_construction: 200, ef_search: 32, parts: 4 }
    }
}

impl HnswParameters {
    pub(super) const MOST_PARTS: usize = 64;

    /// Graphs for `rows` different rows.
    pub(super) fn parts_for(&self, rows: usize) -> usize {
        self.parts.min(rows / LEAST_ROWS_OF_A_PART).max(1)
    }

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

/// What a graph stores for a row is its number, as the bits of a float; the content stays in the features.
pub(super) fn stored(row: u32) -> [f32; 1] {
    [f32::from_bits(row)]
}

/// Squared distance between points of a graph: a stored row number, or for a query a zero and then its content.
#[derive(Clone)]
pub(super) struct RowDistance {
    features: ArcArray2<f32>,
    scale: f32,
}

impl RowDistance {
    pub(super) fn new(features: ArcArray2<f32>) -> Self {
        let scale = Frame::of(features.view()).scale();
        let scale = scale.clamp(f64::from(f32::MIN_POSITIVE), 1.0 / f64::from(f32::MIN_POSITIVE)) as f32;
        RowDistance { features, scale }
    }

    fn content<'a>(&'a self, point: &'a [f32]) -> &'a [f32] {
        let width = self.features.ncols();
        match point {
            [row] => self
                .features
                .as_slice()
                .and_then(|all| all.get(row.to_bits() as usize * width..))
                .map_or(&[], |rest| &rest[..width]),
            query => &query[1..],
        }
    }
}

impl Distance<f32> for RowDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        squared_l2_f32(self.content(a), self.content(b), self.scale)
    }
}

pub(super) type Graph = Hnsw<'static, f32, RowDistance>;

/// Approximate nearest neighbours of a set of features `[N, D]`.
pub struct HnswIndex {
    features: ArcArray2<f32>,
    groups: RowGroups,
    parameters: HnswParameters,
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
        check_finite(features.view())?;
        check_rows(features.nrows())?;
        let features = standard_layout(features);
        let groups = RowGroups::of(features.view());
        let distance = RowDistance::new(features.clone());
        let firsts: Vec<u32> = groups.firsts().collect();
        let parts = parameters.parts_for(firsts.len());
        progress.start("neighbour graph", firsts.len() as u64, "rows");
        let graphs = (0..parts)
            .into_par_iter()
            .with_max_len(1)
            .map(|part| {
                let rows: Vec<u32> = firsts.iter().copied().skip(part).step_by(parts).collect();
                let graph = Graph::new(
                    parameters.m,
                    rows.len(),
                    LAYERS,
                    parameters.ef_construction,
                    distance.clone(),
                );
                for chunk in rows.chunks(CHUNK) {
                    check_stop(String::new)?;
                    for &row in chunk {
                        graph.insert_slice((&stored(row), row as usize));
                    }
                    progress.advance(chunk.len() as u64);
                }
                Ok(graph)
            })
            .collect::<Result<_>>()?;
        progress.finish();
        Ok(Self::of_parts(features, groups, parameters, graphs))
    }

    pub(super) fn of_parts(
        features: ArcArray2<f32>,
        groups: RowGroups,
        parameters: HnswParameters,
        graphs: Vec<Graph>,
    ) -> Self {
        HnswIndex { features, groups, parameters, graphs, exact: OnceLock::new() }
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
        let rows = self.features.nrows();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut sampled = rand::seq::index::sample(&mut random, rows, sample.min(rows)).into_vec();
        sampled.sort_unstable();
        if sampled.is_empty() {
            return Err(Error::usage("a recall cannot be measured on 0 rows", "Ask for at least 1."));
        }
        let found = self.search_rows(&sampled, search, &Silent)?;
        let queries: Array2<f32> = self.features.select(Axis(0), &sampled);
        let exclude: Vec<Option<u32>> = sampled.iter().map(|&row| Some(row as u32)).collect();
        let exact = self.exact()?.search(queries.view(), Some(&exclude), search, progress)?;
        let hits: usize = (0..sampled.len())
            .map(|q| {
                let farthest = exact.of(q).1[k - 1];
                found.of(q).1.iter().filter(|&&distance| distance <= farthest).count()
            })
            .sum();
        Ok(hits as f64 / (sampled.len() * k) as f64)
    }

    /// Nearest first: what the graphs know of `point`, every row with the content of one that was found,
    /// with exact distances to `content`. `None` where they do not know enough, or missed the very row that was looked for.
    fn walk(
        &self,
        point: &[f32],
        content: &[f32],
        exclude: Option<u32>,
        search: Search,
    ) -> Option<Vec<(f64, u32)>> {
        let want = search.k + 1 + SLACK;
        let mut met: Vec<(f32, u32)> = Vec::with_capacity(want * self.graphs.len());
        for graph in &self.graphs {
            let found = graph.search(point, want, self.parameters.ef_search.max(want));
            met.extend(found.iter().map(|point| (point.distance, point.d_id as u32)));
        }
        let astray = match *point {
            [row] => {
                let own = self.groups.first(row.to_bits());
                met.iter().all(|&(_, first)| first != own)
            }
            _ => false,
        };
        if astray || met.iter().any(|(distance, _)| !distance.is_finite()) {
            return None;
        }
        met.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        met.truncate(want);
        let mut nearest = Nearest::new(search.k);
        for (_, first) in met {
            let squared = squared_l2(content, self.features.row(first as usize).to_slice()?);
            if squared == 0.0 && search.skip_zero {
                continue;
            }
            // One more than `k` copies are enough, one of them may be the excluded row.
            for &row in self.groups.members(&first).iter().take(search.k + 1) {
                if exclude != Some(row) {
                    nearest.offer(squared.sqrt(), row);
                }
            }
        }
        nearest.worst().map(|_| nearest.into_sorted())
    }

    /// Walks for `count` queries at once, then searches exactly for those that came back with too little.
    fn answer<'a>(
        &'a self,
        count: usize,
        search: Search,
        progress: &dyn Progress,
        content: impl Fn(usize) -> &'a [f32] + Sync,
        point: impl Fn(usize) -> Vec<f32> + Sync,
        exclude: impl Fn(usize) -> Option<u32> + Sync,
    ) -> Result<Neighbors> {
        let k = search.k;
        progress.start("nearest neighbours", count as u64, "rows");
        let mut neighbors = Neighbors { k, rows: vec![0; count * k], distances: vec![0.0; count * k] };
        let lost: Vec<Vec<usize>> = neighbors
            .rows
            .par_chunks_mut(CHUNK * k)
            .zip(neighbors.distances.par_chunks_mut(CHUNK * k))
            .enumerate()
            .map(|(chunk, (rows, distances))| {
                check_stop(String::new)?;
                let mut lost = Vec::new();
                for (at, (rows, distances)) in rows.chunks_mut(k).zip(distances.chunks_mut(k)).enumerate() {
                    let q = chunk * CHUNK + at;
                    match self.walk(&point(q), content(q), exclude(q), search) {
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
            self.answer_exactly(batch, search, progress, &content, &exclude, &mut neighbors)?;
        }
        Ok(neighbors)
    }

    /// Exact search for the queries that the graphs did not answer.
    fn answer_exactly<'a>(
        &'a self,
        lost: &[usize],
        search: Search,
        progress: &dyn Progress,
        content: &impl Fn(usize) -> &'a [f32],
        exclude: &impl Fn(usize) -> Option<u32>,
        neighbors: &mut Neighbors,
    ) -> Result<()> {
        let width = self.features.ncols();
        let mut queries = Array2::zeros((lost.len(), width));
        let mut excluded = Vec::with_capacity(lost.len());
        for (&q, mut row) in lost.iter().zip(queries.outer_iter_mut()) {
            let left = self.count_left(content(q), exclude(q), search);
            if left < search.k {
                return Err(too_few(q, left, search));
            }
            row.iter_mut().zip(content(q)).for_each(|(to, from)| *to = *from);
            excluded.push(exclude(q));
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
        let excluded = exclude.filter(|&row| (row as usize) < self.features.nrows());
        let copies = search.skip_zero.then(|| self.groups.find(self.features.view(), content)).flatten();
        let apart = excluded.is_some_and(|row| copies.is_none_or(|first| self.groups.first(row) != first));
        let copies = copies.map_or(0, |first| self.groups.members(&first).len());
        self.features.nrows() - copies - usize::from(apart)
    }

    fn exact(&self) -> Result<&ExactIndex> {
        if let Some(exact) = self.exact.get() {
            return Ok(exact);
        }
        let exact = ExactIndex::new(self.features.clone())?;
        Ok(self.exact.get_or_init(|| exact))
    }

    fn search_rows(&self, rows: &[usize], search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        let all = self.features.as_slice().unwrap_or_default();
        let width = self.features.ncols();
        self.answer(
            rows.len(),
            search,
            progress,
            |q| &all[rows[q] * width..][..width],
            |q| stored(rows[q] as u32).to_vec(),
            |q| Some(rows[q] as u32),
        )
    }
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
        check_width(queries, self.features.ncols())?;
        check_excluded(exclude, queries.nrows())?;
        if queries.nrows() == 0 {
            return Ok(Neighbors { k: search.k, rows: Vec::new(), distances: Vec::new() });
        }
        check_finite(queries)?;
        let queries = queries.as_standard_layout();
        let rows = queries.as_slice().unwrap_or_default();
        let width = queries.ncols();
        let content = |q: usize| &rows[q * width..][..width];
        self.answer(
            queries.nrows(),
            search,
            progress,
            content,
            |q| [&[0.0], content(q)].concat(),
            |q| exclude.and_then(|exclude| exclude[q]),
        )
    }

    fn search_self(&self, search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        check_search(search)?;
        let rows: Vec<usize> = (0..self.features.nrows()).collect();
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
