//! Rows of features that are read when they are needed: from memory, or from files that may be larger than memory.

use crate::error::Result;
use ndarray::{ArcArray2, Array2, Axis, s};
use std::ops::Range;

/// A gap of at most so many bytes is read through, which is faster than another read behind it.
const GAP: usize = 1 << 16;
/// Most bytes of one read when single rows are needed.
const TOGETHER: usize = 1 << 24;

/// Rows `[N, D]` that are read when they are needed.
pub(crate) trait FeatureRows {
    /// N and D.
    fn dim(&self) -> (usize, usize);

    /// Some of the rows, `[n, D]`.
    ///
    /// # Errors
    /// What reading returns.
    fn read(&mut self, range: Range<usize>) -> Result<Array2<f32>>;

    /// All rows in memory.
    ///
    /// # Errors
    /// What reading returns.
    fn whole(&mut self) -> Result<ArcArray2<f32>> {
        Ok(self.read(0..self.dim().0)?.into_shared())
    }

    /// Single rows, ascending, `[n, D]`. Rows that are close to each other are read at once.
    ///
    /// # Errors
    /// What reading returns.
    fn select(&mut self, rows: &[usize]) -> Result<Array2<f32>> {
        let width = self.dim().1;
        let rows_of = |bytes: usize| (bytes / (width.max(1) * size_of::<f32>())).max(1);
        let (gap, most) = (rows_of(GAP), rows_of(TOGETHER));
        let mut selected = Array2::zeros((rows.len(), width));
        let mut at = 0;
        while let Some(&first) = rows.get(at) {
            let steps = rows[at..].windows(2);
            let count =
                1 + steps.take_while(|step| step[1] - step[0] <= gap && step[1] - first < most).count();
            let run = &rows[at..at + count];
            let read = self.read(first..run[count - 1] + 1)?;
            for (row, mut to) in run.iter().zip(selected.slice_mut(s![at.., ..]).outer_iter_mut()) {
                to.assign(&read.row(row - first));
            }
            at += count;
        }
        Ok(selected)
    }
}

impl FeatureRows for ArcArray2<f32> {
    fn dim(&self) -> (usize, usize) {
        self.view().dim()
    }

    fn read(&mut self, range: Range<usize>) -> Result<Array2<f32>> {
        Ok(self.slice(s![range, ..]).to_owned())
    }

    fn whole(&mut self) -> Result<ArcArray2<f32>> {
        Ok(self.clone())
    }

    fn select(&mut self, rows: &[usize]) -> Result<Array2<f32>> {
        Ok(self.view().select(Axis(0), rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rows that are read through [`FeatureRows::read`] alone, with the most read at a time.
    struct Counted(ArcArray2<f32>, usize);

    impl FeatureRows for Counted {
        fn dim(&self) -> (usize, usize) {
            self.0.dim()
        }

        fn read(&mut self, range: Range<usize>) -> Result<Array2<f32>> {
            self.1 = self.1.max(range.len());
            self.0.read(range)
        }
    }

    proptest! {
        // A case takes as much memory as many reads.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn single_rows_are_those_of_the_whole_and_never_many_at_a_time(
            mut rows in prop::collection::vec(0usize..40, 0..30),
        ) {
            rows.sort_unstable();
            // So wide that three rows and a half are read together, and nothing is skipped.
            let width = TOGETHER / size_of::<f32>() * 2 / 7;
            let mut features = Array2::zeros((40, width));
            features.column_mut(width - 1).assign(&ndarray::Array1::from_iter((0..40u8).map(f32::from)));
            let mut counted = Counted(features.into_shared(), 0);
            let selected = counted.select(&rows).unwrap();
            let found: Vec<usize> = selected.column(width - 1).iter().map(|&row| row as usize).collect();
            prop_assert_eq!(found, rows);
            prop_assert!(counted.1 <= 3);
        }
    }

    #[test]
    fn a_gap_is_read_over_where_it_is_short() {
        let features = Array2::from_shape_fn((30_000, 4), |(i, j)| (4 * i + j) as f32).into_shared();
        let gap = GAP / 16;
        let rows = [0, 0, 5, 5 + gap, 6 + 2 * gap, 29_999];
        let mut counted = Counted(features.clone(), 0);
        assert_eq!(counted.select(&rows).unwrap(), features.view().select(Axis(0), &rows));
        assert_eq!(counted.1, 6 + gap);
    }
}
