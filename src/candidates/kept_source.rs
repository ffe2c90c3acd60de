//! Candidates whose images stay on disk until they are no longer needed, so that a run that was stopped does not make them again.

use super::image::CandidateImage;
use super::record::CandidateRecord;
use super::source::{CandidateSource, Deliver, Delivered};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use ndarray::ArrayD;
use rayon::prelude::*;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Images of an earlier run that are read between two looks at whether to stop.
const READ_TOGETHER: usize = 32;
/// What a stop leaves behind.
const CONTINUES: &str = "finished images are kept; the same command continues";

/// A source, each image of which is written to a directory of its run, by its name, before it is delivered.
pub(crate) struct KeptSource<'a> {
    source: &'a dyn CandidateSource,
    directory: PathBuf,
}

impl<'a> KeptSource<'a> {
    /// The candidates of `source`, whose images are kept in `directory`.
    pub(crate) fn new(source: &'a dyn CandidateSource, directory: PathBuf) -> Self {
        source.work_in(&directory);
        Self { source, directory }
    }

    /// Removes the images of a range, which are not needed again.
    ///
    /// # Errors
    /// If their names cannot be read.
    pub(crate) fn discard(&self, range: Range<usize>) -> Result<()> {
        for record in self.source.records(range)? {
            // What is left goes with its directory.
            let _ = fs::remove_file(self.directory.join(&record.name));
        }
        Ok(())
    }
}

impl CandidateSource for KeptSource<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        self.source.records(range)
    }

    fn images(&self, range: Range<usize>, deliver: &mut Deliver, progress: &dyn Progress) -> Result<()> {
        let records = self.source.records(range.clone())?;
        let paths: Vec<PathBuf> = records.iter().map(|record| self.directory.join(&record.name)).collect();
        let (made, missing): (Vec<usize>, Vec<usize>) =
            (0..range.len()).partition(|&place| paths[place].is_file());
        for places in made.chunks(READ_TOGETHER) {
            check_stop(progress, || CONTINUES.into())?;
            let read = |&place: &usize| {
                let path = &paths[place];
                let bytes = fs::read(path).map_err(Error::io("read", path))?;
                let image = CandidateImage::Encoded(path.clone(), bytes);
                Ok(Delivered { number: range.start + place, image })
            };
            deliver(places.par_iter().map(read).collect::<Result<_>>()?)?;
        }
        for places in missing.chunk_by(|one, next| one + 1 == *next) {
            let (Some(&first), Some(&last)) = (places.first(), places.last()) else { continue };
            let mut keep = |delivered: Vec<Delivered>| {
                delivered.par_iter().try_for_each(|Delivered { number, image }| {
                    // Whether it was asked for is for the next one to say.
                    paths.get(number.wrapping_sub(range.start)).map_or(Ok(()), |path| image.write(path))
                })?;
                deliver(delivered)
            };
            self.source.images(range.start + first..range.start + last + 1, &mut keep, progress)?;
        }
        Ok(())
    }

    fn work_in(&self, directory: &Path) {
        self.source.work_in(directory);
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        self.source.latents(range)
    }
}
