//! The rows that walks over one or several graphs have found for a query, and the answer that is made of them.
//! Graphs may be walked one after the other: of a row its number and its distances are kept, and not its values.

use super::graph::{Graph, Walk};
use super::space::Space;
use crate::neighbors::distance::squared_l2;
use crate::neighbors::exact::groups::RowGroups;
use crate::neighbors::exact::top_k::Nearest;
use crate::neighbors::search::Search;

/// Candidates taken beyond the query itself and its `k` neighbours: float32 may misorder the last ones.
pub(in crate::neighbors) const SLACK: usize = 4;

/// A row that a walk has found.
struct Candidate {
    /// Squared distance in float32, scaled.
    key: f32,
    row: u32,
    /// Squared distance.
    squared: f64,
}

/// The candidates of one query.
pub(in crate::neighbors) struct SearchResults {
    candidates: Vec<Candidate>,
    search: Search,
    /// Whether all distances so far are within the range of float32.
    in_range: bool,
}

impl SearchResults {
    /// No candidates yet.
    pub(in crate::neighbors) fn new(search: Search) -> Self {
        Self { candidates: Vec::new(), search, in_range: true }
    }

    /// Candidates that are kept of each graph, and of all graphs together.
    fn wanted(&self) -> usize {
        self.search.k + 1 + SLACK
    }

    /// Walks over `graph`, from the node `start` where one is known, keeping `ef` candidates or what `k` needs.
    pub(in crate::neighbors) fn walk(
        &mut self,
        query: &[f32],
        (graph, space): (&Graph, &Space),
        start: Option<u32>,
        ef: usize,
        walk: &mut Walk,
    ) {
        let wanted = self.wanted();
        let found = graph.search(query, space, start, ef.max(wanted), walk);
        found.iter().take(wanted).for_each(|&(key, row)| self.add(query, space, row, key));
    }

    /// The answer for an indexed row with the content of `first`, the first row of its group, out of the `listed` rows alone, each
    /// named once. As [`SearchResults::answer`].
    pub(in crate::neighbors) fn of_list(
        search: Search,
        (space, groups): (&Space, &RowGroups),
        first: u32,
        listed: impl Iterator<Item = u32>,
        exclude: Option<u32>,
    ) -> Option<Vec<(f64, u32)>> {
        let (mut results, query) = (Self::new(search), space.row(first));
        for row in std::iter::once(first).chain(listed) {
            results.add(query, space, row, space.squared(first, row));
        }
        results.answer(groups, exclude)
    }

    fn add(&mut self, query: &[f32], space: &Space, row: u32, key: f32) {
        self.in_range &= key.is_finite();
        self.candidates.push(Candidate { key, row, squared: squared_l2(query, space.row(row)) });
    }

    /// Keeps the nearest, each as the first row of its content: graphs of shards may each hold a copy of the same row.
    pub(in crate::neighbors) fn keep_nearest(&mut self, groups: &RowGroups) {
        self.candidates.iter_mut().for_each(|found| found.row = groups.first(found.row));
        self.candidates.sort_unstable_by(|a, b| a.key.total_cmp(&b.key).then(a.row.cmp(&b.row)));
        self.candidates.dedup_by_key(|found| found.row);
        self.candidates.truncate(self.wanted());
    }

    /// The neighbours as (exact distance, row), nearest first: all rows that equal a candidate, without the row `exclude`. `None`
    /// where there are fewer than wanted, or a distance was out of the range of float32.
    pub(in crate::neighbors) fn answer(
        mut self,
        groups: &RowGroups,
        exclude: Option<u32>,
    ) -> Option<Vec<(f64, u32)>> {
        if !self.in_range {
            return None;
        }
        self.keep_nearest(groups);
        let Search { k, skip_zero } = self.search;
        let mut nearest = Nearest::new(k);
        for found in self.candidates.iter().filter(|found| !(skip_zero && found.squared == 0.0)) {
            // One more than `k` copies are enough, one of them may be the excluded row.
            for &row in groups.members(&found.row).iter().take(k + 1) {
                if exclude != Some(row) {
                    nearest.offer(found.squared.sqrt(), row);
                }
            }
        }
        nearest.worst().map(|_| nearest.into_sorted())
    }
}
