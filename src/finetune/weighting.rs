//! Rule 6 on the real side: from the density of each image to how often it is drawn (Li et al., TMLR 2024, section 3.5).

use super::random::{Purpose, keyed};
use crate::density::{
    TwoLevel, cumulative_weights, effective_sample_size, log_mean_weight, log_power_weight,
};
use crate::error::{Error, Result};
use rand::RngExt;

/// How real images are weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weighting {
    /// All alike.
    Uniform,
    /// The paper's: a weight above a threshold, 1 below.
    TwoLevel(TwoLevel),
    /// `rho^B`, truncated.
    Power(Truncated),
}

/// Weights `rho^B` cut at a multiple of their mean (truncated importance sampling, Ionides 2008), and cut lower until the effective
/// sample size is a given share of the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truncated {
    /// B.
    pub exponent: f64,
    /// Largest weight, in means of the weights before the cut.
    pub clip: f64,
    /// Least effective sample size, as a share of the images: 0 to 1.
    pub min_ess: f64,
}

/// Steps of the search for the highest cut that leaves the effective sample size.
const BISECTIONS: usize = 60;

impl Truncated {
    /// Log weights with a mean of 1 before the cut, and the cut as a multiple of it.
    fn log_weights(&self, densities: &[f64]) -> (Vec<f64>, f64) {
        let mut logs: Vec<f64> = densities.iter().map(|&rho| log_power_weight(rho, self.exponent)).collect();
        let shift = log_mean_weight(&logs);
        logs.iter_mut().for_each(|log| *log -= shift);
        let smallest = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let enough = |cut: f64| {
            let cut: Vec<f64> = logs.iter().map(|log| log.min(cut)).collect();
            effective_sample_size(&cut) >= self.min_ess * logs.len() as f64
        };
        let mut high = self.clip.ln();
        if !enough(high) {
            // A cut at the smallest weight makes all alike, which is always enough.
            let mut low = smallest;
            for _ in 0..BISECTIONS {
                let middle = 0.5 * (low + high);
                if enough(middle) { low = middle } else { high = middle }
            }
            high = low;
        }
        logs.iter_mut().for_each(|log| *log = log.min(high));
        (logs, high.exp())
    }
}

/// Real images with the weight of each, ready to be drawn from.
#[derive(Debug, Clone)]
pub struct WeightedRows {
    cumulative: Vec<f64>,
    effective: f64,
    cut: Option<f64>,
}

impl WeightedRows {
    /// Rows of these pseudo densities under a weighting.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no row or no positive finite weight.
    pub fn new(densities: &[f64], weighting: Weighting) -> Result<Self> {
        let usable = |rho: &f64| match weighting {
            Weighting::Power(_) => *rho > 0.0 && rho.is_finite(),
            Weighting::Uniform | Weighting::TwoLevel(_) => *rho >= 0.0,
        };
        if let Some(row) = densities.iter().position(|rho| !usable(rho)) {
            let reason = format!("the density of image {row} is {}", densities[row]);
            return Err(Error::data(reason, "run `pd index` on the reference again"));
        }
        let (logs, cut) = match weighting {
            Weighting::Uniform => (vec![0.0; densities.len()], None),
            Weighting::TwoLevel(rule) => (densities.iter().map(|&rho| rule.weight(rho).ln()).collect(), None),
            Weighting::Power(rule) => {
                let (logs, cut) = rule.log_weights(densities);
                (logs, (cut < rule.clip).then_some(cut))
            }
        };
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

    /// As many images drawn alike would be worth as much.
    pub fn effective_sample_size(&self) -> f64 {
        self.effective
    }

    /// Where the effective sample size asked for a lower cut than `clip`: that cut.
    pub fn lowered_clip(&self) -> Option<f64> {
        self.cut
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
            let rule = TwoLevel { threshold: 1.59, weight };
            let rows = WeightedRows::new(&densities, Weighting::TwoLevel(rule)).unwrap();
            let draws = rows.draw(5, 0, 200_000);
            let above =
                draws.iter().filter(|&&row| densities[row] > 1.59).count() as f64 / draws.len() as f64;
            let expected = 20.0 * weight / (20.0 * weight + 80.0);
            let deviation = (expected * (1.0 - expected) / draws.len() as f64).sqrt();
            assert!((above - expected).abs() < 5.0 * deviation, "{weight}: {above}, expected {expected}");
        }
    }

    #[test]
    fn a_batch_belongs_to_its_seed_and_step() {
        let rows = WeightedRows::new(&[1.0; 50], Weighting::Uniform).unwrap();
        assert_eq!(rows.draw(1, 7, 20), rows.draw(1, 7, 20));
        assert_ne!(rows.draw(1, 7, 20), rows.draw(1, 8, 20));
        assert_ne!(rows.draw(1, 7, 20), rows.draw(2, 7, 20));
        assert_eq!(rows.draw(1, 7, 20)[..5], rows.draw(1, 7, 5));
    }

    #[test]
    fn a_row_of_no_weight_is_never_drawn() {
        let rule = TwoLevel { threshold: 0.5, weight: 1e-300 };
        let rows = WeightedRows::new(&[1.0, 0.0, 1.0], Weighting::TwoLevel(rule)).unwrap();
        assert!(rows.draw(0, 0, 1000).iter().all(|&row| row == 1));
    }

    #[test]
    fn without_rows_there_is_nothing_to_draw() {
        assert!(WeightedRows::new(&[], Weighting::Uniform).is_err());
        let power = |exponent| Weighting::Power(Truncated { exponent, clip: 9.0, min_ess: 0.0 });
        assert!(WeightedRows::new(&[1.0, 0.0], power(-2.0)).is_err());
        assert!(WeightedRows::new(&[1.0, f64::INFINITY], power(2.0)).is_err());
        for weighting in [Weighting::Uniform, power(1.0)] {
            let error = WeightedRows::new(&[1.0, f64::NAN], weighting).unwrap_err();
            assert!(error.to_string().contains("image 1"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn power_weights_keep_the_effective_sample_size_and_their_order(
            densities in prop::collection::vec(0.05f64..5.0, 2..80), exponent in -8f64..8.0, min_ess in 0.05f64..0.95
        ) {
            let weighting = Weighting::Power(Truncated { exponent, clip: 100.0, min_ess });
            let rows = WeightedRows::new(&densities, weighting).unwrap();
            prop_assert!(rows.effective_sample_size() >= min_ess * densities.len() as f64 * (1.0 - 1e-9));
            let mut before = 0.0;
            let weights: Vec<f64> = rows.cumulative.iter().map(|&sum| { let w = sum - before; before = sum; w }).collect();
            for i in 0..densities.len() {
                for j in 0..densities.len() {
                    let ordered = exponent * densities[i].ln() <= exponent * densities[j].ln();
                    prop_assert!(!ordered || weights[i] <= weights[j] + 1e-9);
                }
            }
        }

        #[test]
        fn weights_that_need_no_cut_are_the_power(rho in prop::collection::vec(0.8f64..1.2, 2..20)) {
            let weighting = Weighting::Power(Truncated { exponent: 2.0, clip: 100.0, min_ess: 0.3 });
            let rows = WeightedRows::new(&rho, weighting).unwrap();
            let total: f64 = rho.iter().map(|r| r * r).sum();
            let last = rows.cumulative.last().unwrap();
            prop_assert!((rows.cumulative[0] / last - rho[0] * rho[0] / total).abs() < 1e-12);
            prop_assert_eq!(rows.lowered_clip(), None);
        }
    }
}
