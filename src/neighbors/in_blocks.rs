//! Exact neighbours of some rows in a set that is read block after block: memory does not grow with the set.
//! Each block is searched exactly and the answers are merged by (distance, row), which gives the answer of one search of the whole set.

use super::exact::ExactIndex;
use super::merging::Merging;
use super::search::{NeighborIndex, Neighbors, Search, check_search};
use crate::error::Result;
use crate::formats::FeatureRows;
use crate::progress::{Progress, Unreported};
use crate::runs::Shard;
use candle_core::Device;
use ndarray::{ArrayView2, Axis, CowArray};
use std::collections::BTreeMap;
use std::ops::Range;

/// The fewest rows of a block, where the set has as many.
const BLOCK: usize = 1 << 17;

/// The blocks in which a set of `rows` is read.
fn blocks(rows: usize, least: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let count = (rows / least).max(1);
    (0..count).map(move |index| Shard { index, count }.range(rows))
}

/// How often [`search_in_blocks`] advances the progress for each query, in a set of `rows`: once for each block.
pub(crate) fn blocks_of(rows: usize) -> usize {
    blocks(rows, BLOCK).len()
}

/// What [`NeighborIndex::search`] finds for the rows `own` of `features` among the others, which are read in blocks; candidates
/// come from `device`. Each query advances the progress once for each block.
///
/// # Errors
/// What reading returns; as [`NeighborIndex::search`].
pub(crate) fn search_in_blocks(
    features: &mut dyn FeatureRows,
    own: &[usize],
    search: Search,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Neighbors> {
    search_in_blocks_of(BLOCK, features, own, search, device, progress)
}

fn search_in_blocks_of(
    least: usize,
    features: &mut dyn FeatureRows,
    own: &[usize],
    search: Search,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Neighbors> {
    check_search(search)?;
    let queries = features.select(own)?;
    let mut merging = Merging::new(own.len(), search);
    for block in blocks(features.dim().0, least) {
        let index = ExactIndex::new(features.read(block.clone())?.into_shared())?.on(device);
        let inside = |&row: &usize| block.contains(&row).then(|| (row - block.start) as u32);
        let exclude: Vec<Option<u32>> = own.iter().map(inside).collect();
        // A block may have fewer rows that count than are wanted.
        let mut by_wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let counted = index.counted(queries.view(), &exclude, search.skip_zero);
        for (q, counted) in counted.into_iter().enumerate().filter(|(_, counted)| *counted > 0) {
            by_wanted.entry(counted.min(search.k)).or_default().push(q);
        }
        for (k, asked) in by_wanted {
            let exclude: Vec<Option<u32>> = asked.iter().map(|&q| exclude[q]).collect();
            let found = index.search(
                these(queries.view(), &asked).view(),
                Some(&exclude),
                Search { k, ..search },
                &Unreported(progress),
            )?;
            for (at, q) in asked.into_iter().enumerate() {
                let (rows, distances) = found.of(at);
                let rows = rows.iter().map(|row| block.start as u32 + row);
                merging.offer(q, rows.zip(distances.iter().copied()));
            }
        }
        progress.advance(own.len() as u64);
    }
    merging.finish()
}

/// The rows numbered `some`, without a copy where they are all.
fn these<'a>(rows: ArrayView2<'a, f32>, some: &[usize]) -> CowArray<'a, f32, ndarray::Ix2> {
    if some.len() == rows.nrows() { rows.into() } else { rows.select(Axis(0), some).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_answer_is_that_of_one_search(
            values in prop::collection::vec(-3i8..4, 60..120),
            least in 1usize..40,
            k in 1usize..7,
            from in 0usize..10,
            step in 1usize..4,
            skip_zero: bool,
        ) {
            // Few different values: ties and copies are common, and a block may hold nothing but copies.
            let rows = values.len() / 2;
            let mut features =
                Array2::from_shape_fn((rows, 2), |(i, j)| f32::from(values[2 * i + j])).into_shared();
            let search = Search { k, skip_zero };
            let own: Vec<usize> = (from..rows - 7).step_by(step).collect();
            let found = search_in_blocks_of(least, &mut features, &own, search, &Device::Cpu, &Silent).unwrap();
            let whole = ExactIndex::new(features).unwrap().search_self(search, &Silent).unwrap();
            for (q, row) in own.into_iter().enumerate() {
                prop_assert_eq!(found.of(q), whole.of(row));
            }
        }
    }

    #[test]
    fn too_few_rows_that_count_are_an_error_with_the_words_of_one_search() {
        let mut features = Array2::from_shape_fn((12, 1), |(i, _)| (i % 3) as f32).into_shared();
        for (k, skip_zero) in [(12, false), (9, true)] {
            let search = Search { k, skip_zero };
            let error =
                search_in_blocks_of(2, &mut features, &[0, 5], search, &Device::Cpu, &Silent).unwrap_err();
            let whole = ExactIndex::new(features.clone()).unwrap();
            let exclude = [Some(0), Some(5)];
            let queries = features.select(&[0, 5]).unwrap();
            let expected = whole.search(queries.view(), Some(&exclude), search, &Silent).unwrap_err();
            assert_eq!((error.to_string(), error.hint()), (expected.to_string(), expected.hint()));
        }
    }
}
