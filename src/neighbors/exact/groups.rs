//! Rows with the same content: the pairs at distance exactly zero, found by hashing instead of by distance.
//! A squared difference of two different float32 values never underflows float64, so equal content is the only way to 0.
//! Exact search leaves them out with `skip_zero`; a graph holds one row of each group.
//! Rows are compared by 128 bits of their SHA-256, so that a set can be grouped while it is read, without keeping its content.

use ndarray::ArrayView2;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;

/// 128 bits of the SHA-256 of a row.
pub(in crate::neighbors) type Content = [u64; 2];

/// Which rows of a set have the same content.
pub(in crate::neighbors) struct RowGroups {
    /// The first row with the content of each row.
    first: Vec<u32>,
    /// All rows of each group of at least two, ascending, by its first row.
    members: HashMap<u32, Vec<u32>>,
    /// Content and first row of each group, sorted.
    by_content: Vec<(Content, u32)>,
}

/// The hashed rows of a set that is read block after block, in order.
#[derive(Default)]
pub(in crate::neighbors) struct Contents(Vec<(Content, u32)>);

impl Contents {
    /// Takes the rows that follow, `[n, D]`.
    pub(crate) fn add(&mut self, rows: ArrayView2<f32>) {
        let first = self.0.len();
        let content = |row: usize| (content(rows.row(row).iter().copied()), (first + row) as u32);
        self.0.par_extend((0..rows.nrows()).into_par_iter().map(content));
    }

    /// The groups of all rows.
    pub(crate) fn grouped(self) -> RowGroups {
        let mut by_content = self.0;
        by_content.par_sort_unstable();
        let mut first: Vec<u32> = (0..by_content.len() as u32).collect();
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for group in by_content.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
            let leader = group[0].1;
            group.iter().for_each(|&(_, row)| first[row as usize] = leader);
            members.insert(leader, group.iter().map(|&(_, row)| row).collect());
        }
        by_content.dedup_by_key(|(content, _)| *content);
        RowGroups { first, members, by_content }
    }
}

impl RowGroups {
    /// Groups the rows of `features` `[N, D]`.
    pub(crate) fn of(features: ArrayView2<f32>) -> Self {
        let mut contents = Contents::default();
        contents.add(features);
        contents.grouped()
    }

    /// The first row with the content of `row`.
    pub(crate) fn first(&self, row: u32) -> u32 {
        self.first[row as usize]
    }

    /// The first row of every group, ascending.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = u32> {
        self.firsts_within(0..self.first.len() as u32)
    }

    /// The first row within `range` of every group that has one there, ascending.
    pub(crate) fn firsts_within(&self, range: Range<u32>) -> impl Iterator<Item = u32> {
        let start = range.start;
        range.filter(move |&row| {
            let first = self.first(row);
            let members = self.members(&first);
            members.get(members.partition_point(|&member| member < start)) == Some(&row)
        })
    }

    /// The content of each group, in the order of [`RowGroups::firsts`].
    pub(crate) fn contents(&self) -> Vec<Content> {
        let mut by_row: Vec<(u32, Content)> =
            self.by_content.iter().map(|&(content, row)| (row, content)).collect();
        by_row.par_sort_unstable();
        by_row.into_iter().map(|(_, content)| content).collect()
    }

    /// All rows of the group whose first row is `first`, ascending.
    pub(crate) fn members<'a>(&'a self, first: &'a u32) -> &'a [u32] {
        self.members.get(first).map_or(std::slice::from_ref(first), Vec::as_slice)
    }

    /// The first row with the content of `query`.
    pub(crate) fn find(&self, query: &[f32]) -> Option<u32> {
        let content = content(query.iter().copied());
        let at = self.by_content.binary_search_by(|(other, _)| other.cmp(&content)).ok()?;
        Some(self.by_content[at].1)
    }
}

fn content(row: impl Iterator<Item = f32>) -> Content {
    const BUFFER: usize = 256;
    let mut hasher = Sha256::new();
    let mut buffer = [0; BUFFER];
    let mut filled = 0;
    for value in row {
        if filled == BUFFER {
            hasher.update(buffer);
            filled = 0;
        }
        // Adding zero gives both zeros the same bits.
        buffer[filled..filled + size_of::<f32>()].copy_from_slice(&(value + 0.0).to_le_bytes());
        filled += size_of::<f32>();
    }
    hasher.update(&buffer[..filled]);
    let digest = hasher.finalize();
    let (words, _) = digest.as_chunks::<8>();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

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
        assert_eq!(groups.find(&[2.0, 3.0]), Some(1));
        assert_eq!(groups.find(&[2.0, 3.5]), None);
        let of = |row: usize| content(features.row(row).iter().copied());
        assert_eq!(groups.contents(), [of(0), of(1), of(3)]);
    }

    #[test]
    fn wide_rows_that_differ_in_their_last_value_are_apart_and_rows_may_come_in_blocks() {
        let mut features = Array2::from_shape_fn((7, 131), |(i, j)| ((i % 3) * (j + 1)) as f32);
        features[[6, 130]] += 1.0;
        let whole = RowGroups::of(features.view());
        assert_eq!((0..7).map(|row| whole.first(row)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 6]);
        let mut contents = Contents::default();
        for block in features.axis_chunks_iter(ndarray::Axis(0), 2) {
            contents.add(block);
        }
        let blocks = contents.grouped();
        assert_eq!((blocks.first, blocks.members), (whole.first, whole.members));
        assert_eq!(blocks.by_content, whole.by_content);
    }
}
