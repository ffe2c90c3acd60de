//! The network that makes the features of the images of all sets: sets that different networks see cannot be compared.

use crate::cli::common::ExtractorArgs;
use crate::cli::terminal::Terminal;
use crate::cli::{input, network};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::images::ImageSet;
use crate::reference::Reference;

/// Loaded when the first set of images is read, once for all.
pub(super) struct SetNetwork<'a> {
    args: &'a ExtractorArgs,
    reference: Option<&'a Reference>,
    known_width: Option<usize>,
    loaded: Option<LoadedExtractor>,
}

impl<'a> SetNetwork<'a> {
    /// The one of the `reference`, where the real set is one. Its features have to be as wide as the mean of a set of which only mean and
    /// covariance are known.
    pub(super) fn new(
        args: &'a ExtractorArgs,
        reference: Option<&'a Reference>,
        known_width: Option<usize>,
    ) -> Self {
        Self { args, reference, known_width, loaded: None }
    }

    /// The network; where nothing names one, it is chosen to fit the first set that it is asked for.
    ///
    /// # Errors
    /// As [`LoadedExtractor::load`]; [`Error::Usage`] for features of another width than that of known statistics.
    pub(super) fn for_set(&mut self, set: &ImageSet, terminal: &Terminal) -> Result<&LoadedExtractor> {
        let loaded = match (self.loaded.take(), self.reference) {
            (Some(loaded), _) => loaded,
            (None, reference) => {
                network::check(self.args, terminal)?;
                match reference {
                    Some(reference) => input::extractor(self.args, reference, terminal)?,
                    None => network::for_images(self.args, set, None, terminal)?,
                }
            }
        };
        let identity = loaded.identity();
        match self.known_width {
            Some(width) if width != identity.dimension => Err(Error::usage(
                format!(
                    "a set is known by mean and covariance of {width} numbers, and {} gives {} for an image",
                    identity.extractor, identity.dimension
                ),
                "take the extractor that they were made with",
            )),
            _ => Ok(self.loaded.insert(loaded)),
        }
    }
}
