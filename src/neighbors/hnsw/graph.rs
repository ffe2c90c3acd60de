//! One navigable small world graph: built by `hnsw_rs`, then held as flat lists and walked here.
//! `hnsw_rs` keeps every link behind two shared pointers and visits through a hash map; walking flat lists is several times faster.
//! A row is inserted after all rows before it, and ties are broken by node: the same graph and the same walk every time.

use super::space::Space;
use crate::error::Result;
use crate::neighbors::distance::squared_l2_f32;
use hnsw_rs::prelude::{Distance, Hnsw};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Layers of a graph, the number that `hnsw_rs` defines. Dumps of earlier versions hold it too.
pub(super) const LAYERS: usize = 16;
/// Rows inserted between two reports.
const CHUNK: usize = 256;

/// The distance that `hnsw_rs` inserts by. It is given the number of a row as the bits of a float; the values stay in the features.
struct RowDistance(Space);

impl Distance<f32> for RowDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        match (a, b) {
            ([a], [b]) => self.0.squared(a.to_bits(), b.to_bits()),
            _ => f32::INFINITY,
        }
    }
}

/// Links between nodes, which are numbered by row.
#[derive(Debug, PartialEq)]
pub(crate) struct Graph {
    /// The row of each node, ascending.
    pub(super) rows: Vec<u32>,
    /// The highest layer of each node.
    pub(super) levels: Vec<u8>,
    /// Where a walk starts.
    pub(super) entry: u32,
    /// Links on the lowest layer.
    pub(super) lowest: Links<u32>,
    /// Links on the layers above, as (layer, node), those of a node in the order of layers.
    pub(super) upper: Links<(u8, u32)>,
}

/// The links of each of `n` nodes in one list: compressed sparse rows.
#[derive(Debug, PartialEq)]
pub(super) struct Links<T> {
    /// The links of node `i` are `all[starts[i]..starts[i + 1]]`, `[n + 1]`.
    pub starts: Vec<u64>,
    pub all: Vec<T>,
}

impl<T> Links<T> {
    /// Of no nodes yet.
    pub(super) fn empty() -> Self {
        Links { starts: vec![0], all: Vec::new() }
    }

    /// Of `nodes` nodes, or what is wrong with the lists.
    pub(super) fn new(starts: Vec<u64>, all: Vec<T>, nodes: usize) -> std::result::Result<Self, String> {
        let whole = starts.first() == Some(&0) && starts.last() == Some(&(all.len() as u64));
        if !whole || starts.len() != nodes + 1 || !starts.is_sorted() {
            return Err("links do not begin and end where they have to".to_owned());
        }
        Ok(Links { starts, all })
    }

    /// Appends the links of the next node.
    pub(super) fn push(&mut self, links: impl IntoIterator<Item = T>) {
        self.all.extend(links);
        self.starts.push(self.all.len() as u64);
    }

