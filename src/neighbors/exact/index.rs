//! Exact search: candidates from a float32 matrix product, distances from the rows, and a proof per row that nothing was missed.
//! Where the proof fails (many equal distances, clusters far apart) the row is searched directly.
//! The answer is that of a float64 brute force ordered by (distance, row), at any thread count.

use super::blocked::{Blocking, Operand, Pairs};
use super::candidates::{Lists, Rows, WithinLimit};
use super::components::{Components, Narrowed};
use super::device::{self, Cut};
use super::direct::{self, Job};
use super::frame::{Frame, is_complete};
use super::groups::RowGroups;
use crate::error::Result;
use crate::neighbors::distance::squared_l2;
use crate::neighbors::search::{
    NeighborIndex, Neighbors, Search, check_excluded, check_finite, check_search, check_width,
    standard_layout, too_few,
};
use crate::progress::{Progress, check_stop};
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Candidates kept beyond `k`: the more, the wider the gap that proves a row complete.
const SLACK: usize = 6;
/// Rows whose candidates are settled between two looks at whether to stop.
const SETTLE_CHUNK: usize = 1024;
/// Rows settled in one pass after the first: their content is copied.
const CLOSE_BATCH: usize = 2048;

/// Exact nearest neighbours of a set of features `[N, D]`.
///
/// Memory beyond the features themselves is about `8 (k + 6) + 12 k` bytes per query and a few megabytes per thread; where principal
/// components are multiplied, about `28 k` bytes per query and 4 per component of each row.
pub struct ExactIndex {
    pub(in crate::neighbors) features: ArcArray2<f32>,
    pub(in crate::neighbors) frame: Frame,
    half_norms: Vec<f32>,
    groups: OnceLock<RowGroups>,
    /// Found by the first search that is large enough; `None` in it where they would spare no time.
    pub(super) components: OnceLock<Option<Components>>,
    pub(super) blocking: Blocking,
    /// The device that candidates come from; `None` for the blocked products of the CPU.
    device: Option<(Device, Cut)>,
}

impl ExactIndex {
    /// Prepares `features` `[N, D]` for search. They are shared, not copied, where they are in row-major order.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if there is no row or no column, a value is not finite, or rows do not fit 32 bits.
    pub fn new(features: ArcArray2<f32>) -> Result<Self> {
        check_finite(features.view())?;
        let features = standard_layout(features);
        let frame = Frame::of(features.view());
        let half_norms = (0..features.nrows())
            .into_par_iter()
            .map(|row| {
                features.row(row).to_slice().and_then(|row| frame.lowered_half_norm(row)).unwrap_or(0.0)
            })
            .collect();
        let blocking = Blocking::default();
        let (groups, components) = (OnceLock::new(), OnceLock::new());
        Ok(ExactIndex { features, frame, half_norms, groups, components, blocking, device: None })
    }

