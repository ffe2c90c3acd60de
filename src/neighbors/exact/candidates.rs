//! What becomes of the pairs of a blocked product: running candidate lists, or exact distances below a known limit.
//! The first finds candidates for every row, the second settles the few rows whose candidates prove nothing.
//! Both end as sets that do not depend on the order in which pairs arrive.

use super::blocked::{Operand, Pairs, Receiver};
use super::components::Narrowed;
use super::frame::floor_for;
use super::top_k::{CandidateLists, NOTHING_PASSES, Nearest};
use crate::neighbors::distance::{squared_l2_f32, squared_l2_f32_error, squared_l2_within};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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

/// The nearest of each row among all that can lie within a distance of it: one that is known beforehand, or that of the `k` found so far.
pub(super) struct WithinLimit<'a> {
    narrowed: &'a Narrowed<'a>,
    rows: Rows<'a>,
    /// By position.
    bounds: Vec<Bound>,
    /// By position.
    nearest: Vec<Mutex<Nearest>>,
}

/// What a partner of a left row must not exceed; nearer rows that are found lower it.
struct Bound {
    /// The bits of a distance.
    limit: AtomicU64,
    /// The bits of its threshold of products.
    floor: AtomicU32,
}

impl Bound {
    fn limit(&self) -> f64 {
        f64::from_bits(self.limit.load(Ordering::Relaxed))
    }

    fn floor(&self) -> f32 {
        f32::from_bits(self.floor.load(Ordering::Relaxed))
    }
}

/// The rows whose pairs are compared exactly.
#[derive(Clone, Copy)]
pub(in crate::neighbors) struct Rows<'a> {
    pub left: Operand<'a>,
    pub right: Operand<'a>,
    /// What their distances are multiplied by in the frame of the products.
    pub scale: f64,
}

impl<'a> Rows<'a> {
    /// The squared distance of the left and the right row of these numbers, where it is at most `limit`.
    pub(in crate::neighbors) fn squared_within(&self, left: u32, right: u32, limit: f64) -> Option<f64> {
        let (left, right) = (self.left.row(left as usize), self.right.row(right as usize));
        let error = squared_l2_f32_error(left.len());
        let about = f64::from(squared_l2_f32(left, right, self.scale as f32));
        // Of a row far outside the frame the squares may overflow.
        if about.is_finite() && about > limit * self.scale.powi(2) * (1.0 + error) {
            return None;
        }
        squared_l2_within(left, right, limit)
    }

    /// The threshold of the products of `pairs` (see [`floor_for`]) under which no row is within `limit` of the left row at `position`.
    pub(in crate::neighbors) fn floor(&self, pairs: &Pairs<'_>, position: usize, limit: f64) -> f32 {
        floor_for(pairs.left.half_norms[position], (limit * self.scale).powi(2), pairs.depth)
    }
}

impl<'a> WithinLimit<'a> {
    /// For the left rows of `narrowed`, which have `k` neighbours within `limits`, by number; infinite where nothing is known.
    pub(super) fn new(narrowed: &'a Narrowed<'a>, rows: Rows<'a>, limits: &[f64], k: usize) -> Self {
        let pairs = &narrowed.pairs;
        let bound = |position: u32| {
            let limit = limits[narrowed.left(position) as usize];
            let floor = match pairs.left.outside.binary_search(&position) {
                Ok(_) => NOTHING_PASSES,
                Err(_) => rows.floor(pairs, position as usize, limit),
            };
            Bound { limit: AtomicU64::new(limit.to_bits()), floor: AtomicU32::new(floor.to_bits()) }
        };
        WithinLimit {
            narrowed,
            rows,
            bounds: (0..limits.len() as u32).map(bound).collect(),
            nearest: limits.iter().map(|_| Mutex::new(Nearest::new(k))).collect(),
        }
    }

    /// The number of each left row with the (distance, number) of its neighbours, nearest first. Where the last distance is 0 they are
    /// `k` of the copies, any of them.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (usize, Vec<(f64, u32)>)> {
        let number = |position: usize| self.narrowed.left(position as u32) as usize;
        self.nearest.into_iter().enumerate().map(move |(position, nearest)| {
            (number(position), nearest.into_inner().unwrap_or_else(PoisonError::into_inner).into_sorted())
        })
    }

    fn settle(&self, position: u32, partner: u32) {
        let bound = &self.bounds[position as usize];
        let limit = bound.limit();
        if self.narrowed.certainly_apart(position, partner, limit * self.rows.scale) {
            return;
        }
        let (row, partner) = (self.narrowed.left(position), self.narrowed.right(partner));
        let raised = limit * limit * (1.0 + LIMIT_MARGIN);
        let Some(squared) = self.rows.squared_within(row, partner, raised) else { return };
        let mut nearest = lock(&self.nearest[position as usize]);
        nearest.offer(squared.sqrt(), partner);
        if let Some(worst) = nearest.worst().filter(|&worst| worst < bound.limit()) {
            let pairs = &self.narrowed.pairs;
            let floor =
                if worst == 0.0 { NOTHING_PASSES } else { self.rows.floor(pairs, position as usize, worst) };
            bound.limit.store(worst.to_bits(), Ordering::Relaxed);
            bound.floor.store(floor.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Receiver for WithinLimit<'_> {
    fn floors(&self, rows: Range<usize>, out: &mut [f32]) {
        self.bounds[rows].iter().zip(out).for_each(|(bound, out)| *out = bound.floor());
    }

    fn offer(&self, rows: Range<usize>, pairs: impl Iterator<Item = (u32, u32, f32)>, floors: &mut [f32]) {
        for (row, partner, key) in pairs {
            if -key > self.bounds[row as usize].floor() {
                self.settle(row, partner);
            }
        }
        self.floors(rows, floors);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
