//! Running top-k lists: of approximate keys while blocks are multiplied, of exact distances at the end.
//! Ties are broken by row, so a list is a set that does not depend on the order of its arrivals.
//! The approximate lists of a chunk of rows lie side by side, as one allocation.

use std::collections::BinaryHeap;

/// The threshold of a list that is not full: below every threshold that a full one can have, yet far enough from the end
/// of float32 that adding a padding row's half norm ([`f32::MAX`]) gives neither infinity minus infinity nor an acceptance.
pub(super) const ACCEPT_ALL: f32 = -f32::MAX / 2.0;
/// The threshold of a row that takes no further partner.
pub(super) const NOTHING_PASSES: f32 = f32::MAX;

/// For each row of a chunk, the `capacity` smallest (key, row) seen so far.
pub(super) struct CandidateLists {
    capacity: usize,
    /// A max-heap per row, `[rows, capacity]`: the ordered bits of the key above those of the row.
    entries: Vec<u64>,
    lengths: Vec<u32>,
    /// Minus the largest key of each full list, else [`ACCEPT_ALL`].
    floors: Vec<f32>,
}

impl CandidateLists {
    pub(super) fn new(rows: usize, capacity: usize) -> Self {
        CandidateLists {
            capacity,
            entries: vec![0; rows * capacity],
            lengths: vec![0; rows],
            floors: vec![ACCEPT_ALL; rows],
        }
    }

    /// Minus the largest key of each full list: a new key `h - product` can only matter if `product > h + floor`.
    pub(super) fn floors(&self) -> &[f32] {
        &self.floors
    }

    /// The rows kept for `list`, in no order.
    pub(super) fn rows(&self, list: usize) -> impl Iterator<Item = u32> {
        let start = list * self.capacity;
        self.entries[start..start + self.lengths[list] as usize].iter().map(|&entry| entry as u32)
    }

    /// The largest key kept, once something had to be left out of `list` or could have been; `None` while it is not full.
    pub(super) fn largest_key(&self, list: usize) -> Option<f32> {
        (self.lengths[list] as usize == self.capacity).then(|| -self.floors[list])
    }

    /// Offers `row` with `key` to `list`.
    pub(super) fn offer(&mut self, list: usize, key: f32, row: u32) {
        let start = list * self.capacity;
        let heap = &mut self.entries[start..start + self.capacity];
        let entry = u64::from(ordered_bits(key)) << 32 | u64::from(row);
        let length = self.lengths[list] as usize;
        if length < self.capacity {
            heap[length] = entry;
            let mut child = length;
            while child > 0 && heap[(child - 1) / 2] < heap[child] {
                heap.swap(child, (child - 1) / 2);
                child = (child - 1) / 2;
            }
            self.lengths[list] += 1;
            if length + 1 < self.capacity {
                return;
            }
        } else {
            if entry >= heap[0] {
                return;
            }
            let mut hole = 0;
            loop {
                let mut child = 2 * hole + 1;
                if child >= heap.len() {
                    break;
                }
                if child + 1 < heap.len() && heap[child + 1] > heap[child] {
                    child += 1;
                }
                if heap[child] <= entry {
                    break;
                }
                heap[hole] = heap[child];
                hole = child;
            }
            heap[hole] = entry;
        }
        self.floors[list] = -key_of(heap[0]);
    }
}

/// Bits that order as the floats do.
fn ordered_bits(key: f32) -> u32 {
    let bits = key.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn key_of(entry: u64) -> f32 {
    let bits = (entry >> 32) as u32;
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

/// The `k` nearest by (distance, row).
pub(in crate::neighbors) struct Nearest {
    k: usize,
    /// Bits of a distance that is not negative order as the distance does.
    heap: BinaryHeap<(u64, u32)>,
}

impl Nearest {
    pub(crate) fn new(k: usize) -> Self {
        Nearest { k, heap: BinaryHeap::with_capacity(k + 1) }
    }

    /// Offers `row` at `distance`, which is finite and not negative.
    pub(crate) fn offer(&mut self, distance: f64, row: u32) {
        // Adding zero turns a negative zero, whose bits would sort last, into the positive one.
        let entry = ((distance + 0.0).to_bits(), row);
        if self.heap.len() < self.k {
            self.heap.push(entry);
        } else if self.heap.peek().is_some_and(|worst| entry < *worst) {
            self.heap.pop();
            self.heap.push(entry);
        }
    }

    /// The distance that a further row must not exceed, once `k` are known.
    pub(crate) fn worst(&self) -> Option<f64> {
        (self.heap.len() == self.k).then(|| self.heap.peek().map(|&(bits, _)| f64::from_bits(bits))).flatten()
    }

    /// Nearest first.
    pub(crate) fn into_sorted(self) -> Vec<(f64, u32)> {
        self.heap.into_sorted_vec().into_iter().map(|(bits, row)| (f64::from_bits(bits), row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_candidate_list_is_the_sorted_prefix(keys in prop::collection::vec(-4i8..5, 0..60), capacity in 1usize..9) {
            let mut lists = CandidateLists::new(2, capacity);
            for (row, key) in keys.iter().enumerate() {
                lists.offer(1, f32::from(*key) / 3.0, row as u32);
            }
            let mut expected: Vec<(i8, u32)> = keys.iter().zip(0..).map(|(key, row)| (*key, row)).collect();
            expected.sort_unstable();
            expected.truncate(capacity);
            let mut kept: Vec<u32> = lists.rows(1).collect();
            kept.sort_unstable();
            let mut rows: Vec<u32> = expected.iter().map(|e| e.1).collect();
            rows.sort_unstable();
            prop_assert_eq!(kept, rows);
            let largest = (keys.len() >= capacity).then(|| f32::from(expected[capacity - 1].0) / 3.0);
            prop_assert_eq!(lists.largest_key(1), largest);
            prop_assert_eq!(lists.rows(0).count(), 0);
        }

        #[test]
        fn the_nearest_are_the_sorted_prefix(distances in prop::collection::vec(0u8..6, 0..40), k in 1usize..9) {
            let mut nearest = Nearest::new(k);
            for (row, distance) in distances.iter().enumerate().rev() {
                nearest.offer(f64::from(*distance) * 0.1, row as u32);
            }
            let mut expected: Vec<(f64, u32)> =
                distances.iter().zip(0..).map(|(d, row)| (f64::from(*d) * 0.1, row)).collect();
            expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
            expected.truncate(k);
            prop_assert_eq!(nearest.worst(), (distances.len() >= k).then(|| expected[k - 1].0));
            prop_assert_eq!(nearest.into_sorted(), expected);
        }
    }
}
