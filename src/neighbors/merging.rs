//! The nearest of each query out of several answers: lists of parts of a set, merged by (distance, row).

use super::top_k::Nearest;
use super::{Neighbors, Search, too_few};
use crate::error::Result;

/// Answers that are being merged. The result does not depend on the order in which they come.
pub struct Merging {
    k: usize,
    nearest: Vec<Nearest>,
}

impl Merging {
    /// For the `k` nearest of each of `queries`.
    pub fn new(queries: usize, k: usize) -> Self {
        Self { k, nearest: (0..queries).map(|_| Nearest::new(k)).collect() }
    }

    /// What was found for query `q`: rows, each offered once, with distances that are finite and not negative.
    pub fn offer(&mut self, q: usize, found: impl Iterator<Item = (u32, f64)>) {
        let nearest = &mut self.nearest[q];
        found.for_each(|(row, distance)| nearest.offer(distance, row));
    }

    /// The merged answer.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if there are fewer than `k` rows for a query.
    pub fn finish(self) -> Result<Neighbors> {
        let (k, values) = (self.k, self.k * self.nearest.len());
        let mut merged = Neighbors { k, rows: vec![0; values], distances: vec![0.0; values] };
        for (q, nearest) in self.nearest.into_iter().enumerate() {
            let found = nearest.into_sorted();
            let search = Search { k, skip_zero: false };
            merged.set(q, &found).ok_or_else(|| too_few(q, found.len(), search))?;
        }
        Ok(merged)
    }
}
