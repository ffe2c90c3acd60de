//! The frame in which candidates are compared: rows minus the mean, scaled by a power of two, in float32.
//! Centring keeps a large common offset, and scaling huge or tiny values, from eating the 24 bits of a product.
//! Every projected value is rounded once: scaling is exact, and the centre is the same float32 numbers for all rows.
//! Rows are brought into it while they are packed, so that no second copy of the features exists.

use super::top_k::ACCEPT_ALL;
use crate::ops::gemm::multiplication_error;
use crate::ops::simd::{self, Kernel};
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Values projected at a time while packing: one stretch of every row of a panel stays in the first-level cache.
const PACK_STRETCH: usize = 64;
/// The largest magnitude that a projected query may have; rows of the set itself stay below 1.
const LARGEST: f32 = (1u64 << 40) as f32;

/// What underflow can add to a squared distance for each column, for magnitudes up to [`LARGEST`].
const UNDERFLOW: f64 = 1.0 / (1u128 << 100) as f64;
/// Bounds are compared with this relative margin, far above the error of a float64 sum and far below that of a float32 product.
const PROOF_MARGIN: f64 = 1e-9;

/// The largest scale. Values that ask for a larger one stay small, but the squares of their differences stay far above [`UNDERFLOW`].
const LARGEST_SCALE: f64 = 1.0 / f32::MIN_POSITIVE as f64;

/// Centre and scale of a set of features: a value is multiplied by `before`, the centre is subtracted, and the difference is multiplied
/// by `after`. One of the two factors is 1, so that neither the values nor their differences leave the range of float32.
pub(in crate::neighbors) struct Frame {
    centre: Vec<f32>,
    before: f32,
    after: f32,
}

/// Sums, minima and maxima of the columns of the rows read so far.
pub(in crate::neighbors) struct Extent {
    rows: usize,
    sums: Vec<f64>,
    lows: Vec<f32>,
    highs: Vec<f32>,
}

impl Extent {
    /// Rows that come in groups give the same bits as all at once if each group but the last is a multiple of this long.
    pub(crate) const UNIT: usize = 1024;

    /// Of no rows of `width` values yet.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            rows: 0,
            sums: vec![0.0; width],
            lows: vec![f32::INFINITY; width],
            highs: vec![f32::NEG_INFINITY; width],
        }
    }

    /// Takes further rows `[n, D]`, finite.
    pub(crate) fn add(&mut self, rows: ArrayView2<f32>) {
        let pieces: Vec<Extent> = (0..rows.nrows().div_ceil(Self::UNIT))
            .into_par_iter()
            .map(|piece| {
                let first = piece * Self::UNIT;
                let mut extent = Extent::new(rows.ncols());
                for row in first..rows.nrows().min(first + Self::UNIT) {
                    for (k, &value) in rows.row(row).iter().enumerate() {
                        extent.sums[k] += f64::from(value);
                        extent.lows[k] = extent.lows[k].min(value);
                        extent.highs[k] = extent.highs[k].max(value);
                    }
                }
                extent
            })
            .collect();
        for piece in pieces {
            self.sums.iter_mut().zip(piece.sums).for_each(|(sum, of_piece)| *sum += of_piece);
            self.lows.iter_mut().zip(piece.lows).for_each(|(low, of_piece)| *low = low.min(of_piece));
            self.highs.iter_mut().zip(piece.highs).for_each(|(high, of_piece)| *high = high.max(of_piece));
        }
        self.rows += rows.nrows();
    }

    /// The frame of the rows, at least one: every projected value is at most 1 in magnitude.
    pub(crate) fn frame(self) -> Frame {
        let mut centre = self.sums;
        centre.iter_mut().for_each(|centre| *centre /= self.rows as f64);
        let mut reach = 0.0f64;
        for ((&centre, &low), &high) in centre.iter().zip(&self.lows).zip(&self.highs) {
            reach = reach.max(centre - f64::from(low)).max(f64::from(high) - centre);
        }
        // One step more than the exponent asks for, so that rounding, also of the centre, cannot lift a value above 1.
        let scale = if reach > 0.0 { 2f64.powi(-(reach.log2().floor() as i32) - 2) } else { 1.0 };
        let (before, after) = (scale.min(1.0), scale.clamp(1.0, LARGEST_SCALE));
        let centre = centre.into_iter().map(|centre| (centre * before) as f32).collect();
        Frame { centre, before: before as f32, after: after as f32 }
    }
}

impl Frame {
    /// The frame of `features` `[N, D]`, finite, with `N` at least 1.
    pub(crate) fn of(features: ArrayView2<f32>) -> Self {
        let mut extent = Extent::new(features.ncols());
        extent.add(features);
        extent.frame()
    }

    /// The frame of rows of `width` values that are in one already.
    pub(super) fn identity(width: usize) -> Self {
        Frame { centre: vec![0.0; width], before: 1.0, after: 1.0 }
    }

    /// What distances are multiplied by in this frame: a power of two.
    pub(crate) fn scale(&self) -> f64 {
        f64::from(self.before) * f64::from(self.after)
    }

