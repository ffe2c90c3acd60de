//! How files hold what is drawn: `summary.json` and the parts of a run. One shape for every rule, which earlier versions chose: a run
//! that they began is the same run here.

use super::draw::DrawOptions;
use crate::density::{Distribution, Rule, RuleChoice, Threshold};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Weights: the rule as it was asked for, and its budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WeightRecord {
    rule: Option<RuleChoice>,
    threshold: Threshold,
    weight: f64,
    dimension: f64,
    budget: Option<f64>,
}

/// What the files say of a number that the rule does not have.
const NO_THRESHOLD: Threshold = Threshold::Percentile(0.0);
const NO_WEIGHT: f64 = 1.0;
const NO_DIMENSION: f64 = 1.0;

impl WeightRecord {
    /// Without a rule: all images weigh the same.
    pub(crate) fn uniform() -> Self {
        Self { rule: None, threshold: NO_THRESHOLD, weight: NO_WEIGHT, dimension: NO_DIMENSION, budget: None }
    }

    /// Of a rule, with its draws for each kept image on average (`None` leaves the two-level rule its own acceptance).
    /// `intrinsic_dimension` is the reference's, which stands beside every rule.
    pub(crate) fn new(rule: Rule<Threshold>, budget: Option<f64>, intrinsic_dimension: Option<f64>) -> Self {
        let (threshold, weight) = match rule {
            Rule::TwoLevel { threshold, weight } => (threshold, weight),
            Rule::Power { .. } | Rule::Ratio { .. } => (NO_THRESHOLD, NO_WEIGHT),
        };
        let dimension = match rule {
            Rule::Ratio { dimension, .. } => dimension,
            Rule::TwoLevel { .. } | Rule::Power { .. } => intrinsic_dimension.unwrap_or(NO_DIMENSION),
        };
        Self { rule: Some(rule.choice()), threshold, weight, dimension, budget }
    }

    /// The rule; `None` if all images weigh the same.
    pub(crate) fn rule(&self) -> Option<Rule<Threshold>> {
        Some(match self.rule? {
            RuleChoice::TwoLevel => Rule::TwoLevel { threshold: self.threshold, weight: self.weight },
            RuleChoice::Power(b) => Rule::Power { b },
            RuleChoice::Ratio(b) => Rule::Ratio { b, dimension: self.dimension },
        })
    }

    /// Draws for each kept image on average, at most.
    pub(crate) fn budget(&self) -> Option<f64> {
        self.budget
    }
}

/// What is drawn, as files hold it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DrawRecord {
    /// As [`DrawOptions::n`].
    pub n: Option<usize>,
    /// As [`DrawOptions::pilot`].
    pub pilot: usize,
    /// As [`DrawOptions::max_draws`].
    pub max_draws: u64,
    /// Rule and budget.
    pub weights: WeightRecord,
    /// As [`DrawOptions::seed`].
    pub seed: u64,
}

impl DrawRecord {
    /// Looks a percentile up in the reference, so that the record can be used without it.
    pub(crate) fn resolve(&mut self, reference: &Distribution) {
        let threshold = &mut self.weights.threshold;
        *threshold = Threshold::Density(threshold.resolve(reference));
    }

    /// What is drawn.
    ///
    /// # Errors
    /// [`Error::Data`] if a threshold is a percentile: see [`DrawRecord::resolve`].
    pub(crate) fn options(&self) -> Result<DrawOptions> {
        let resolved = |rule: Rule<Threshold>| {
            rule.resolved().ok_or_else(|| {
                Error::data("the threshold is a percentile of a reference that is not there", "")
            })
        };
        Ok(DrawOptions {
            n: self.n,
            pilot: self.pilot,
            max_draws: self.max_draws,
            rule: self.weights.rule().map(resolved).transpose()?,
            budget: self.weights.budget,
            seed: self.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(weights: WeightRecord) -> DrawRecord {
        DrawRecord { n: Some(5), pilot: 9, max_draws: 100, weights, seed: 7 }
    }

    #[test]
    fn files_of_earlier_versions_hold_the_same_runs() {
        let two_level = Rule::TwoLevel { threshold: Threshold::Percentile(90.0), weight: 33.0 };
        for (weights, written) in [
            (
                WeightRecord::uniform(),
                json!({"rule": null, "threshold": "p0", "weight": 1.0, "dimension": 1.0, "budget": null}),
            ),
            (
                WeightRecord::new(two_level, None, Some(5.5)),
                json!({"rule": "two-level", "threshold": "p90", "weight": 33.0, "dimension": 5.5, "budget": null}),
            ),
            (
                WeightRecord::new(Rule::Power { b: -2.0 }, Some(4.0), None),
                json!({"rule": "power:-2", "threshold": "p0", "weight": 1.0, "dimension": 1.0, "budget": 4.0}),
            ),
            (
                WeightRecord::new(Rule::Ratio { b: 2.0, dimension: 3.5 }, Some(4.0), Some(5.5)),
                json!({"rule": "ratio:2", "threshold": "p0", "weight": 1.0, "dimension": 3.5, "budget": 4.0}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&weights).unwrap(), written);
            let read: WeightRecord = serde_json::from_value(written).unwrap();
            assert_eq!((read.rule(), read), (weights.rule(), weights));
        }
        let written = json!({
            "n": 5, "pilot": 9, "max_draws": 100, "seed": 7,
            "weights": {"rule": null, "threshold": "p0", "weight": 1.0, "dimension": 1.0, "budget": null},
        });
        assert_eq!(serde_json::to_value(record(WeightRecord::uniform())).unwrap(), written);
    }

    #[test]
    fn a_percentile_is_drawn_by_only_once_it_is_looked_up() {
        let rule = Rule::TwoLevel { threshold: Threshold::Percentile(50.0), weight: 33.0 };
        let mut record = record(WeightRecord::new(rule, None, None));
        assert!(record.options().is_err());
        record.resolve(&Distribution::new(&[1.0, 2.0, 3.0]).unwrap());
        let options = record.options().unwrap();
        assert_eq!(options.rule, Some(Rule::TwoLevel { threshold: 2.0, weight: 33.0 }));
    }
}
