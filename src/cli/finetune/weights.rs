//! The weights of `pd finetune`: the rule of each side, from its own settings, those of both, or a preset.

use super::settings::{Settings, Sides, default};
use crate::candidates::DensityScorer;
use crate::cli::terminal::Terminal;
use crate::density::{Finetuning, Preset, Rule, RuleChoice, Threshold, Truncation};
use crate::error::{Error, Result};
use crate::finetune::Rejection;
use crate::reference::{DensityBy, Reference};

/// How both sides are weighted.
#[derive(Default)]
pub(super) struct Weights {
    /// The rule of the real side; `None` draws all images equally often.
    pub real: Option<Rule>,
    /// How its weights are cut.
    pub truncation: Option<Truncation>,
    /// What rejects generated images, where these are weighted too.
    pub rejection: Option<Rejection>,
}

/// Settles the weights of both sides, and writes what was chosen back into the settings.
pub(super) fn weights(
    settings: &mut Settings,
    reference: Option<&Reference>,
    terminal: &Terminal,
) -> Result<Weights> {
    let sides = *settings.sides.get_or_insert(Sides::Real);
    let Some(reference) = reference else {
        return without_reference(settings, sides);
    };
    let choice = *settings.rule.get_or_insert(RuleChoice::TwoLevel);
    if sides == Sides::Real {
        settings.refuse(
            &[
                ("--weight-fake", settings.weight_fake.is_some()),
                ("--threshold-fake", settings.threshold_fake.is_some()),
                ("--density", settings.density.is_some()),
                ("--max-rejection", settings.max_rejection.is_some()),
            ],
            "the generated side is weighted with --sides both",
        )?;
    }
    if !matches!(choice, RuleChoice::Ratio(_)) {
        settings.refuse(
            &[
                ("--dimension", settings.dimension.is_some()),
                ("--pilot", settings.pilot.is_some()),
                ("--pilot-every", settings.pilot_every.is_some()),
            ],
            "they belong to --rule ratio:B",
        )?;
    }
    match choice {
        RuleChoice::TwoLevel if draws_all_alike(settings)? => {
            settings
                .refuse(&[("--sides both", sides == Sides::Both)], "all images are drawn equally often")?;
            settings.bias = None;
            Ok(Weights::default())
        }
        RuleChoice::TwoLevel => two_level(settings, reference, sides, terminal),
        RuleChoice::Power(b) => one_sided(settings, Rule::Power { b }, sides),
        RuleChoice::Ratio(b) => {
            let rule = Rule::ratio(b, settings.dimension.or(reference.density()?.intrinsic_dimension))?;
            one_sided(settings, rule, sides)
        }
    }
}

/// What the preset stands for, where one was given.
fn preset(settings: &Settings) -> Result<Option<Finetuning>> {
    let meaning = |preset: Preset| {
        preset.meaning().finetuning.ok_or_else(|| {
            let reason = format!("fine-tuning has no preset `{}`", preset.name());
            Error::usage(reason, "give --bias fidelity, diversity or match")
        })
    };
    settings.bias.map(meaning).transpose()
}

/// Whether nothing but the Fréchet term steers, whose weight is settled here: all real images are then drawn equally often.
fn draws_all_alike(settings: &mut Settings) -> Result<bool> {
    let preset = preset(settings)?;
    settings.frechet =
        settings.frechet.or(preset.map(|meaning| meaning.frechet).filter(|weight| *weight > 0.0));
    let levels = [settings.weight, settings.weight_real, settings.weight_fake];
    let thresholds = [settings.threshold, settings.threshold_real, settings.threshold_fake];
    let weighted = levels.iter().any(Option::is_some) || thresholds.iter().any(Option::is_some);
    Ok(match preset {
        Some(meaning) => meaning.two_level.is_none() && !weighted,
        None => settings.frechet.is_some() && !weighted,
    })
}

