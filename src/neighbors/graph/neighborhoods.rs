//! The neighbours of each node and its reverse neighbours, and the nodes around a group of nodes.

use super::lists::ABSENT;
use crate::neighbors::walk::Visited;
use crate::ops::simd;

/// How many nodes ahead neighbours are asked for.
const AHEAD: usize = 4;

/// The lists of nearest neighbours as they were at one moment, with some of the reverse neighbours of each node: those that have it in
/// their lists.
pub(super) struct Neighborhoods {
    width: usize,
    /// `[count, width]`, nearest first, [`ABSENT`] where a list is not full.
    nearest: Vec<u32>,
    /// The reverse neighbours of node `i` are `reverse[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    reverse: Vec<u32>,
}

impl Neighborhoods {
    /// Of lists `[count, width]`. Of each node `most` reverse neighbours are kept, those in whose lists it comes first.
    pub(super) fn new(nearest: Vec<u32>, width: usize, most: usize) -> Self {
        let count = nearest.len() / width;
        let mut listed = vec![0usize; count];
        nearest.iter().filter(|&&node| node != ABSENT).for_each(|&node| listed[node as usize] += 1);
        let mut starts = Vec::with_capacity(count + 1);
        starts.push(0);
        for listed in &listed {
            starts.push(starts[starts.len() - 1] + most.min(*listed));
        }
        let mut reverse = vec![ABSENT; starts[count]];
        let mut filled = starts.clone();
        for rank in 0..width {
            for (node, list) in nearest.chunks_exact(width).enumerate() {
                let listed = list[rank];
                if listed != ABSENT && filled[listed as usize] < starts[listed as usize + 1] {
                    reverse[filled[listed as usize]] = node as u32;
                    filled[listed as usize] += 1;
                }
            }
        }
        Neighborhoods { width, nearest, starts, reverse }
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The `most` nearest neighbours of `node`, nearest first.
    pub(super) fn nearest(&self, node: u32, most: usize) -> impl Iterator<Item = u32> {
        let list = &self.nearest[node as usize * self.width..][..self.width.min(most)];
        list.iter().copied().take_while(|&node| node != ABSENT)
    }

    /// Asks for the neighbours of `node`, which are soon followed.
    fn prefetch(&self, node: u32) {
        simd::prefetch(&self.nearest[node as usize * self.width..][..self.width]);
        simd::prefetch(&self.reverse[self.starts[node as usize]..self.starts[node as usize + 1]]);
    }

    /// The reverse neighbours of `node`.
    pub(super) fn reverse(&self, node: u32) -> &[u32] {
        &self.reverse[self.starts[node as usize]..self.starts[node as usize + 1]]
    }
}

/// `group`, the neighbours and reverse neighbours of its nodes, and those of these, ascending. Of each node the `most` nearest are followed.
pub(super) fn around(
    group: &[u32],
    neighborhoods: &Neighborhoods,
    most: usize,
    visited: &mut Visited,
    around: &mut Vec<u32>,
) {
    visited.begin(neighborhoods.count());
    around.clear();
    around.extend(group.iter().copied().filter(|&node| visited.first(node)));
    let mut from = 0;
    for _ in 0..2 {
        let to = around.len();
        for at in from..to {
            if let Some(&soon) = around.get(at + AHEAD) {
                neighborhoods.prefetch(soon);
            }
            let from = around[at];
            for node in neighborhoods.nearest(from, most).chain(neighborhoods.reverse(from).iter().copied()) {
                if visited.first(node) {
                    around.push(node);
                }
            }
        }
        from = to;
    }
    around.sort_unstable();
}
