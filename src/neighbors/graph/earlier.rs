//! What a graph of earlier rows tells about the rows of now: the links between those that both have.

use super::lists::Lists;
use super::nodes::Nodes;
use crate::neighbors::exact::groups::{Content, RowGroups};
use crate::neighbors::walk::Graph;
use rayon::prelude::*;
use std::collections::HashMap;

/// The least share of the rows that an earlier graph has to hold: where it holds fewer, building anew takes about as long.
const LEAST_SHARED: f64 = 0.5;

/// A graph of earlier rows.
pub(in crate::neighbors) struct Earlier {
    /// The graph.
    pub graph: Graph,
    /// The content of the row of each of its nodes.
    pub contents: Vec<Content>,
}

/// The rows of now beside those of an earlier graph.
pub(in crate::neighbors) struct Shared<'a> {
    graph: &'a Graph,
    /// The node of now of each node of the earlier graph.
    now: Vec<Option<u32>>,
    /// The nodes of now that the earlier graph does not hold, ascending.
    pub joined: Vec<u32>,
}

impl Earlier {
    /// What the rows of `groups` share with it; `None` if that is too little, or all.
    pub(in crate::neighbors) fn shared(&self, groups: &RowGroups) -> Option<Shared<'_>> {
        let mut nodes: HashMap<Content, u32> = groups.contents().into_iter().zip(0..).collect();
        let count = nodes.len();
        let now: Vec<Option<u32>> = self.contents.iter().map(|content| nodes.remove(content)).collect();
        let mut joined: Vec<u32> = nodes.into_values().collect();
        joined.sort_unstable();
        let shared = count - joined.len();
        (shared as f64 >= LEAST_SHARED * count as f64).then_some(Shared { graph: &self.graph, now, joined })
    }
}

impl Shared<'_> {
    /// How many nodes of now the earlier graph holds.
    pub(in crate::neighbors) fn count(&self) -> usize {
        self.now.iter().flatten().count()
    }

    /// Offers the nodes that the earlier graph links to each other.
    pub(super) fn offer(&self, nodes: &Nodes, lists: &Lists) {
        self.now.par_iter().enumerate().for_each_init(Vec::new, |offers, (earlier, now)| {
            let Some(node) = *now else { return };
            let linked = self.graph.lowest.of(earlier as u32).iter();
            let linked = linked.filter_map(|&to| self.now.get(to as usize).copied().flatten());
            offers.clear();
            offers.extend(linked.filter(|&to| to != node).map(|to| (to, nodes.squared(node, to))));
            lists.offer(node, offers);
            for &(to, squared) in &*offers {
                lists.offer(to, &[(node, squared)]);
            }
        });
    }
}
