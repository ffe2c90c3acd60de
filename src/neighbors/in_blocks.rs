//! Exact neighbours of some rows in a set that is read block after block: memory does not grow with the set.
//! Each block is searched exactly, and what is found is merged by (distance, row): the answer of one search of the whole.

use super::{ExactIndex, Merging, NeighborIndex, Neighbors, Search};
use crate::error::Result;
use crate::progress::{Progress, Silent};
use ndarray::{Array2, ArrayView2};
use std::ops::Range;

/// The `k` nearest other rows of `queries` `[Q, D]`, which are the rows `own` of the set. `blocks` are the set, in order: each
/// is given the number of its first row, and has more than `k` rows. Tells of each query once for each block.
///
/// # Errors
/// What reading a block returns; as [`NeighborIndex::search`].
pub fn search_in_blocks(
    queries: ArrayView2<f32>,
    own: Range<usize>,
    k: usize,
    blocks: impl Iterator<Item = Result<(usize, Array2<f32>)>>,
    progress: &dyn Progress,
) -> Result<Neighbors> {
    let search = Search { k, skip_zero: false };
    let mut merging = Merging::new(own.len(), k);
    for block in blocks {
        let (first, rows) = block?;
        let inside = first..first + rows.nrows();
        let exclude: Vec<Option<u32>> =
            own.clone().map(|row| inside.contains(&row).then(|| (row - first) as u32)).collect();
        let index = ExactIndex::new(rows.into_shared())?;
        let found = index.search(queries, Some(&exclude), search, &Silent)?;
        for q in 0..own.len() {
            let (rows, distances) = found.of(q);
            merging.offer(q, rows.iter().map(|row| first as u32 + row).zip(distances.iter().copied()));
        }
        progress.advance(own.len() as u64);
    }
    merging.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use ndarray::s;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_answer_is_that_of_one_search(
            values in prop::collection::vec(-3i8..4, 60..120),
            cuts in 1usize..4,
            from in 0usize..10,
        ) {
            // Few different values: ties and copies are common.
            let rows = values.len() / 2;
            let features = Array2::from_shape_fn((rows, 2), |(i, j)| f32::from(values[2 * i + j]));
            let k = 5;
            let own = from..rows - 7;
            let blocks = (0..cuts).map(|i| {
                let range = i * rows / cuts..(i + 1) * rows / cuts;
                Ok((range.start, features.slice(s![range, ..]).to_owned()))
            });
            let queries = features.slice(s![own.clone(), ..]);
            let found = search_in_blocks(queries, own.clone(), k, blocks, &Silent).unwrap();
            let whole = ExactIndex::new(features.clone().into_shared()).unwrap();
            let whole = whole.search_self(Search { k, skip_zero: false }, &Silent).unwrap();
            for (q, row) in own.enumerate() {
                prop_assert_eq!(found.of(q), whole.of(row));
            }
        }
    }
}
