//! Candidates of exact search from matrix products on a device, as [`super::blocked`] finds them on the CPU.
//! Exact distances and the proof that no neighbour was missed stay on the CPU, so that the answers are the same.
//! Of each block of products the device returns the minima of groups of columns, then the few groups that can matter.

use super::blocked::{Operand, Receiver};
use super::candidates::Lists;
use super::frame::Frame;
use crate::error::Result;
use crate::progress::{Progress, check_stop};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// How the work is cut. It changes the time and nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Queries multiplied at a time.
    pub queries: usize,
    /// Rows of the set multiplied at a time, a multiple of `group`.
    pub rows: usize,
    /// Columns whose smallest key is looked at first.
    pub group: usize,
    /// Queries for which it is worth bringing the whole set to the device.
    pub least: usize,
}

impl Default for Cut {
    /// Two matrices of 256 MB at a time; groups small enough that those fetched are little beside their minima.
    fn default() -> Self {
        Cut { queries: 1024, rows: 65_536, group: 32, least: 256 }
    }
}

/// A product of [`Cut`]: keys `half norm - product` of some queries and all rows of a block.
struct Block {
    queries: Range<usize>,
    rows: Range<usize>,
    /// `[queries, groups, group]`, on the device.
    keys: Tensor,
    groups: usize,
}

pub(super) struct Search<'a> {
    pub device: &'a Device,
    pub cut: Cut,
    pub frame: &'a Frame,
    pub width: usize,
    pub queries: Operand<'a>,
    pub set: Operand<'a>,
}

