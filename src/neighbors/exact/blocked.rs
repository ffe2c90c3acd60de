//! All pairs of two sets, or of one set with itself, by a blocked matrix product, in memory that does not grow with pairs.
//! A strip of packed rows is multiplied with one block of packed rows after the other. Each tile is compared with thresholds at
//! once, and only the pairs above them are offered to a [`Receiver`]. In a set with itself a pair is multiplied once and offered
//! to both rows.

use super::frame::Frame;
use super::thresholds::Above;
use crate::error::Result;
use crate::ops::gemm::{MR, NR, ZERO_TILE, multiply_panels};
use crate::progress::{Progress, check_stop};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How the work is cut. It changes the time and nothing else.
#[derive(Debug, Clone, Copy)]
pub(in crate::neighbors) struct Blocking {
    /// Columns packed at a time; rows of a range that is offered to a [`Receiver`] never cross a multiple of it.
    pub block: usize,
    /// Blocks whose rows are packed together as the left operand.
    pub strip: usize,
    /// Rows of the left operand that stay in the second-level cache while a panel of columns passes.
    pub resident: usize,
}

impl Default for Blocking {
    /// Measured best at widths 64 and 768 with 1 MB of second-level cache.
    fn default() -> Self {
        Blocking { block: 288, strip: 4, resident: 144 }
    }
}

/// One operand: rows of `width` values, of which the first are multiplied, with the half norm of each row in the frame (see
/// [`Frame::lowered_half_norm`]).
#[derive(Clone, Copy)]
pub(in crate::neighbors) struct Operand<'a> {
    pub rows: &'a [f32],
    pub width: usize,
    pub half_norms: &'a [f32],
    /// Rows outside the frame, ascending: packed as zeros, what passes for them means nothing.
    pub outside: &'a [u32],
}

impl<'a> Operand<'a> {
    /// Row `row`.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.rows[row * self.width..][..self.width]
    }

    /// Copies of the rows numbered `some`, row-major.
    pub(in crate::neighbors) fn some(&self, some: &[u32]) -> Vec<f32> {
        some.iter().flat_map(|&row| self.row(row as usize)).copied().collect()
    }
}

/// Takes the pairs whose products exceed the thresholds.
pub(in crate::neighbors) trait Receiver: Sync {
    /// The thresholds of `rows`: a pair with a row `i` of them can only matter if its product exceeds its
    /// partner's half norm by more than this. They may rise at any time and never fall.
    fn floors(&self, rows: Range<usize>, out: &mut [f32]);

    /// Takes pairs `(row, partner, key)` with `row` in `rows` and `key` the partner's half norm minus the product,
    /// then gives the thresholds as [`Receiver::floors`] does.
    fn offer(&self, rows: Range<usize>, pairs: impl Iterator<Item = (u32, u32, f32)>, floors: &mut [f32]);
}

/// Two sets whose pairs are multiplied, or one set.
pub(in crate::neighbors) struct Pairs<'a> {
    pub frame: &'a Frame,
    /// Values of each row that are multiplied.
    pub depth: usize,
    pub left: Operand<'a>,
    /// `None` for the pairs of `left` with itself.
    pub right: Option<Operand<'a>>,
    pub blocking: Blocking,
    /// The place among the right rows near which each strip is compared first, where rows are ordered so that it has most of the nearest.
    pub homes: Option<Vec<usize>>,
}

/// A pair that passed the thresholds of its tile.
struct Survivor {
    left: u32,
    right: u32,
    left_key: f32,
    right_key: f32,
}

/// Packed rows, or columns, of one worker.
#[derive(Default)]
struct Packed {
    panels: Vec<f32>,
    holds: Option<usize>,
}

/// Working memory of one thread: it grows with the blocking, not with the set.
#[derive(Default)]
struct Scratch {
    left: Packed,
    right: Packed,
    survivors: Vec<Survivor>,
    half_left: Vec<f32>,
    half_right: Vec<f32>,
    floor_left: Vec<f32>,
    floor_right: Vec<f32>,
}

