//! Pseudo densities and features of the training images: those of the reference where it was made of the same images, else measured
//! against it.

use super::data::RealImages;
use crate::candidates::{features_of, join_rows};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::progress::{Progress, check_stop};
use crate::reference::embed::{EmbedOptions, embed};
use crate::reference::{Manifest, Reference, Scorer};
use ndarray::{Array2, Axis};
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

/// What is known of every row of the training images.
pub(crate) struct Measured {
    /// Pseudo densities `[N]`.
    pub densities: Vec<f64>,
    /// Features `[N, D]`, where they were asked for.
    pub features: Option<Array2<f32>>,
    /// Where both came from.
    pub origin: Origin,
}

/// The pseudo density of every row of `images`, and its features where `with_features` asks for them.
///
/// # Errors
/// [`Error::Malformed`] if the reference is damaged or not indexed; what the extractor returns.
pub(crate) fn measure(
    images: &RealImages,
    reference: &Reference,
    extractor: impl FnOnce() -> Result<LoadedExtractor>,
    with_features: bool,
    progress: &dyn Progress,
) -> Result<Measured> {
    reference.density()?;
    let Manifest { input_digest, content_digest, .. } = &reference.manifest;
    let same_content = content_digest.as_ref().is_none_or(|content| content == images.content());
    if *input_digest == images.set().digest()
        && same_content
        && let Some(rows) = rows_of(&reference.paths()?, images)
    {
        let densities = reference.densities()?;
        let densities: Option<Vec<f64>> = rows.iter().map(|&row| densities.get(row).copied()).collect();
        if let Some(densities) = densities {
            let features = match with_features {
                true => Some(reference.features()?.select(Axis(0), &rows)),
                false => None,
            };
            return Ok(Measured { densities, features, origin: Origin::Reference });
        }
    }
    let extractor = extractor()?;
    let scorer = Scorer::open(reference, extractor.device(), progress)?;
    let embedded = embed(images.set(), &extractor, EmbedOptions { batch: BATCH, strict: false }, progress)?;
    let paths: Vec<String> = embedded.images.iter().map(|image| image.path.clone()).collect();
    let scores = scorer.score_images(embedded.features.view(), &paths, progress)?;
    let rows = rows_of(&paths, images).ok_or_else(|| {
        let reason = "an image can be decoded but not scored";
        Error::data(reason, "the images must stay as they are during a run")
    })?;
    let densities = rows.iter().map(|&row| scores.pseudo_density[row]).collect();
    let features = with_features.then(|| embedded.features.select(Axis(0), &rows));
    Ok(Measured { densities, features, origin: Origin::Scored })
}

/// The features `[N, D]` of training images as they are trained on, of at most `most` that are spread over all.
///
/// # Errors
/// What the extractor returns; [`crate::Error::Interrupted`].
pub(crate) fn training_features(
    images: &RealImages,
    extractor: &LoadedExtractor,
    most: usize,
    progress: &dyn Progress,
) -> Result<Array2<f32>> {
    let count = images.len().min(most.max(1));
    let rows: Vec<usize> = (0..count).map(|i| i * images.len() / count).collect();
    let mut parts = Vec::new();
    progress.start("embedding training images", count as u64, "images");
    for rows in rows.chunks(BATCH) {
        check_stop(progress, || "nothing has been trained yet".into())?;
        parts.push(features_of(extractor, &images.pictures(rows)?)?);
        progress.advance(rows.len() as u64);
    }
    progress.finish();
    join_rows(&parts)
}

/// The row among `paths` of every image; `None` if one is not there.
fn rows_of(paths: &[String], images: &RealImages) -> Option<Vec<usize>> {
    let known: HashMap<&str, usize> = paths.iter().map(String::as_str).zip(0..).collect();
    images.paths().iter().map(|path| known.get(path.as_str()).copied()).collect()
}
