//! From scores to importance weights: which rule, with which numbers, and what the generated images look like to themselves.

use super::acceptance::Acceptance;
use crate::density::{
    Distribution, PseudoDensity, Rule, Threshold, TwoLevel, log_mean_weight, log_power_weight,
    log_ratio_weight,
};
use crate::error::{Error, Result};
use crate::neighbors::{self, AnyIndex, BuildOptions, NeighborIndex, Search};
use crate::progress::Progress;
use crate::reference::score::Scores;
use ndarray::{ArcArray2, ArrayView2};
use serde::{Deserialize, Serialize};

/// What weights are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightOptions {
    /// The rule; `None` weighs all alike.
    pub rule: Option<Rule>,
    /// tau of the two-level rule.
    pub threshold: Threshold,
    /// w of the two-level rule.
    pub weight: f64,
    /// m of the ratio rule: the reference's intrinsic dimension, unless asked otherwise.
    pub dimension: f64,
    /// Draws for each kept image on average, at most; `None` leaves the two-level rule its own acceptance.
    pub budget: Option<f64>,
}

impl WeightOptions {
    /// All alike: without a rule.
    pub fn alike() -> Self {
        Self { rule: None, threshold: Threshold::Percentile(0.0), weight: 1.0, dimension: 1.0, budget: None }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the one that makes no sense; [`Error::Data`] for a threshold outside the reference's densities.
    pub fn check(&self, reference: &Distribution) -> Result<()> {
        let positive = |name: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::usage(format!("{name} is {value}, not a number above 0"), "")),
        };
        if self.budget.is_some_and(|budget| !(budget >= 1.0 && budget.is_finite())) {
            return Err(Error::usage(
                "--budget is the draws for each kept image: 1 or more",
                "try --budget 4",
            ));
        }
        match self.rule {
            Some(Rule::TwoLevel) => {
                positive("--weight", self.weight)?;
                let (tau, sorted) = (self.threshold.resolve(reference), reference.sorted());
                let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Ok(()) };
                if (*first..=*last).contains(&tau) {
                    return Ok(());
                }
                Err(Error::data(
                    format!(
                        "the threshold {tau} lies outside the densities of the reference, {first:.4} to {last:.4}"
                    ),
                    "give a percentile instead (--threshold p80)",
                ))
            }
            Some(Rule::Ratio(_)) => positive("the dimension m", self.dimension),
            _ => Ok(()),
        }
    }
}

/// The generated images as a set of their own: the pilot that `raw_gen` of rule 7 is measured against.
pub struct Pilot {
    index: AnyIndex,
    model: PseudoDensity,
    /// The pilot's own densities, leave-one-out.
    own: Vec<f64>,
}

impl Pilot {
    /// From features `[M, D]` of generated images, with K and exponent of the reference; `index` says how they are indexed, but for K.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not more images than neighbours, or all are alike.
    pub fn new(
        features: ArcArray2<f32>,
        reference: &PseudoDensity,
        index: &BuildOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if features.nrows() <= reference.k {
            return Err(Error::data(
                format!(
                    "a pilot of {} images cannot have {} neighbours each, as the ratio rule needs",
                    features.nrows(),
                    reference.k
                ),
                "use a larger --pilot or pool, or --rule power:B",
            ));
        }
        let index = BuildOptions { k: reference.k, ..index.clone() };
        let (index, _) = neighbors::build(features, &index, progress)?;
        let found = index.search_self(Search { k: reference.k, skip_zero: false }, progress)?;
        let (model, own) = PseudoDensity::fit(&found.mean_distances(), reference.k, reference.exponent)?;
        Ok(Self { index, model, own })
    }

    /// Densities of the pilot's own images among the others, `[M]`.
    pub fn own(&self) -> &[f64] {
        &self.own
    }

    /// Densities of further images `[Q, D]` among the pilot.
    ///
    /// # Errors
    /// If the features do not fit.
    pub fn densities(&self, features: ArrayView2<f32>, progress: &dyn Progress) -> Result<Vec<f64>> {
        let search = Search { k: self.model.k, skip_zero: false };
        let found = self.index.search(features, None, search, progress)?;
        Ok(found.mean_distances().iter().map(|&d| self.model.density(d)).collect())
    }
}