fn without_reference(settings: &Settings, sides: Sides) -> Result<Weights> {
    settings.refuse(
        &[
            ("--bias", settings.bias.is_some()),
            ("--rule", settings.rule.is_some()),
            ("--weight", settings.weight.is_some()),
            ("--threshold", settings.threshold.is_some()),
            ("--weight-real", settings.weight_real.is_some()),
            ("--threshold-real", settings.threshold_real.is_some()),
            ("--weight-fake", settings.weight_fake.is_some()),
            ("--threshold-fake", settings.threshold_fake.is_some()),
            ("--sides both", sides == Sides::Both),
            ("--density", settings.density.is_some()),
            ("--max-rejection", settings.max_rejection.is_some()),
            ("--dimension", settings.dimension.is_some()),
            ("--pilot", settings.pilot.is_some()),
            ("--pilot-every", settings.pilot_every.is_some()),
            ("--clip", settings.clip.is_some()),
            ("--min-ess", settings.min_ess.is_some()),
            ("--weights", settings.weights.is_some()),
            ("--frechet", settings.frechet.is_some()),
            ("--frechet-extractor", settings.frechet_extractor.is_some()),
        ],
        "there are no densities without --reference",
    )?;
    match settings.init {
        Some(_) => Ok(Weights::default()),
        None => Err(Error::usage(
            "--reference is missing",
            "`pd embed` and `pd index` make one; --init does without",
        )),
    }
}

/// A rule of the density for the real side alone.
fn one_sided(settings: &mut Settings, rule: Rule, sides: Sides) -> Result<Weights> {
    settings.refuse(
        &[
            ("--bias", settings.bias.is_some()),
            ("--weight", settings.weight.is_some()),
            ("--threshold", settings.threshold.is_some()),
            ("--weight-real", settings.weight_real.is_some()),
            ("--threshold-real", settings.threshold_real.is_some()),
            ("--sides both", sides == Sides::Both),
        ],
        "power:B and ratio:B have no threshold, and weight the real side only",
    )?;
    let truncation = Truncation {
        clip: *settings.clip.get_or_insert(Truncation::DEFAULT.clip),
        min_ess: *settings.min_ess.get_or_insert(Truncation::DEFAULT.min_ess),
    };
    Ok(Weights { real: Some(rule), truncation: Some(truncation), rejection: None })
}

fn two_level(
    settings: &mut Settings,
    reference: &Reference,
    sides: Sides,
    terminal: &Terminal,
) -> Result<Weights> {
    settings.refuse(
        &[("--clip", settings.clip.is_some()), ("--min-ess", settings.min_ess.is_some())],
        "they belong to --rule power:B and ratio:B",
    )?;
    let distribution = reference.distribution()?;
    let (threshold, weight) = numbers(settings, |s| (&mut s.threshold_real, &mut s.weight_real))?;
    let real = Rule::TwoLevel { threshold: threshold.resolve(&distribution), weight };
    let rejection = match sides {
        Sides::Both => {
            let (threshold, weight) = numbers(settings, |s| (&mut s.threshold_fake, &mut s.weight_fake))?;
            let by = *settings.density.get_or_insert(DensityBy::Knn);
            Some(Rejection {
                rule: Rule::TwoLevel { threshold: threshold.resolve(&distribution), weight: weight.recip() },
                scorer: DensityScorer::open(
                    reference,
                    settings.extractor(reference, terminal.device())?,
                    by,
                    terminal,
                )?,
                max_draws: *settings.max_rejection.get_or_insert(default::MAX_REJECTION),
            })
        }
        Sides::Real => None,
    };
    // From here on the settings say by side what was said of both.
    (settings.bias, settings.weight, settings.threshold) = (None, None, None);
    Ok(Weights { real: Some(real), truncation: None, rejection })
}

/// Threshold and weight of one side, written back to its settings.
fn numbers(
    settings: &mut Settings,
    side: fn(&mut Settings) -> (&mut Option<Threshold>, &mut Option<f64>),
) -> Result<(Threshold, f64)> {
    let preset = preset(settings)?.and_then(|meaning| meaning.two_level);
    let (of_both, weight_of_both) = (settings.threshold, settings.weight);
    let (threshold, weight) = side(settings);
    let chosen_weight = weight.or(weight_of_both).or(preset.map(|numbers| numbers.weight)).ok_or_else(|| {
        Error::usage(
            "nothing says which way to train",
            "give --bias fidelity, diversity or match, --weight W with --threshold TAU (W 1 is the control), --rule power:B or ratio:B, or --frechet L",
        )
    })?;
    // A weight that was typed alone goes with the threshold of its direction.
    let direction = if chosen_weight < 1.0 { Preset::Diversity } else { Preset::Fidelity };
    let of_direction = direction.meaning().finetuning.and_then(|meaning| meaning.two_level);
    let default = preset.or(of_direction).map(|numbers| numbers.threshold());
    let chosen_threshold = threshold
        .or(of_both)
        .or(default)
        .ok_or_else(|| Error::usage("the two-level rule has no threshold", "give --threshold TAU"))?;
    (*threshold, *weight) = (Some(chosen_threshold), Some(chosen_weight));
    Ok((chosen_threshold, chosen_weight))
}
