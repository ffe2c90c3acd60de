//! Real images drawn by weight: from the density of each image to how often it is drawn (Li et al., TMLR 2024, section 3.5).

use crate::density::{Rule, Truncation, cumulative_weights, effective_sample_size};
use crate::error::{Error, Result};
use crate::random::{Purpose, keyed};
use crate::remedy::Remedy;
use rand::RngExt;

/// Real images with the weight of each, ready to be drawn from.
#[derive(Debug, Clone)]
pub struct WeightedRows {
    cumulative: Vec<f64>,
    effective: f64,
    cut: Option<f64>,
}

impl WeightedRows {
    /// Rows of these pseudo densities, weighted by a rule; `None` weighs all the same.
    ///
    /// # Errors
    /// [`Error::Usage`] for the ratio rule, whose weights change as the generator is trained;
    /// [`Error::Data`] if there is no row or no positive finite weight.
    pub fn new(densities: &[f64], rule: Option<Rule>, truncation: Option<Truncation>) -> Result<Self> {
        let usable = |rho: &f64| match rule {
            Some(Rule::Power { .. }) => *rho > 0.0 && rho.is_finite(),
            _ => *rho >= 0.0,
        };
        if let Some(row) = densities.iter().position(|rho| !usable(rho)) {
            let reason = format!("the density of image {row} is {}", densities[row]);
            return Err(Error::data(reason, Remedy::IndexReference(None)));
        }
        let log_weight = |rho: f64| match rule {
            Some(rule) => rule.log_weight(rho, None),
            None => Some(0.0),
        };
        let logs: Option<Vec<f64>> = densities.iter().map(|&rho| log_weight(rho)).collect();
        let logs = logs.ok_or_else(|| {
            Error::usage(
                "the weights of the ratio rule change with the generator",
                "use two-level or power:B",
            )
        })?;
        Self::of_log_weights(logs, truncation)
    }

    /// Rows of these log weights.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no row or no positive finite weight.
    pub(super) fn of_log_weights(mut logs: Vec<f64>, truncation: Option<Truncation>) -> Result<Self> {
        let cut = truncation.and_then(|truncation| {
            let cut = truncation.apply(&mut logs);
            (cut < truncation.clip).then_some(cut)
        });
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !largest.is_finite() || logs.iter().any(|log| log.is_nan()) {
            return Err(Error::data("the densities give no usable weights", "is the reference damaged?"));
        }
        let cumulative = cumulative_weights(&logs);
        Ok(Self { cumulative, effective: effective_sample_size(&logs), cut })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.cumulative.len()
    }

    /// Never: there are rows.
    pub fn is_empty(&self) -> bool {
        self.cumulative.is_empty()
    }

    /// As many unweighted images would be worth as much.
    pub fn effective_sample_size(&self) -> f64 {
        self.effective
    }

    /// Where the effective sample size asked for a lower cut than `clip`: that cut.
    pub fn lowered_clip(&self) -> Option<f64> {
        self.cut
    }

    /// How often each row is drawn, as a share of all draws.
    pub fn importance(&self) -> Vec<f64> {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let before = std::iter::once(0.0).chain(self.cumulative.iter().copied());
        self.cumulative.iter().zip(before).map(|(sum, before)| (sum - before) / total).collect()
    }

