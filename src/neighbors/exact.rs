//! Exact search: candidates from a float32 matrix product, distances from the rows, and a proof per row that nothing was missed.
//! Where the proof fails (many equal distances, clusters far apart) the row is searched directly.
//! The answer is that of a float64 brute force ordered by (distance, row), at any thread count.

use super::blocked::{Blocking, Candidates, Lists, Operand};
use super::direct::{self, Job};
use super::distance::squared_l2;
use super::frame::{Frame, left_out_bound};
use super::groups::RowGroups;
use super::{NeighborIndex, Neighbors, Search, check_finite, check_search, check_width, standard_layout, too_few};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use ndarray::{ArcArray2, ArrayView2};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Candidates kept beyond `k`: the more, the wider the gap that proves a row complete.
const SLACK: usize = 6;
/// Rows whose candidates are settled between two looks at whether to stop.
const SETTLE_CHUNK: usize = 1024;
/// Bounds are compared with this relative margin, far above the error of a float64 sum and far below that of a float32 product.
const PROOF_MARGIN: f64 = 1e-9;

/// Exact nearest neighbours of a set of features `[N, D]`.
///
/// Memory beyond the features themselves is about `8 (k + 6) + 12 k` bytes per query and a few megabytes per thread.
pub struct ExactIndex {
    features: ArcArray2<f32>,
    frame: Frame,
    half_norms: Vec<f32>,
    groups: OnceLock<RowGroups>,
    blocking: Blocking,
}

impl ExactIndex {
    /// Prepares `features` `[N, D]` for search. They are shared, not copied, where they are in row-major order.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no row or no column, a value is not finite, or rows do not fit 32 bits.
    pub fn new(features: ArcArray2<f32>) -> Result<Self> {
        check_finite(features.view())?;
        let features = standard_layout(features);
        let frame = Frame::of(features.view());
        let half_norms = (0..features.nrows())
            .into_par_iter()
            .map(|row| features.row(row).to_slice().and_then(|row| frame.lowered_half_norm(row)).unwrap_or(0.0))
            .collect();
        Ok(ExactIndex { features, frame, half_norms, groups: OnceLock::new(), blocking: Blocking::default() })
    }

    #[cfg(test)]
    pub(super) fn with_blocking(features: ArcArray2<f32>, blocking: Blocking) -> Result<Self> {
        Ok(ExactIndex { blocking, ..Self::new(features)? })
    }

    fn row(&self, row: u32) -> &[f32] {
        let width = self.features.ncols();
        &self.all_rows()[row as usize * width..][..width]
    }

    fn all_rows(&self) -> &[f32] {
        self.features.as_slice().expect("brought into row-major order by new()")
    }

    fn groups(&self) -> &RowGroups {
        self.groups.get_or_init(|| RowGroups::of(self.features.view()))
    }

