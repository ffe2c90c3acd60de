//! Which pictures a picture may be a copy of: the nearest in features, its own and those of it mirrored, and the nearest of what pictures
//! look like from afar, which finds what features lose, such as a blurred copy. The pictures themselves then decide.

use crate::copies::{ALIKE, Descriptor, NEAREST, THUMB_NUMBERS};
use crate::error::{Error, Result};
use crate::neighbors::{ExactIndex, NeighborIndex, Neighbors, Search};
use crate::progress::Silent;
use ndarray::Array2;
use rayon::prelude::*;

/// Thumbnails of pictures, to search in.
pub(crate) struct ThumbIndex {
    index: ExactIndex,
    rows: usize,
}

impl ThumbIndex {
    /// Of the thumbnails of descriptors.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none.
    pub(crate) fn new(numbers: Vec<Vec<f32>>) -> Result<Self> {
        let rows = numbers.len();
        Ok(Self { index: ExactIndex::new(matrix(numbers)?.into_shared())?, rows })
    }

    /// Pairs of a picture, by its place, and a row that it may be a copy of; `own` is the row that is the picture itself.
    ///
    /// # Errors
    /// [`Error::Data`] if a descriptor is damaged.
    pub(crate) fn pairs(
        &self,
        pictures: &[Descriptor],
        own: Option<&[Option<u32>]>,
    ) -> Result<Vec<(usize, usize)>> {
        let k = NEAREST.min(self.rows.saturating_sub(usize::from(own.is_some())));
        if k == 0 || pictures.is_empty() {
            return Ok(Vec::new());
        }
        let damaged = |reason: String| Error::data(format!("a descriptor cannot be read: {reason}"), "");
        let originals =
            pictures.par_iter().map(Descriptor::originals).collect::<std::result::Result<Vec<_>, _>>();
        let originals = originals.map_err(damaged)?;
        let each = originals.first().map_or(0, |originals| originals.len());
        let own: Option<Vec<Option<u32>>> =
            own.map(|own| own.iter().flat_map(|&row| std::iter::repeat_n(row, each)).collect());
        let queries = matrix(originals.iter().flatten().map(|thumb| thumb.numbers()).collect())?;
        let search = Search { k, skip_zero: false };
        let found = self.index.search(queries.view(), own.as_deref(), search, &Silent)?;
        let alike = |query: usize| {
            let (rows, distances) = found.of(query);
            let near = rows.iter().zip(distances).filter(|(_, distance)| **distance < ALIKE);
            near.map(move |(&other, _)| (query / each, other as usize))
        };
        Ok((0..found.len()).flat_map(alike).collect())
    }
}

fn matrix(rows: Vec<Vec<f32>>) -> Result<Array2<f32>> {
    let shape = (rows.len(), THUMB_NUMBERS);
    Array2::from_shape_vec(shape, rows.concat()).map_err(|e| Error::data(e.to_string(), ""))
}

/// Pairs of a query and a row that is near it.
pub(crate) fn pairs_of(found: &Neighbors) -> impl Iterator<Item = (usize, usize)> {
    (0..found.len()).flat_map(|query| found.of(query).0.iter().map(move |&other| (query, other as usize)))
}
