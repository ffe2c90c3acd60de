//! Making a reference directory in one call, and holding features to it.

use super::Reference;
use super::embed::{EmbedOptions, EmbedOutcome, embed_into};
use super::import::import;
use crate::error::{Error, Result};
use crate::extract::{Identity, LoadedExtractor};
use crate::images::{ImageSet, Inputs};
use crate::progress::Progress;
use ndarray::Array2;
use std::path::Path;

impl Reference {
    /// Embeds images into the reference directory `dir`, as `pd embed` does: what an earlier run finished is not computed again, and where
    /// `dir` holds a finished reference of these images it is brought up to date. Densities are for [`super::index()`] to add.
    ///
    /// # Errors
    /// [`Error::Usage`] if `dir` holds something else; [`Error::Strict`] as asked; [`Error::Data`] if no image could be used;
    /// [`Error::Interrupted`], with all finished chunks kept; what the network returns.
    pub fn create(
        dir: &Path,
        set: &ImageSet,
        extractor: &LoadedExtractor,
        options: EmbedOptions,
        progress: &dyn Progress,
    ) -> Result<(Self, Inputs)> {
        let EmbedOutcome { manifest, inputs, .. } = embed_into(dir, set, extractor, options, progress)?;
        Ok((Self { dir: dir.to_path_buf(), manifest }, inputs))
    }

    /// Makes the reference directory `dir` of features `[N, D]` that another program made and that were read from `file`.
    ///
    /// # Errors
    /// [`Error::Data`] if a value is not finite; [`Error::Usage`] if `dir` holds something else.
    pub fn of_features(dir: &Path, file: &Path, features: &Array2<f32>) -> Result<Self> {
        Ok(Self { dir: dir.to_path_buf(), manifest: import(dir, file, features, false)? })
    }

    /// Whether features made as `identity` says can be compared with those of this reference; `name` is what they are called.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what differs.
    pub fn check_identity(&self, name: &str, identity: &Identity) -> Result<()> {
        match self.manifest.identity.difference(identity) {
            None => Ok(()),
            Some(difference) => Err(Error::usage(
                format!("{name} does not fit the reference: {difference}"),
                "both sides have to be made with the same extractor, weights and preprocessing",
            )),
        }
    }
}
