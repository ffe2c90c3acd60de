//! Densities of pictures, with what each is a copy of: scores by features, then a second look at the pictures themselves.

use super::Reference;
use super::copies::{Copies, among, of_real};
use super::score::score_set;
use super::scorer::Scorer;
use super::scores::{ScoreOptions, Scores, SetScores};
use crate::copies::Descriptor;
use crate::error::Result;
use crate::progress::Progress;
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};

/// Scores a set within itself, as [`score_set`]; [`Scores::copy_of`] says of each image which other one it is a copy of. `descriptors` `[N]`
/// are those of the pictures; without any nothing is looked at.
///
/// # Errors
/// As [`score_set`]; [`crate::Error::Interrupted`].
pub fn score_pictures(
    features: &ArcArray2<f32>,
    descriptors: &[Descriptor],
    options: ScoreOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<SetScores> {
    Ok(score_looking(features, Some(descriptors), options, device, progress)?.0)
}

/// [`score_pictures`], with what was found of the copies; `None` without descriptors.
///
/// # Errors
/// As [`score_pictures`].
pub(crate) fn score_looking(
    features: &ArcArray2<f32>,
    descriptors: Option<&[Descriptor]>,
    options: ScoreOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(SetScores, Option<Copies>)> {
    let mut found = score_set(features, options, device, progress)?;
    let Some(mut descriptors) = descriptors.filter(|descriptors| !descriptors.is_empty()) else {
        return Ok((found, None));
    };
    let copies = among(features.nrows(), &found.near, &mut descriptors, &mut features.clone(), progress)?;
    found.scores.copy_of = Some(copies.of.clone());
    Ok((found, Some(copies)))
}

impl Scorer {
    /// Scores images with features `[Q, D]` against `reference`, whose scorer this is. An image of the reference itself, by its path, is no
    /// neighbour of itself. Where both sides have descriptors, [`Scores::copy_of`] says which real image each is a copy of.
    ///
    /// # Errors
    /// As [`Scorer::score`]; [`crate::Error::Malformed`] if the descriptors of the reference are damaged.
    pub fn score_pictures(
        &self,
        reference: &Reference,
        features: ArrayView2<f32>,
        paths: &[String],
        descriptors: Option<&[Descriptor]>,
        progress: &dyn Progress,
    ) -> Result<Scores> {
        let mut scores = self.score_images(features, paths, progress)?;
        if let (Some(ours), Some(mut real)) = (descriptors, reference.descriptors()?) {
            scores.copy_of = Some(of_real(self, &mut real, ours, features, paths, progress)?);
        }
        Ok(scores)
    }
}
