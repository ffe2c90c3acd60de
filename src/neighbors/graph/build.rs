//! The building of a graph: passes over cells, then passes over neighbourhoods until the recall suffices.

use super::cells::{CellSize, Division, Partition, partition};
use super::compare::{Scratch, compare};
use super::earlier::Shared;
use super::lists::{ABSENT, Lists};
use super::neighborhoods::{Neighborhoods, around};
use super::nodes::Nodes;
use crate::error::Result;
use crate::neighbors::exact::groups::RowGroups;
use crate::neighbors::recall::share_found;
use crate::neighbors::search::{Neighbors, Search};
use crate::neighbors::walk::{Graph, Links, SearchResults, Space, Visited, entry};
use crate::progress::{Progress, check_stop};
use rayon::prelude::*;

/// Partitions whose cells are compared within themselves. More of them cost more than the neighbourhoods that they spare.
const PARTITIONS: u64 = 6;
/// Partitions by which rows that join an earlier graph find their first neighbours: the links of these lead to the others.
const PARTITIONS_OF_JOINED: u64 = 2;
/// The most passes over the neighbourhoods of what joined alone.
const PASSES_OF_JOINED: u64 = 2;
/// The cells of both: as small as pays for packing them.
const WITHIN: CellSize = CellSize { aim: 50, most: 200 };
/// The cells that are compared with the neighbours of their neighbours. Larger ones find more and cost more.
const TOGETHER: CellSize = CellSize { aim: 64, most: 128 };
/// Links of a node that are followed in each direction, and the most reverse neighbours of a node.
const FOLLOWED: usize = 16;
/// The recall that is enough, of the lists and of walks.
pub(in crate::neighbors) const ENOUGH: f64 = 0.999;
/// The most passes over neighbourhoods: what they have not found by then, further ones hardly will.
const MOST_PASSES: u64 = 8;
/// The cells in whose midst a walk begins.
const START: CellSize = CellSize { aim: 16, most: 32 };

/// Some rows of the set and their true neighbours, by which the recall is measured.
pub(in crate::neighbors) struct Sample {
    /// At least one.
    pub rows: Vec<usize>,
    /// Among the other rows, for each.
    pub exact: Neighbors,
}

/// A graph of the `rows` of `space`, one of each group of equal rows: the `width` nearest of each, nearest first, then some of its reverse neighbours.
/// Gives the recall of these lists too, on the first sample; that of the others has to suffice as well.
///
/// It begins with the links that the rows share with an `earlier` graph, where there is one; then what it holds depends on that too.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub(in crate::neighbors) fn build(
    space: &Space,
    groups: &RowGroups,
    rows: Vec<u32>,
    width: usize,
    samples: &[Sample],
    earlier: Option<&Shared>,
    progress: &dyn Progress,
) -> Result<(Graph, f64)> {
    let mut descent = Descent::new(space, &rows, width);
    match earlier {
        None => descent.compare_cells(PARTITIONS, None, progress)?,
        Some(shared) => {
            shared.offer(&descent.nodes, &descent.lists);
            descent.compare_cells(PARTITIONS_OF_JOINED, Some(&shared.joined), progress)?;
        }
    }
    let mut passes = 0;
    let (lists, recall) = loop {
        let lists = descent.lists.nodes();
        let recalls: Vec<f64> =
            samples.iter().map(|sample| recall(space, groups, &rows, &lists, sample)).collect();
        if recalls.iter().all(|&recall| recall >= ENOUGH) || passes == MOST_PASSES {
            break (lists, recalls.first().copied().unwrap_or(1.0));
        }
        let joined = earlier.map(|shared| &shared.joined[..]);
        let joined = joined.filter(|joined| passes < PASSES_OF_JOINED && !joined.is_empty());
        descent.improve(lists, joined, progress)?;
        passes += 1;
    };
    let divisions = descent.partition(descent.nodes.all(), START, progress)?.divisions;
    drop(descent);
    Ok((graph(rows, lists, width, &divisions), recall))
}

/// The share of the true neighbours of the sample that the lists `[rows, width]` hold.
fn recall(space: &Space, groups: &RowGroups, rows: &[u32], lists: &[u32], sample: &Sample) -> f64 {
    let k = sample.exact.k;
    let search = Search { k, skip_zero: false };
    let width = lists.len() / rows.len();
    let found: Vec<Option<Vec<(f64, u32)>>> = sample
        .rows
        .par_iter()
        .map(|&row| {
            let first = groups.first(row as u32);
            let node = rows.binary_search(&first).ok()?;
            let listed = lists[node * width..][..width].iter().filter(|&&node| node != ABSENT);
            let listed = listed.map(|&node| rows[node as usize]);
            SearchResults::of_list(search, (space, groups), first, listed, Some(row as u32))
        })
        .collect();
    // Where a list is too short to answer, nothing counts as found.
    let places = sample.rows.len() * k;
    let mut all = Neighbors { k, rows: vec![0; places], distances: vec![f64::INFINITY; places] };
    for (q, found) in found.into_iter().enumerate() {
        found.and_then(|found| all.set(q, &found));
    }
    share_found(&all, &sample.exact)
}

