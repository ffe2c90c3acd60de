//! Densities of candidates, as importance rules need them.

use super::weights::Candidates;
use crate::density::{DensityPredictor, spearman};
use crate::error::Result;
use crate::progress::Silent;
use crate::reference::Scorer;
use crate::reference::score::Scores;
use ndarray::ArrayView2;

/// Scores candidates against a reference.
pub struct Judge<'a> {
    /// The reference.
    pub scorer: &'a Scorer,
    /// Where the predictor's densities are wanted; else those by nearest neighbours are used.
    pub predictor: Option<&'a DensityPredictor>,
}

impl Judge<'_> {
    /// Scores features `[Q, D]`; `own[q]` is the row of the reference that is the candidate itself.
    ///
    /// # Errors
    /// If the features do not fit the reference.
    pub fn judge(&self, features: ArrayView2<f32>, own: Option<&[Option<u32>]>) -> Result<Candidates> {
        let scores = self.scorer.score(features, own, &Silent)?;
        // A regression may fall below 0, of which no weight can be made: no image is rated below the rarest real one.
        let rarest = self.scorer.distribution().sorted().first().copied().unwrap_or_default();
        let predicted = match self.predictor {
            Some(predictor) => {
                let raw = predictor.predict_rows(features)?;
                Some(raw.into_iter().map(|rho| f64::from(rho).max(rarest)).collect())
            }
            None => None,
        };
        Ok(Candidates { scores, predicted })
    }
}

impl Candidates {
    /// Spearman correlation of the predicted densities with those by nearest neighbours; `None` without a predictor.
    pub fn agreement(&self) -> Option<f64> {
        spearman(self.predicted.as_ref()?, &self.scores.pseudo_density)
    }

    /// Drops all but the first `n`.
    pub(super) fn truncate(&mut self, n: usize) {
        let scores = &mut self.scores;
        scores.pseudo_density.truncate(n);
        scores.percentile.truncate(n);
        scores.mean_knn_distance.truncate(n);
        scores.nearest.truncate(n);
        scores.nearest_distance.truncate(n);
        if let Some(predicted) = &mut self.predicted {
            predicted.truncate(n);
        }
    }

    /// Some of them.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Self {
        let scores = &self.scores;
        let of = |values: &[f64]| values[range.clone()].to_vec();
        Self {
            scores: Scores {
                pseudo_density: of(&scores.pseudo_density),
                percentile: of(&scores.percentile),
                mean_knn_distance: of(&scores.mean_knn_distance),
                nearest: scores.nearest[range.clone()].to_vec(),
                nearest_distance: of(&scores.nearest_distance),
                group: Vec::new(),
            },
            predicted: self.predicted.as_ref().map(|predicted| of(predicted)),
        }
    }

    /// Joins further candidates.
    pub(super) fn extend(&mut self, more: Candidates) {
        let (all, scores) = (&mut self.scores, more.scores);
        all.pseudo_density.extend(scores.pseudo_density);
        all.percentile.extend(scores.percentile);
        all.mean_knn_distance.extend(scores.mean_knn_distance);
        all.nearest.extend(scores.nearest);
        all.nearest_distance.extend(scores.nearest_distance);
        match (&mut self.predicted, more.predicted) {
            (Some(all), Some(more)) => all.extend(more),
            (all, more) => *all = more,
        }
    }
}
