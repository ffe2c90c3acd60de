//! What sampling needs of whatever makes or holds candidate images.

use super::image::CandidateImage;
use super::record::CandidateRecord;
use crate::error::{Error, Result};
use crate::progress::Progress;
use ndarray::ArrayD;
use std::ops::Range;
use std::path::Path;

/// The image of one candidate, with the candidate's number.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The number of the candidate in its source.
    pub number: usize,
    /// Its image.
    pub image: CandidateImage,
}

/// Takes images as they become available, several at a time.
pub(crate) type Deliver<'a> = dyn FnMut(Vec<Delivered>) -> Result<()> + 'a;

/// Candidates, numbered from 0: a generator with its latents, or images that exist already. Whatever else a source is (another program,
/// images in memory), it needs to know a record of each candidate and to deliver its image. The same number always gives the same
/// image, whichever others are asked for beside it. Images may differ in size.
pub trait CandidateSource {
    /// How many candidates there are.
    fn len(&self) -> u64;

    /// What is known of the candidates of a range before their images are made, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>>;

    /// Delivers the image of each candidate of a range once, in any order. What takes long reports what is under way inside the range, and
    /// stops when asked to.
    ///
    /// # Errors
    /// What making or reading an image returns; what `deliver` returns; [`Error::Interrupted`].
    fn images(&self, range: Range<usize>, deliver: &mut Deliver, progress: &dyn Progress) -> Result<()>;

    /// Puts files that are needed meanwhile into `directory`, which is there and removed at the end; without it, they are where the system
    /// keeps such files.
    fn work_in(&self, directory: &Path) {
        let _ = directory;
    }

    /// The latents of a range, `[B, …]`; `None` for candidates that have none.
    ///
    /// # Errors
    /// If they cannot be made.
    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        let _ = range;
        Ok(None)
    }
}

/// The images of a range as they come, each with its place in the range; checks that each comes once.
///
/// # Errors
/// [`Error::Data`] if an image is missing, comes twice or was not asked for; what the source and `take` return.
pub(crate) fn each_image_once(
    source: &dyn CandidateSource,
    range: Range<usize>,
    take: &mut dyn FnMut(Vec<(usize, CandidateImage)>) -> Result<()>,
    progress: &dyn Progress,
) -> Result<()> {
    let mut missing = vec![true; range.len()];
    let mut deliver = |delivered: Vec<Delivered>| {
        let mut placed = |Delivered { number, image }| {
            let place = number.wrapping_sub(range.start);
            match missing.get_mut(place).map(std::mem::take) {
                Some(true) => Ok((place, image)),
                _ => Err(Error::data(format!("the image of candidate {number} was not asked for"), "")),
            }
        };
        take(delivered.into_iter().map(&mut placed).collect::<Result<_>>()?)
    };
    source.images(range.clone(), &mut deliver, progress)?;
    match missing.iter().position(|&missing| missing) {
        Some(place) => {
            Err(Error::data(format!("there is no image of candidate {}", range.start + place), ""))
        }
        None => Ok(()),
    }
}
