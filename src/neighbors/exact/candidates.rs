//! What becomes of the pairs of a blocked product: running candidate lists, or exact distances below a known limit.
//! The first finds candidates for every row, the second settles the few rows whose candidates prove nothing.
//! Both end as sets that do not depend on the order in which pairs arrive.

use super::blocked::{Operand, Receiver};
use super::frame::floor_for;
use super::top_k::{CandidateLists, Nearest};
use crate::neighbors::distance::squared_l2_within;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A squared limit is raised by this share, so that the rounding of a square root and of its square never costs a row that ties.
pub(in crate::neighbors) const LIMIT_MARGIN: f64 = 1e-12;

/// The candidate lists of all rows, in chunks that share a lock.
pub(super) struct Lists {
    chunks: Vec<Mutex<CandidateLists>>,
    chunk: usize,
}

impl Lists {
    /// Lists of `capacity` for `rows` rows; a range of rows that is offered must not cross a multiple of `chunk`.
    pub(super) fn new(rows: usize, capacity: usize, chunk: usize) -> Self {
        let lists = |first: usize| Mutex::new(CandidateLists::new(chunk.min(rows - first), capacity));
        Lists { chunks: (0..rows).step_by(chunk).map(lists).collect(), chunk }
    }

    /// Rows that share a lock.
    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    /// Calls `with` on the chunk that holds `row` and its place inside.
    pub(super) fn with<R>(&self, row: usize, with: impl FnOnce(&CandidateLists, usize) -> R) -> R {
        with(&lock(&self.chunks[row / self.chunk]), row % self.chunk)
    }
}

impl Receiver for Lists {
    fn floors(&self, rows: Range<usize>, out: &mut [f32]) {
        let within = rows.start % self.chunk;
        out.copy_from_slice(
            &lock(&self.chunks[rows.start / self.chunk]).floors()[within..within + rows.len()],
        );
    }

    fn offer(&self, rows: Range<usize>, pairs: impl Iterator<Item = (u32, u32, f32)>, floors: &mut [f32]) {
        let within = rows.start % self.chunk;
        let mut lists = lock(&self.chunks[rows.start / self.chunk]);
        for (row, partner, key) in pairs {
            let list = within + row as usize - rows.start;
            if -key > lists.floors()[list] {
                lists.offer(list, key, partner);
            }
        }
        floors.copy_from_slice(&lists.floors()[within..within + rows.len()]);
    }
}

/// The nearest of each row among all that can lie within a known distance of it.
pub(super) struct WithinLimit<'a> {
    left: Operand<'a>,
    right: Operand<'a>,
    width: usize,
    limits: &'a [f64],
    floors: Vec<f32>,
    nearest: Vec<Mutex<Nearest>>,
}

impl<'a> WithinLimit<'a> {
    /// For rows `left` of `width` values that are known to have `k` neighbours in `right` within `limits`; `scale` is the frame's.
    pub(super) fn new(
        left: Operand<'a>,
        right: Operand<'a>,
        width: usize,
        limits: &'a [f64],
        k: usize,
        scale: f64,
    ) -> Self {
        let floor = |(&half_norm, &limit): (&f32, &f64)| floor_for(half_norm, (limit * scale).powi(2), width);
        WithinLimit {
            left,
            right,
            width,
            limits,
            floors: left.half_norms.iter().zip(limits).map(floor).collect(),
            nearest: limits.iter().map(|_| Mutex::new(Nearest::new(k))).collect(),
        }
    }

    /// Nearest first, for each row.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = Vec<(f64, u32)>> {
        self.nearest
            .into_iter()
            .map(|one| one.into_inner().unwrap_or_else(PoisonError::into_inner).into_sorted())
    }
}

impl Receiver for WithinLimit<'_> {
    fn floors(&self, rows: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.floors[rows]);
    }

    fn offer(&self, _: Range<usize>, pairs: impl Iterator<Item = (u32, u32, f32)>, _: &mut [f32]) {
        for (row, partner, _) in pairs {
            let nearest = &self.nearest[row as usize];
            let limit = lock(nearest).worst().unwrap_or(f64::INFINITY).min(self.limits[row as usize]);
            let raised = limit * limit * (1.0 + LIMIT_MARGIN);
            let (own, other) =
                (self.left.row(row as usize, self.width), self.right.row(partner as usize, self.width));
            if let Some(squared) = squared_l2_within(own, other, raised) {
                lock(nearest).offer(squared.sqrt(), partner);
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
