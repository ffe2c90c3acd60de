//! Which nodes were visited, forgotten at once when the next round begins.

/// The nodes that were visited in one round.
#[derive(Default)]
pub(in crate::neighbors) struct Visited {
    /// The round in which each node was visited last.
    rounds: Vec<u32>,
    round: u32,
}

impl Visited {
    /// Begins a round over so many `nodes`, none of them visited.
    pub(in crate::neighbors) fn begin(&mut self, nodes: usize) {
        if self.rounds.len() < nodes || self.round == u32::MAX {
            self.rounds.clear();
            self.rounds.resize(nodes, 0);
            self.round = 0;
        }
        self.round += 1;
    }

    /// Visits `node`; whether that is the first time in this round.
    pub(in crate::neighbors) fn first(&mut self, node: u32) -> bool {
        std::mem::replace(&mut self.rounds[node as usize], self.round) != self.round
    }
}