impl Search<'_> {
    /// Offers the candidates of every query to `lists`, `capacity` of each at least where there are as many, without the pairs that
    /// `refuse` names. Gives for each query a key that no pair that was not offered lies below.
    pub(super) fn run(
        &self,
        lists: &Lists,
        capacity: usize,
        refuse: impl Fn(u32, u32) -> bool + Sync,
        progress: &dyn Progress,
    ) -> Result<Vec<f32>> {
        let (count, set) = (self.queries.half_norms.len(), self.set.half_norms.len());
        let mut bounds = vec![f32::INFINITY; count];
        let blocks = set.div_ceil(self.cut.rows);
        let mut shown = 0;
        for (at, first) in (0..set).step_by(self.cut.rows).enumerate() {
            let rows = first..set.min(first + self.cut.rows);
            let padded = rows.len().next_multiple_of(self.cut.group);
            let operand = self.upload(self.set, rows.clone(), padded)?.t()?;
            let mut half_norms = self.set.half_norms[rows.clone()].to_vec();
            half_norms.resize(padded, f32::INFINITY);
            let half_norms = Tensor::from_vec(half_norms, (1, padded), self.device)?;
            for first in (0..count).step_by(self.cut.queries) {
                check_stop(progress, String::new)?;
                let queries = first..count.min(first + self.cut.queries);
                let products = self.upload(self.queries, queries.clone(), queries.len())?.matmul(&operand)?;
                let groups = padded / self.cut.group;
                let keys = half_norms.broadcast_sub(&products)?;
                let keys = keys.reshape((queries.len(), groups, self.cut.group))?;
                let block = Block { queries: queries.clone(), rows: rows.clone(), keys, groups };
                self.offer(&block, lists, capacity, &refuse, &mut bounds[queries.clone()])?;
                // Every query is met once in each block of rows.
                let done = (at * count + queries.end) / blocks;
                progress.advance((done - shown) as u64);
                shown = done;
            }
        }
        Ok(bounds)
    }

    /// Rows in the frame, `[padded, D]`, zeros behind the last and for rows outside.
    fn upload(&self, operand: Operand<'_>, rows: Range<usize>, padded: usize) -> Result<Tensor> {
        let mut values = vec![0f32; padded * self.width];
        values.par_chunks_mut(self.width).zip(rows.clone()).for_each(|(out, row)| {
            if operand.outside.binary_search(&(row as u32)).is_err() {
                self.frame.project(operand.row(row), 0, out);
            }
        });
        Ok(Tensor::from_vec(values, (padded, self.width), self.device)?)
    }

    fn offer(
        &self,
        block: &Block,
        lists: &Lists,
        capacity: usize,
        refuse: &(impl Fn(u32, u32) -> bool + Sync),
        bounds: &mut [f32],
    ) -> Result<()> {
        let group = self.cut.group;
        // The smallest keys lie in the groups with the smallest minima; one more, since a row does not count for itself.
        let taken = (capacity + 1).min(block.groups);
        let minima = block.keys.min(2)?.flatten_all()?.to_vec1::<f32>()?;
        let mut chosen = vec![0u32; block.queries.len() * taken];
        chosen
            .par_chunks_mut(taken)
            .zip(minima.par_chunks(block.groups))
            .zip(bounds.par_iter_mut())
            .enumerate()
            .for_each_init(Vec::new, |order, (query, ((chosen, minima), bound))| {
                order.clear();
                order.extend(0..block.groups as u32);
                if taken < block.groups {
                    let by_minimum = |a: &u32, b: &u32| minima[*a as usize].total_cmp(&minima[*b as usize]);
                    let (_, first_left, _) = order.select_nth_unstable_by(taken, by_minimum);
                    *bound = bound.min(minima[*first_left as usize]);
                }
                for (chosen, picked) in chosen.iter_mut().zip(&*order) {
                    *chosen = (query * block.groups) as u32 + picked;
                }
            });
        let groups = Tensor::from_slice(&chosen, chosen.len(), self.device)?;
        let keys = block.keys.reshape((block.queries.len() * block.groups, group))?;
        let keys = keys.index_select(&groups, 0)?.flatten_all()?.to_vec1::<f32>()?;
        let chunk = lists.chunk();
        let firsts: Vec<usize> = (block.queries.start / chunk..block.queries.end.div_ceil(chunk))
            .map(|i| (i * chunk).max(block.queries.start))
            .collect();
        firsts.into_par_iter().for_each(|first| {
            let queries = first..block.queries.end.min((first / chunk + 1) * chunk);
            let pairs = queries.clone().flat_map(|query| {
                let within = query - block.queries.start;
                let picked = &chosen[within * taken..(within + 1) * taken];
                picked
                    .iter()
                    .enumerate()
                    .flat_map(move |(i, &picked)| (0..group).map(move |j| (i, picked, j)))
                    .map(move |(i, picked, j)| (within, i, picked as usize - within * block.groups, j))
            });
            let (keys, refuse) = (&keys, &refuse);
            let pairs = pairs.filter_map(move |(within, i, picked, j)| {
                let row = block.rows.start + picked * group + j;
                let query = (block.queries.start + within) as u32;
                let counts = row < block.rows.end && !refuse(query, row as u32);
                counts.then(|| (query, row as u32, keys[(within * taken + i) * group + j]))
            });
            lists.offer(queries.clone(), pairs, &mut vec![0.0; queries.len()]);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::{ExactIndex, NeighborIndex, Search as Wanted};
    use crate::progress::Silent;
    use ndarray::{Array2, Axis};
    use proptest::prelude::*;

    fn features(rows: usize, width: usize, seed: usize, distinct: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, width), |(i, j)| {
            let mixed = ((i % distinct + 1) * 2_654_435_761 + (j + 7) * 40_503 + seed * 97) % 1_000_003;
            100.0 + (mixed as f32 / 1e5).sin() + (mixed % 17) as f32
        })
    }

    const SMALL: Cut = Cut { queries: 7, rows: 24, group: 4, least: 1 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn answers_are_those_of_the_cpu_with_copies_and_exclusions_too(
            rows in 12usize..90, width in 1usize..20, seed in 0usize..1000, distinct in 6usize..90, k in 1usize..6, skip_zero in any::<bool>(),
        ) {
            let set = features(rows, width, seed, distinct).into_shared();
            let cpu = ExactIndex::new(set.clone()).unwrap();
            let composed = ExactIndex::new(set.clone()).unwrap().with_cut(Device::Cpu, SMALL);
            let search = Wanted { k, skip_zero };
            let text = |result: Result<crate::neighbors::Neighbors>| result.map_err(|e| e.to_string());
            prop_assert_eq!(
                text(composed.search_self(search, &Silent)),
                text(cpu.search_self(search, &Silent))
            );
            let queries = features(9, width, seed + 1, 9);
            let queries = ndarray::concatenate![Axis(0), queries, set.select(Axis(0), &[0, 5, 11])];
            let exclude: Vec<Option<u32>> = (0..12).map(|i| (i % 3 == 0).then_some(i)).collect();
            prop_assert_eq!(
                text(composed.search(queries.view(), Some(&exclude), search, &Silent)),
                text(cpu.search(queries.view(), Some(&exclude), search, &Silent))
            );
        }
    }

    #[test]
    fn the_default_cut_gives_the_same_answers_and_queries_far_outside_the_set_are_answered() {
        let set = features(3000, 24, 3, 2500).into_shared();
        let cpu = ExactIndex::new(set.clone()).unwrap();
        let composed = ExactIndex::new(set.clone()).unwrap().with_cut(Device::Cpu, Cut::default());
        let search = Wanted { k: 10, skip_zero: false };
        assert_eq!(composed.search_self(search, &Silent).unwrap(), cpu.search_self(search, &Silent).unwrap());
        let composed = composed.with_cut(Device::Cpu, Cut { least: 1, ..Cut::default() });
        let far = Array2::from_shape_fn((3, 24), |(i, j)| [1e30f32, -2.0, 3e20][i] * (j + 1) as f32);
        let answer = |index: &ExactIndex| index.search(far.view(), None, search, &Silent).unwrap();
        assert_eq!(answer(&composed), answer(&cpu));
    }
}
