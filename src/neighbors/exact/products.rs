//! Squared distances between all rows of one set and a few rows at a time of another, by a blocked matrix product in float32: for sums
//! over many pairs, where no single distance decides. They are never kept: each tile is shown once, so that memory grows with rows.

use super::frame::Frame;
use crate::error::Result;
use crate::neighbors::search::{check_finite, check_width};
use crate::ops::gemm::{MR, NR, Tile, ZERO_TILE, multiply_panels};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a block: whole panels of [`MR`], and enough that a block is worth a thread's while.
const BLOCK: usize = 168 * MR;

/// Columns that are multiplied together at best: their panels stay in the second-level cache.
pub(crate) const COLUMNS: usize = 3 * NR;

/// A set of rows `[N, D]`, packed for products.
pub(crate) struct DistanceProducts {
    frame: Frame,
    rows: usize,
    depth: usize,
    /// Blocks of panels `[BLOCK / MR, D, MR]`.
    panels: Vec<Vec<f32>>,
    /// Half the squared norm of each row in the frame, padded with zeros.
    half_norms: Vec<f32>,
}

/// Some rows of another set, packed for products.
pub(crate) struct Columns {
    panels: Vec<f32>,
    /// Half the squared norm of each row in the frame; infinite for padding and for rows so far outside that a product could overflow.
    half_norms: Vec<f32>,
}

