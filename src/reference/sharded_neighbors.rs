//! Neighbour lists of rows in files: what the parts of `pd index` leave for the merge, and what a part keeps until it is complete.
//! A file is an `.npz` of `rows` and `distances`, both `[n, K]` float64.

use crate::error::{Error, Result};
use crate::formats::npy::{read_npz_f64, write_npz_f64};
use crate::neighbors::Neighbors;
use crate::runs::{self, CHUNK, Part, Partial};
use ndarray::{Array2, ArrayD, ArrayView2};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Names of the arrays in a file.
const ARRAYS: [&str; 2] = ["rows", "distances"];
/// Chunks whose neighbours are searched together, and kept when they are found.
pub(super) const TOGETHER: usize = 64;

/// The rows of `chunks` of a set of `rows` in groups whose neighbours are searched together.
pub(super) fn groups(chunks: Range<usize>, rows: usize) -> Vec<Range<usize>> {
    let end = chunks.end;
    let group = |chunk: usize| {
        let next = (chunk + TOGETHER).min(end);
        runs::range(chunk, rows).start..runs::range(next, rows).start
    };
    chunks.step_by(TOGETHER).map(group).collect()
}

/// Where the neighbours of a group of rows wait for the end of the part.
pub(super) fn file(partial: &Partial, group: &Range<usize>) -> PathBuf {
    partial.data_as(group.start / CHUNK, "npz")
}

/// Writes neighbour lists `[n, K]`.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write(path: &Path, neighbors: &Neighbors) -> Result<()> {
    let shape = (neighbors.len(), neighbors.k);
    let wrong = |e: ndarray::ShapeError| Error::data(e.to_string(), "");
    // Row numbers below 2^32 are exact in float64.
    let rows = Array2::from_shape_vec(shape, neighbors.rows.iter().map(|&row| f64::from(row)).collect());
    let rows = rows.map_err(wrong)?.into_dyn();
    let distances = ArrayView2::from_shape(shape, &neighbors.distances).map_err(wrong)?.into_dyn();
    write_npz_f64(path, &[(ARRAYS[0], rows.view()), (ARRAYS[1], distances)])
}

/// Appends the `count` neighbour lists in a file; rows are of a set of `total`.
///
/// # Errors
/// As [`read`].
pub(super) fn append(all: &mut Neighbors, path: &Path, count: usize, total: usize) -> Result<()> {
    let found = read(path, (count, all.k), 0..total)?;
    all.rows.extend(found.rows);
    all.distances.extend(found.distances);
    Ok(())
}

/// The neighbour lists in a file, `[count, k]`; the neighbours are all `among` those rows.
///
/// # Errors
/// [`Error::Malformed`] if the file holds other arrays, other shapes, other rows, or distances that are negative or not finite.
pub(super) fn read(path: &Path, (count, k): (usize, usize), among: Range<usize>) -> Result<Neighbors> {
    let wrong = |reason: &str| Error::malformed(path, reason, "remove its part and run that shard again");
    let arrays: Option<[ArrayD<f64>; 2]> =
        read_npz_f64(path, &ARRAYS)?.and_then(|arrays| arrays.try_into().ok());
    let [rows, distances] = arrays.ok_or_else(|| wrong("holds no neighbours"))?;
    if [&rows, &distances].iter().any(|array| array.shape() != [count, k]) {
        return Err(wrong("holds the neighbours of other rows"));
    }
    let (first, end) = (among.start as f64, among.end as f64);
    if rows.iter().any(|&row| !(row >= first && row < end)) {
        return Err(wrong("names a row that is not there to be found"));
    }
    if distances.iter().any(|distance| !(*distance >= 0.0 && distance.is_finite())) {
        return Err(wrong("holds a distance that is none"));
    }
    let rows = rows.iter().map(|&row| row as u32).collect();
    Ok(Neighbors { k, rows, distances: distances.into_iter().collect() })
}

/// The error of a part that lacks a file of neighbours.
pub(super) fn without_neighbors(part: &Part) -> Error {
    Error::malformed(&part.dir, "has no neighbours", "remove it and run its shard again")
}