/// How an image is weighed, and with which probability a candidate of a weight is accepted.
pub struct Weighing {
    kind: Kind,
    /// The mean weight of the pilot, as a logarithm: weights in tables have the mean 1 there.
    log_mean: f64,
    acceptance: Option<Acceptance>,
}

enum Kind {
    Alike,
    TwoLevel(TwoLevel),
    Power(f64),
    Ratio { dimension: f64, exponent: f64 },
}

impl Weighing {
    /// Sets the rule up, and solves its acceptance for the budget on a pilot of densities `rho` `[M]` (among the generated
    /// images: `generated` `[M]`, for the ratio rule). Returns the log weights of the pilot too.
    ///
    /// # Errors
    /// As [`WeightOptions::check`]; [`Error::Data`] if a weight is not a number.
    pub fn new(
        options: &WeightOptions,
        reference: &Distribution,
        rho: &[f64],
        generated: &[f64],
    ) -> Result<(Self, Vec<f64>)> {
        options.check(reference)?;
        let kind = match options.rule {
            None => Kind::Alike,
            Some(Rule::TwoLevel) => Kind::TwoLevel(TwoLevel {
                threshold: options.threshold.resolve(reference),
                weight: options.weight,
            }),
            Some(Rule::Power(exponent)) => Kind::Power(exponent),
            Some(Rule::Ratio(exponent)) => Kind::Ratio { dimension: options.dimension, exponent },
        };
        let mut weighing = Self { kind, log_mean: 0.0, acceptance: None };
        let log_weights = weighing.log_weights(rho, generated)?;
        if matches!(weighing.kind, Kind::Power(_) | Kind::Ratio { .. }) {
            weighing.log_mean = log_mean_weight(&log_weights);
        }
        weighing.acceptance = match (&weighing.kind, options.budget) {
            (Kind::Alike, _) | (_, None) => None,
            (_, Some(budget)) => Some(Acceptance::solve(&log_weights, budget)),
        };
        Ok((weighing, log_weights))
    }

    /// Log weights of images of densities `rho` among the real and `generated` among the generated images (ratio rule only).
    ///
    /// # Errors
    /// [`Error::Data`] if a weight is not a number: a density of 0.
    pub fn log_weights(&self, rho: &[f64], generated: &[f64]) -> Result<Vec<f64>> {
        let weight = |i: usize| match self.kind {
            Kind::Alike => Some(0.0),
            Kind::TwoLevel(rule) => Some(rule.weight(rho[i]).ln()),
            Kind::Power(exponent) => Some(log_power_weight(rho[i], exponent)),
            Kind::Ratio { dimension, exponent } => {
                Some(log_ratio_weight(rho[i], *generated.get(i)?, dimension, exponent))
            }
        };
        (0..rho.len())
            .map(|i| match weight(i).filter(|w| w.is_finite()) {
                Some(weight) => Ok(weight),
                None => Err(Error::data(
                    format!("image {i} has the density {}, of which no weight can be made", rho[i]),
                    "its features are broken, or extremely far from every real image",
                )),
            })
            .collect()
    }

    /// Whether images are also weighed by their density among the generated ones.
    pub fn needs_pilot(rule: Option<Rule>) -> bool {
        matches!(rule, Some(Rule::Ratio(_)))
    }

    /// The weight as tables show it: w or 1 for the two-level rule, else 1 on average over the pilot.
    pub fn shown(&self, log_weight: f64) -> f64 {
        (log_weight - self.log_mean).exp()
    }

    /// The probability of accepting a candidate of this log weight and density `rho`.
    pub fn probability(&self, log_weight: f64, rho: f64) -> f64 {
        match (&self.acceptance, &self.kind) {
            (Some(acceptance), _) => acceptance.probability(log_weight),
            (None, Kind::TwoLevel(rule)) => rule.acceptance(rho),
            (None, _) => 1.0,
        }
    }
}

/// Scores of candidates, and what their weights are made of.
pub struct Candidates {
    /// Against the reference.
    pub scores: Scores,
    /// What the density predictor says, where it was asked.
    pub predicted: Option<Vec<f64>>,
}