    /// `row[at..at + out.len()]` in this frame.
    #[inline(always)]
    pub(crate) fn project(&self, row: &[f32], at: usize, out: &mut [f32]) {
        let range = at..at + out.len();
        for ((out, &value), &centre) in out.iter_mut().zip(&row[range.clone()]).zip(&self.centre[range]) {
            *out = (value * self.before - centre) * self.after;
        }
    }

    /// `row` `[D]` in this frame, in float64.
    pub(super) fn project_exactly(&self, row: &[f32], out: &mut [f64]) {
        let (before, after) = (f64::from(self.before), f64::from(self.after));
        for ((out, &value), &centre) in out.iter_mut().zip(row).zip(&self.centre) {
            *out = (f64::from(value) * before - f64::from(centre)) * after;
        }
    }

    /// Half the squared norm of a projected row, lowered by more than the error of any product with it:
    /// `2 (h_i + h_j - product)` never exceeds the squared distance in this frame (see [`slack`]).
    /// `None` where the row lies so far outside that products with it could overflow.
    pub(crate) fn lowered_half_norm(&self, row: &[f32]) -> Option<f32> {
        self.half_norm(row).map(|half| ((half * (1.0 - slack(row.len()))) as f32).next_down().max(0.0))
    }

    /// Half the squared norm of a projected row; `None` as in [`Frame::lowered_half_norm`].
    pub(super) fn half_norm(&self, row: &[f32]) -> Option<f64> {
        let mut norm = 0.0f64;
        let mut largest = 0.0f32;
        let mut stretch = [0.0f32; PACK_STRETCH];
        for at in (0..row.len()).step_by(PACK_STRETCH) {
            let stretch = &mut stretch[..PACK_STRETCH.min(row.len() - at)];
            self.project(row, at, stretch);
            for &value in &*stretch {
                norm += f64::from(value) * f64::from(value);
                largest = largest.max(value.abs());
            }
        }
        (largest <= LARGEST).then_some(norm / 2.0)
    }

    /// Packs `count` rows into panels of `WIDTH`, as the register kernel reads them: `[ceil(count / WIDTH), D, WIDTH]`. `row` gives the
    /// content `[D]` of each; zeros stand where it gives none and where the last panel has no row.
    pub(crate) fn pack<'a, const WIDTH: usize>(
        &self,
        count: usize,
        row: impl Fn(usize) -> Option<&'a [f32]>,
        packed: &mut Vec<f32>,
    ) {
        let depth = self.centre.len();
        packed.resize(count.div_ceil(WIDTH) * depth * WIDTH, 0.0);
        for (panel, out) in packed.chunks_exact_mut(depth * WIDTH).enumerate() {
            let rows =
                std::array::from_fn(|i| Some(panel * WIDTH + i).filter(|&at| at < count).and_then(&row));
            simd::run(PackPanel::<WIDTH> { frame: self, rows, out });
        }
    }

    #[inline(always)]
    fn pack_panel<const WIDTH: usize>(&self, rows: &[Option<&[f32]>; WIDTH], out: &mut [f32]) {
        let depth = self.centre.len();
        let mut stretch = [[0.0f32; PACK_STRETCH]; WIDTH];
        for at in (0..depth).step_by(PACK_STRETCH) {
            let length = PACK_STRETCH.min(depth - at);
            for (row, stretch) in rows.iter().zip(&mut stretch) {
                if let Some(row) = row {
                    self.project(row, at, &mut stretch[..length]);
                }
            }
            let out = out[at * WIDTH..(at + length) * WIDTH].as_chunks_mut::<WIDTH>().0;
            for (k, group) in out.iter_mut().enumerate() {
                for (out, stretch) in group.iter_mut().zip(&stretch) {
                    *out = stretch[k];
                }
            }
        }
    }
}

/// [`Frame::pack_panel`], compiled for the registers of the machine.
struct PackPanel<'a, const WIDTH: usize> {
    frame: &'a Frame,
    rows: [Option<&'a [f32]>; WIDTH],
    out: &'a mut [f32],
}

impl<const WIDTH: usize> Kernel for PackPanel<'_, WIDTH> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn call(self) {
        self.frame.pack_panel::<WIDTH>(&self.rows, self.out);
    }
}

/// The share of the squared norms by which an expanded squared distance in a frame of width `depth` can be wrong,
/// relative to `|x_i|^2 + |x_j|^2` of the projected rows.
///
/// With `u = 2^-24`: the product errs by at most `gamma sum |x_ik x_jk| <= gamma (|x_i|^2 + |x_j|^2) / 2` (Higham, *Accuracy and
/// Stability of Numerical Algorithms*, 3.1) and enters twice; rounding the projected rows shifts the squared distance
/// by at most `4u`, and the sums and comparisons with half norms and keys by a few `u` more.
pub(super) fn slack(depth: usize) -> f64 {
    const OTHER_ROUNDINGS: f64 = 16.0;
    multiplication_error(depth) + OTHER_ROUNDINGS * f64::from(f32::EPSILON) / 2.0
}

