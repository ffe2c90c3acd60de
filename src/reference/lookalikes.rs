//! Which pictures a picture may be a copy of: the nearest in features, its own and those of it mirrored, and the nearest of what pictures
//! look like from afar, which finds what features lose, such as a blurred copy. The pictures themselves then decide.

use crate::copies::{ALIKE, Descriptor, NEAREST, THUMB_NUMBERS};
use crate::error::{Error, Result};
use crate::neighbors::{ExactIndex, NeighborIndex, Search};
use crate::progress::{Progress, Silent};
use ndarray::{Array2, ArrayView2};
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

    /// Pairs of a picture, by its place, and a row that it may be a copy of. `features` `[B, D]` are those of the pictures and, where
    /// they are there, of them mirrored, `index` has those of the rows; `own` is the row that is the picture itself.
    ///
    /// # Errors
    /// [`Error::Data`] if a descriptor is damaged; what the search returns.
    pub(crate) fn pairs(
        &self,
        pictures: &[Descriptor],
        features: &[ArrayView2<f32>],
        index: &dyn NeighborIndex,
        own: Option<&[Option<u32>]>,
        progress: &dyn Progress,
    ) -> Result<Vec<(usize, usize)>> {
        let mut pairs = self.alike(pictures, own)?;
        let Some(search) = self.search(pictures, own) else { return Ok(pairs) };
        for queries in features {
            let found = index.search(*queries, own, search, progress)?;
            let near = |row: usize| found.of(row).0.iter().map(move |&other| (row, other as usize));
            pairs.extend((0..found.len()).flat_map(near));
        }
        Ok(pairs)
    }

    /// How many rows are looked for; `None` where there are none.
    fn search(&self, pictures: &[Descriptor], own: Option<&[Option<u32>]>) -> Option<Search> {
        let is_among = own.is_some_and(|own| own.iter().any(Option::is_some));
        let k = NEAREST.min(self.rows - usize::from(is_among));
        (k > 0 && !pictures.is_empty()).then_some(Search { k, skip_zero: false })
    }

    /// Pairs as those of [`ThumbIndex::pairs`], of pictures that look alike from afar.
    ///
    /// # Errors
    /// As [`ThumbIndex::pairs`].
    pub(super) fn alike(
        &self,
        pictures: &[Descriptor],
        own: Option<&[Option<u32>]>,
    ) -> Result<Vec<(usize, usize)>> {
        let Some(search) = self.search(pictures, own) else { return Ok(Vec::new()) };
        let originals = pictures.par_iter().map(Descriptor::originals).collect::<Result<Vec<_>>>()?;
        let each = originals.first().map_or(0, |originals| originals.len());
        let own: Option<Vec<Option<u32>>> =
            own.map(|own| own.iter().flat_map(|&row| std::iter::repeat_n(row, each)).collect());
        let queries = matrix(originals.iter().flatten().map(|thumb| thumb.numbers()).collect())?;
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