    /// The links of a node.
    pub(super) fn of(&self, node: u32) -> &[T] {
        let node = node as usize;
        &self.all[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// Working memory of a walk.
#[derive(Default)]
pub(super) struct Walk {
    visited: Vec<u32>,
    round: u32,
    open: BinaryHeap<Reverse<u64>>,
    kept: BinaryHeap<u64>,
    nearest: Vec<(f32, u32)>,
}

impl Graph {
    /// A graph of `rows` (ascending, not empty, numbers below 2^30) with `m` connections; `inserted` is told of rows as they go in.
    pub(super) fn build(
        rows: Vec<u32>,
        m: usize,
        ef_construction: usize,
        space: Space,
        inserted: impl Fn(usize) -> Result<()>,
    ) -> Result<Self> {
        let hnsw = Hnsw::<f32, RowDistance>::new(m, rows.len(), LAYERS, ef_construction, RowDistance(space));
        for chunk in rows.chunks(CHUNK) {
            for &row in chunk {
                hnsw.insert_slice((&[f32::from_bits(row)], row as usize));
            }
            inserted(chunk.len())?;
        }
        Ok(Self::flatten(&hnsw, rows))
    }

    fn flatten(hnsw: &Hnsw<f32, RowDistance>, rows: Vec<u32>) -> Self {
        let node = |row: usize| rows.binary_search(&(row as u32)).unwrap_or(0);
        let mut links: Vec<Vec<(u8, u32)>> = vec![Vec::new(); rows.len()];
        let mut levels = vec![0; rows.len()];
        for layer in 0..LAYERS {
            for point in hnsw.get_point_indexation().get_layer_iterator(layer) {
                let from = node(point.get_origin_id());
                levels[from] = layer as u8;
                for (layer, linked) in point.get_neighborhood_id().iter().enumerate() {
                    links[from].extend(linked.iter().map(|to| (layer as u8, node(to.d_id) as u32)));
                }
            }
        }
        let mut graph =
            Graph { entry: entry(&levels), rows, levels, lowest: Links::empty(), upper: Links::empty() };
        links.iter().for_each(|links| graph.push_links(links));
        graph
    }

    /// Appends the links of the next node, in the order of layers.
    pub(super) fn push_links(&mut self, links: &[(u8, u32)]) {
        let (lowest, upper) = links.split_at(links.partition_point(|&(layer, _)| layer == 0));
        self.lowest.push(lowest.iter().map(|&(_, to)| to));
        self.upper.push(upper.iter().copied());
    }

    /// The node of `row`, if it is in this graph.
    pub(super) fn node(&self, row: u32) -> Option<u32> {
        self.rows.binary_search(&row).ok().map(|node| node as u32)
    }

    /// The rows nearest to `query`, as (squared scaled distance, row), nearest first: the `ef` that a best-first walk over the
    /// lowest layer keeps (algorithm 2 of the paper). It begins at `start`, or where a descent from the entry ends.
    pub(super) fn search<'w>(
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
        walk.offer(start, distance(start), ef);
        while let Some(Reverse(nearest)) = walk.open.pop() {
            if walk.kept.len() >= ef && walk.kept.peek().is_some_and(|&farthest| nearest > farthest) {
                break;
            }
            for &node in self.lowest.of(nearest as u32) {
                if std::mem::replace(&mut walk.visited[node as usize], walk.round) != walk.round {
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
        if self.visited.len() < nodes || self.round == u32::MAX {
            self.visited.clear();
            self.visited.resize(nodes, 0);
            self.round = 0;
        }
        self.round += 1;
        self.open.clear();
        self.kept.clear();
    }

    /// Keeps `node` if it is among the `ef` nearest so far. Bits of a float that is not negative order as it does.
    fn offer(&mut self, node: u32, distance: f32, ef: usize) {
        self.visited[node as usize] = self.round;
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

/// The first of the nodes on the highest layer: `hnsw_rs` keeps the entry until a higher point comes.
pub(super) fn entry(levels: &[u8]) -> u32 {
    let highest = levels.iter().max();
    levels.iter().position(|level| Some(level) == highest).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::exact::tests::cloud;

    fn space(rows: usize, width: usize) -> Space {
        Space { features: cloud(rows, width, 11).into_shared(), first: 0, scale: 1.0 }
    }

    #[test]
    fn a_graph_is_the_same_each_time_and_a_walk_finds_what_hnsw_rs_finds() {
        let space = space(800, 12);
        let rows: Vec<u32> = (0..800).filter(|row| row % 3 != 1).collect();
        let build = || Graph::build(rows.clone(), 8, 60, space.clone(), |_| Ok(())).unwrap();
        let graph = build();
        assert_eq!(graph, build());
        let hnsw = Hnsw::<f32, RowDistance>::new(8, rows.len(), LAYERS, 60, RowDistance(space.clone()));
        rows.iter().for_each(|&row| hnsw.insert_slice((&[f32::from_bits(row)], row as usize)));
        let mut same = 0;
        for &row in &rows {
            let theirs: Vec<u32> =
                hnsw.search(&[f32::from_bits(row)], 5, 60).iter().map(|found| found.d_id as u32).collect();
            let walked = graph.search(space.row(row), &space, None, 60, &mut Walk::default())[..5].to_vec();
            assert!(walked.iter().all(|&(distance, found)| distance == space.squared(row, found)));
            same += usize::from(walked.iter().map(|found| found.1).eq(theirs));
        }
        assert!(same * 100 > rows.len() * 97, "{same} of {}", rows.len());
    }

    #[test]
    fn a_walk_from_a_row_itself_finds_it_first() {
        let space = space(300, 6);
        let graph = Graph::build((0..300).collect(), 8, 40, space.clone(), |_| Ok(())).unwrap();
        let mut walk = Walk::default();
        for row in 0..300 {
            let found = graph.search(space.row(row), &space, graph.node(row), 10, &mut walk);
            assert_eq!(found[0], (0.0, row));
            assert_eq!(found.len(), 10);
        }
    }

    #[test]
    fn a_graph_of_one_row_answers() {
        let space = space(1, 3);
        let graph = Graph::build(vec![0], 4, 10, space.clone(), |_| Ok(())).unwrap();
        assert_eq!(graph.search(space.row(0), &space, None, 5, &mut Walk::default()), [(0.0, 0)]);
    }
}
