//! `--bias`, and what it stands for: defaults are here and nowhere else.

use super::similar;
use crate::density::{Rule, Threshold};
use crate::error::{Error, Result};
use crate::sampling::WeightOptions;
use clap::{Args, ValueEnum};

/// Draws for each kept image on average, where weights have no acceptance of their own.
pub const BUDGET: f64 = 4.0;
/// B of `ratio:B` towards fidelity; its negative towards diversity.
const TILT: f64 = 2.0;
/// w and the percentile of the two-level rule towards fidelity.
const FIDELITY: (f64, f64) = (33.0, 90.0);
/// The same towards diversity.
const DIVERSITY: (f64, f64) = (0.03, 20.0);

/// Where the output is steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bias {
    /// Typical, realistic images: ratio:2
    Fidelity,
    /// Rare, varied images: ratio:-2
    Diversity,
    /// Towards the real distribution: ratio:0
    Match,
    /// Everything is kept
    None,
}

/// How images are weighed.
#[derive(Args)]
#[command(next_help_heading = "Weights")]
pub struct BiasArgs {
    /// What to steer the output towards [default: none]
    #[arg(long)]
    bias: Option<Bias>,
    /// Importance weights: two-level (the paper's), power:B (density to the power B) or ratio:B (what the generator makes too rarely, times density to the power B) [default: follows --bias]
    #[arg(long, value_name = "RULE", allow_hyphen_values = true, value_parser = similar::rule)]
    rule: Option<Rule>,
    /// Threshold tau of the two-level rule: a density (1.18) or a percentile of the reference (p80) [default: p90 towards fidelity, p20 towards diversity]
    #[arg(long, value_name = "TAU")]
    threshold: Option<Threshold>,
    /// Weight w of images above the threshold, for the two-level rule [default: 33 towards fidelity, 0.03 towards diversity]
    #[arg(long, value_name = "W")]
    weight: Option<f64>,
    /// Exponent m of the ratio rule [default: the intrinsic dimension of the reference, estimated by Levina and Bickel's method]
    #[arg(long, value_name = "M")]
    dimension: Option<f64>,
}

impl BiasArgs {
    /// Whether images are weighed at all.
    pub fn weighs(&self) -> bool {
        self.rule.is_some() || self.bias.is_some_and(|bias| bias != Bias::None)
    }

    /// The options of the library; `None` if everything is kept. `dimension` is the reference's.
    pub fn options(&self, budget: Option<f64>, dimension: Option<f64>) -> Result<Option<WeightOptions>> {
        let bias = self.bias.unwrap_or(Bias::None);
        let rule = match (self.rule, bias) {
            (Some(Rule::TwoLevel), Bias::Match) => {
                return Err(Error::usage(
                    "--bias match needs the densities of the generated images, which the two-level rule does not know",
                    "leave --rule out, or use --rule ratio:0",
                ));
            }
            (Some(rule), _) => rule,
            (None, Bias::Fidelity) => Rule::Ratio(TILT),
            (None, Bias::Diversity) => Rule::Ratio(-TILT),
            (None, Bias::Match) => Rule::Ratio(0.0),
            (None, Bias::None) => {
                return self.refuse_leftovers(budget).map(|()| None);
            }
        };
        let two_level = rule == Rule::TwoLevel;
        if !two_level && (self.threshold.is_some() || self.weight.is_some()) {
            return Err(Error::usage(
                format!("--threshold and --weight belong to --rule two-level, not to {rule}"),
                "leave them out, or add --rule two-level",
            ));
        }
        if self.dimension.is_some() && !matches!(rule, Rule::Ratio(_)) {
            return Err(Error::usage(format!("--dimension belongs to --rule ratio:B, not to {rule}"), ""));
        }
        let preset = match bias {
            Bias::Fidelity => Some(FIDELITY),
            Bias::Diversity => Some(DIVERSITY),
            Bias::Match | Bias::None => None,
        };
        let (weight, threshold) = match (two_level, preset) {
            (false, _) => (1.0, Threshold::Percentile(0.0)),
            (true, preset) => {
                let missing = || {
                    Error::usage(
                        "--rule two-level needs --weight and --threshold",
                        "or --bias fidelity or diversity, which stand for the published ones",
                    )
                };
                let weight = self.weight.or(preset.map(|p| p.0)).ok_or_else(missing)?;
                let threshold =
                    self.threshold.or(preset.map(|p| Threshold::Percentile(p.1))).ok_or_else(missing)?;
                (weight, threshold)
            }
        };
        let dimension = match (rule, self.dimension.or(dimension)) {
            (Rule::Ratio(_), None) => {
                return Err(Error::data(
                    "the reference has no intrinsic dimension: all neighbours are copies",
                    "give one with --dimension, or use --rule power:B",
                ));
            }
            (_, dimension) => dimension.unwrap_or(1.0),
        };
        let budget = if two_level { budget } else { Some(budget.unwrap_or(BUDGET)) };
        Ok(Some(WeightOptions { rule: Some(rule), threshold, weight, dimension, budget }))
    }

    fn refuse_leftovers(&self, budget: Option<f64>) -> Result<()> {
        let given = [
            ("--threshold", self.threshold.is_some()),
            ("--weight", self.weight.is_some()),
            ("--dimension", self.dimension.is_some()),
            ("--budget", budget.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::usage(
                format!("{name} was given, but everything is kept without --bias or --rule"),
                "add --bias fidelity, diversity or match",
            )),
            None => Ok(()),
        }
    }
}
