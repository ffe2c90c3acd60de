//! The directory of a run ([`RunDir`]), and how work is cut: inputs in chunks of fixed size, each finished or not, kept in a directory until all are there.
//! Chunks are the unit of interruption; shards, contiguous ranges of chunks, that of several machines. Neither shows in a result.
//! A chunk or a part is finished when its record is in place, which is written last.

mod chunks;
mod directory;
mod identity;
mod lock;
mod merge;
mod part;
mod partial;
mod spec;

pub(crate) use chunks::Chunks;
pub(crate) use directory::Opened;
pub use directory::RunDir;

pub(crate) use identity::{COMMAND, MANIFEST, Record, RunIdentity, SUMMARY, VERSION, command_of};
pub(crate) use merge::{Merged, check_whole, files_of, options_of};
pub(crate) use part::{PARTS, Part, Run, all_parts, chunks_of, finished_or, publish, remove_parts};
pub(crate) use partial::{PARTIAL, Partial};
pub(crate) use spec::{RankSource, Shard, ShardRequest};

use std::ops::Range;

/// Inputs per chunk, at most.
pub(crate) const CHUNK: usize = 1024;

/// The chunks and the inputs of a shard of a set of `inputs`, all of one section ([`Chunks`] has the others).
pub(crate) fn of_shard(shard: Shard, inputs: usize) -> (Range<usize>, Range<usize>) {
    let chunks = shard.range(count(inputs));
    let inputs = range(chunks.start, inputs).start..range(chunks.end, inputs).start;
    (chunks, inputs)
}

/// How many chunks `inputs` make.
pub(crate) fn count(inputs: usize) -> usize {
    inputs.div_ceil(CHUNK)
}

/// The inputs of chunk `index` of a set of `inputs`.
pub(crate) fn range(index: usize, inputs: usize) -> Range<usize> {
    (index * CHUNK).min(inputs)..((index + 1) * CHUNK).min(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_cover_every_input_once(inputs in 0usize..10_000) {
            let all: Vec<usize> = (0..count(inputs)).flat_map(|c| range(c, inputs)).collect();
            prop_assert_eq!(all, (0..inputs).collect::<Vec<_>>());
        }

        #[test]
        fn shards_are_made_of_whole_chunks_and_cover_every_input_once(
            inputs in 0usize..40_000,
            count in 1usize..30,
        ) {
            let mut end = 0;
            for index in 0..count {
                let (chunks, covered) = of_shard(Shard { index, count }, inputs);
                let by_chunk: Vec<usize> = chunks.flat_map(|c| range(c, inputs)).collect();
                prop_assert_eq!(covered.clone().collect::<Vec<_>>(), by_chunk);
                prop_assert_eq!(covered.start, end);
                end = covered.end;
            }
            prop_assert_eq!(end, inputs);
        }
    }
}
