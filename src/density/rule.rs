//! Importance rules: how much more often an image should be drawn, from its pseudo density (Li et al., TMLR 2024, sections 3.4
//! and 3.5). A [`Rule`] has all its numbers; a [`RuleChoice`] is what a person types before they are known.
//!
//! Weights are logarithms: a power of a ratio of densities leaves the range of a double long before it stops to make sense.

use super::quantiles::Distribution;
use super::threshold::Threshold;
use crate::error::{Error, Result};
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An importance rule with its numbers. `T` is the threshold: a pseudo density, or a [`Threshold`] that may still be a percentile of
/// a reference, until [`Rule::resolve`] looks it up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule<T = f64> {
    /// The two-level rule (Li et al., TMLR 2024, section 3.4): one weight above a threshold, 1 below, the smaller of both at it.
    TwoLevel {
        /// tau.
        threshold: T,
        /// w, above 0.
        weight: f64,
    },
    /// `rho(x)^B`.
    Power {
        /// B.
        b: f64,
    },
    /// The ratio rule (ours): `(raw(x) / raw_gen(x))^m * rho(x)^B`, where `raw_gen` is the density among generated images.
    Ratio {
        /// B.
        b: f64,
        /// m, above 0: the intrinsic dimension of the reference, unless asked otherwise.
        dimension: f64,
    },
}

impl<T> Rule<T> {
    /// The rule as a user names it.
    pub fn choice(&self) -> RuleChoice {
        match *self {
            Rule::TwoLevel { .. } => RuleChoice::TwoLevel,
            Rule::Power { b } => RuleChoice::Power(b),
            Rule::Ratio { b, .. } => RuleChoice::Ratio(b),
        }
    }

    /// The ratio rule with this B and the intrinsic dimension of the reference as its m.
    ///
    /// # Errors
    /// [`Error::Data`] if the reference has no intrinsic dimension.
    pub fn ratio(b: f64, dimension: Option<f64>) -> Result<Self> {
        let missing = "the reference has no intrinsic dimension: all neighbours are copies";
        let dimension = dimension.ok_or_else(|| Error::data(missing, Remedy::GiveDimension))?;
        Ok(Rule::Ratio { b, dimension })
    }

    /// Whether the weight also depends on the density among the generated images.
    pub fn needs_generated_density(&self) -> bool {
        matches!(self, Rule::Ratio { .. })
    }

    fn with_threshold<U>(self, change: impl FnOnce(T) -> U) -> Rule<U> {
        match self {
            Rule::TwoLevel { threshold, weight } => Rule::TwoLevel { threshold: change(threshold), weight },
            Rule::Power { b } => Rule::Power { b },
            Rule::Ratio { b, dimension } => Rule::Ratio { b, dimension },
        }
    }
}

impl Rule<Threshold> {
    /// The rule with its threshold looked up in the densities of the reference.
    pub fn resolve(self, reference: &Distribution) -> Rule {
        self.with_threshold(|threshold| threshold.resolve(reference))
    }

    /// The rule, if its threshold is not a percentile.
    pub fn resolved(self) -> Option<Rule> {
        match self {
            Rule::TwoLevel { threshold: Threshold::Percentile(_), .. } => None,
            Rule::TwoLevel { threshold: Threshold::Density(threshold), weight } => {
                Some(Rule::TwoLevel { threshold, weight })
            }
            Rule::Power { b } => Some(Rule::Power { b }),
            Rule::Ratio { b, dimension } => Some(Rule::Ratio { b, dimension }),
        }
    }
}