/// The graph of finished lists `[rows, width]`. Its upper layers are the tree of pivots of a partition: each division is a layer, on
/// which the pivot of a cell is linked to the pivots within it.
fn graph(rows: Vec<u32>, lists: Vec<u32>, width: usize, divisions: &[Division]) -> Graph {
    let layers = divisions.iter().map(|division| division.depth + 1).max().unwrap_or(0);
    let mut levels = vec![0; rows.len()];
    let mut below: Vec<Vec<(u8, u32)>> = vec![Vec::new(); rows.len()];
    // From the lowest layer up: the links of a node are in the order of layers.
    for layer in 1..=layers {
        for Division { of, pivots, .. } in
            divisions.iter().filter(|division| layers - division.depth == layer)
        {
            pivots.iter().chain([of]).for_each(|&node| levels[node as usize] = layer as u8);
            below[*of as usize]
                .extend(pivots.iter().filter(|&pivot| pivot != of).map(|&to| (layer as u8, to)));
        }
    }
    let neighborhoods = Neighborhoods::new(lists, width, FOLLOWED);
    let (mut lowest, mut upper) = (Links::empty(), Links::empty());
    for (node, below) in below.into_iter().enumerate() {
        let nearest: Vec<u32> = neighborhoods.nearest(node as u32, width).collect();
        let reverse = neighborhoods.reverse(node as u32).iter().filter(|node| !nearest.contains(node));
        lowest.push(nearest.iter().chain(reverse).copied());
        upper.push(below);
    }
    Graph { rows, entry: entry(&levels), levels, lowest, upper }
}

/// Lists of nearest nodes that become better pass by pass.
struct Descent<'a> {
    nodes: Nodes<'a>,
    lists: Lists,
    /// Partitions so far.
    partitions: u64,
}

impl<'a> Descent<'a> {
    /// Empty lists of `width` for the `rows` of `space`.
    fn new(space: &'a Space, rows: &'a [u32], width: usize) -> Self {
        Descent { nodes: Nodes::new(space, rows), lists: Lists::new(rows.len(), width), partitions: 0 }
    }

    /// Compares all nodes, or where they are given those that `joined`, with the others of their cells in so many partitions.
    fn compare_cells(
        &mut self,
        partitions: u64,
        joined: Option<&[u32]>,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.start("neighbour graph", partitions * self.nodes.count() as u64, "rows of a partition");
        for _ in 0..partitions {
            let cells = self.partition(self.nodes.all(), WITHIN, progress)?.cells;
            let working = || (Scratch::default(), Vec::new());
            cells.par_iter().try_for_each_init(working, |(scratch, own), cell| -> Result<()> {
                check_stop(progress, String::new)?;
                own.clear();
                match joined {
                    None => own.extend_from_slice(cell),
                    Some(joined) => {
                        own.extend(cell.iter().filter(|node| joined.binary_search(node).is_ok()));
                    }
                }
                if !own.is_empty() {
                    compare(&self.nodes, own, cell, &self.lists, scratch);
                }
                progress.advance(cell.len() as u64);
                Ok(())
            })?;
        }
        progress.finish();
        Ok(())
    }

    /// A further partition of some nodes.
    fn partition(&mut self, of: Vec<u32>, size: CellSize, progress: &dyn Progress) -> Result<Partition> {
        self.partitions += 1;
        partition(&self.nodes, of, size, self.partitions, progress)
    }

    /// A pass over the neighbourhoods of all nodes, or where they are given of those that `joined`; `lists` are those so far.
    fn improve(&mut self, lists: Vec<u32>, joined: Option<&[u32]>, progress: &dyn Progress) -> Result<()> {
        let of = joined.map_or_else(|| self.nodes.all(), <[u32]>::to_vec);
        progress.start("neighbours of neighbours", of.len() as u64, "rows");
        let cells = self.partition(of, TOGETHER, progress)?.cells;
        let neighborhoods = Neighborhoods::new(lists, self.lists.width(), FOLLOWED);
        let working = || (Scratch::default(), Visited::default(), Vec::new());
        cells.par_iter().try_for_each_init(working, |(scratch, visited, others), cell| -> Result<()> {
            check_stop(progress, String::new)?;
            around(cell, &neighborhoods, FOLLOWED, visited, others);
            compare(&self.nodes, cell, others, &self.lists, scratch);
            progress.advance(cell.len() as u64);
            Ok(())
        })?;
        progress.finish();
        Ok(())
    }
}
