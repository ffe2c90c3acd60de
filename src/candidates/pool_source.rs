//! Candidates that exist already: the images of a directory or archive.

use super::image::CandidateImage;
use super::record::CandidateRecord;
use super::source::{CandidateSource, Deliver, Delivered};
use crate::error::{Error, Result};
use crate::images::ImageSet;
use crate::progress::Progress;
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

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
        for (number, path) in range.clone().zip(self.paths.iter().skip(range.start)) {
            let place = self.place.join(path);
            let bytes = match self.numbers.get(path.as_str()) {
                Some(&at) => self.set.read(at),
                None => Err("is no longer there".into()),
            };
            let bytes = bytes.map_err(|reason| Error::malformed(&place, reason, ""))?;
            deliver(vec![Delivered { number, image: CandidateImage::Encoded(place, bytes) }])?;
        }
        Ok(())
    }
}
