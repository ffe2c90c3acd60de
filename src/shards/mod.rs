//! How work is cut: inputs in chunks of fixed size, each finished or not, kept in a directory until all are there.
//! Chunks are the unit of interruption now and of several machines later; where one ends never shows in a result.
//! A chunk is finished when its record is in place, which is written last.

mod partial;

pub use partial::Partial;

use std::ops::Range;

/// Where in its output directory an unfinished run keeps its chunks.
pub const PARTIAL: &str = "partial";

/// Inputs per chunk.
pub const CHUNK: usize = 1024;

/// How many chunks `inputs` make.
pub fn count(inputs: usize) -> usize {
    inputs.div_ceil(CHUNK)
}

/// The inputs of chunk `index` of a set of `inputs`.
pub fn range(index: usize, inputs: usize) -> Range<usize> {
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
    }
}