impl Pairs<'_> {
    fn symmetric(&self) -> bool {
        self.right.is_none()
    }

    /// The right rows.
    pub(super) fn right(&self) -> Operand<'_> {
        self.right.unwrap_or(self.left)
    }

    /// Runs all pairs into `receiver`; `refuse(i, j)` says of a pair that passed that it does not count
    /// (for neither row, in a set with itself).
    pub(crate) fn run(
        &self,
        receiver: &impl Receiver,
        refuse: impl Fn(u32, u32) -> bool + Sync,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Blocking { block, strip, resident } = self.blocking;
        assert!(block.is_multiple_of(NR) && resident.is_multiple_of(MR) && block.is_multiple_of(resident));
        let rows = self.left.half_norms.len();
        let blocks = self.right().half_norms.len().div_ceil(block);
        let strips = rows.div_ceil(block * strip);
        let first_block = |s: usize| if self.symmetric() { s * strip } else { 0 };
        let mut units: Vec<(u32, u32)> =
            (0..strips).flat_map(|s| (first_block(s)..blocks).map(move |b| (s as u32, b as u32))).collect();
        if let Some(homes) = &self.homes {
            units.sort_by_key(|&(s, b)| (homes[s as usize] / block).abs_diff(b as usize) > strip);
        }
        let next = AtomicUsize::new(0);
        let reported =
            RowsReported { done: AtomicU64::new(0), units: units.len() as u64, rows: rows as u64, progress };
        (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).try_for_each(|_| -> Result<()> {
            let mut scratch = Scratch::default();
            while let Some(&(s, b)) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                check_stop(progress, String::new)?;
                self.unit(s as usize, b as usize, receiver, &refuse, &mut scratch);
                reported.unit();
            }
            Ok(())
        })
    }

    /// One strip of rows against one block of columns.
    fn unit(
        &self,
        s: usize,
        b: usize,
        receiver: &impl Receiver,
        refuse: &impl Fn(u32, u32) -> bool,
        scratch: &mut Scratch,
    ) {
        let Blocking { block, strip, resident } = self.blocking;
        let (left, right) = (self.left, self.right());
        let strip_rows = s * strip * block..left.half_norms.len().min((s + 1) * strip * block);
        let columns = b * block..right.half_norms.len().min((b + 1) * block);
        self.pack::<MR>(left, strip_rows.clone(), s, &mut scratch.left);
        self.pack::<NR>(right, columns.clone(), b, &mut scratch.right);
        padded(&right.half_norms[columns.clone()], NR, &mut scratch.half_right);
        for first in strip_rows.clone().step_by(resident) {
            if self.symmetric() && columns.end <= first {
                break;
            }
            let rows = first..strip_rows.end.min(first + resident);
            padded(&left.half_norms[rows.clone()], MR, &mut scratch.half_left);
            scratch.floor_left.clear();
            scratch.floor_left.resize(rows.len().next_multiple_of(MR), f32::MAX);
            receiver.floors(rows.clone(), &mut scratch.floor_left[..rows.len()]);
            scratch.floor_right.clear();
            scratch.floor_right.resize(columns.len().next_multiple_of(NR), f32::MAX);
            if self.symmetric() {
                receiver.floors(columns.clone(), &mut scratch.floor_right[..columns.len()]);
            }
            for panel in 0..columns.len().div_ceil(NR) {
                self.panel(rows.clone(), strip_rows.start, columns.start, panel, scratch);
                if !scratch.survivors.is_empty() {
                    self.offer(rows.clone(), columns.clone(), receiver, refuse, scratch);
                }
            }
        }
    }

    fn pack<const WIDTH: usize>(
        &self,
        operand: Operand<'_>,
        rows: Range<usize>,
        number: usize,
        packed: &mut Packed,
    ) {
        if packed.holds == Some(number) {
            return;
        }
        let first = rows.start;
        let row = |i: usize| {
            let outside = operand.outside.binary_search(&((first + i) as u32)).is_ok();
            (!outside).then(|| operand.row(first + i))
        };
        self.frame.pack::<WIDTH>(rows.len(), row, &mut packed.panels);
        packed.holds = Some(number);
    }

    /// The tiles of `rows` with one panel of columns; pairs above the thresholds are added to `scratch.survivors`.
    fn panel(
        &self,
        rows: Range<usize>,
        strip_start: usize,
        columns_start: usize,
        panel: usize,
        scratch: &mut Scratch,
    ) {
        let column = panel * NR;
        let right = &scratch.right.panels[column * self.depth..][..NR * self.depth];
        let half_right: &[f32; NR] = slice_of(&scratch.half_right, column);
        let floor_right: &[f32; NR] = slice_of(&scratch.floor_right, column);
        for row in (0..rows.len()).step_by(MR) {
            if self.symmetric() && columns_start + column + NR <= rows.start + row + 1 {
                break;
            }
            let left =
                &scratch.left.panels[(rows.start - strip_start + row) * self.depth..][..MR * self.depth];
            let mut tile = ZERO_TILE;
            multiply_panels(self.depth, left, right, &mut tile);
            let half_left: &[f32; MR] = slice_of(&scratch.half_left, row);
            let floor_left: &[f32; MR] = slice_of(&scratch.floor_left, row);
            let passed = Above { tile: &tile, half_left, floor_left, half_right, floor_right }.bits();
            for (i, mut passed) in passed.into_iter().enumerate() {
                while passed != 0 {
                    let j = passed.trailing_zeros() as usize;
                    passed &= passed - 1;
                    scratch.survivors.push(Survivor {
                        left: (rows.start + row + i) as u32,
                        right: (columns_start + column + j) as u32,
                        left_key: half_right[j] - tile[i][j],
                        right_key: half_left[i] - tile[i][j],
                    });
                }
            }
        }
    }

    /// Offers the survivors to their rows and, in a set with itself, to their columns; renews the thresholds.
    fn offer(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        receiver: &impl Receiver,
        refuse: &impl Fn(u32, u32) -> bool,
        scratch: &mut Scratch,
    ) {
        let symmetric = self.symmetric();
        let survivors = &mut scratch.survivors;
        survivors.retain(|pair| (!symmetric || pair.left < pair.right) && !refuse(pair.left, pair.right));
        let left = survivors.iter().map(|pair| (pair.left, pair.right, pair.left_key));
        let floors = &mut scratch.floor_left[..rows.len()];
        receiver.offer(rows, left, floors);
        if symmetric {
            let right = survivors.iter().map(|pair| (pair.right, pair.left, pair.right_key));
            let floors = &mut scratch.floor_right[..columns.len()];
            receiver.offer(columns, right, floors);
        }
        survivors.clear();
    }
}

/// Spreads the progress of unlike units over the rows.
struct RowsReported<'a> {
    done: AtomicU64,
    units: u64,
    rows: u64,
    progress: &'a dyn Progress,
}

impl RowsReported<'_> {
    fn unit(&self) {
        let before = self.done.fetch_add(1, Ordering::Relaxed);
        let rows = |units: u64| units * self.rows / self.units;
        self.progress.advance(rows(before + 1) - rows(before));
    }
}

/// `values` with padding that no product passes, up to a multiple of `width`.
fn padded(values: &[f32], width: usize, out: &mut Vec<f32>) {
    out.clear();
    out.extend_from_slice(values);
    out.resize(values.len().next_multiple_of(width), f32::MAX);
}

fn slice_of<const WIDTH: usize>(values: &[f32], at: usize) -> &[f32; WIDTH] {
    values[at..].first_chunk().expect("padded to whole panels")
}
