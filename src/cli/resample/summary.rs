//! What `pd resample` says in the end: the levels, and how far their frequencies are from the weights.

use crate::cli::output;
use crate::error::Result;
use crate::images::InputCounts;
use crate::selection::{
    CaptionCounts, PROMISED, RepeatLevel, Resampled, SetOptions, TrainerFormat, WrittenSet,
};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// Levels that are shown; of more, those in the middle are left out.
const SHOWN: usize = 12;

/// The summary of a training set.
#[derive(Serialize, Deserialize)]
pub(super) struct ResampleSummary {
    pub complete: bool,
    #[serde(rename = "for")]
    format: TrainerFormat,
    photographs: usize,
    /// Images of an epoch: each photograph as often as it is repeated.
    images: u64,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    lowered_clip: Option<f64>,
    effective_sample_size_of_weights: f64,
    effective_sample_size: f64,
    levels: Vec<Level>,
    largest_error: f64,
    misplaced: f64,
    promised_error: f64,
    most_repeats: u32,
    /// How many repeats would keep the promise, where these do not; 0 where none do that may be asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    enough_repeats: Option<u32>,
    converted: usize,
    /// Whether the photographs stay where they are.
    #[serde(default)]
    in_place: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    captions: Option<CaptionCounts>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    inputs: Option<InputCounts>,
}

#[derive(Serialize, Deserialize)]
struct Level {
    #[serde(flatten)]
    level: RepeatLevel,
    error: f64,
}

impl ResampleSummary {
    /// Of a set that was written.
    pub(super) fn new(
        set: &Resampled,
        written: &WrittenSet,
        options: &SetOptions,
        (rule, most_repeats): (String, u32),
        inputs: Option<InputCounts>,
    ) -> Self {
        let level = |level: &RepeatLevel| Level { error: level.error(), level: level.clone() };
        Self {
            complete: true,
            format: options.format,
            photographs: set.weights.len(),
            images: set.repeats.total(),
            rule,
            lowered_clip: set.lowered_clip,
            effective_sample_size_of_weights: set.effective_sample_size,
            effective_sample_size: set.repeats.effective_sample_size(),
            levels: set.repeats.levels.iter().map(level).collect(),
            largest_error: set.repeats.largest_error(),
            misplaced: set.repeats.misplaced,
            promised_error: PROMISED,
            most_repeats,
            enough_repeats: (!set.repeats.keep_promise()).then(|| set.enough.unwrap_or(0)),
            converted: written.converted,
            in_place: options.in_place,
            captions: written.captions.clone(),
            inputs,
        }
    }

    /// As JSON, or for a person.
    pub(super) fn render(&self, directory: &Path, name: &str, json: bool) -> Result<String> {
        if json {
            return output::json_text(self);
        }
        let mut out = String::new();
        let _ = self.write_text(&mut out, directory, name);
        Ok(out)
    }

    fn write_text(&self, out: &mut String, directory: &Path, name: &str) -> std::fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let Self { photographs, images, .. } = self;
        let place = directory.display();
        writeln!(out, "{photographs} photographs, with repeats {images}, in {place}")?;
        writeln!(
            out,
            "rule: {}; the weights are worth {:.0} unweighted photographs, the repeats {:.0}",
            self.rule, self.effective_sample_size_of_weights, self.effective_sample_size
        )?;
        if let Some(cut) = self.lowered_clip {
            writeln!(out, "weights are cut at {cut:.2} times their mean, so that enough photographs count")?;
        }
        writeln!(out, "\nrepeats  photographs  wanted of all draws     has    error")?;
        let hidden = SHOWN / 2..(self.levels.len()).saturating_sub(SHOWN / 2);
        for (i, Level { level, error }) in self.levels.iter().enumerate() {
            if self.levels.len() > SHOWN && hidden.contains(&i) {
                if i == hidden.start {
                    writeln!(out, "      …  ({} levels more)", hidden.len())?;
                }
                continue;
            }
            let (wanted, has) = (percent(level.wanted), percent(level.share));
            let error = format!("{:+.1} %", 100.0 * error);
            writeln!(out, "{:>7}  {:>11}  {wanted:>19}  {has:>6}  {error:>7}", level.repeats, level.images)?;
        }
        writeln!(
            out,
            "largest error of a level {}; {} of the draws go to other photographs than the weights say",
            percent(self.largest_error),
            percent(self.misplaced)
        )?;
        match self.enough_repeats {
            None => {}
            Some(0) => writeln!(
                out,
                "that is more than {}, and no number of repeats that can be asked for changes it",
                percent(self.promised_error)
            )?,
            Some(enough) => writeln!(
                out,
                "that is more than {}: --repeats {enough} would keep both below it",
                percent(self.promised_error)
            )?,
        }
        if self.converted > 0 {
            writeln!(out, "{} files are PNG now: the trainer knows no files of their kind", self.converted)?;
        }
        if let Some(CaptionCounts { with, without, unusable }) = &self.captions {
            match without + unusable {
                0 => writeln!(out, "{with} captions went along")?,
                none => writeln!(
                    out,
                    "{with} captions went along; {none} photographs have none: `{name}` is theirs (--name)"
                )?,
            }
        }
        match self.format {
            TrainerFormat::Csv => writeln!(out, "\nweights and repeats: {place}/weights.csv"),
            TrainerFormat::ImageFolder => writeln!(
                out,
                "\ntorchvision.datasets.ImageFolder(\"{place}\")\n\
                 datasets.load_dataset(\"imagefolder\", data_files={{\"train\": \"{}\"}})",
                directory.join("**").display()
            ),
            TrainerFormat::Kohya => {
                let options = "--dataset_config dataset.toml --resolution WIDTH,HEIGHT";
                writeln!(out, "\nwith the trainer started in {place}: {options}")?;
                match self.in_place {
                    true => Ok(()),
                    false => writeln!(
                        out,
                        "or anywhere: --train_data_dir {place} --caption_extension .txt --resolution WIDTH,HEIGHT"
                    ),
                }
            }
        }
    }
}
