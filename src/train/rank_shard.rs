//! Which rows of a batch each rank of a data-parallel run works on. Every rank draws the whole batch and takes its own rows, so that
//! the number of ranks changes no draw.

use super::collective::Ranks;
use crate::error::{Error, Result};
use crate::ops::all_reduce::Reducer;
use crate::remedy::Remedy;
use crate::runs::Shard;
use candle_core::Tensor;
use ndarray::{Array2, ArrayView2};

/// The rows of a batch that this rank works on, and the ranks that work on the others.
#[derive(Debug, Clone)]
pub struct RankShard {
    batch: usize,
    rows: Vec<usize>,
    ranks: Ranks,
}

impl RankShard {
    /// This rank's rows of batches of `batch` images of which `group` belong together, as `Discriminator::group` has it: as many whole
    /// groups as every other rank has.
    ///
    /// # Errors
    /// [`Error::Usage`] if the batch cannot be split evenly.
    pub fn new(batch: usize, group: usize, ranks: &Ranks) -> Result<Self> {
        let (group, size) = (group.max(1), ranks.size());
        let groups = batch / group;
        if size > 1 && (!batch.is_multiple_of(group) || !groups.is_multiple_of(size)) {
            let (whole, unit) = match group {
                1 => (String::new(), size),
                _ => (format!(" in groups of {group} that belong together"), group * size),
            };
            return Err(Error::usage(
                format!("a batch of {batch} cannot be split evenly over {size} ranks{whole}"),
                Remedy::BatchMultipleOf(unit),
            ));
        }
        let own = Shard::new(ranks.rank(), size)?.range(groups);
        let rows = (0..batch).filter(|row| size == 1 || own.contains(&(row % groups))).collect();
        Ok(Self { batch, rows, ranks: Ranks::clone(ranks) })
    }

    /// The same rows as far as they are among the first `count` of the batch.
    pub fn first(&self, count: usize) -> RankShard {
        let rows = self.rows.iter().copied().filter(|row| *row < count).collect();
        RankShard { batch: count, rows, ranks: Ranks::clone(&self.ranks) }
    }

    /// Rows of the whole batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The ranks.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// The ranks as networks take them, for statistics of the whole batch.
    pub fn reducer(&self) -> Reducer {
        self.ranks.clone()
    }

    /// This rank's images of a step, counted over the run.
    pub fn images_of_step(&self, step: u64) -> Vec<u64> {
        self.rows.iter().map(|&row| step * self.batch as u64 + row as u64).collect()
    }

    /// This rank's values of those of a batch.
    pub fn select<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.rows.iter().map(|&row| values[row]).collect()
    }

    /// This rank's rows of a tensor `[batch, …]`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn select_rows(&self, values: &Tensor) -> Result<Tensor> {
        if self.rows.len() == self.batch {
            return Ok(values.clone());
        }
        let rows: Vec<u32> = self.rows.iter().map(|&row| row as u32).collect();
        Ok(values.index_select(&Tensor::new(rows, values.device())?, 0)?)
    }

    /// The rows `[batch, D]` of the whole batch, of which each rank has its own.
    pub fn gather_rows(&self, own: ArrayView2<f64>) -> Array2<f64> {
        let width = own.ncols();
        let mut all = vec![0.0; self.batch * width];
        for (&row, values) in self.rows.iter().zip(own.outer_iter()) {
            all[row * width..(row + 1) * width].iter_mut().zip(values).for_each(|(all, value)| *all = *value);
        }
        self.ranks.all_reduce_sum_f64(&mut all);
        Array2::from_shape_fn((self.batch, width), |(row, column)| all[row * width + column])
    }

    /// The values of the whole batch, of which each rank has those of its rows.
    pub fn gather(&self, own: &[f64]) -> Vec<f64> {
        let mut all = vec![0.0; self.batch];
        for (&row, &value) in self.rows.iter().zip(own) {
            all[row] = value;
        }
        self.ranks.all_reduce_sum_f64(&mut all);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::all_reduce::AllReduce;
    use crate::train::collective::Collective;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A rank without others to speak to.
    #[derive(Debug)]
    struct Mute {
        rank: usize,
        size: usize,
    }

    impl AllReduce for Mute {
        fn size(&self) -> usize {
            self.size
        }
        fn all_reduce_sum(&self, _: &mut [f32]) {}
        fn all_reduce_sum_f64(&self, _: &mut [f64]) {}
    }

    impl Collective for Mute {
        fn rank(&self) -> usize {
            self.rank
        }
        fn abort(&self, _: u8) {}
    }

    fn rows(batch: usize, group: usize, rank: usize, size: usize) -> Result<Vec<usize>> {
        let ranks: Ranks = Arc::new(Mute { rank, size });
        Ok(RankShard::new(batch, group, &ranks)?.rows)
    }

    proptest! {
        #[test]
        fn every_row_is_on_one_rank_in_order_and_groups_stay_whole(
            size in 1usize..7, group in 1usize..7, each in 1usize..6
        ) {
            let groups = each * size;
            let batch = groups * group;
            let mut all = Vec::new();
            for rank in 0..size {
                let own = rows(batch, group, rank, size).unwrap();
                prop_assert_eq!(own.len(), batch / size);
                prop_assert!(own.is_sorted());
                // The discriminator takes image i of its own batch for one of group i % (batch / group).
                for (i, row) in own.iter().enumerate() {
                    for (j, other) in own.iter().enumerate() {
                        prop_assert_eq!(i % each == j % each, row % groups == other % groups);
                    }
                }
                if group == 1 {
                    prop_assert_eq!(own.last().unwrap() - own[0], own.len() - 1);
                }
                all.extend(own);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..batch).collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_groups_of_even_size_each_rank_has_as_many_rows_in_the_first_half() {
        let ranks: Ranks = Arc::new(Mute { rank: 1, size: 3 });
        let shard = RankShard::new(24, 4, &ranks).unwrap();
        assert_eq!(shard.rows, [2, 3, 8, 9, 14, 15, 20, 21]);
        assert_eq!(shard.first(12).rows, [2, 3, 8, 9]);
    }

    #[test]
    fn what_cannot_be_split_is_refused_by_name() {
        let error = rows(10, 1, 0, 4).unwrap_err();
        assert!(error.to_string().contains("a batch of 10 cannot be split evenly over 4 ranks"), "{error}");
        assert!(error.hint().unwrap().contains("BatchMultipleOf(4)"));
        let error = rows(12, 4, 1, 2).unwrap_err();
        assert!(error.to_string().contains("groups of 4") && matches!(error, Error::Usage { .. }), "{error}");
        assert!(error.hint().unwrap().contains("BatchMultipleOf(8)"));
        assert!(rows(10, 4, 0, 2).is_err());
        // One rank takes any batch.
        assert_eq!(rows(10, 4, 0, 1).unwrap(), (0..10).collect::<Vec<_>>());
    }
}