    /// Takes the candidates of large searches from `device`; on [`Device::Cpu`] the products of [`ExactIndex::new`] are faster.
    /// The answers are the same on any device.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        let device = (!device.is_cpu()).then(|| (device.clone(), Cut::default()));
        ExactIndex { device, ..self }
    }

    #[cfg(test)]
    pub(super) fn with_cut(self, device: Device, cut: Cut) -> Self {
        ExactIndex { device: Some((device, cut)), ..self }
    }

    #[cfg(test)]
    pub(super) fn with_blocking(features: ArcArray2<f32>, blocking: Blocking) -> Result<Self> {
        Ok(ExactIndex { blocking, ..Self::new(features)? })
    }

    /// Searches with the first `count` principal components, whatever they spare.
    #[cfg(test)]
    pub(in crate::neighbors) fn with_components(mut self, count: usize) -> Self {
        self.components = OnceLock::from(Components::first(self.framed(self.all_rows()), count));
        self
    }

    /// How many components are searched with, once a search was large enough to measure it; `None` inside where they would spare no time.
    #[cfg(test)]
    pub(super) fn component_count(&self) -> Option<Option<usize>> {
        self.components.get().map(|found| found.as_ref().map(Components::count))
    }

    pub(super) fn all_rows(&self) -> &[f32] {
        self.features.as_slice().expect("brought into row-major order by new()")
    }

    fn groups(&self) -> &RowGroups {
        self.groups.get_or_init(|| RowGroups::of(self.features.view()))
    }

    pub(in crate::neighbors) fn own_operand(&self) -> Operand<'_> {
        Operand {
            rows: self.all_rows(),
            width: self.features.ncols(),
            half_norms: &self.half_norms,
            outside: &[],
        }
    }

    pub(in crate::neighbors) fn pairs<'a>(&'a self, left: Operand<'a>, symmetric: bool) -> Pairs<'a> {
        Pairs {
            frame: &self.frame,
            depth: self.features.ncols(),
            left,
            right: (!symmetric).then(|| self.own_operand()),
            blocking: self.blocking,
            homes: None,
        }
    }

    /// The rows of `left` and of the set.
    pub(in crate::neighbors) fn rows_with<'a>(&'a self, left: Operand<'a>) -> Rows<'a> {
        Rows { left, right: self.own_operand(), scale: self.frame.scale() }
    }

    /// The first row with the content of each of the `queries` `[Q, D]`, row-major.
    fn copies(&self, queries: &[f32]) -> Vec<Option<u32>> {
        let groups = self.groups();
        let rows = queries.par_chunks_exact(self.features.ncols());
        rows.map(|row| groups.find(row)).collect()
    }

    /// How many rows count for a query without the copies whose first row is `copy`, and without the row `excluded`.
    fn left(&self, copy: Option<u32>, excluded: Option<u32>) -> usize {
        let excluded = excluded.filter(|&row| (row as usize) < self.features.nrows());
        let copies = copy.map_or(0, |first| self.groups().members(&first).len());
        let apart = excluded.is_some_and(|row| copy.is_none_or(|first| self.groups().first(row) != first));
        self.features.nrows() - copies - usize::from(apart)
    }

    /// How many rows count for each of the `queries` `[Q, D]`, as [`NeighborIndex::search`] has them.
    pub(in crate::neighbors) fn counted(
        &self,
        queries: ArrayView2<f32>,
        exclude: &[Option<u32>],
        skip_zero: bool,
    ) -> Vec<usize> {
        let queries = queries.as_standard_layout();
        let rows = queries.as_slice().expect("in row-major order");
        let copies = if skip_zero { self.copies(rows) } else { vec![None; exclude.len()] };
        copies.into_iter().zip(exclude).map(|(copy, excluded)| self.left(copy, *excluded)).collect()
    }

    /// The answers to `asked`.
    fn answer(&self, asked: &Asked<'_>, symmetric: bool, progress: &dyn Progress) -> Result<Neighbors> {
        let count = asked.queries.half_norms.len();
        if self.device.as_ref().is_none_or(|(_, cut)| count < cut.least)
            && let Some(components) = self.components(asked, symmetric, progress)?
        {
            return self.answer_by_components(components, asked, symmetric, progress);
        }
        self.answer_by_rows(asked, symmetric, progress)
    }

    /// Candidates from products of whole rows, their exact distances, a proof for each query, and a direct way where it fails.
    pub(super) fn answer_by_rows(
        &self,
        asked: &Asked<'_>,
        symmetric: bool,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        let Search { k, skip_zero } = asked.search;
        let count = asked.queries.half_norms.len();
        progress.start("nearest neighbours", count as u64, "rows");
        let (lists, unseen) = self.candidates(asked, symmetric, progress)?;
        let mut neighbors = Neighbors { k, rows: vec![0; count * k], distances: vec![0.0; count * k] };
        let open = self.settle(asked.queries, &lists, &unseen, &mut neighbors, progress)?;
        drop(lists);
        progress.finish();
        let (outside, open): (Vec<Open>, Vec<Open>) =
            open.into_iter().partition(|open| open.limit.is_infinite());
        let (copies, close): (Vec<Open>, Vec<Open>) =
            open.into_iter().partition(|open| open.limit == 0.0 && !skip_zero);
        self.answer_by_copies(asked, &copies, &mut neighbors)?;
        self.answer_within_limits(asked, &close, &mut neighbors, progress)?;
        self.answer_directly(asked, &outside, &mut neighbors, progress)?;
        Ok(neighbors)
    }

    /// The candidates of each query, and a key that no pair lies below that never reached its list.
    fn candidates(
        &self,
        asked: &Asked<'_>,
        symmetric: bool,
        progress: &dyn Progress,
    ) -> Result<(Lists, Vec<f32>)> {
        let queries = asked.queries;
        let (count, capacity) = (queries.half_norms.len(), asked.search.k + SLACK);
        let lists = Lists::new(count, capacity, self.blocking.block);
        let refuse = |q: u32, row: u32| self.refuses(asked, q, row);
        let unseen = match &self.device {
            Some((device, cut)) if count >= cut.least => {
                let (width, set) = (self.features.ncols(), self.own_operand());
                let by_device = device::Search { device, cut: *cut, frame: &self.frame, width, queries, set };
                by_device.run(&lists, capacity, refuse, progress)?
            }
            _ => {
                self.pairs(queries, symmetric).run(&lists, refuse, progress)?;
                vec![f32::INFINITY; count]
            }
        };
        Ok((lists, unseen))
    }

    /// Whether `row` does not count for the query `q`.
    pub(super) fn refuses(&self, asked: &Asked<'_>, q: u32, row: u32) -> bool {
        (asked.exclude)(q) == Some(row)
            || asked.search.skip_zero
                && (asked.copy)(q).is_some_and(|first| self.groups().first(row) == first)
    }

    /// Writes what [`WithinLimit`] found for some queries.
    pub(super) fn write(
        &self,
        asked: &Asked<'_>,
        found: impl Iterator<Item = (usize, Vec<(f64, u32)>)>,
        neighbors: &mut Neighbors,
    ) -> Result<()> {
        let mut copies = Vec::new();
        for (query, found) in found {
            if found.last().is_some_and(|&(distance, _)| distance == 0.0) {
                copies.push(Open { query, limit: 0.0 });
            } else {
                asked.set(neighbors, query, &found)?;
            }
        }
        self.answer_by_copies(asked, &copies, neighbors)
    }

    /// Answers queries that have `k` rows at distance 0: the first of those with their content.
    fn answer_by_copies(&self, asked: &Asked<'_>, open: &[Open], neighbors: &mut Neighbors) -> Result<()> {
        for &Open { query, .. } in open {
            let first = self.groups().find(asked.queries.row(query));
            let same = first.as_ref().map_or(&[][..], |first| self.groups().members(first));
            let found: Vec<(f64, u32)> = same
                .iter()
                .filter(|&&row| (asked.exclude)(query as u32) != Some(row))
                .take(neighbors.k)
                .map(|&row| (0.0, row))
                .collect();
            asked.set(neighbors, query, &found)?;
        }
        Ok(())
    }

    /// Answers queries of which a distance is known that their neighbours do not exceed.
    fn answer_within_limits(
        &self,
        asked: &Asked<'_>,
        open: &[Open],
        neighbors: &mut Neighbors,
        progress: &dyn Progress,
    ) -> Result<()> {
        if open.is_empty() {
            return Ok(());
        }
        let (queries, width) = (asked.queries, self.features.ncols());
        progress.start("rows with close candidates", open.len() as u64, "rows");
        for batch in open.chunks(CLOSE_BATCH) {
            let rows: Vec<f32> = batch.iter().flat_map(|open| queries.row(open.query)).copied().collect();
            let half_norms: Vec<f32> = batch.iter().map(|open| queries.half_norms[open.query]).collect();
            let limits: Vec<f64> = batch.iter().map(|open| open.limit).collect();
            let left = Operand { rows: &rows, width, half_norms: &half_norms, outside: &[] };
            let narrowed = Narrowed::whole(self.pairs(left, false));
            let near = WithinLimit::new(&narrowed, self.rows_with(left), &limits, neighbors.k);
            let refuse = |at: u32, row| self.refuses(asked, batch[at as usize].query as u32, row);
            narrowed.pairs.run(&near, refuse, progress)?;
            let found = near.into_sorted().map(|(at, found)| (batch[at].query, found));
            self.write(asked, found, neighbors)?;
        }
        progress.finish();
        Ok(())
    }

    /// Answers queries of which nothing is known.
    pub(super) fn answer_directly(
        &self,
        asked: &Asked<'_>,
        open: &[Open],
        neighbors: &mut Neighbors,
        progress: &dyn Progress,
    ) -> Result<()> {
        let job = |open: &Open| Job {
            query: asked.queries.row(open.query),
            exclude: (asked.exclude)(open.query as u32),
        };
        let jobs: Vec<Job> = open.iter().map(job).collect();
        let found =
            direct::search(self.features.view(), &jobs, neighbors.k, asked.search.skip_zero, progress)?;
        for (open, found) in open.iter().zip(found) {
            asked.set(neighbors, open.query, &found)?;
        }
        Ok(())
    }

    /// Turns candidate lists into answers where they are proven complete; gives the queries that stay open.
    fn settle(
        &self,
        queries: Operand<'_>,
        lists: &Lists,
        unseen: &[f32],
        neighbors: &mut Neighbors,
        progress: &dyn Progress,
    ) -> Result<Vec<Open>> {
        let width = self.features.ncols();
        let k = neighbors.k;
        let open: Vec<Vec<Open>> = neighbors
            .rows
            .par_chunks_mut(SETTLE_CHUNK * k)
            .zip(neighbors.distances.par_chunks_mut(SETTLE_CHUNK * k))
            .enumerate()
            .map(|(chunk, (rows, distances))| {
                check_stop(progress, String::new)?;
                let mut open = Vec::new();
                let mut found: Vec<(f64, u32)> = Vec::new();
                for (at, (rows, distances)) in rows.chunks_mut(k).zip(distances.chunks_mut(k)).enumerate() {
                    let query = chunk * SETTLE_CHUNK + at;
                    if queries.outside.binary_search(&(query as u32)).is_ok() {
                        open.push(Open { query, limit: f64::INFINITY });
                        continue;
                    }
                    let content = queries.row(query);
                    found.clear();
                    let largest_key = lists.with(query, |list, at| {
                        let exact = |row| squared_l2(content, self.own_operand().row(row as usize)).sqrt();
                        found.extend(list.rows(at).map(|row| (exact(row), row)));
                        list.largest_key(at)
                    });
                    let unseen = Some(unseen[query]).filter(|key| key.is_finite());
                    let largest_key = match (largest_key, unseen) {
                        (Some(kept), Some(unseen)) => Some(kept.min(unseen)),
                        (one, other) => one.or(other),
                    };
                    found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                    let limit = found.get(k - 1).map_or(f64::INFINITY, |&(distance, _)| distance);
                    let scaled = (limit * self.frame.scale()).powi(2);
                    if largest_key
                        .is_some_and(|key| !is_complete(queries.half_norms[query], key, scaled, width))
                        || limit.is_infinite()
                    {
                        open.push(Open { query, limit });
                        continue;
                    }
                    for ((&(distance, row), rows), distances) in found.iter().zip(rows).zip(distances) {
                        (*rows, *distances) = (row, distance);
                    }
                }
                Ok(open)
            })
            .collect::<Result<_>>()?;
        Ok(open.into_iter().flatten().collect())
    }
}

