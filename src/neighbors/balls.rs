//! Which rows of a set lie inside which balls: what precision, recall, density and coverage are counted from.
//! The blocked product finds every pair that can be inside; the visitor is called for those whose exact distance is.
//! No pair is kept, so that memory does not grow with their number.

use super::exact::ExactIndex;
use super::exact::blocked::{Operand, Receiver};
use super::exact::candidates::{LIMIT_MARGIN, Rows};
use super::exact::components::Narrowed;
use super::search::{check_finite, check_width};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of the set that one task compares directly.
const DIRECT_CHUNK: usize = 4096;

/// Takes `(ball, row, distance)`, from several threads and in no order.
pub(super) type Visit<'a> = dyn Fn(u32, u32, f64) + Sync + 'a;

impl ExactIndex {
    /// How many rows the set has.
    pub fn rows(&self) -> usize {
        self.features.nrows()
    }

    /// Calls `visit(ball, row, distance)` for every row of the set within `radii[ball]` of `centres[ball]`, a distance
    /// equal to the radius included. `centres` is `[B, D]`; distances are those of [`super::distance::squared_l2`], so that a
    /// comparison with a radius that [`super::NeighborIndex`] found is exact.
    ///
    /// # Errors
    /// [`Error::Data`] if the centres are not finite or of another width, or a radius is negative or not finite;
    /// [`Error::Interrupted`].
    pub fn visit_within(
        &self,
        centres: ArrayView2<f32>,
        radii: &[f64],
        visit: &Visit<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let width = self.features.ncols();
        check_width(centres, width)?;
        check_finite(centres)?;
        if radii.len() != centres.nrows()
            || radii.iter().any(|radius| !(radius.is_finite() && *radius >= 0.0))
        {
            return Err(Error::data("every ball needs one radius that is finite and not negative", ""));
        }
        let centres = centres.as_standard_layout();
        let rows = centres.as_slice().expect("in row-major order");
        let mut outside = Vec::new();
        let half_norms: Vec<f32> = rows
            .chunks_exact(width)
            .zip(0..)
            .map(|(row, ball)| {
                self.frame.lowered_half_norm(row).unwrap_or_else(|| {
                    outside.push(ball);
                    0.0
                })
            })
            .collect();
        let left = Operand { rows, width, half_norms: &half_norms, outside: &outside };
        let mut projected = None;
        let narrowed = self.narrowest_pairs(left, &mut projected);
        let rows = self.rows_with(left);
        let radius = |position: usize| radii[narrowed.left(position as u32) as usize];
        let floors = (0..radii.len())
            .map(|position| rows.floor(&narrowed.pairs, position, radius(position)))
            .collect();
        let balls = Balls { narrowed: &narrowed, rows, radii, floors, visit };
        progress.start("balls", centres.nrows() as u64, "balls");
        let refuse = |ball: u32, _| narrowed.pairs.left.outside.binary_search(&ball).is_ok();
        narrowed.pairs.run(&balls, refuse, progress)?;
        progress.finish();
        for &ball in &outside {
            check_stop(progress, String::new)?;
            (0..self.features.nrows()).into_par_iter().with_min_len(DIRECT_CHUNK).for_each(|row| {
                balls.settle(ball, row as u32);
            });
        }
        Ok(())
    }
}

/// Passes the pairs that are inside to the visitor.
struct Balls<'a> {
    narrowed: &'a Narrowed<'a>,
    rows: Rows<'a>,
    radii: &'a [f64],
    /// By position.
    floors: Vec<f32>,
    visit: &'a Visit<'a>,
}

impl Balls<'_> {
    fn settle(&self, ball: u32, row: u32) {
        let radius = self.radii[ball as usize];
        let limit = radius * radius * (1.0 + LIMIT_MARGIN);
        if let Some(squared) = self.rows.squared_within(ball, row, limit) {
            let distance = squared.sqrt();
            if distance <= radius {
                (self.visit)(ball, row, distance);
            }
        }
    }
}

