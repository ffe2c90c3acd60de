//! The chunks of a set of inputs: at most [`CHUNK`] inputs each, and where the set is made of archives, of one archive each.

use super::{CHUNK, Shard};
use std::ops::Range;

/// The chunks of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Where each ends, in inputs.
    ends: Vec<usize>,
}

impl Chunks {
    /// Of a set whose sections end at `ends`, ascending: no chunk crosses an end.
    pub(crate) fn of_sections(ends: &[usize]) -> Self {
        let mut start = 0;
        let mut chunks = Vec::new();
        for &end in ends {
            chunks.extend((start + CHUNK..end).step_by(CHUNK));
            chunks.extend((end > start).then_some(end));
            start = end;
        }
        Self { ends: chunks }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The inputs of chunk `index`; empty, at the end, for one beyond the last.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        let end = |count: usize| match count {
            0 => 0,
            count => self.ends.get(count - 1).or(self.ends.last()).copied().unwrap_or(0),
        };
        end(index)..end(index + 1)
    }

    /// The chunks and the inputs of a shard.
    pub(crate) fn of_shard(&self, shard: Shard) -> (Range<usize>, Range<usize>) {
        let chunks = shard.range(self.count());
        let inputs = self.range(chunks.start).start..self.range(chunks.end).start;
        (chunks, inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_section_is_cut_as_rows_are(inputs in 0usize..10_000, count in 1usize..20) {
            let chunks = Chunks::of_sections(&[inputs]);
            prop_assert_eq!(chunks.count(), runs::count(inputs));
            for index in 0..chunks.count() + 2 {
                prop_assert_eq!(chunks.range(index), runs::range(index, inputs));
            }
            for index in 0..count {
                let shard = Shard { index, count };
                prop_assert_eq!(chunks.of_shard(shard), runs::of_shard(shard, inputs));
            }
        }

        #[test]
        fn chunks_cover_every_input_once_and_cross_no_end(lengths in prop::collection::vec(0usize..3_000, 0..8)) {
            let ends: Vec<usize> =
                lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }).collect();
            let chunks = Chunks::of_sections(&ends);
            let mut next = 0;
            for index in 0..chunks.count() {
                let range = chunks.range(index);
                prop_assert!(range.start == next && !range.is_empty() && range.len() <= CHUNK);
                prop_assert!(!ends.iter().any(|&end| range.start < end && end < range.end));
                next = range.end;
            }
            prop_assert_eq!(next, ends.last().copied().unwrap_or(0));
        }
    }
}
