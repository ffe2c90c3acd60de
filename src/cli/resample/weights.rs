//! How `pd resample` weighs photographs: the rule and its numbers, from flags, presets and the reference.

use crate::cli::bias::BiasArgs;
use crate::cli::{presets, similar};
use crate::density::{Preset, Rule, RuleChoice, Threshold, Truncation};
use crate::error::{Error, Result};
use clap::Args;

/// How photographs are weighed.
#[derive(Args)]
#[command(next_help_heading = "Weights")]
pub(super) struct WeightArgs {
    /// Which photographs come more often [default with --pool: match]
    #[arg(long, value_parser = presets::of_resampling())]
    bias: Option<Preset>,
    /// Importance weights: two-level (the paper's), power:B (density to the power B) or, with --pool, ratio:B (how much more often such images are real than generated, times density to the power B) [default: follows --bias]
    #[arg(long, value_name = "RULE", allow_hyphen_values = true, value_parser = similar::rule)]
    rule: Option<RuleChoice>,
    /// Threshold tau of the two-level rule: a density (1.18) or a percentile of the reference (p80) [default: p90 towards fidelity, p20 towards diversity]
    #[arg(long, value_name = "TAU")]
    threshold: Option<Threshold>,
    /// Weight w of photographs above the threshold, for the two-level rule [default: 33 towards fidelity, 0.03 towards diversity]
    #[arg(long, value_name = "W")]
    weight: Option<f64>,
    /// Exponent m of the ratio rule [default: the intrinsic dimension of the reference, estimated by Levina and Bickel's method]
    #[arg(long, value_name = "M")]
    dimension: Option<f64>,
    /// Largest weight of power:B and ratio:B, in means of all weights [default: 100]
    #[arg(long, value_name = "C", value_parser = at_least_one)]
    clip: Option<f64>,
    /// Least effective sample size of the weights of power:B and ratio:B, as a share of the photographs: large weights are cut until it is reached [default: 0.3]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_ess: Option<f64>,
}

fn at_least_one(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 1.0 && value.is_finite() => Ok(value),
        _ => Err("must be a number, 1 or above".into()),
    }
}

fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("must be a number between 0 and 1".into()),
    }
}

impl WeightArgs {
    /// The rule, where that is known without a reference.
    ///
    /// # Errors
    /// [`Error::Usage`] if nothing says which photographs come more often, or the rule needs generated images and there are none.
    pub(super) fn choice(&self, has_pool: bool) -> Result<RuleChoice> {
        let of_preset = |preset: Preset| {
            let meaning = preset.meaning();
            let two_level = meaning.two_level_sampling.map(|_| RuleChoice::TwoLevel);
            meaning.sampling.map(|rule| if has_pool { rule } else { two_level.unwrap_or(rule) })
        };
        let of_pool = has_pool.then_some(Preset::Match);
        let choice = self.rule.or_else(|| self.bias.or(of_pool).and_then(of_preset)).ok_or_else(|| {
            Error::usage(
                "nothing says which photographs shall come more often",
                "give --bias fidelity or diversity, --rule power:B, or --pool GENERATED",
            )
        })?;
        match (choice, has_pool) {
            (RuleChoice::Ratio(_), false) => {
                let asked = match self.bias {
                    Some(Preset::Match) if self.rule.is_none() => "--bias match".to_owned(),
                    _ => format!("--rule {choice}"),
                };
                Err(Error::usage(
                    format!(
                        "{asked} compares the photographs with what the generator makes, and no generated images were named"
                    ),
                    "name a folder of them with --pool, or take --bias fidelity or diversity, or --rule power:B",
                ))
            }
            (RuleChoice::TwoLevel | RuleChoice::Power(_), true) => Err(Error::usage(
                format!("--rule {choice} does not look at generated images, and --pool names some"),
                "leave --pool out, or --rule",
            )),
            _ => Ok(choice),
        }
    }

    /// The rule with its numbers, and how its weights are cut. `intrinsic_dimension` is the reference's.
    pub(super) fn rule(
        &self,
        choice: RuleChoice,
        intrinsic_dimension: Option<f64>,
    ) -> Result<(Rule<Threshold>, Option<Truncation>)> {
        let numbers = (self.threshold, self.weight);
        let settled = BiasArgs::settled((self.bias, choice), numbers, self.dimension);
        let record = settled.weights(None, intrinsic_dimension)?;
        let rule =
            record.and_then(|record| record.rule()).ok_or_else(|| Error::usage("no rule was given", ""))?;
        let cut = [("--clip", self.clip), ("--min-ess", self.min_ess)];
        let given = cut.iter().find(|(_, given)| given.is_some());
        match (choice, given) {
            (RuleChoice::TwoLevel, Some((name, _))) => Err(Error::usage(
                format!(
                    "{name} cuts the weights of power:B and ratio:B; the two-level rule has just those that were asked for"
                ),
                "leave it out",
            )),
            (RuleChoice::TwoLevel, None) => Ok((rule, None)),
            (RuleChoice::Power(_) | RuleChoice::Ratio(_), _) => {
                let Truncation { clip, min_ess } = Truncation::DEFAULT;
                let truncation =
                    Truncation { clip: self.clip.unwrap_or(clip), min_ess: self.min_ess.unwrap_or(min_ess) };
                Ok((rule, Some(truncation)))
            }
        }
    }
}
