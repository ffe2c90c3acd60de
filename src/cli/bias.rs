//! `--bias`, `--rule` and the numbers of a rule, as `pd sample` takes them.

use super::{presets, similar};
use crate::density::{Preset, Rule, RuleChoice, Threshold};
use crate::error::{Error, Result};
use crate::sampling::{DEFAULT_BUDGET, WeightRecord};
use clap::Args;

/// How images are weighed.
#[derive(Args)]
#[command(next_help_heading = "Weights")]
pub(super) struct BiasArgs {
    /// What to steer the output towards [default: none]
    #[arg(long, value_parser = presets::of_sampling())]
    bias: Option<Preset>,
    /// Importance weights: two-level (the paper's), power:B (density to the power B) or ratio:B (how much more often such images are real than generated, times density to the power B) [default: follows --bias]
    #[arg(long, value_name = "RULE", allow_hyphen_values = true, value_parser = similar::rule)]
    rule: Option<RuleChoice>,
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
    /// What was typed for a command with defaults of its own, where `rule` is settled.
    pub(super) fn settled(
        (bias, rule): (Option<Preset>, RuleChoice),
        (threshold, weight): (Option<Threshold>, Option<f64>),
        dimension: Option<f64>,
    ) -> Self {
        Self { bias, rule: Some(rule), threshold, weight, dimension }
    }

    /// Whether images are weighed at all.
    pub(super) fn weighs(&self) -> bool {
        self.choice().is_some()
    }

    fn preset(&self) -> Preset {
        self.bias.unwrap_or(Preset::None)
    }

    fn choice(&self) -> Option<RuleChoice> {
        self.rule.or(self.preset().meaning().sampling)
    }

    /// Rule and budget with all numbers; `None` if everything is kept. `intrinsic_dimension` is the reference's.
    pub(super) fn weights(
        &self,
        budget: Option<f64>,
        intrinsic_dimension: Option<f64>,
    ) -> Result<Option<WeightRecord>> {
        let Some(choice) = self.choice() else {
            return self.refuse_leftovers(budget).map(|()| None);
        };
        self.refuse_numbers_of_other_rules(choice)?;
        let rule = match choice {
            RuleChoice::TwoLevel => self.two_level()?,
            RuleChoice::Power(b) => Rule::Power { b },
            RuleChoice::Ratio(b) => Rule::ratio(b, self.dimension.or(intrinsic_dimension))?,
        };
        let budget = match choice {
            RuleChoice::TwoLevel => budget,
            RuleChoice::Power(_) | RuleChoice::Ratio(_) => Some(budget.unwrap_or(DEFAULT_BUDGET)),
        };
        Ok(Some(WeightRecord::new(rule, budget, intrinsic_dimension)))
    }

    fn two_level(&self) -> Result<Rule<Threshold>> {
        if self.bias == Some(Preset::Match) {
            return Err(Error::usage(
                "--bias match needs the densities of the generated images, which the two-level rule does not know",
                "leave --rule out, or use --rule ratio:0",
            ));
        }
        let published = self.preset().meaning().two_level_sampling;
        let missing = || {
            Error::usage(
                "--rule two-level needs --weight and --threshold",
                "or --bias fidelity or diversity, which stand for the published ones",
            )
        };
        let weight = self.weight.or(published.map(|numbers| numbers.weight)).ok_or_else(missing)?;
        let threshold =
            self.threshold.or(published.map(|numbers| numbers.threshold())).ok_or_else(missing)?;
        Ok(Rule::TwoLevel { threshold, weight })
    }

    fn refuse_numbers_of_other_rules(&self, choice: RuleChoice) -> Result<()> {
        if choice != RuleChoice::TwoLevel && (self.threshold.is_some() || self.weight.is_some()) {
            return Err(Error::usage(
                format!("--threshold and --weight belong to --rule two-level, not to {choice}"),
                "leave them out, or add --rule two-level",
            ));
        }
        if self.dimension.is_some() && !matches!(choice, RuleChoice::Ratio(_)) {
            return Err(Error::usage(format!("--dimension belongs to --rule ratio:B, not to {choice}"), ""));
        }
        Ok(())
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
