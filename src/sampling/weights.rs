//! From densities to importance weights, and from these to probabilities of acceptance.

use super::acceptance::Acceptance;
use crate::density::{Rule, log_mean_weight};
use crate::error::Result;

/// How images are weighed, and with which probability a candidate of a weight is accepted.
pub(super) struct ImportanceWeights {
    /// `None` weighs all images the same.
    rule: Option<Rule>,
    /// The mean weight of the pilot, as a logarithm: weights in tables have the mean 1 there.
    log_mean: f64,
    acceptance: Option<Acceptance>,
}

impl ImportanceWeights {
    /// Solves the acceptance of a rule for a budget (draws for each kept image on average) on a pilot of densities `rho` `[M]` and,
    /// for the ratio rule, densities among the generated images `generated_density` `[M]`. Without a budget the two-level rule has
    /// its own acceptance; without a rule weights are uniform and everything is accepted. Returns the log weights of the pilot too.
    ///
    /// # Errors
    /// As [`Rule::log_weights`].
    pub(super) fn new(
        rule: Option<Rule>,
        budget: Option<f64>,
        rho: &[f64],
        generated_density: &[f64],
    ) -> Result<(Self, Vec<f64>)> {
        let Some(rule) = rule else {
            return Ok((Self { rule: None, log_mean: 0.0, acceptance: None }, vec![0.0; rho.len()]));
        };
        let log_weights = rule.log_weights(rho, generated_density)?;
        let log_mean = match rule {
            Rule::TwoLevel { .. } => 0.0,
            Rule::Power { .. } | Rule::Ratio { .. } => log_mean_weight(&log_weights),
        };
        let acceptance = budget.map(|budget| Acceptance::solve(&log_weights, budget));
        Ok((Self { rule: Some(rule), log_mean, acceptance }, log_weights))
    }

    /// Log weights of further images, as [`Rule::log_weights`]; 0 where weights are uniform.
    ///
    /// # Errors
    /// As [`Rule::log_weights`].
    pub(super) fn log_weights(&self, rho: &[f64], generated_density: &[f64]) -> Result<Vec<f64>> {
        match self.rule {
            Some(rule) => rule.log_weights(rho, generated_density),
            None => Ok(vec![0.0; rho.len()]),
        }
    }

    /// The weight as tables show it: w or 1 for the two-level rule, else 1 on average over the pilot.
    pub(super) fn shown(&self, log_weight: f64) -> f64 {
        (log_weight - self.log_mean).exp()
    }

    /// The probability of accepting a candidate of this log weight and density `rho`.
    pub(super) fn probability(&self, log_weight: f64, rho: f64) -> f64 {
        match (&self.acceptance, self.rule) {
            (Some(acceptance), _) => acceptance.probability(log_weight),
            (None, rule) => rule.and_then(|rule| rule.acceptance(rho)).unwrap_or(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_level_rule_has_its_own_acceptance_unless_a_budget_is_given() {
        let rho = [0.9, 1.1];
        let rule = Rule::TwoLevel { threshold: 1.0, weight: 33.0 };
        let (own, weights) = ImportanceWeights::new(Some(rule), None, &rho, &[]).unwrap();
        assert_eq!((own.shown(weights[0]), own.shown(weights[1]).round()), (1.0, 33.0));
        assert_eq!((own.probability(weights[0], 0.9), own.probability(weights[1], 1.1)), (1.0 / 33.0, 1.0));
        let (budgeted, weights) = ImportanceWeights::new(Some(rule), Some(1.5), &rho, &[]).unwrap();
        let mean = (budgeted.probability(weights[0], 0.9) + budgeted.probability(weights[1], 1.1)) / 2.0;
        assert!((mean - 1.0 / 1.5).abs() < 1e-12);
    }

    #[test]
    fn shown_weights_have_the_mean_one_over_the_pilot() {
        let rho = [0.5, 1.0, 2.0, 4.0];
        let (power, ratio) = (Rule::Power { b: 2.0 }, Rule::Ratio { b: -1.0, dimension: 4.0 });
        for (rule, generated) in [(power, vec![]), (ratio, vec![1.0, 2.0, 0.5, 1.0])] {
            let (weights, log_weights) =
                ImportanceWeights::new(Some(rule), Some(4.0), &rho, &generated).unwrap();
            let mean = log_weights.iter().map(|&w| weights.shown(w)).sum::<f64>() / 4.0;
            assert!((mean - 1.0).abs() < 1e-12, "{rule:?}: {mean}");
            let accepted =
                log_weights.iter().zip(rho).map(|(&w, rho)| weights.probability(w, rho)).sum::<f64>() / 4.0;
            assert!((accepted - 0.25).abs() < 1e-12);
        }
    }

    #[test]
    fn uniform_weights_accept_everything() {
        let (uniform, log_weights) = ImportanceWeights::new(None, None, &[0.0, 2.0], &[]).unwrap();
        assert_eq!(log_weights, uniform.log_weights(&[0.0, 2.0], &[]).unwrap());
        assert_eq!((uniform.shown(0.0), uniform.probability(0.0, 0.0)), (1.0, 1.0));
    }
}
