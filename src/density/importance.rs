//! The importance weights of rules 5 and 7: how much more often an image should be drawn, from its density.
//!
//! Rule 5 is Li et al., TMLR 2024, section 3.4. Weights are kept as logarithms: a power of a ratio of densities leaves
//! the range of a double long before it stops to make sense.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What the weight of an image is made of, as `--rule` names it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    /// Rule 5, the paper's: a weight above a threshold, 1 below.
    TwoLevel,
    /// `rho(x)^B`.
    Power(f64),
    /// Rule 7: `(raw(x) / raw_gen(x))^m * rho(x)^B`.
    Ratio(f64),
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let exponent = |text: &str| text.parse::<f64>().ok().filter(|b| b.is_finite());
        let rule = match text.split_once(':') {
            None if text == "two-level" => Some(Rule::TwoLevel),
            Some(("power", b)) => exponent(b).map(Rule::Power),
            Some(("ratio", b)) => exponent(b).map(Rule::Ratio),
            _ => None,
        };
        rule.ok_or_else(|| {
            Error::usage(
                format!("`{text}` is not a rule"),
                "known are two-level, power:B and ratio:B, with a number for B (2 towards fidelity, -2 towards diversity)",
            )
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::TwoLevel => f.write_str("two-level"),
            Rule::Power(b) => write!(f, "power:{b}"),
            Rule::Ratio(b) => write!(f, "ratio:{b}"),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

/// Rule 5: weight `w` above the threshold `tau`, 1 below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoLevel {
    /// tau, a pseudo density.
    pub threshold: f64,
    /// w, above 0.
    pub weight: f64,
}

impl TwoLevel {
    /// The importance weight of an image of density `rho`.
    pub fn weight(&self, rho: f64) -> f64 {
        if rho > self.threshold { self.weight } else { 1.0 }
    }

    /// The probability with which rule 5 accepts it: the weight, divided by the larger of the two.
    pub fn acceptance(&self, rho: f64) -> f64 {
        self.weight(rho) / self.weight.max(1.0)
    }
}

/// `ln rho(x)^B`.
pub fn log_power_weight(rho: f64, exponent: f64) -> f64 {
    if exponent == 0.0 { 0.0 } else { exponent * rho.ln() }
}

/// Rule 7: `ln((raw(x) / raw_gen(x))^m * rho(x)^B)` up to a constant, from the pseudo densities `rho` among the real and
/// `rho_generated` among the generated images: each is its `raw` times a constant.
pub fn log_ratio_weight(rho: f64, rho_generated: f64, dimension: f64, exponent: f64) -> f64 {
    dimension * (rho.ln() - rho_generated.ln()) + log_power_weight(rho, exponent)
}

/// `ln(mean(exp(l)))` of weights given as logarithms; 0 where none is finite.
pub fn log_mean_weight(log_weights: &[f64]) -> f64 {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return 0.0;
    }
    largest + (log_weights.iter().map(|l| (l - largest).exp()).sum::<f64>() / log_weights.len() as f64).ln()
}

/// Sums of the weights up to each row, relative to the largest: what rows are drawn from by bisection.
pub fn cumulative_weights(log_weights: &[f64]) -> Vec<f64> {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    log_weights
        .iter()
        .map(|l| {
            sum += (l - largest).exp();
            sum
        })
        .collect()
}

/// Effective sample size `(sum w)^2 / sum w^2` of weights given as logarithms: as many unweighted draws would be worth as much.
pub fn effective_sample_size(log_weights: &[f64]) -> f64 {
    let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return 0.0;
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for w in log_weights.iter().map(|l| (l - largest).exp()) {
        sum += w;
        squares += w * w;
    }
    sum * sum / squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_are_read_as_they_are_shown_and_nothing_else_is() {
        for text in ["two-level", "power:2", "ratio:-2", "ratio:0", "power:0.5"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for text in ["", "power", "ratio:", "ratio:x", "power:nan", "power:inf", "two-level:3", "Ratio:1"] {
            assert_eq!(text.parse::<Rule>().unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn rule_5_accepts_as_the_paper_says() {
        let fidelity = TwoLevel { threshold: 1.2, weight: 33.0 };
        assert_eq!((fidelity.acceptance(1.3), fidelity.acceptance(1.2)), (1.0, 1.0 / 33.0));
        let diversity = TwoLevel { threshold: 0.8, weight: 0.03 };
        assert_eq!((diversity.acceptance(0.7), diversity.acceptance(0.9)), (1.0, 0.03));
        assert_eq!(TwoLevel { threshold: 1.0, weight: 1.0 }.acceptance(5.0), 1.0);
    }

    #[test]
    fn the_ratio_weight_is_the_formula_written_out() {
        let (rho, generated, m, b) = (1.3f64, 0.7f64, 8.5f64, -2.0);
        let expected = (rho / generated).powf(m) * rho.powf(b);
        assert!((log_ratio_weight(rho, generated, m, b).exp() / expected - 1.0).abs() < 1e-12);
        assert!((log_power_weight(rho, 3.0).exp() / rho.powi(3) - 1.0).abs() < 1e-12);
        assert_eq!(log_power_weight(0.0, 0.0), 0.0);
    }

    proptest! {
        #[test]
        fn the_effective_sample_size_lies_between_one_and_the_number_and_ignores_the_scale(
            weights in prop::collection::vec(-300f64..300.0, 1..50), shift in -500f64..500.0
        ) {
            let size = effective_sample_size(&weights);
            prop_assert!((1.0 - 1e-9..=weights.len() as f64 + 1e-9).contains(&size));
            let shifted: Vec<f64> = weights.iter().map(|w| w + shift).collect();
            prop_assert!((effective_sample_size(&shifted) - size).abs() < 1e-6 * size);
        }

        #[test]
        fn equal_weights_are_worth_their_number(n in 1usize..200, weight in -1e3f64..1e3) {
            prop_assert!((effective_sample_size(&vec![weight; n]) - n as f64).abs() < 1e-9 * n as f64);
        }
    }
}
