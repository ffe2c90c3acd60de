//! One graph of neighbours as flat lists, and the walk over it. Ties are broken by node: the same walk every time.

use super::space::Space;
use super::visited::Visited;
use crate::neighbors::distance::squared_l2_f32;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The most layers of a graph, the number that `hnsw_rs` defines. Dumps of earlier versions hold it too.
pub(in crate::neighbors) const LAYERS: usize = 16;
/// Links between nodes, which are numbered by row.
#[derive(Debug, PartialEq)]
pub(crate) struct Graph {
    /// The row of each node, ascending.
    pub(in crate::neighbors) rows: Vec<u32>,
    /// The highest layer of each node.
    pub(in crate::neighbors) levels: Vec<u8>,
    /// Where a walk starts.
    pub(in crate::neighbors) entry: u32,
    /// Links on the lowest layer.
    pub(in crate::neighbors) lowest: Links<u32>,
    /// Links on the layers above, as (layer, node), those of a node in the order of layers.
    pub(in crate::neighbors) upper: Links<(u8, u32)>,
}

/// The links of each of `n` nodes in one list: compressed sparse rows.
#[derive(Debug, PartialEq)]
pub(in crate::neighbors) struct Links<T> {
    /// The links of node `i` are `all[starts[i]..starts[i + 1]]`, `[n + 1]`.
    pub starts: Vec<u64>,
    pub all: Vec<T>,
}

impl<T> Links<T> {
    /// Of no nodes yet.
    pub(in crate::neighbors) fn empty() -> Self {
        Links { starts: vec![0], all: Vec::new() }
    }

    /// Of `nodes` nodes, or what is wrong with the lists.
    pub(in crate::neighbors) fn new(
        starts: Vec<u64>,
        all: Vec<T>,
        nodes: usize,
    ) -> std::result::Result<Self, String> {
        let whole = starts.first() == Some(&0) && starts.last() == Some(&(all.len() as u64));
        if !whole || starts.len() != nodes + 1 || !starts.is_sorted() {
            return Err("links do not begin and end where they have to".to_owned());
        }
        Ok(Links { starts, all })
    }

    /// Appends the links of the next node.
    pub(in crate::neighbors) fn push(&mut self, links: impl IntoIterator<Item = T>) {
        self.all.extend(links);
        self.starts.push(self.all.len() as u64);
    }

    /// The links of a node.
    pub(in crate::neighbors) fn of(&self, node: u32) -> &[T] {
        let node = node as usize;
        &self.all[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// Working memory of a walk.
#[derive(Default)]
pub(in crate::neighbors) struct Walk {
    visited: Visited,
    open: BinaryHeap<Reverse<u64>>,
    kept: BinaryHeap<u64>,
    nearest: Vec<(f32, u32)>,
}

impl Graph {
    /// Appends the links of the next node, in the order of layers.
    pub(in crate::neighbors) fn push_links(&mut self, links: &[(u8, u32)]) {
        let (lowest, upper) = links.split_at(links.partition_point(|&(layer, _)| layer == 0));
        self.lowest.push(lowest.iter().map(|&(_, to)| to));
        self.upper.push(upper.iter().copied());
    }

    /// The node of `row`, if it is in this graph.
    pub(in crate::neighbors) fn node(&self, row: u32) -> Option<u32> {
        self.rows.binary_search(&row).ok().map(|node| node as u32)
    }

    /// The rows nearest to `query`, as (squared scaled distance, row), nearest first: the `ef` that a best-first walk over the
    /// lowest layer keeps (algorithm 2 of the paper). It begins at `start`, or where a descent from the entry ends.
    pub(in crate::neighbors) fn search<'w>(
        &self,
        query: &[f32],
        space: &Space,
        start: Option<u32>,
        ef: usize,
        walk: &'w mut Walk,
    ) -> &'w [(f32, u32)] {
        let distance = |node: u32| squared_l2_f32(query, space.row(self.rows[node as usize]), space.scale);
        walk.begin(self.rows.len());
        let start = start.unwrap_or_else(|| self.descend(distance));
        walk.visited.first(start);
        walk.offer(start, distance(start), ef);
        while let Some(Reverse(nearest)) = walk.open.pop() {
            if walk.kept.len() >= ef && walk.kept.peek().is_some_and(|&farthest| nearest > farthest) {
                break;
            }
            for &node in self.lowest.of(nearest as u32) {
                if walk.visited.first(node) {
                    walk.offer(node, distance(node), ef);
                }
            }
        }
        walk.nearest.clear();
        walk.nearest.extend(
            walk.kept.drain().map(|key| (f32::from_bits((key >> 32) as u32), self.rows[key as u32 as usize])),
        );
        walk.nearest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        &walk.nearest
    }

    /// Greedy steps through the upper layers.
    fn descend(&self, distance: impl Fn(u32) -> f32) -> u32 {
        let mut best = (distance(self.entry), self.entry);
        for layer in (1..=self.levels[self.entry as usize]).rev() {
            loop {
                let from = best.1;
                for &(_, node) in self.upper.of(from).iter().filter(|&&(on, _)| on == layer) {
                    let candidate = (distance(node), node);
                    if candidate.0 < best.0 {
                        best = candidate;
                    }
                }
                if best.1 == from {
                    break;
                }
            }
        }
        best.1
    }
}

impl Walk {
    fn begin(&mut self, nodes: usize) {
        self.visited.begin(nodes);
        self.open.clear();
        self.kept.clear();
    }

    /// Keeps `node` if it is among the `ef` nearest so far. Bits of a float that is not negative order as it does.
    fn offer(&mut self, node: u32, distance: f32, ef: usize) {
        let key = u64::from(distance.to_bits()) << 32 | u64::from(node);
        if self.kept.len() < ef {
            self.kept.push(key);
            self.open.push(Reverse(key));
        } else if let Some(mut farthest) = self.kept.peek_mut()
            && key < *farthest
        {
            *farthest = key;
            self.open.push(Reverse(key));
        }
    }
}

/// The first of the nodes on the highest layer, where a walk starts.
pub(in crate::neighbors) fn entry(levels: &[u8]) -> u32 {
    let highest = levels.iter().max();
    levels.iter().position(|level| Some(level) == highest).unwrap_or(0) as u32
}