    /// The rows of the batch of a step, each drawn independently by its weight, with replacement.
    pub fn draw(&self, seed: u64, step: u64, count: usize) -> Vec<usize> {
        let mut rng = keyed(seed, Purpose::RealRows, step);
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        (0..count)
            .map(|_| {
                let at = rng.random::<f64>() * total;
                self.cumulative.partition_point(|&sum| sum <= at).min(self.len().saturating_sub(1))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_above_the_threshold_are_drawn_w_times_as_often() {
        let densities: Vec<f64> = (0..100).map(|i| i as f64 / 50.0).collect();
        for weight in [33.0, 0.03, 1.0] {
            let rule = Rule::TwoLevel { threshold: 1.59, weight };
            let rows = WeightedRows::new(&densities, Some(rule), None).unwrap();
            let draws = rows.draw(5, 0, 200_000);
            let above =
                draws.iter().filter(|&&row| densities[row] > 1.59).count() as f64 / draws.len() as f64;
            let expected = 20.0 * weight / (20.0 * weight + 80.0);
            let deviation = (expected * (1.0 - expected) / draws.len() as f64).sqrt();
            assert!((above - expected).abs() < 5.0 * deviation, "{weight}: {above}, expected {expected}");
        }
    }

    #[test]
    fn a_row_at_the_threshold_has_the_smaller_weight() {
        for (weight, effective) in [(0.5, 4.0 / 1.5), (2.0, 16.0 / 6.0)] {
            // Weights 1, w, w and 1, 1, w.
            let rule = Rule::TwoLevel { threshold: 1.0, weight };
            let rows = WeightedRows::new(&[0.5, 1.0, 1.5], Some(rule), None).unwrap();
            assert!((rows.effective_sample_size() - effective).abs() < 1e-12, "{weight}");
        }
    }

    #[test]
    fn a_batch_belongs_to_its_seed_and_step() {
        let rows = WeightedRows::new(&[1.0; 50], None, None).unwrap();
        assert_eq!(rows.draw(1, 7, 20), rows.draw(1, 7, 20));
        assert_ne!(rows.draw(1, 7, 20), rows.draw(1, 8, 20));
        assert_ne!(rows.draw(1, 7, 20), rows.draw(2, 7, 20));
        assert_eq!(rows.draw(1, 7, 20)[..5], rows.draw(1, 7, 5));
    }

    #[test]
    fn a_row_of_no_weight_is_never_drawn() {
        let rule = Rule::TwoLevel { threshold: 0.5, weight: 1e-300 };
        let rows = WeightedRows::new(&[1.0, 0.0, 1.0], Some(rule), None).unwrap();
        assert!(rows.draw(0, 0, 1000).iter().all(|&row| row == 1));
    }

    #[test]
    fn without_rows_there_is_nothing_to_draw() {
        assert!(WeightedRows::new(&[], None, None).is_err());
        let power = |b| Some(Rule::Power { b });
        assert!(WeightedRows::new(&[1.0, 0.0], power(-2.0), None).is_err());
        assert!(WeightedRows::new(&[1.0, f64::INFINITY], power(2.0), None).is_err());
        for rule in [None, power(1.0)] {
            let error = WeightedRows::new(&[1.0, f64::NAN], rule, None).unwrap_err();
            assert!(error.to_string().contains("image 1"), "{error}");
        }
        let ratio = Rule::Ratio { b: 2.0, dimension: 3.0 };
        assert!(matches!(WeightedRows::new(&[1.0], Some(ratio), None).unwrap_err(), Error::Usage { .. }));
    }

    proptest! {
        #[test]
        fn power_weights_keep_the_effective_sample_size_and_their_order(
            densities in prop::collection::vec(0.05f64..5.0, 2..80), b in -8f64..8.0, min_ess in 0.05f64..0.95
        ) {
            let truncation = Truncation { clip: 100.0, min_ess };
            let rows = WeightedRows::new(&densities, Some(Rule::Power { b }), Some(truncation)).unwrap();
            prop_assert!(rows.effective_sample_size() >= min_ess * densities.len() as f64 * (1.0 - 1e-9));
            let mut before = 0.0;
            let weights: Vec<f64> = rows.cumulative.iter().map(|&sum| { let w = sum - before; before = sum; w }).collect();
            for i in 0..densities.len() {
                for j in 0..densities.len() {
                    let ordered = b * densities[i].ln() <= b * densities[j].ln();
                    prop_assert!(!ordered || weights[i] <= weights[j] + 1e-9);
                }
            }
        }

        #[test]
        fn weights_that_need_no_cut_are_the_power(rho in prop::collection::vec(0.8f64..1.2, 2..20)) {
            let truncation = Truncation { clip: 100.0, min_ess: 0.3 };
            let rows = WeightedRows::new(&rho, Some(Rule::Power { b: 2.0 }), Some(truncation)).unwrap();
            let total: f64 = rho.iter().map(|r| r * r).sum();
            let last = rows.cumulative.last().unwrap();
            prop_assert!((rows.cumulative[0] / last - rho[0] * rho[0] / total).abs() < 1e-12);
            prop_assert_eq!(rows.lowered_clip(), None);
        }
    }
}
