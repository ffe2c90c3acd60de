//! Features of images as they are written.

use super::image::CandidateImage;
use super::source::{CandidateSource, each_image_once};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::images::{Prepared, RgbImage};
use crate::progress::{Progress, Silent};
use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;
use std::borrow::Borrow;
use std::ops::Range;

/// Features `[B, D]` of images: those that a file of the same pixels has.
///
/// # Errors
/// [`Error::Data`] naming the first row whose features are not finite; what the network returns.
pub(crate) fn features_of<I>(extractor: &LoadedExtractor, images: &[I]) -> Result<Array2<f32>>
where
    I: Borrow<RgbImage> + Sync,
{
    let prepared = prepare(extractor, images);
    let features = extractor.features(&prepared.iter().map(Some).collect::<Vec<_>>())?;
    crate::neighbors::check_finite(features.view())?;
    Ok(features)
}

/// Images as their files are prepared for the network.
pub(super) fn prepare<I>(extractor: &LoadedExtractor, images: &[I]) -> Vec<Prepared>
where
    I: Borrow<RgbImage> + Sync,
{
    let preprocessing = extractor.preprocessing();
    images.par_iter().map(|image| Prepared::of_image(image.borrow(), preprocessing)).collect()
}

/// Features `[B, D]` of the candidates of a range by each of the extractors, in the order of their numbers.
///
/// # Errors
/// As [`features_of`]; [`Error::Data`] if an image was not delivered; what the source returns.
pub fn features_of_candidates(
    source: &dyn CandidateSource,
    range: Range<usize>,
    extractors: &[&LoadedExtractor],
) -> Result<Vec<Array2<f32>>> {
    watched_features(source, range, extractors, &Silent)
}

/// [`features_of_candidates`], reporting what is under way inside the range, and stopping when asked to.
///
/// # Errors
/// As [`features_of_candidates`]; [`Error::Interrupted`].
pub(crate) fn watched_features(
    source: &dyn CandidateSource,
    range: Range<usize>,
    extractors: &[&LoadedExtractor],
    progress: &dyn Progress,
) -> Result<Vec<Array2<f32>>> {
    let mut features: Vec<Array2<f32>> =
        extractors.iter().map(|e| Array2::zeros((range.len(), e.identity().dimension))).collect();
    let mut take = |placed: Vec<(usize, CandidateImage)>| {
        for (extractor, features) in extractors.iter().zip(&mut features) {
            let alpha = extractor.preprocessing().alpha;
            let images =
                placed.par_iter().map(|(_, image)| image.pixels(alpha)).collect::<Result<Vec<_>>>()?;
            for ((place, _), row) in placed.iter().zip(features_of(extractor, &images)?.outer_iter()) {
                features.row_mut(*place).assign(&row);
            }
        }
        Ok(())
    };
    each_image_once(source, range, &mut take, progress)?;
    Ok(features)
}

/// Batches of rows one after the other.
///
/// # Errors
/// [`Error::Data`] if their widths differ.
pub(crate) fn join_rows(parts: &[Array2<f32>]) -> Result<Array2<f32>> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views).map_err(|e| Error::data(format!("features do not fit each other: {e}"), ""))
}
