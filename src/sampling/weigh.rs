//! Importance weights of images that exist already.

use super::weights::ImportanceWeights;
use crate::candidates::{CandidateScores, Pilot, ReferenceDensity};
use crate::density::{Rule, effective_sample_size};
use crate::error::Result;
use crate::neighbors::BuildOptions;
use crate::progress::Progress;
use ndarray::ArcArray2;

/// Draws for each kept image on average, where weights have no acceptance of their own.
pub const DEFAULT_BUDGET: f64 = 4.0;

/// Images with their importance weights.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WeighedImages {
    /// Scores against the reference.
    pub scores: CandidateScores,
    /// Logarithms of the weights, `[M]`, up to a constant of the rule.
    pub log_weights: Vec<f64>,
    /// Weights, `[M]`: w or 1 for the two-level rule, else 1 on average over these images.
    pub weights: Vec<f64>,
    /// The probability of accepting each image, `[M]`.
    pub acceptance: Vec<f64>,
    /// `(sum w)^2 / sum w^2`: as many images that all weigh the same would be worth as much.
    pub effective_sample_size: f64,
}

/// Weighs images with features `[M, D]` by `rule` (Li et al., TMLR 2024, section 3.4, and the ratio rule, for which the images are their
/// own pilot); without a rule all weigh the same. `own[i]` is the row of the reference that is image `i` itself. The probabilities of
/// acceptance are 1 / `budget` on average; without a budget the two-level rule has those of the paper, and the others accept all.
///
/// # Errors
/// As [`Rule::check`]; [`crate::Error::Data`] if features do not fit the reference, or there are not more images than neighbours.
pub fn weigh(
    features: ArcArray2<f32>,
    own: &[Option<u32>],
    density: &ReferenceDensity,
    rule: Option<Rule>,
    budget: Option<f64>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<WeighedImages> {
    let scorer = density.scorer();
    if let Some(rule) = rule {
        rule.check(scorer.distribution().bounds())?;
    }
    let scores = density.scores(features.view(), Some(own), progress)?;
    let index = BuildOptions { seed, device: scorer.device().clone(), ..BuildOptions::default() };
    let pilot = Pilot::for_rule(rule, || features.clone(), scorer.model(), &index, progress)?;
    let generated_density = pilot.as_ref().map_or(&[][..], Pilot::own);
    let (importance, log_weights) =
        ImportanceWeights::new(rule, budget, scores.densities(), generated_density)?;
    let with_density = log_weights.iter().zip(scores.densities());
    Ok(WeighedImages {
        weights: log_weights.iter().map(|&w| importance.shown(w)).collect(),
        acceptance: with_density.map(|(&w, &rho)| importance.probability(w, rho)).collect(),
        effective_sample_size: effective_sample_size(&log_weights),
        log_weights,
        scores,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::reference::score::ScoreOptions;
    use crate::reference::{DensityBy, Scorer};
    use candle_core::Device;
    use ndarray::Array2;

    #[test]
    fn images_are_accepted_one_in_the_budget_on_average_and_the_weights_are_the_formula() {
        let rows = |n: usize, spread: f32| {
            Array2::from_shape_fn((n, 3), |(i, j)| spread * ((i * 37 + j * 11) as f32).sin()).into_shared()
        };
        let (real, generated) = (rows(120, 1.0), rows(90, 0.6));
        let (scorer, _) = Scorer::of_features(real, ScoreOptions::default(), &Device::Cpu, &Silent).unwrap();
        let density = ReferenceDensity::new(scorer, None, DensityBy::Knn).unwrap();
        let own = vec![None; 90];
        let weighed =
            |rule, budget| weigh(generated.clone(), &own, &density, rule, budget, 0, &Silent).unwrap();
        let found = weighed(Some(Rule::Power { b: 2.0 }), Some(3.0));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean(&found.acceptance) - 1.0 / 3.0).abs() < 1e-9);
        assert!((mean(&found.weights) - 1.0).abs() < 1e-9);
        for (weight, rho) in found.log_weights.iter().zip(&found.scores.scores.pseudo_density) {
            assert!((weight - 2.0 * rho.ln()).abs() < 1e-12);
        }
        let ratio = weighed(Some(Rule::Ratio { b: 0.0, dimension: 3.0 }), None);
        assert_eq!(ratio.acceptance, [1.0; 90]);
        assert!(ratio.effective_sample_size < 90.0);
        let uniform = weighed(None, None);
        assert_eq!((uniform.weights, uniform.effective_sample_size), (vec![1.0; 90], 90.0));
    }
}