impl Rule {
    /// Checks the numbers against the lowest and the highest density of the reference.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the number that makes no sense; [`Error::Data`] for a threshold outside the reference's densities.
    pub fn check(&self, [lowest, highest]: [f64; 2]) -> Result<()> {
        let positive = |name: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::usage(format!("{name} is {value}, not a number above 0"), "")),
        };
        match *self {
            Rule::TwoLevel { threshold, weight } => {
                positive("the weight w", weight)?;
                if (lowest..=highest).contains(&threshold) {
                    return Ok(());
                }
                Err(Error::data(
                    format!(
                        "the threshold {threshold} lies outside the densities of the reference, {lowest:.4} to {highest:.4}"
                    ),
                    Remedy::PercentileThreshold,
                ))
            }
            Rule::Power { .. } => Ok(()),
            Rule::Ratio { dimension, .. } => positive("the dimension m", dimension),
        }
    }

    /// The logarithm of the weight of an image of density `rho`, up to a constant of the rule; `None` if the rule needs the density
    /// among the generated images and it is not given. Both are pseudo densities, each its `raw` times a constant.
    pub fn log_weight(&self, rho: f64, generated_density: Option<f64>) -> Option<f64> {
        let power = |b: f64| if b == 0.0 { 0.0 } else { b * rho.ln() };
        match *self {
            Rule::TwoLevel { threshold, weight } => Some(two_level_weight(rho, threshold, weight).ln()),
            Rule::Power { b } => Some(power(b)),
            Rule::Ratio { b, dimension } => Some(dimension * (rho.ln() - generated_density?.ln()) + power(b)),
        }
    }

    /// Log weights of images of densities `rho` `[N]`; `generated_density` `[N]` are those among the generated images, for the
    /// ratio rule (others do not look at them).
    ///
    /// # Errors
    /// [`Error::Data`] if a weight is not a finite number, as of a density of 0, or a density among the generated images is missing.
    pub fn log_weights(&self, rho: &[f64], generated_density: &[f64]) -> Result<Vec<f64>> {
        let weight = |(i, &density): (usize, &f64)| {
            let weight = self.log_weight(density, generated_density.get(i).copied());
            weight.filter(|weight| weight.is_finite()).ok_or_else(|| {
                Error::data(
                    format!("image {i} has the density {density}, of which no weight can be made"),
                    "its features are broken, or extremely far from every real image",
                )
            })
        };
        rho.iter().enumerate().map(weight).collect()
    }

    /// The probability with which the two-level rule accepts an image of density `rho`: its weight divided by the larger of the two
    /// weights. `None` for the other rules: their weights have no largest one, and a budget decides.
    pub fn acceptance(&self, rho: f64) -> Option<f64> {
        match *self {
            Rule::TwoLevel { threshold, weight } => {
                Some(two_level_weight(rho, threshold, weight) / weight.max(1.0))
            }
            Rule::Power { .. } | Rule::Ratio { .. } => None,
        }
    }
}

/// At the threshold itself the smaller of the two weights holds, since the paper accepts for certain only what lies beyond it:
/// above it where the weight is above 1, below it where the weight is below 1.
fn two_level_weight(rho: f64, threshold: f64, weight: f64) -> f64 {
    if rho > threshold || (rho == threshold && weight < 1.0) { weight } else { 1.0 }
}

/// A rule as a person types it: `two-level`, `power:B` or `ratio:B`. Its other numbers come from other flags, presets and the
/// reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RuleChoice {
    /// [`Rule::TwoLevel`].
    TwoLevel,
    /// [`Rule::Power`] with its B.
    Power(f64),
    /// [`Rule::Ratio`] with its B.
    Ratio(f64),
}

impl FromStr for RuleChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let exponent = |text: &str| text.parse::<f64>().ok().filter(|b| b.is_finite());
        let choice = match text.split_once(':') {
            None if text == "two-level" => Some(RuleChoice::TwoLevel),
            Some(("power", b)) => exponent(b).map(RuleChoice::Power),
            Some(("ratio", b)) => exponent(b).map(RuleChoice::Ratio),
            _ => None,
        };
        choice.ok_or_else(|| {
            Error::usage(
                format!("`{text}` is not a rule"),
                "known are two-level, power:B and ratio:B, with a number for B (2 towards fidelity, -2 towards diversity)",
            )
        })
    }
}

impl fmt::Display for RuleChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleChoice::TwoLevel => f.write_str("two-level"),
            RuleChoice::Power(b) => write!(f, "power:{b}"),
            RuleChoice::Ratio(b) => write!(f, "ratio:{b}"),
        }
    }
}

