//! The network that makes the features of the images of all sets: sets that different networks see cannot be compared.

use crate::cli::common::ExtractorArgs;
use crate::cli::terminal::Terminal;
use crate::cli::{input, network};
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::images::ImageSet;
use crate::reference::Reference;

/// Loaded when the first set of images is read, once for all.
pub(super) struct SetNetwork<'a> {
    args: &'a ExtractorArgs,
    reference: Option<&'a Reference>,
    loaded: Option<LoadedExtractor>,
}

impl<'a> SetNetwork<'a> {
    /// The one of the `reference`, where the real set is one.
    pub(super) fn new(args: &'a ExtractorArgs, reference: Option<&'a Reference>) -> Self {
        Self { args, reference, loaded: None }
    }

    /// The network; where nothing names one, it is chosen to fit the first set that it is asked for.
    ///
    /// # Errors
    /// As [`LoadedExtractor::load`].
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
        Ok(self.loaded.insert(loaded))
    }
}
