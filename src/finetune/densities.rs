//! Pseudo densities of the training images: those of the reference where it was made of the same images, else scored against it.

use super::data::RealImages;
use crate::density::DensityPredictor;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::{Quantization, pixels};
use crate::images::{Prepared, gray_or_rgb};
use crate::progress::{Progress, Silent};
use crate::reference::embed::{EmbedOptions, embed};
use crate::reference::{DensityBy, Reference, Scorer};
use candle_core::Tensor;
use ndarray::Array2;
use std::collections::HashMap;

/// Images that the extractor takes at a time.
const BATCH: usize = 64;

/// Where the densities of the training images came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from the reference, which was made of the same images.
    Reference,
    /// Computed against the reference.
    Scored,
}

/// The pseudo density of every row of `images`.
///
/// # Errors
/// [`Error::Malformed`] if the reference is damaged or not indexed; what the extractor returns.
pub fn densities(
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

/// Scores images that a generator makes.
pub struct Judge {
    extractor: LoadedExtractor,
    by: By,
}

enum By {
    Knn(Scorer),
    /// With the lowest density of a real image, below which no image is rated.
    Predictor(DensityPredictor, f64),
}

impl Judge {
    /// Reads what scoring needs.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the reference is damaged, not indexed, or has no predictor where one is asked for.
    pub fn open(
        reference: &Reference,
        extractor: LoadedExtractor,
        by: DensityBy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let by = match by {
            DensityBy::Knn => By::Knn(Scorer::open(reference, extractor.device(), progress)?),
            DensityBy::Predictor => {
                let rarest = reference.distribution()?.sorted().first().copied().unwrap_or_default();
                By::Predictor(reference.predictor()?, rarest)
            }
        };
        Ok(Self { extractor, by })
    }

    /// Pseudo densities `[B]` of generated images `[B, C, H, W]` in -1..=1.
    ///
    /// # Errors
    /// What the extractor returns; [`Error::Data`] if features are not finite.
    pub fn densities(&self, images: &Tensor, quantization: Quantization) -> Result<Vec<f64>> {
        let features = features_of_generated(&self.extractor, images, quantization)?;
        match &self.by {
            By::Knn(scorer) => Ok(scorer.score(features.view(), None, &Silent)?.pseudo_density),
            By::Predictor(predictor, rarest) => {
                let predicted = predictor.predict_rows(features.view())?;
                Ok(predicted.into_iter().map(|rho| f64::from(rho).max(*rarest)).collect())
            }
        }
    }
}

/// Features `[B, D]` of generated images `[B, C, H, W]` in -1..=1, of 8 bits as they are written.
///
/// # Errors
/// What the extractor returns; [`Error::Data`] if an image is not finite.
pub fn features_of_generated(
    extractor: &LoadedExtractor,
    images: &Tensor,
    quantization: Quantization,
) -> Result<Array2<f32>> {
    let (_, _, height, width) = images.dims4()?;
    let size = (width as u32, height as u32);
    let prepared = pixels::to_bytes(images, quantization)?
        .into_iter()
        .map(|bytes| Ok(Prepared::of_image(&gray_or_rgb(size, bytes)?, extractor.preprocessing())))
        .collect::<Result<Vec<_>>>()?;
    extractor.features(&prepared.iter().map(Some).collect::<Vec<_>>())
}