    fn own_operand(&self) -> Operand<'_> {
        Operand { rows: self.all_rows(), half_norms: &self.half_norms, outside: &[] }
    }

    /// Turns candidate lists into answers: exact distances, the proof, and a direct search where it fails.
    fn settle(
        &self,
        queries: Operand<'_>,
        lists: &Lists,
        exclude: &(dyn Fn(u32) -> Option<u32> + Sync),
        search: Search,
    ) -> Result<Neighbors> {
        let Search { k, skip_zero } = search;
        let width = self.features.ncols();
        let query = |q: usize| &queries.rows[q * width..][..width];
        let count = queries.half_norms.len();
        let mut neighbors = Neighbors { k, rows: vec![0; count * k], distances: vec![0.0; count * k] };
        let unproven: Vec<Vec<(usize, f64)>> = neighbors
            .rows
            .par_chunks_mut(SETTLE_CHUNK * k)
            .zip(neighbors.distances.par_chunks_mut(SETTLE_CHUNK * k))
            .enumerate()
            .map(|(chunk, (rows, distances))| {
                check_stop(String::new)?;
                let mut unproven = Vec::new();
                let mut found: Vec<(f64, u32)> = Vec::new();
                for (at, (rows, distances)) in rows.chunks_mut(k).zip(distances.chunks_mut(k)).enumerate() {
                    let q = chunk * SETTLE_CHUNK + at;
                    if queries.outside.binary_search(&(q as u32)).is_ok() {
                        unproven.push((q, f64::INFINITY));
                        continue;
                    }
                    found.clear();
                    let largest_key = lists.with(q, |list, at| {
                        found.extend(list.rows(at).map(|row| (squared_l2(query(q), self.row(row)).sqrt(), row)));
                        list.largest_key(at)
                    });
                    found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                    let Some(&(farthest, _)) = found.get(k - 1) else {
                        unproven.push((q, f64::INFINITY));
                        continue;
                    };
                    let proven = largest_key.is_none_or(|key| {
                        let scaled = farthest * self.frame.scale();
                        scaled * scaled * (1.0 + PROOF_MARGIN) < left_out_bound(queries.half_norms[q], key, width)
                    });
                    if proven {
                        for ((&(distance, row), rows), distances) in found.iter().zip(rows).zip(distances) {
                            (*rows, *distances) = (row, distance);
                        }
                    } else {
                        unproven.push((q, farthest));
                    }
                }
                Ok(unproven)
            })
            .collect::<Result<_>>()?;
        let unproven: Vec<(usize, f64)> = unproven.into_iter().flatten().collect();
        let jobs: Vec<Job> = unproven
            .iter()
            .map(|&(q, limit)| Job { query: query(q), exclude: exclude(q as u32), limit })
            .collect();
        let found = direct::search(self.features.view(), &jobs, k, skip_zero)?;
        for ((q, _), found) in unproven.into_iter().zip(found) {
            neighbors.set(q, &found).ok_or_else(|| too_few(q, found.len(), search))?;
        }
        Ok(neighbors)
    }
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
        let left = Operand { rows, half_norms: &half_norms, outside: &outside };
        let excluded = |q: u32| exclude.and_then(|exclude| exclude[q as usize]);
        let same: Option<Vec<Option<u32>>> = search.skip_zero.then(|| {
            let groups = self.groups();
            rows.par_chunks_exact(self.features.ncols())
                .map(|row| groups.find(self.features.view(), row))
                .collect()
        });
        for q in 0..queries.nrows() as u32 {
            let copy = same.as_ref().and_then(|same| same[q as usize]);
            let excluded = excluded(q).filter(|&row| (row as usize) < self.features.nrows());
            let copies = copy.map_or(0, |first| self.groups().members(&first).len());
            let apart = excluded.is_some_and(|row| copy.is_none_or(|first| self.groups().first(row) != first));
            let left = self.features.nrows() - copies - usize::from(apart);
            if left < search.k {
                return Err(too_few(q as usize, left, search));
            }
        }
        progress.start("nearest neighbours", queries.nrows() as u64, "rows");
        let candidates = Candidates {
            frame: &self.frame,
            depth: self.features.ncols(),
            left,
            right: Some(self.own_operand()),
            capacity: search.k + SLACK,
            blocking: self.blocking,
        };
        let lists = candidates.run(
            |q, row| {
                excluded(q) == Some(row)
                    || same
                        .as_ref()
                        .is_some_and(|same| same[q as usize].is_some_and(|first| self.groups().first(row) == first))
            },
            progress,
        )?;
        let neighbors = self.settle(left, &lists, &excluded, search)?;
        progress.finish();
        Ok(neighbors)
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
        progress.start("nearest neighbours", rows as u64, "rows");
        let candidates = Candidates {
            frame: &self.frame,
            depth: self.features.ncols(),
            left: self.own_operand(),
            right: None,
            capacity: search.k + SLACK,
            blocking: self.blocking,
        };
        let lists = candidates.run(
            |i, j| groups.is_some_and(|groups| groups.first(i) == groups.first(j)),
            progress,
        )?;
        let neighbors = self.settle(self.own_operand(), &lists, &Some, search)?;
        progress.finish();
        Ok(neighbors)
    }
}

fn check_excluded(exclude: Option<&[Option<u32>]>, queries: usize) -> Result<()> {
    match exclude {
        Some(exclude) if exclude.len() != queries => Err(Error::data(
            format!("{} rows to exclude were given for {queries} queries", exclude.len()),
            "",
        )),
        _ => Ok(()),
    }
}
