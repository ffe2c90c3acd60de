//! Presets: the one table of what each stands for in sampling, fine-tuning and perturbation.

use super::rule::RuleChoice;
use super::threshold::Threshold;
use serde::{Deserialize, Serialize};

/// What the output of a generator is steered towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Typical, realistic images.
    Fidelity,
    /// Rare, varied images.
    Diversity,
    /// The distribution of the real images.
    Match,
    /// Nothing: no weights.
    None,
}

/// What a preset stands for; `None` where it stands for nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Meaning {
    /// In sampling, unless another rule is asked for.
    pub sampling: Option<RuleChoice>,
    /// In sampling by the two-level rule: published numbers (Li et al., TMLR 2024, section 3.4).
    pub two_level_sampling: Option<TwoLevelNumbers>,
    /// In fine-tuning.
    pub finetuning: Option<Finetuning>,
    /// In perturbation (section 3.3): the sign of the change of the density.
    pub perturbation: Option<f64>,
}

/// What a preset stands for in fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finetuning {
    /// The two-level rule of the real images (section 3.5); `None` draws all equally often.
    pub two_level: Option<TwoLevelNumbers>,
    /// The weight of the Fréchet term of a GAN.
    pub frechet: f64,
}

/// The numbers of the two-level rule, as a table has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoLevelNumbers {
    /// w, the weight above the threshold.
    pub weight: f64,
    /// The threshold, as a percentile of the reference's densities.
    pub percentile: f64,
}

impl TwoLevelNumbers {
    /// The percentile as a threshold.
    pub fn threshold(&self) -> Threshold {
        Threshold::Percentile(self.percentile)
    }
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 4] = [Preset::Fidelity, Preset::Diversity, Preset::Match, Preset::None];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Fidelity => "fidelity",
            Preset::Diversity => "diversity",
            Preset::Match => "match",
            Preset::None => "none",
        }
    }

    /// The row of the table.
    pub fn meaning(self) -> Meaning {
        let two_level = |weight, percentile| Some(TwoLevelNumbers { weight, percentile });
        let finetuning = |two_level, frechet| Some(Finetuning { two_level, frechet });
        match self {
            Preset::Fidelity => Meaning {
                sampling: Some(RuleChoice::Ratio(2.0)),
                two_level_sampling: two_level(33.0, 90.0),
                finetuning: finetuning(two_level(33.0, 80.0), 0.0),
                perturbation: Some(1.0),
            },
            Preset::Diversity => Meaning {
                sampling: Some(RuleChoice::Ratio(-2.0)),
                two_level_sampling: two_level(0.03, 20.0),
                finetuning: finetuning(two_level(0.03, 20.0), 0.0),
                perturbation: Some(-1.0),
            },
            Preset::Match => Meaning {
                sampling: Some(RuleChoice::Ratio(0.0)),
                two_level_sampling: None,
                finetuning: finetuning(None, 0.01),
                perturbation: None,
            },
            Preset::None => {
                Meaning { sampling: None, two_level_sampling: None, finetuning: None, perturbation: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_written_as_it_is_typed() {
        for preset in Preset::ALL {
            assert_eq!(serde_json::to_value(preset).unwrap(), preset.name());
        }
    }

    #[test]
    fn weights_and_signs_of_a_preset_point_the_same_way() {
        for preset in Preset::ALL {
            let Meaning { sampling, two_level_sampling, finetuning, perturbation } = preset.meaning();
            let exponent = sampling.map(|choice| match choice {
                RuleChoice::Ratio(b) | RuleChoice::Power(b) => b,
                RuleChoice::TwoLevel => panic!("{preset:?} has no rule without numbers"),
            });
            let signs = [
                exponent.filter(|b| *b != 0.0),
                two_level_sampling.map(|numbers| numbers.weight.ln()),
                finetuning.and_then(|meaning| meaning.two_level).map(|numbers| numbers.weight.ln()),
                perturbation,
            ];
            assert!(
                signs.windows(2).all(|pair| pair[0].map(f64::signum) == pair[1].map(f64::signum)),
                "{signs:?}"
            );
        }
    }
}
