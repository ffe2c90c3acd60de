//! What a search for nearest neighbours is asked, what it answers, and the trait that every index implements.

use crate::error::{Error, Result};
use crate::progress::Progress;
use ndarray::{ArcArray2, ArrayView1, ArrayView2};
use rayon::prelude::*;

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

    /// Mean distance to the `k` neighbours of each query, `[Q]`, summed in the order of rank: `d_K`, the
    /// basis of the pseudo density (Li et al., TMLR 2024, section 3.1).
    pub fn mean_distances(&self) -> Vec<f64> {
        let k = self.k.max(1);
        self.distances.chunks_exact(k).map(|row| row.iter().sum::<f64>() / k as f64).collect()
    }

    /// Writes the answer of query `q`; `None` if there are fewer than `k`.
    pub(super) fn set(&mut self, q: usize, found: &[(f64, u32)]) -> Option<()> {
        let found = found.get(..self.k)?;
        for (at, &(distance, row)) in (q * self.k..).zip(found) {
            (self.rows[at], self.distances[at]) = (row, distance);
        }
        Some(())
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

/// Checks that `features` `[N, D]` has rows, columns and finite values only.
///
/// # Errors
/// [`Error::Data`], naming the first row (counted from 0) with a NaN or an infinity.
pub fn check_finite(features: ArrayView2<f32>) -> Result<()> {
    let (rows, width) = features.dim();
    if rows == 0 || width == 0 {
        return Err(Error::data(
            format!("features of shape {rows} x {width} hold nothing to compare"),
            "At least one row and one column are needed.",
        ));
    }
    if rows >= u32::MAX as usize {
        return Err(Error::data(format!("{rows} rows are more than an index can number"), "Split the set."));
    }
    // Any infinity or NaN makes the sum of products with zero NaN, and nothing else does.
    let finite = |row: ArrayView1<f32>| row.iter().fold(0.0f32, |sum, value| sum + value * 0.0) == 0.0;
    match (0..rows).into_par_iter().position_first(|row| !finite(features.row(row))) {
        Some(row) => Err(Error::data(
            format!(
                "row {row} of the features holds a value that is not finite in float32 (NaN, infinity, beyond 3.4e38)"
            ),
            "Remove that row, or compute its features again.",
        )),
        None => Ok(()),
    }
}

pub(super) fn check_search(search: Search) -> Result<()> {
    if search.k == 0 {
        return Err(Error::usage("0 neighbours were asked for", "Ask for at least 1."));
    }
    Ok(())
}

pub(super) fn check_width(queries: ArrayView2<f32>, width: usize) -> Result<()> {
    if queries.ncols() != width {
        return Err(Error::data(
            format!("queries have {} values per row, the indexed set has {width}", queries.ncols()),
            "Use features of the same extractor.",
        ));
    }
    Ok(())
}

pub(super) fn check_excluded(exclude: Option<&[Option<u32>]>, queries: usize) -> Result<()> {
    match exclude {
        Some(exclude) if exclude.len() != queries => Err(Error::data(
            format!("{} rows to exclude were given for {queries} queries", exclude.len()),
            "",
        )),
        _ => Ok(()),
    }
}

/// The error of a query for which only `left` rows count.
pub(super) fn too_few(query: usize, left: usize, search: Search) -> Error {
    let Search { k, skip_zero } = search;
    if skip_zero {
        Error::data(
            format!("row {query} has only {left} neighbours at a distance above 0, {k} were asked for"),
            "The set consists of too few different rows: ask for fewer neighbours, or count copies as neighbours.",
        )
    } else {
        Error::data(
            format!("row {query} has only {left} other rows to choose from, {k} neighbours were asked for"),
            "Add rows, or ask for fewer neighbours.",
        )
    }
}

/// `features` in row-major order: itself where it is already.
pub(crate) fn standard_layout(features: ArcArray2<f32>) -> ArcArray2<f32> {
    if features.is_standard_layout() {
        features
    } else {
        features.as_standard_layout().into_owned().into_shared()
    }
}
