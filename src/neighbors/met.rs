//! What walks over one or several graphs have met for a query, and the answer that is made of it.
//! Graphs may be walked one after the other: what is needed of a row later is kept, and not its content.

use super::Search;
use super::distance::squared_l2;
use super::graph::{Graph, Space, Walk};
use super::groups::RowGroups;
use super::top_k::Nearest;

/// Candidates taken beyond the query itself and its `k` neighbours: float32 may misorder the last ones.
const SLACK: usize = 4;

/// A row that was met.
struct Row {
    /// Squared distance in float32, scaled.
    key: f32,
    row: u32,
    /// Squared distance.
    squared: f64,
}

/// What was met for one query.
pub(super) struct Met {
    rows: Vec<Row>,
    search: Search,
    /// Whether float32 was enough so far.
    in_range: bool,
}

impl Met {
    /// Nothing yet.
    pub fn new(search: Search) -> Self {
        Self { rows: Vec::new(), search, in_range: true }
    }

    /// Candidates of a graph, and of all graphs together.
    fn wanted(&self) -> usize {
        self.search.k + 1 + SLACK
    }

    /// Walks over `graph`, from the node `start` where one is known, keeping `ef` candidates or what `k` needs.
    pub fn walk(
        &mut self,
        query: &[f32],
        (graph, space): (&Graph, &Space),
        start: Option<u32>,
        ef: usize,
        walk: &mut Walk,
    ) {
        let wanted = self.wanted();
        let found = graph.search(query, space, start, ef.max(wanted), walk);
        self.rows.extend(found.iter().take(wanted).map(|&(key, row)| Row {
            key,
            row,
            squared: squared_l2(query, space.row(row)),
        }));
        self.in_range &= self.rows.iter().all(|row| row.key.is_finite());
    }

    /// Keeps the nearest, each as the first row of its content: graphs of shards may each hold a copy of the same row.
    pub fn keep_nearest(&mut self, groups: &RowGroups) {
        self.rows.iter_mut().for_each(|met| met.row = groups.first(met.row));
        self.rows.sort_unstable_by(|a, b| a.key.total_cmp(&b.key).then(a.row.cmp(&b.row)));
        self.rows.dedup_by_key(|met| met.row);
        self.rows.truncate(self.wanted());
    }

    /// Nearest first: every row with the content of one that was met, with exact distances, but the row `exclude`. `None` where
    /// there are not enough.
    pub fn answer(mut self, groups: &RowGroups, exclude: Option<u32>) -> Option<Vec<(f64, u32)>> {
        if !self.in_range {
            return None;
        }
        self.keep_nearest(groups);
        let Search { k, skip_zero } = self.search;
        let mut nearest = Nearest::new(k);
        for met in self.rows.iter().filter(|met| !(skip_zero && met.squared == 0.0)) {
            // One more than `k` copies are enough, one of them may be the excluded row.
            for &row in groups.members(&met.row).iter().take(k + 1) {
                if exclude != Some(row) {
                    nearest.offer(met.squared.sqrt(), row);
                }
            }
        }
        nearest.worst().map(|_| nearest.into_sorted())
    }
}
