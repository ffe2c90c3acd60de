//! Which rows go into which graph. Of equal rows only one is in a graph; the answer names its copies too.

use crate::neighbors::exact::groups::RowGroups;
use crate::runs::{self, Shard};
use std::ops::Range;

/// Rows below which a graph is not split further.
const LEAST_ROWS_OF_A_PART: usize = 1000;

/// The rows of each graph: one row of each group of equal rows, taken in turns so that every graph has rows of all of the set.
pub(super) fn shares(groups: &RowGroups, parts: usize) -> Vec<Vec<u32>> {
    let firsts: Vec<u32> = groups.firsts().collect();
    let parts = parts.min(firsts.len() / LEAST_ROWS_OF_A_PART).max(1);
    (0..parts).map(|part| firsts.iter().copied().skip(part).step_by(parts).collect()).collect()
}

/// The rows of the shards that have any, of `count` shards of `rows`.
pub(super) fn ranges(count: usize, rows: usize) -> impl Iterator<Item = Range<u32>> {
    (0..count)
        .map(move |index| runs::of_shard(Shard { index, count }, rows).1)
        .filter(|range| !range.is_empty())
        .map(|range| range.start as u32..range.end as u32)
}

/// The rows of each graph of an index that was built in `count` shards: one row of each group of equal rows of a shard.
pub(super) fn shares_of_shards(groups: &RowGroups, count: usize, rows: usize) -> Vec<Vec<u32>> {
    ranges(count, rows).map(|range| groups.firsts_within(range).collect()).collect()
}
