//! What a single image is worth to a set.

use crate::candidates::{CandidateScores, Pilot, ReferenceDensity};
use crate::density::Rule;
use crate::error::{Error, Result};
use crate::neighbors::BuildOptions;
use crate::progress::Progress;
use crate::reference::score::{ScoreOptions, score_set};
use crate::remedy::Remedy;
use candle_core::Device;
use ndarray::ArcArray2;
use serde::{Deserialize, Serialize};

/// What the quality of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum QualityBy {
    /// Log pseudo density: how typical it is
    Density,
    /// Log density ratio: how much more often the reference has such images than the pool
    Ratio,
    /// All images are worth the same
    None,
}

/// What single candidates are worth.
pub struct Qualities {
    /// Against the reference, or among the candidates themselves.
    pub scores: CandidateScores,
    /// `[M]`
    pub quality: Vec<f64>,
    /// What that is.
    pub by: QualityBy,
}

impl Qualities {
    /// Of candidates with features `[M, D]` measured against a reference of intrinsic dimension `dimension`. `own[i]` is the row of the
    /// reference that is candidate `i` itself. Unless asked otherwise it is the density ratio, where there are more candidates than
    /// neighbours.
    ///
    /// # Errors
    /// [`Error::Data`] for a density of 0, features that do not fit the reference, or a ratio without a dimension.
    pub fn against(
        features: &ArcArray2<f32>,
        own: &[Option<u32>],
        (density, dimension): (&ReferenceDensity, Option<f64>),
        by: Option<QualityBy>,
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let scores = density.scores(features.view(), Some(own), progress)?;
        let enough = features.nrows() > density.scorer().model().k;
        let by = by.unwrap_or(if enough { QualityBy::Ratio } else { QualityBy::Density });
        let quality = match by {
            QualityBy::Density => log_densities(scores.densities())?,
            QualityBy::Ratio => {
                let missing = "the reference has no intrinsic dimension: all neighbours are copies";
                let dimension = dimension.ok_or_else(|| Error::data(missing, Remedy::QualityByDensity))?;
                log_ratios(features, &scores, density, dimension, seed, progress)?
            }
            QualityBy::None => vec![0.0; features.nrows()],
        };
        Ok(Self { scores, quality, by })
    }

    /// Of candidates with features `[M, D]` measured among themselves: their densities, unless all are to be worth the same.
    ///
    /// # Errors
    /// As [`score_set`]; [`Error::Data`] for a density of 0.
    pub fn within(
        features: &ArcArray2<f32>,
        by: Option<QualityBy>,
        seed: u64,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let options = ScoreOptions { seed, ..ScoreOptions::default() }.of_few(features.nrows());
        let scores = score_set(features, options, device, progress)?.scores;
        let by = by.unwrap_or(QualityBy::Density);
        let quality = match by {
            QualityBy::Density => log_densities(&scores.pseudo_density)?,
            // There is nothing to compare the candidates with.
            QualityBy::Ratio | QualityBy::None => vec![0.0; features.nrows()],
        };
        Ok(Self { scores: CandidateScores { scores, predicted: None }, quality, by })
    }
}

/// Logarithms of pseudo densities `[M]`.
///
/// # Errors
/// [`Error::Data`] for a density of 0.
fn log_densities(densities: &[f64]) -> Result<Vec<f64>> {
    Rule::Power { b: 1.0 }.log_weights(densities, &[])
}

/// Logarithms of the ratio of the density among real images to that among the candidates `[M, D]` (the ratio rule with B = 0).
///
/// # Errors
/// [`Error::Data`] for a density of 0, or if there are not more candidates than neighbours.
fn log_ratios(
    features: &ArcArray2<f32>,
    scores: &CandidateScores,
    density: &ReferenceDensity,
    dimension: f64,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let scorer = density.scorer();
    let index = BuildOptions { seed, device: scorer.device().clone(), ..BuildOptions::default() };
    let pilot = Pilot::new(features.clone(), scorer.model(), &index, progress)?;
    Rule::Ratio { b: 0.0, dimension }.log_weights(scores.densities(), pilot.own())
}

/// Quality in units of its standard deviation over the candidates, `[M]`; zeros where all are equal.
pub(super) fn standardized(quality: &[f64]) -> Vec<f64> {
    let count = quality.len().max(1) as f64;
    let mean = quality.iter().sum::<f64>() / count;
    let deviation = (quality.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    // Equal values have no deviation but that of rounding.
    let smallest = f64::EPSILON * quality.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let unit = if deviation > smallest { 1.0 / deviation } else { 0.0 };
    quality.iter().map(|value| (value - mean) * unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_counts_in_standard_deviations_and_not_at_all_where_it_is_equal() {
        assert_eq!(standardized(&[1.0, 3.0]), [-1.0, 1.0]);
        assert_eq!(standardized(&[0.1; 7]), [0.0; 7]);
        assert!(standardized(&[]).is_empty());
        assert!(log_densities(&[1.0, 0.0]).is_err());
    }
}