/// The queries of a search, and the rows that do not count for each.
pub(super) struct Asked<'a> {
    pub queries: Operand<'a>,
    /// The row that a query does not see.
    pub exclude: &'a (dyn Fn(u32) -> Option<u32> + Sync),
    /// The first row with the content of a query; asked for where copies do not count.
    pub copy: &'a (dyn Fn(u32) -> Option<u32> + Sync),
    pub search: Search,
}

impl Asked<'_> {
    /// Writes the answer of a query.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if there are fewer rows than wanted.
    fn set(&self, neighbors: &mut Neighbors, query: usize, found: &[(f64, u32)]) -> Result<()> {
        neighbors.set(query, found).ok_or_else(|| too_few(query, found.len(), self.search))
    }
}

/// A query whose candidates are not proven complete.
pub(super) struct Open {
    pub query: usize,
    /// A distance that its `k`-th neighbour does not exceed; infinite where none is known.
    pub limit: f64,
}

impl NeighborIndex for ExactIndex {
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
        let rows = queries.as_slice().expect("in row-major order");
        let mut outside = Vec::new();
        let half_norms: Vec<f32> = rows
            .chunks_exact(self.features.ncols())
            .zip(0..)
            .map(|(row, q)| self.frame.lowered_half_norm(row).unwrap_or_else(|| (outside.push(q), 0.0).1))
            .collect();
        let left = Operand { rows, width: self.features.ncols(), half_norms: &half_norms, outside: &outside };
        let excluded = |q: u32| exclude.and_then(|exclude| exclude[q as usize]);
        let same = search.skip_zero.then(|| self.copies(rows));
        let copy = |q: u32| same.as_ref().and_then(|same| same[q as usize]);
        for q in 0..queries.nrows() as u32 {
            let left = self.left(copy(q), excluded(q));
            if left < search.k {
                return Err(too_few(q as usize, left, search));
            }
        }
        let asked = Asked { queries: left, exclude: &excluded, copy: &copy, search };
        self.answer(&asked, false, progress)
    }

    fn search_self(&self, search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        check_search(search)?;
        let rows = self.features.nrows();
        let groups = search.skip_zero.then(|| self.groups());
        for row in 0..rows as u32 {
            let left = rows - groups.map_or(1, |groups| groups.members(&groups.first(row)).len());
            if left < search.k {
                return Err(too_few(row as usize, left, search));
            }
        }
        let copy = |row: u32| groups.map(|groups| groups.first(row));
        let asked = Asked { queries: self.own_operand(), exclude: &Some, copy: &copy, search };
        self.answer(&asked, true, progress)
    }
}
