//! The links of a graph in both directions, and the nodes around a group of nodes.

use super::lists::ABSENT;

/// The lists of nearest nodes as they were at one moment, and for each node some of those that name it.
pub(super) struct Linked {
    width: usize,
    /// `[count, width]`, nearest first, [`ABSENT`] where there is none.
    forward: Vec<u32>,
    /// The nodes that name node `i` are `back[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    back: Vec<u32>,
}

impl Linked {
    /// Of lists `[count, width]`; each node keeps `most` of the nodes that name it, those in whose list it comes first.
    pub(super) fn new(forward: Vec<u32>, width: usize, most: usize) -> Self {
        let count = forward.len() / width;
        let mut named = vec![0usize; count];
        forward.iter().filter(|&&node| node != ABSENT).for_each(|&node| named[node as usize] += 1);
        let mut starts = Vec::with_capacity(count + 1);
        starts.push(0);
        for named in &named {
            starts.push(starts[starts.len() - 1] + most.min(*named));
        }
        let mut back = vec![ABSENT; starts[count]];
        let mut filled = starts.clone();
        for rank in 0..width {
            for (node, list) in forward.chunks_exact(width).enumerate() {
                let named = list[rank];
                if named != ABSENT && filled[named as usize] < starts[named as usize + 1] {
                    back[filled[named as usize]] = node as u32;
                    filled[named as usize] += 1;
                }
            }
        }
        Linked { width, forward, starts, back }
    }

    /// The `most` nearest of `node`, nearest first.
    pub(super) fn nearest(&self, node: u32, most: usize) -> impl Iterator<Item = u32> {
        let list = &self.forward[node as usize * self.width..][..self.width.min(most)];
        list.iter().copied().take_while(|&node| node != ABSENT)
    }

    /// Those that name `node`.
    pub(super) fn back(&self, node: u32) -> &[u32] {
        &self.back[self.starts[node as usize]..self.starts[node as usize + 1]]
    }
}

/// Which nodes were met, forgotten in no time.
pub(super) struct Met {
    rounds: Vec<u32>,
    round: u32,
}

impl Met {
    pub(super) fn new(count: usize) -> Self {
        Met { rounds: vec![0; count], round: 0 }
    }

    fn forget(&mut self) {
        if self.round == u32::MAX {
            self.rounds.fill(0);
            self.round = 0;
        }
        self.round += 1;
    }

    /// Whether `node` is met for the first time.
    fn first(&mut self, node: u32) -> bool {
        std::mem::replace(&mut self.rounds[node as usize], self.round) != self.round
    }
}

/// The nodes that two links lead to from `group`, with those in between and the group itself, ascending. Of each node `most` of its nearest are followed.
pub(super) fn around(group: &[u32], links: &Linked, most: usize, met: &mut Met, around: &mut Vec<u32>) {
    met.forget();
    around.clear();
    around.extend(group.iter().copied().filter(|&node| met.first(node)));
    let mut from = 0;
    for _ in 0..2 {
        let to = around.len();
        for at in from..to {
            let from = around[at];
            for node in links.nearest(from, most).chain(links.back(from).iter().copied()) {
                if met.first(node) {
                    around.push(node);
                }
            }
        }
        from = to;
    }
    around.sort_unstable();
}