/// A lower bound of the squared distance, in the frame, between the row with lowered half norm `half_norm` and every row
/// that its full candidate list, with `largest_key`, left out.
fn left_out_bound(half_norm: f32, largest_key: f32, depth: usize) -> f64 {
    let key = f64::from(largest_key);
    2.0 * (f64::from(half_norm) + key) - 2.0 * f64::from(f32::EPSILON) * key.abs() - depth as f64 * UNDERFLOW
}

/// A threshold (see [`super::blocked::Receiver::floors`]) for a row with lowered half norm `half_norm`
/// that only lets pairs be left out whose squared distance, in the frame, is certainly above `limit`.
pub(in crate::neighbors) fn floor_for(half_norm: f32, limit: f64, depth: usize) -> f32 {
    let raised = limit * (1.0 + PROOF_MARGIN);
    let key = raised / 2.0 - f64::from(half_norm);
    let key = key + 4.0 * f64::from(f32::EPSILON) * key.abs() + depth as f64 * UNDERFLOW;
    let key = (key as f32).next_up();
    if left_out_bound(half_norm, key, depth) > raised { -key } else { ACCEPT_ALL }
}

/// Whether a row with lowered half norm `half_norm` whose full list has `largest_key` misses nothing within `limit`, a squared
/// distance in the frame.
pub(super) fn is_complete(half_norm: f32, largest_key: f32, limit: f64, depth: usize) -> bool {
    limit * (1.0 + PROOF_MARGIN) < left_out_bound(half_norm, largest_key, depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_packed_panel_holds_the_projected_rows_in_columns() {
        let features = Array2::from_shape_fn((5, 70), |(i, k)| 1000.0 + ((i * 31 + k * 7) % 13) as f32);
        let frame = Frame::of(features.view());
        let mut packed = vec![9.0; 3];
        let row = |i| (i != 3).then(|| features.row(i).to_slice().unwrap());
        frame.pack::<4>(5, row, &mut packed);
        assert_eq!(packed.len(), 2 * 70 * 4);
        for panel in 0..2 {
            for k in 0..70 {
                let mean = features.column(k).iter().map(|&v| f64::from(v)).sum::<f64>() / 5.0;
                let centre = (mean * frame.scale()) as f32;
                for i in 0..4 {
                    let row = panel * 4 + i;
                    let expected = if row < 5 && row != 3 {
                        (f64::from(features[[row, k]]) * frame.scale() - f64::from(centre)) as f32
                    } else {
                        0.0
                    };
                    assert_eq!(packed[(panel * 70 + k) * 4 + i], expected);
                    assert!(expected.abs() <= 1.0);
                }
            }
        }
    }

    #[test]
    fn packing_gives_the_same_bits_with_each_instruction_set() {
        let features = Array2::from_shape_fn((37, 150), |(i, k)| ((i * 31 + k * 7) as f32).sin() / 3.0);
        let frame = Frame::of(features.view());
        simd::testing::assert_same_bits(|| {
            let mut packed = Vec::new();
            frame.pack::<6>(37, |i| (i != 3).then(|| features.row(i).to_slice().unwrap()), &mut packed);
            packed
        });
    }

    #[test]
    fn a_set_that_comes_in_blocks_has_the_same_frame_to_the_bit() {
        let features = Array2::from_shape_fn((5_000, 3), |(i, k)| ((i * 31 + k * 7) as f32).sin() / 3.0);
        let whole = Frame::of(features.view());
        let mut extent = Extent::new(3);
        for block in features.axis_chunks_iter(ndarray::Axis(0), 2 * Extent::UNIT) {
            extent.add(block);
        }
        let blocks = extent.frame();
        assert_eq!((blocks.scale(), blocks.centre), (whole.scale(), whole.centre));
    }

    #[test]
    fn values_at_either_end_of_float32_are_brought_near_one() {
        // The smallest values stay small: their scale would not be a float32.
        for (size, least) in [(f32::from_bits(1), 1e-7), (1e-30, 0.25), (1.0, 0.25), (f32::MAX, 0.25)] {
            // The constant column must not leave the range of float32.
            let features = Array2::from_shape_vec((2, 2), vec![size, f32::MAX, -size, f32::MAX]).unwrap();
            let frame = Frame::of(features.view());
            let mut packed = Vec::new();
            frame.pack::<2>(2, |i| features.row(i).to_slice(), &mut packed);
            assert!((least..=1.0).contains(&packed[0]) && packed[0] == -packed[1], "{size}: {packed:?}");
            assert_eq!(packed[2..], [0.0; 2]);
        }
        assert_eq!(Frame::of(Array2::zeros((3, 2)).view()).scale(), 1.0);
    }

    #[test]
    fn a_row_far_outside_the_frame_is_named() {
        let features = Array2::from_shape_vec((2, 1), vec![1e-20, -1e-20]).unwrap();
        let frame = Frame::of(features.view());
        assert!(frame.lowered_half_norm(&[1e-10]).is_some());
        assert!(frame.lowered_half_norm(&[1.0]).is_none());
    }
}