impl Candidates {
    /// The densities that weights are made of: predicted where the predictor was asked, else by nearest neighbours.
    pub fn densities(&self) -> &[f64] {
        self.predicted.as_deref().unwrap_or(&self.scores.pseudo_density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rule: &str, budget: Option<f64>) -> WeightOptions {
        WeightOptions {
            rule: Some(rule.parse().unwrap()),
            threshold: Threshold::Percentile(50.0),
            weight: 33.0,
            dimension: 4.0,
            budget,
        }
    }

    fn reference() -> Distribution {
        Distribution::new(&[0.5, 0.75, 1.0, 1.25, 1.5]).unwrap()
    }

    #[test]
    fn the_two_level_rule_has_its_own_acceptance_unless_a_budget_is_given() {
        let rho = [0.9, 1.1];
        let (own, weights) = Weighing::new(&options("two-level", None), &reference(), &rho, &[]).unwrap();
        assert_eq!((own.shown(weights[0]), own.shown(weights[1]).round()), (1.0, 33.0));
        assert_eq!((own.probability(weights[0], 0.9), own.probability(weights[1], 1.1)), (1.0 / 33.0, 1.0));
        let (budgeted, weights) =
            Weighing::new(&options("two-level", Some(1.5)), &reference(), &rho, &[]).unwrap();
        let mean = (budgeted.probability(weights[0], 0.9) + budgeted.probability(weights[1], 1.1)) / 2.0;
        assert!((mean - 1.0 / 1.5).abs() < 1e-12);
    }

    #[test]
    fn shown_weights_have_the_mean_one_over_the_pilot() {
        let rho = [0.5, 1.0, 2.0, 4.0];
        for (rule, generated) in [("power:2", vec![]), ("ratio:-1", vec![1.0, 2.0, 0.5, 1.0])] {
            let (weighing, weights) =
                Weighing::new(&options(rule, Some(4.0)), &reference(), &rho, &generated).unwrap();
            let mean = weights.iter().map(|&w| weighing.shown(w)).sum::<f64>() / 4.0;
            assert!((mean - 1.0).abs() < 1e-12, "{rule}: {mean}");
            let accepted =
                weights.iter().zip(rho).map(|(&w, rho)| weighing.probability(w, rho)).sum::<f64>() / 4.0;
            assert!((accepted - 0.25).abs() < 1e-12);
        }
    }

    #[test]
    fn senseless_numbers_are_refused() {
        let check = |change: fn(&mut WeightOptions)| {
            let mut options = options("two-level", Some(4.0));
            change(&mut options);
            options.check(&reference()).is_err()
        };
        assert!(!check(|_| ()));
        assert!(check(|o| o.budget = Some(0.5)));
        assert!(check(|o| o.weight = 0.0));
        assert!(check(|o| o.threshold = Threshold::Density(7.0)));
        assert!(check(|o| (o.rule, o.dimension) = (Some(Rule::Ratio(0.0)), f64::NAN)));
        assert!(Weighing::new(&options("power:-1", None), &reference(), &[0.0], &[]).is_err());
    }

    #[test]
    fn a_pilot_scores_its_own_images_without_themselves_and_others_with_all() {
        let features = ndarray::Array2::from_shape_fn((40, 1), |(i, _)| (i * i) as f32).into_shared();
        let real = PseudoDensity { k: 1, exponent: 1.0, rows: 10, floor: 1.0, scaled_sum: 1.0 };
        let pilot =
            Pilot::new(features.clone(), &real, &BuildOptions::default(), &crate::progress::Silent).unwrap();
        // Nearest distances are 1, 1, 3, 5, ... 2i - 1: raw is their inverse.
        let ratio = pilot.own()[5] / pilot.own()[2];
        assert!((ratio - 3.0 / 9.0).abs() < 1e-12, "{ratio}");
        let query = ndarray::array![[4.5f32]];
        let found = pilot.densities(query.view(), &crate::progress::Silent).unwrap();
        assert!((found[0] / pilot.own()[1] - 2.0).abs() < 1e-12);
        let one = features.slice_move(ndarray::s![..1, ..]);
        assert!(Pilot::new(one, &real, &BuildOptions::default(), &crate::progress::Silent).is_err());
    }
}
