//! The nearest of each query out of several answers: lists of parts of a set, merged by (distance, row).

use super::exact::top_k::Nearest;
use super::search::{Neighbors, Search, too_few};
use crate::error::Result;

/// Answers that are being merged. The result does not depend on the order in which they come.
pub(crate) struct Merging {
    search: Search,
    nearest: Vec<Nearest>,
}

impl Merging {
    /// For `queries` that each ask for `search`.
    pub(crate) fn new(queries: usize, search: Search) -> Self {
        Self { search, nearest: (0..queries).map(|_| Nearest::new(search.k)).collect() }
    }

    /// What was found for query `q`: rows, each offered once, with distances that are finite and not negative.
    pub(crate) fn offer(&mut self, q: usize, found: impl Iterator<Item = (u32, f64)>) {
        let nearest = &mut self.nearest[q];
        found.for_each(|(row, distance)| nearest.offer(distance, row));
    }

    /// The merged answer.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if there are fewer than `k` rows for a query.
    pub(crate) fn finish(self) -> Result<Neighbors> {
        let k = self.search.k;
        let values = k * self.nearest.len();
        let mut merged = Neighbors { k, rows: vec![0; values], distances: vec![0.0; values] };
        for (q, nearest) in self.nearest.into_iter().enumerate() {
            let found = nearest.into_sorted();
            merged.set(q, &found).ok_or_else(|| too_few(q, found.len(), self.search))?;
        }
        Ok(merged)
    }
}
