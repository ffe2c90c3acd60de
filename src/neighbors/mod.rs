//! Nearest neighbours in feature space, by Euclidean distance.
//! One trait, [`NeighborIndex`], with two peers behind it: exact search and HNSW.
//! Whatever finds the candidates, a distance that leaves this room was computed from the rows themselves.

use crate::error::Result;
use crate::progress::Progress;
use ndarray::ArrayView2;

/// What is asked of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// Neighbours per query, at least 1.
    pub k: usize,
    /// Pass over rows at distance 0, so that copies do not count as neighbours.
    pub skip_zero: bool,
}

/// The neighbours of each query, nearest first, ordered by (distance, row).
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    /// Neighbours per query.
    pub k: usize,
    /// Rows of the indexed set, `[Q, k]` row-major.
    pub rows: Vec<u32>,
    /// Euclidean distances, `[Q, k]` row-major, finite and not negative.
    pub distances: Vec<f64>,
}

impl Neighbors {
    /// How many queries were answered.
    pub fn len(&self) -> usize {
        self.rows.len() / self.k.max(1)
    }

    /// Whether there was no query.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The neighbours of query `q` as (rows, distances), nearest first.
    pub fn of(&self, q: usize) -> (&[u32], &[f64]) {
        let range = q * self.k..(q + 1) * self.k;
        (&self.rows[range.clone()], &self.distances[range])
    }
}

/// A searchable set of features `[N, D]`, all finite. Both searches are deterministic at any thread count.
pub trait NeighborIndex: Send + Sync {
    /// Nearest rows of each query `[Q, D]`. `exclude[q]`, where given, is a row of the indexed set that query `q` does not see.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if a query is not finite or of another width, or if fewer than `k` rows can be found for one.
    fn search(
        &self,
        queries: ArrayView2<f32>,
        exclude: Option<&[Option<u32>]>,
        search: Search,
        progress: &dyn Progress,
    ) -> Result<Neighbors>;

    /// Nearest other rows of every indexed row (leave-one-out: a row is left out by its number, never by its distance).
    ///
    /// # Errors
    /// As [`NeighborIndex::search`].
    fn search_self(&self, search: Search, progress: &dyn Progress) -> Result<Neighbors>;
}
