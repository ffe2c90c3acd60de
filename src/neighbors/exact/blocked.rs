//! All pairs of two sets, or of one set with itself, by a blocked matrix product, in memory that does not grow with pairs.
//! A strip of packed rows is multiplied with one block of packed rows after the other. Each tile is compared with thresholds at
//! once, and only the pairs above them are offered to a [`Receiver`]. In a set with itself a pair is multiplied once and offered
//! to both rows.

use super::frame::Frame;
use crate::error::Result;
use crate::ops::gemm::{MR, NR, Tile, ZERO_TILE, multiply_panels};
use crate::ops::simd::{self, Kernel};
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

/// One operand: `[rows, D]` row-major with the half norm of each row in the frame (see [`Frame::lowered_half_norm`]).
#[derive(Clone, Copy)]
pub(in crate::neighbors) struct Operand<'a> {
    pub rows: &'a [f32],
    pub half_norms: &'a [f32],
    /// Rows outside the frame, ascending: packed as zeros, what passes for them means nothing.
    pub outside: &'a [u32],
}

impl<'a> Operand<'a> {
    /// Row `row` of `width` values.
    pub(crate) fn row(&self, row: usize, width: usize) -> &'a [f32] {
        &self.rows[row * width..][..width]
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
    pub depth: usize,
    pub left: Operand<'a>,
    /// `None` for the pairs of `left` with itself.
    pub right: Option<Operand<'a>>,
    pub blocking: Blocking,
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

    fn right(&self) -> Operand<'_> {
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
        let units: Vec<(u32, u32)> =
            (0..strips).flat_map(|s| (first_block(s)..blocks).map(move |b| (s as u32, b as u32))).collect();
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
        let outside = |row: usize| operand.outside.binary_search(&((first + row) as u32)).is_ok();
        self.frame.pack::<WIDTH>(
            &operand.rows[rows.start * self.depth..rows.end * self.depth],
            &mut packed.panels,
            outside,
        );
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

/// A tile of products with what its rows and columns are compared by.
#[derive(Clone, Copy)]
struct Above<'a> {
    tile: &'a Tile,
    half_left: &'a [f32; MR],
    floor_left: &'a [f32; MR],
    half_right: &'a [f32; NR],
    floor_right: &'a [f32; NR],
}

impl Above<'_> {
    /// Bit `j` of element `i` is set where the product of row `i` and column `j` lies above the smaller of their two thresholds,
    /// the half norm of the one plus the floor of the other.
    fn bits(self) -> [u32; MR] {
        match simd::isa() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `isa` gives only what the processor has.
            simd::Isa::Avx512 => unsafe { x86::above_avx512(self) },
            _ => simd::run(self),
        }
    }
}

impl Kernel for Above<'_> {
    type Output = [u32; MR];

    /// Looks first whether a row has any such product, which vectorises, and rarely further.
    #[inline(always)]
    fn call(self) -> [u32; MR] {
        let Above { tile, half_left, floor_left, half_right, floor_right } = self;
        std::array::from_fn(|i| {
            let above = |j: usize| {
                let (own, other) = (half_right[j] + floor_left[i], half_left[i] + floor_right[j]);
                tile[i][j] > if own < other { own } else { other }
            };
            let mut any = false;
            for j in 0..NR {
                any |= above(j);
            }
            if any { (0..NR).fold(0, |bits, j| bits | u32::from(above(j)) << j) } else { 0 }
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Above, MR, NR};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn above_avx512(above: Above<'_>) -> [u32; MR] {
        const LANES: usize = 16;
        let Above { tile, half_left, floor_left, half_right, floor_right } = above;
        // SAFETY: every load of sixteen values stays inside an array of `NR`, which is two of them.
        unsafe {
            let load = |values: &[f32; NR], half: usize| _mm512_loadu_ps(values.as_ptr().add(half * LANES));
            let half_right = [load(half_right, 0), load(half_right, 1)];
            let floor_right = [load(floor_right, 0), load(floor_right, 1)];
            let mut passed = [0u32; MR];
            for i in 0..MR {
                let (half_left, floor_left) = (_mm512_set1_ps(half_left[i]), _mm512_set1_ps(floor_left[i]));
                for half in 0..2 {
                    let own = _mm512_add_ps(half_right[half], floor_left);
                    let other = _mm512_add_ps(half_left, floor_right[half]);
                    let bits =
                        _mm512_cmp_ps_mask::<_CMP_GT_OQ>(load(&tile[i], half), _mm512_min_ps(own, other));
                    passed[i] |= u32::from(bits) << (half * LANES);
                }
            }
            passed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comparison_of_a_tile_gives_the_bits_of_the_plain_one() {
        let value = |seed: usize, i: usize| ((i * 7919 + seed * 104_729) % 1013) as f32 / 507.0 - 1.0;
        let tile: Tile = std::array::from_fn(|i| std::array::from_fn(|j| value(1, i * NR + j)));
        let mut half_left: [f32; MR] = std::array::from_fn(|i| value(2, i).abs());
        let mut floor_left: [f32; MR] = std::array::from_fn(|i| value(3, i));
        let half_right: [f32; NR] = std::array::from_fn(|j| value(4, j).abs());
        let mut floor_right: [f32; NR] = std::array::from_fn(|j| value(5, j));
        floor_left[2] = crate::neighbors::exact::top_k::ACCEPT_ALL;
        (half_left[3], floor_left[3]) = (f32::MAX, f32::MAX);
        floor_right[9] = f32::MAX;
        let above = Above {
            tile: &tile,
            half_left: &half_left,
            floor_left: &floor_left,
            half_right: &half_right,
            floor_right: &floor_right,
        };
        let plain = above.call();
        simd::testing::with_each_isa(|isa| assert_eq!(above.bits(), plain, "{isa:?}"));
        assert_eq!(plain[2], u32::MAX);
        assert_eq!(plain[3], 0);
        assert!(plain.iter().any(|&bits| bits != 0 && bits != u32::MAX));
    }
}
