//! Rows with the same content: the pairs at distance exactly zero, found by hashing instead of by distance.
//! A squared difference of two different float32 values never underflows float64, so equal content is the only way to 0.
//! Exact search passes over them with `skip_zero`; the graph of HNSW holds one of each group.

use ndarray::ArrayView2;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

/// Which rows of a set have the same content.
pub(super) struct RowGroups {
    /// The first row with the content of each row.
    first: Vec<u32>,
    /// All rows of each group of at least two, ascending, by its first row.
    members: HashMap<u32, Vec<u32>>,
    /// Hash and first row of each group, sorted.
    by_hash: Vec<(u64, u32)>,
}

impl RowGroups {
    /// Groups the rows of `features` `[N, D]`.
    pub fn of(features: ArrayView2<f32>) -> Self {
        let hashes: Vec<u64> = (0..features.nrows())
            .into_par_iter()
            .map(|row| content_hash(features.row(row).iter().copied()))
            .collect();
        let mut by_hash: Vec<(u64, u32)> = hashes.into_iter().zip(0..).collect();
        by_hash.par_sort_unstable();
        let mut first: Vec<u32> = (0..features.nrows() as u32).collect();
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for run in by_hash.chunk_by(|a, b| a.0 == b.0) {
            let mut leaders: Vec<u32> = Vec::new();
            for &(_, row) in run {
                let content = features.row(row as usize);
                match leaders.iter().find(|&&leader| features.row(leader as usize) == content) {
                    Some(&leader) => {
                        first[row as usize] = leader;
                        members.entry(leader).or_insert_with(|| vec![leader]).push(row);
                    }
                    None => leaders.push(row),
                }
            }
        }
        by_hash.retain(|&(_, row)| first[row as usize] == row);
        RowGroups { first, members, by_hash }
    }

    /// The first row with the content of `row`.
    pub fn first(&self, row: u32) -> u32 {
        self.first[row as usize]
    }

    /// The first row of every group, ascending.
    pub fn firsts(&self) -> impl Iterator<Item = u32> {
        self.firsts_within(0..self.first.len() as u32)
    }

    /// The first row within `range` of every group that has one there, ascending.
    pub fn firsts_within(&self, range: Range<u32>) -> impl Iterator<Item = u32> {
        let start = range.start;
        range.filter(move |&row| {
            let first = self.first(row);
            let members = self.members(&first);
            members.get(members.partition_point(|&member| member < start)) == Some(&row)
        })
    }

    /// All rows of the group whose first row is `first`, ascending.
    pub fn members<'a>(&'a self, first: &'a u32) -> &'a [u32] {
        self.members.get(first).map_or(std::slice::from_ref(first), Vec::as_slice)
    }

    /// The first row of `features` with the content of `query`.
    pub fn find(&self, features: ArrayView2<f32>, query: &[f32]) -> Option<u32> {
        let hash = content_hash(query.iter().copied());
        let start = self.by_hash.partition_point(|&(other, _)| other < hash);
        self.by_hash[start..]
            .iter()
            .take_while(|&&(other, _)| other == hash)
            .map(|&(_, row)| row)
            .find(|&row| features.row(row as usize).iter().eq(query))
    }
}

fn content_hash(row: impl Iterator<Item = f32>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in row {
        // Adding zero gives both zeros the same bits.
        hasher.write_u32((value + 0.0).to_bits());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn equal_rows_share_their_first_row_and_both_zeros_are_equal() {
        let features = array![[0.0f32, 1.0], [2.0, 3.0], [-0.0, 1.0], [4.0, 5.0], [2.0, 3.0], [0.0, 1.0]];
        let groups = RowGroups::of(features.view());
        assert_eq!((0..6).map(|row| groups.first(row)).collect::<Vec<_>>(), [0, 1, 0, 3, 1, 0]);
        assert_eq!(groups.firsts().collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(groups.firsts_within(1..5).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(groups.firsts_within(4..6).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(groups.members(&0), [0, 2, 5]);
        assert_eq!(groups.members(&3), [3]);
        assert_eq!(groups.find(features.view(), &[2.0, 3.0]), Some(1));
        assert_eq!(groups.find(features.view(), &[2.0, 3.5]), None);
    }
}
