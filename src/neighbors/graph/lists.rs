//! The nearest nodes found so far of each node. Many threads improve them at once.
//! A list holds the smallest of all that it was ever offered, so it does not depend on the order in which they came.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Lists that share a lock.
const CHUNK: usize = 16;
/// An entry that is not taken: it sorts after all others.
const FREE: u64 = u64::MAX;
/// No node.
pub(super) const ABSENT: u32 = u32::MAX;

/// For each node the `width` nearest others so far.
pub(super) struct Lists {
    width: usize,
    /// Entries `[CHUNK, width]`, each list ascending: the bits of a squared distance, which order as it does, above those of the node.
    chunks: Vec<Mutex<Box<[u64]>>>,
    /// The bits of the largest distance of each full list; infinity before.
    limits: Vec<AtomicU32>,
}

impl Lists {
    /// Empty lists of `count` nodes.
    pub(super) fn new(count: usize, width: usize) -> Self {
        let chunk = || Mutex::new(vec![FREE; CHUNK * width].into_boxed_slice());
        let limit = || AtomicU32::new(f32::INFINITY.to_bits());
        Lists {
            width,
            chunks: std::iter::repeat_with(chunk).take(count.div_ceil(CHUNK)).collect(),
            limits: std::iter::repeat_with(limit).take(count).collect(),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The squared distance above which nothing is kept for `node`. It may fall at any time and never rises.
    pub(super) fn limit(&self, node: u32) -> f32 {
        f32::from_bits(self.limits[node as usize].load(Ordering::Relaxed))
    }

    /// Removes those from `others` that the list of `node` holds.
    pub(super) fn retain_unlisted(&self, node: u32, others: &mut Vec<u32>) {
        let (chunk, at) = (node as usize / CHUNK, node as usize % CHUNK);
        let chunk = self.chunks[chunk].lock().unwrap_or_else(PoisonError::into_inner);
        let list = &chunk[at * self.width..][..self.width];
        others.retain(|&other| !list.iter().fold(false, |found, &kept| found | (kept as u32 == other)));
    }

    /// Offers other nodes at their squared distances, not negative, to the list of `node`.
    pub(super) fn offer(&self, node: u32, others: &[(u32, f32)]) {
        let limit = self.limit(node);
        if others.iter().all(|&(_, squared)| squared > limit) {
            return;
        }
        let (chunk, at) = (node as usize / CHUNK, node as usize % CHUNK);
        let mut chunk = self.chunks[chunk].lock().unwrap_or_else(PoisonError::into_inner);
        let list = &mut chunk[at * self.width..][..self.width];
        for &(other, squared) in others {
            let entry = u64::from(squared.to_bits()) << 32 | u64::from(other);
            let place = list.partition_point(|&kept| kept < entry);
            if place < self.width && list[place] != entry {
                list.copy_within(place..self.width - 1, place + 1);
                list[place] = entry;
            }
        }
        let last = list[self.width - 1];
        if last != FREE {
            self.limits[node as usize].store((last >> 32) as u32, Ordering::Relaxed);
        }
    }

    /// All lists, nearest first, `[count, width]`; [`ABSENT`] where a list is not full.
    pub(super) fn nodes(&self) -> Vec<u32> {
        let mut nodes = Vec::with_capacity(self.limits.len() * self.width);
        for chunk in &self.chunks {
            // The lower half of a free entry is no node.
            nodes.extend(
                chunk.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|&entry| entry as u32),
            );
        }
        nodes.truncate(self.limits.len() * self.width);
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_the_sorted_prefix_of_what_it_was_offered(
            offers in prop::collection::vec(0u32..9, 0..40), width in 1usize..7,
        ) {
            let lists = Lists::new(CHUNK + 2, width);
            // A node is offered at the same distance each time, and some are equally far.
            let distance = |other: u32| (other % 4) as f32 / 3.0;
            let offers: Vec<(u32, f32)> = offers.into_iter().map(|other| (other, distance(other))).collect();
            for together in offers.chunks(3) {
                lists.offer(CHUNK as u32 + 1, together);
            }
            let mut expected: Vec<(f32, u32)> = offers.iter().map(|&(other, squared)| (squared, other)).collect();
            expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
            expected.dedup();
            let limit = expected.get(width - 1).map_or(f32::INFINITY, |last| last.0);
            prop_assert_eq!(lists.limit(CHUNK as u32 + 1), limit);
            let mut nodes: Vec<u32> = expected.into_iter().take(width).map(|entry| entry.1).collect();
            nodes.resize(width, ABSENT);
            let all = lists.nodes();
            prop_assert_eq!(all.len(), (CHUNK + 2) * width);
            prop_assert_eq!(&all[(CHUNK + 1) * width..], &nodes[..]);
            prop_assert!(all[..(CHUNK + 1) * width].iter().all(|&node| node == ABSENT));
        }
    }
}
