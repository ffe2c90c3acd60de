//! Candidates that exist already: the images of a directory or archive.

use super::image::CandidateImage;
use super::record::CandidateRecord;
use super::source::{CandidateSource, Deliver, Delivered};
use crate::error::{Error, Result};
use crate::images::{Alpha, ImageSet, RgbImage};
use crate::progress::Progress;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Those images of a set that are candidates.
pub(crate) struct PoolSource<'a> {
    set: &'a ImageSet,
    /// What the set was opened by, for messages.
    place: PathBuf,
    paths: &'a [String],
    numbers: HashMap<&'a str, usize>,
}

impl<'a> PoolSource<'a> {
    /// The images of `set`, which was opened by the path `place`, that are called `paths`.
    pub(crate) fn new(set: &'a ImageSet, place: impl Into<PathBuf>, paths: &'a [String]) -> Self {
        let numbers = (0..set.len()).map(|number| (set.path(number), number)).collect();
        Self { set, place: place.into(), paths, numbers }
    }

    /// What the set was opened by.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// The names of the candidates.
    pub(crate) fn paths(&self) -> &'a [String] {
        self.paths
    }

    /// The pictures of some candidates.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a file is no longer there, or no image.
    pub(crate) fn pictures(&self, rows: &[usize], alpha: Alpha) -> Result<Vec<RgbImage>> {
        let picture = |&row: &usize| Ok(self.image(row)?.pixels(alpha)?.into_owned());
        rows.par_iter().map(picture).collect()
    }

    /// The file of a candidate.
    ///
    /// # Errors
    /// As [`PoolSource::pictures`].
    pub(crate) fn image(&self, row: usize) -> Result<CandidateImage> {
        let path = self.paths.get(row).map_or("", String::as_str);
        let place = self.place.join(path);
        let bytes = match self.numbers.get(path) {
            Some(&at) => self.set.read(at),
            None => Err("is no longer there".into()),
        };
        let bytes = bytes.map_err(|reason| Error::malformed(&place, reason, ""))?;
        Ok(CandidateImage::Encoded(place, bytes))
    }
}

impl CandidateSource for PoolSource<'_> {
    fn len(&self) -> u64 {
        self.paths.len() as u64
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        let record = |(row, path): (usize, &String)| CandidateRecord {
            name: path.clone(),
            key: row as u64,
            ..CandidateRecord::default()
        };
        Ok(range.clone().zip(self.paths.iter().skip(range.start)).map(record).collect())
    }

    fn images(&self, range: Range<usize>, deliver: &mut Deliver, _: &dyn Progress) -> Result<()> {
        range
            .into_iter()
            .try_for_each(|number| deliver(vec![Delivered { number, image: self.image(number)? }]))
    }
}