impl TryFrom<String> for RuleChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RuleChoice> for String {
    fn from(choice: RuleChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_shown_and_nothing_else_is() {
        for text in ["two-level", "power:2", "ratio:-2", "ratio:0", "power:0.5"] {
            assert_eq!(text.parse::<RuleChoice>().unwrap().to_string(), text);
        }
        for text in ["", "power", "ratio:", "ratio:x", "power:nan", "power:inf", "two-level:3", "Ratio:1"] {
            assert!(matches!(text.parse::<RuleChoice>().unwrap_err(), Error::Usage { .. }), "{text}");
        }
    }

    #[test]
    fn a_percentile_becomes_a_density_of_the_reference_and_only_then_the_rule_is_resolved() {
        let reference = Distribution::new(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let typed = Rule::TwoLevel { threshold: Threshold::Percentile(25.0), weight: 33.0 };
        assert_eq!(typed.resolved(), None);
        assert_eq!(typed.resolve(&reference), Rule::TwoLevel { threshold: 2.0, weight: 33.0 });
        let typed = Rule::TwoLevel { threshold: Threshold::Density(1.5), weight: 33.0 };
        assert_eq!(typed.resolved(), Some(typed.resolve(&reference)));
        assert_eq!(Rule::<Threshold>::Power { b: 2.0 }.resolved(), Some(Rule::Power { b: 2.0 }));
    }

    #[test]
    fn the_two_level_rule_accepts_as_the_paper_says() {
        let fidelity = Rule::TwoLevel { threshold: 1.2, weight: 33.0 };
        assert_eq!((fidelity.acceptance(1.3), fidelity.acceptance(1.2)), (Some(1.0), Some(1.0 / 33.0)));
        let diversity = Rule::TwoLevel { threshold: 0.8, weight: 0.03 };
        assert_eq!((diversity.acceptance(0.7), diversity.acceptance(0.9)), (Some(1.0), Some(0.03)));
        assert_eq!(diversity.acceptance(0.8), Some(0.03));
        assert_eq!(diversity.log_weight(0.8, None), Some(0.03f64.ln()));
        assert_eq!(fidelity.log_weight(1.2, None), Some(0.0));
        assert_eq!(Rule::TwoLevel { threshold: 1.0, weight: 1.0 }.acceptance(5.0), Some(1.0));
        assert_eq!(Rule::Power { b: 2.0 }.acceptance(5.0), None);
    }

    #[test]
    fn the_weights_are_the_formulas_written_out() {
        let (rho, generated, m, b) = (1.3f64, 0.7f64, 8.5f64, -2.0);
        let ratio = Rule::Ratio { b, dimension: m };
        let expected = (rho / generated).powf(m) * rho.powf(b);
        assert!((ratio.log_weight(rho, Some(generated)).unwrap().exp() / expected - 1.0).abs() < 1e-12);
        assert_eq!(ratio.log_weight(rho, None), None);
        let cube = Rule::Power { b: 3.0 }.log_weight(rho, None).unwrap();
        assert!((cube.exp() / rho.powi(3) - 1.0).abs() < 1e-12);
        assert_eq!(Rule::Power { b: 0.0 }.log_weight(0.0, None), Some(0.0));
        assert!(ratio.log_weights(&[1.0, 1.0], &[1.0]).is_err());
        assert!(Rule::Power { b: -1.0 }.log_weights(&[1.0, 0.0], &[]).is_err());
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let refused = |rule: Rule| rule.check([0.5, 1.5]).is_err();
        assert!(!refused(Rule::TwoLevel { threshold: 0.5, weight: 33.0 }));
        assert!(refused(Rule::TwoLevel { threshold: 0.5, weight: 0.0 }));
        assert!(refused(Rule::TwoLevel { threshold: 7.0, weight: 33.0 }));
        assert!(refused(Rule::TwoLevel { threshold: f64::NAN, weight: 33.0 }));
        assert!(refused(Rule::Ratio { b: 0.0, dimension: f64::NAN }));
        assert!(!refused(Rule::Ratio { b: 0.0, dimension: 3.0 }));
    }
}