impl Receiver for Balls<'_> {
    fn floors(&self, positions: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.floors[positions]);
    }

    fn offer(&self, _: Range<usize>, pairs: impl Iterator<Item = (u32, u32, f32)>, _: &mut [f32]) {
        for (ball, row, _) in pairs {
            let (ball_number, row_number) = (self.narrowed.left(ball), self.narrowed.right(row));
            let limit = self.radii[ball_number as usize] * self.rows.scale;
            if !self.narrowed.certainly_apart(ball, row, limit) {
                self.settle(ball_number, row_number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::distance::squared_l2;
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;
    use proptest::prelude::*;
    use std::sync::Mutex;

    /// What is visited; the same by products of whole rows and of a principal component.
    fn visited(set: &Array2<f32>, centres: &Array2<f32>, radii: &[f64]) -> Vec<(u32, u32, u64)> {
        let index = || ExactIndex::new(set.clone().into_shared()).unwrap();
        let by_rows = visited_by(&index(), centres, radii);
        assert_eq!(by_rows, visited_by(&index().with_components(1), centres, radii));
        by_rows
    }

    fn visited_by(index: &ExactIndex, centres: &Array2<f32>, radii: &[f64]) -> Vec<(u32, u32, u64)> {
        let found = Mutex::new(Vec::new());
        let visit = |ball, row, distance: f64| found.lock().unwrap().push((ball, row, distance.to_bits()));
        index.visit_within(centres.view(), radii, &visit, &Silent).unwrap();
        let mut found = found.into_inner().unwrap();
        found.sort_unstable();
        found
    }

    fn brute(set: &Array2<f32>, centres: &Array2<f32>, radii: &[f64]) -> Vec<(u32, u32, u64)> {
        let mut found = Vec::new();
        for (ball, radius) in radii.iter().enumerate() {
            for row in 0..set.nrows() {
                let (a, b) = (centres.row(ball).to_vec(), set.row(row).to_vec());
                let distance = squared_l2(&a, &b).sqrt();
                if distance <= *radius {
                    found.push((ball as u32, row as u32, distance.to_bits()));
                }
            }
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_pairs_inside_are_those_of_brute_force_ties_included(
            set in prop::collection::vec(-3i8..4, 3..900),
            centres in prop::collection::vec(-3i8..4, 3..300),
            offset in prop::sample::select(vec![0.0f32, 1e4]),
        ) {
            let matrix = |values: &[i8]| {
                let rows = values.len() / 3;
                Array2::from_shape_fn((rows, 3), |(i, j)| offset + f32::from(values[3 * i + j]))
            };
            let (set, centres) = (matrix(&set), matrix(&centres));
            let radii: Vec<f64> = (0..centres.nrows()).map(|i| ((i % 7) as f64).sqrt()).collect();
            prop_assert_eq!(visited(&set, &centres, &radii), brute(&set, &centres, &radii));
        }
    }

    #[test]
    fn a_ball_far_outside_the_set_is_compared_directly() {
        let set = Array2::from_shape_vec((3, 1), vec![1e-20f32, -1e-20, 0.0]).unwrap();
        let centres = Array2::from_shape_vec((2, 1), vec![1.0f32, 1e-20]).unwrap();
        let radii = [2.0, 1e-20];
        let found = visited(&set, &centres, &radii);
        assert_eq!(found, brute(&set, &centres, &radii));
        assert_eq!(found.iter().filter(|pair| pair.0 == 0).count(), 3);
    }

    #[test]
    fn radii_that_are_no_radii_are_refused() {
        let set = Array2::<f32>::zeros((2, 2));
        let index = ExactIndex::new(set.clone().into_shared()).unwrap();
        for radii in [&[1.0][..], &[1.0, -1.0], &[f64::NAN, 1.0], &[f64::INFINITY, 1.0]] {
            assert!(index.visit_within(set.view(), radii, &|_, _, _| {}, &Silent).is_err());
        }
        let wide = Array2::<f32>::zeros((2, 3));
        assert!(index.visit_within(wide.view(), &[1.0, 1.0], &|_, _, _| {}, &Silent).is_err());
    }
}
