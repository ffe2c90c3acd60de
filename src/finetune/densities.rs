//! Pseudo densities of the training images: those of the reference where it was made of the same images, else scored against it.

use super::data::RealImages;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::progress::Progress;
use crate::reference::embed::{EmbedOptions, embed};
use crate::reference::{Reference, Scorer};
use std::collections::HashMap;

/// Images that the extractor takes at a time.
const BATCH: usize = 64;

/// Where the densities of the training images came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Read from the reference, which was made of the same images.
    Reference,
    /// Computed against the reference.
    Scored,
}

/// The pseudo density of every row of `images`.
///
/// # Errors
/// [`Error::Malformed`] if the reference is damaged or not indexed; what the extractor returns.
pub(crate) fn densities(
    images: &RealImages,
    reference: &Reference,
    extractor: impl FnOnce() -> Result<LoadedExtractor>,
    progress: &dyn Progress,
) -> Result<(Vec<f64>, Origin)> {
    reference.density()?;
    if reference.manifest.input_digest == images.set().digest() {
        let known: HashMap<String, f64> =
            reference.paths()?.into_iter().zip(reference.densities()?).collect();
        let found: Option<Vec<f64>> = images.paths().iter().map(|path| known.get(path).copied()).collect();
        if let Some(densities) = found {
            return Ok((densities, Origin::Reference));
        }
    }
    let extractor = extractor()?;
    let scorer = Scorer::open(reference, extractor.device(), progress)?;
    let embedded = embed(images.set(), &extractor, EmbedOptions { batch: BATCH, strict: false }, progress)?;
    let paths: Vec<String> = embedded.images.iter().map(|image| image.path.clone()).collect();
    let own = scorer.own_rows(embedded.features.view(), &paths);
    let scores = scorer.score(embedded.features.view(), Some(&own), progress)?;
    let known: HashMap<String, f64> = paths.into_iter().zip(scores.pseudo_density).collect();
    let lost = |path: &String| {
        let reason = format!("{path} can be decoded but not scored");
        Error::data(reason, "the images must stay as they are during a run")
    };
    let of = |path: &String| known.get(path).copied().ok_or_else(|| lost(path));
    Ok((images.paths().iter().map(of).collect::<Result<_>>()?, Origin::Scored))
}