impl DistanceProducts {
    /// Packs `rows` `[N, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if there are none or a value is not finite.
    pub(crate) fn new(rows: ArrayView2<f32>) -> Result<Self> {
        check_finite(rows)?;
        let frame = Frame::of(rows);
        let (count, depth) = rows.dim();
        let blocks = count.div_ceil(BLOCK);
        let packed: Vec<(Vec<f32>, Vec<f32>)> = (0..blocks)
            .into_par_iter()
            .map(|block| {
                let range = block * BLOCK..count.min((block + 1) * BLOCK);
                let content: Vec<f32> =
                    range.clone().flat_map(|row| rows.row(row).into_iter().copied()).collect();
                let mut panels = Vec::new();
                let row = |i: usize| content.get(i * depth..(i + 1) * depth);
                frame.pack::<MR>(range.len(), row, &mut panels);
                let norm = |row: &[f32]| frame.half_norm(row).unwrap_or(f64::INFINITY) as f32;
                let mut norms: Vec<f32> = content.chunks_exact(depth).map(norm).collect();
                norms.resize(range.len().next_multiple_of(MR), 0.0);
                (panels, norms)
            })
            .collect();
        let (panels, norms): (Vec<_>, Vec<_>) = packed.into_iter().unzip();
        Ok(Self { frame, rows: count, depth, panels, half_norms: norms.concat() })
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How many blocks the rows are cut into, whatever the machine.
    pub(crate) fn blocks(&self) -> usize {
        self.panels.len()
    }

    /// The rows of a block.
    pub(crate) fn block(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.rows.min((block + 1) * BLOCK)
    }

    /// What squared distances in feature space are multiplied by in [`DistanceProducts::visit`].
    pub(crate) fn scale(&self) -> f64 {
        self.frame.scale() * self.frame.scale()
    }

    /// Packs `rows` of `features` `[M, D]`, of the same width.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the width differs.
    pub(crate) fn columns(&self, features: ArrayView2<f32>, rows: &[u32]) -> Result<Columns> {
        check_width(features, self.depth)?;
        let mut content = Vec::with_capacity(rows.len() * self.depth);
        for &row in rows {
            content.extend(features.row(row as usize));
        }
        let mut half_norms: Vec<f32> = content
            .chunks_exact(self.depth)
            .map(|row| self.frame.half_norm(row).map_or(f32::INFINITY, |half| half as f32))
            .collect();
        let mut panels = Vec::new();
        let row =
            |i: usize| half_norms[i].is_finite().then(|| &content[i * self.depth..(i + 1) * self.depth]);
        self.frame.pack::<NR>(rows.len(), row, &mut panels);
        half_norms.resize(rows.len().next_multiple_of(NR), f32::INFINITY);
        Ok(Columns { panels, half_norms })
    }

    /// Shows the squared distances of the rows of a block to all columns, a tile at a time: the rows of a tile, its first column, and
    /// its distances, which are infinite beyond the last column. Rows of which `wanted` wants none are passed over.
    ///
    /// A distance depends on its two rows alone, not on what is computed beside it.
    pub(crate) fn visit(
        &self,
        block: usize,
        columns: &Columns,
        wanted: impl Fn(Range<usize>) -> bool,
        mut show: impl FnMut(Range<usize>, usize, &Tile),
    ) {
        let rows = self.block(block);
        for (panel, left) in self.panels[block].chunks_exact(MR * self.depth).enumerate() {
            let first = rows.start + panel * MR;
            let range = first..rows.end.min(first + MR);
            if !wanted(range.clone()) {
                continue;
            }
            for (at, right) in columns.panels.chunks_exact(NR * self.depth).enumerate() {
                let mut tile = ZERO_TILE;
                multiply_panels(self.depth, left, right, &mut tile);
                let half_right = &columns.half_norms[at * NR..][..NR];
                for (distances, row) in tile.iter_mut().zip(range.clone()) {
                    let half_left = self.half_norms[row];
                    for (value, half_right) in distances.iter_mut().zip(half_right) {
                        *value = (2.0 * (half_left + half_right - *value)).max(0.0);
                    }
                }
                show(range.clone(), at * NR, &tile);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::distance::squared_l2;
    use ndarray::Array2;

    fn rows(count: usize, width: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((count, width), |(i, k)| {
            5.0 + ((i * 7919 + k * 104_729 + seed * 31) % 1013) as f32 / 507.0
        })
    }

    fn all(products: &DistanceProducts, columns: &Columns, count: usize) -> Array2<f32> {
        let mut found = Array2::from_elem((products.rows(), count), f32::NAN);
        for block in 0..products.blocks() {
            products.visit(
                block,
                columns,
                |_| true,
                |range, first, tile| {
                    for (row, distances) in range.zip(tile) {
                        for (column, &distance) in (first..count).zip(distances) {
                            found[[row, column]] = distance;
                        }
                    }
                },
            );
        }
        found
    }

    #[test]
    fn distances_are_those_of_the_rows_and_of_no_other_than_their_two() {
        let (left, right) = (rows(BLOCK + 13, 37, 1), rows(70, 37, 2));
        let products = DistanceProducts::new(left.view()).unwrap();
        let every: Vec<u32> = (0..70).collect();
        let found = all(&products, &products.columns(right.view(), &every).unwrap(), 70);
        for ((row, column), &distance) in found.indexed_iter() {
            let exact = squared_l2(left.row(row).to_slice().unwrap(), right.row(column).to_slice().unwrap());
            let exact = exact * products.scale();
            assert!((f64::from(distance) - exact).abs() < 1e-5, "{row} {column}: {distance} {exact}");
        }
        let one = all(&products, &products.columns(right.view(), &[41]).unwrap(), 1);
        assert_eq!(one.column(0), found.column(41));
        assert!(products.columns(rows(3, 36, 0).view(), &[0]).is_err());
    }

    #[test]
    fn what_is_far_outside_is_infinitely_far() {
        let products = DistanceProducts::new(ndarray::array![[1e-20f32], [-1e-20]].view()).unwrap();
        let columns = products.columns(ndarray::array![[1e-20f32], [1.0]].view(), &[0, 1]).unwrap();
        let found = all(&products, &columns, 2);
        assert_eq!(found[[0, 0]], 0.0);
        assert_eq!(found.column(1).to_vec(), [f32::INFINITY; 2]);
    }
}
