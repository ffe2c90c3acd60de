//! From images to densities.

use super::density::{Density, ReferenceDensity};
use super::features::features_of;
use super::record::CandidateScores;
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::images::RgbImage;
use crate::progress::Progress;
use crate::reference::{DensityBy, Reference};

/// Scores images against a reference: the extractor that the reference was made with, and the reference's densities.
pub struct DensityScorer {
    /// Takes images to features.
    pub extractor: LoadedExtractor,
    /// Takes features to densities.
    pub density: ReferenceDensity,
}

impl DensityScorer {
    /// Reads what scoring needs; `extractor` is the one of the reference. Neighbours are searched for on its device.
    ///
    /// # Errors
    /// As [`ReferenceDensity::open`].
    pub fn open(
        reference: &Reference,
        extractor: LoadedExtractor,
        by: DensityBy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let density = ReferenceDensity::open(reference, by, extractor.device(), progress)?;
        Ok(Self { extractor, density })
    }

    /// Scores of images, with everything that a table of candidates holds.
    ///
    /// # Errors
    /// What the extractor returns; [`crate::Error::Data`] if features are not finite; [`crate::Error::Interrupted`].
    pub fn scores(&self, images: &[RgbImage], progress: &dyn Progress) -> Result<CandidateScores> {
        self.density.scores(features_of(&self.extractor, images)?.view(), None, progress)
    }

    /// Densities `[B]` of images, of the kind that was asked for, and nothing beside them.
    ///
    /// # Errors
    /// As [`DensityScorer::scores`].
    pub fn densities(&self, images: &[RgbImage]) -> Result<Vec<f64>> {
        self.density.densities(features_of(&self.extractor, images)?.view())
    }
}
