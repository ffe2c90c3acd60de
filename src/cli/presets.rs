//! The values of `--bias`: which presets each command knows, and what its help says of them. The numbers are those of the table.

use crate::density::{Finetuning, Preset, TwoLevelNumbers};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Presets of `pd sample`.
pub(super) fn of_sampling() -> impl TypedValueParser<Value = Preset> {
    parser(|preset| {
        let about = match preset {
            Preset::Fidelity => "Typical, realistic images",
            Preset::Diversity => "Rare, varied images",
            Preset::Match => "Towards the real distribution",
            Preset::None => "Everything is kept",
        };
        Some(match preset.meaning().sampling {
            Some(rule) => format!("{about}: {rule}"),
            None => about.to_owned(),
        })
    })
}

/// Presets of `pd resample`.
pub(super) fn of_resampling() -> impl TypedValueParser<Value = Preset> {
    parser(|preset| {
        let meaning = preset.meaning();
        let rule = meaning.sampling?;
        let about = match preset {
            Preset::Fidelity => "Typical photographs come more often",
            Preset::Diversity => "Rare photographs come more often",
            Preset::Match => "What the generator makes too rarely comes more often",
            Preset::None => return None,
        };
        Some(match meaning.two_level_sampling {
            Some(TwoLevelNumbers { weight, percentile }) => {
                format!("{about}: weight {weight} above the {percentile}th percentile; with --pool {rule}")
            }
            None => format!("{about}: {rule}, with --pool"),
        })
    })
}

/// Presets of `pd finetune`.
pub(super) fn of_finetuning() -> impl TypedValueParser<Value = Preset> {
    parser(|preset| {
        let Finetuning { two_level, frechet } = preset.meaning().finetuning?;
        let mut text = match two_level {
            Some(TwoLevelNumbers { weight, percentile }) => {
                let about = if weight < 1.0 { "Towards the rare" } else { "Towards the typical" };
                format!("{about}: weight {weight} above the {percentile}th percentile")
            }
            None => "Towards the real distribution: no weights".to_owned(),
        };
        if frechet > 0.0 {
            text.push_str(&format!(", a Frechet term of weight {frechet}"));
        }
        Some(text)
    })
}

/// Presets of `pd perturb`.
pub(super) fn of_perturbation() -> impl TypedValueParser<Value = Preset> {
    parser(|preset| {
        let sign = preset.meaning().perturbation?;
        let about = match sign > 0.0 {
            true => "Towards higher density: the common, the typical",
            false => "Towards lower density: the unique, the rare",
        };
        Some(about.to_owned())
    })
}

/// Reads the presets that have a help text.
fn parser(help: fn(Preset) -> Option<String>) -> impl TypedValueParser<Value = Preset> {
    let value = move |preset: Preset| Some(PossibleValue::new(preset.name()).help(help(preset)?));
    PossibleValuesParser::new(Preset::ALL.into_iter().filter_map(value))
        .try_map(|name| Preset::ALL.into_iter().find(|preset| preset.name() == name).ok_or("is no preset"))
}
