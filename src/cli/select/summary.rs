//! What `pd select` says in the end: what was chosen, how good it is, and what random and the densest images would have been.

use super::pool::{Pool, Scored};
use crate::cli::output;
use crate::error::Result;
use crate::progress::Progress;
use crate::selection::{Figures, QualityBy, Reason, Selection, SelectionOptions, SetMeasures, SetWorth};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Random sets whose figures are averaged.
const RANDOM_SETS: u64 = 10;

/// The summary of a choice.
#[derive(Serialize, Deserialize)]
pub(super) struct SelectSummary {
    pub complete: bool,
    pool: usize,
    wanted: usize,
    selected: usize,
    in_set_already: usize,
    quality: QualityBy,
    set: SetWorth,
    diversity: f64,
    objective: f64,
    worth: f64,
    swaps: usize,
    not_novel: usize,
    not_distinct: usize,
    /// Chosen at first and found to be copies: of a real image or one in the set already, and of another candidate; absent where copies
    /// are not refused. Others of the pool were not looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    copies_of_real: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    copies_of_chosen: Option<usize>,
    in_groups_with_their_share: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    groups: Option<usize>,
    has_reference: bool,
    files: bool,
    random_sets: u64,
    figures: Comparison,
}

/// The same figures for the chosen and for what else could have been chosen.
#[derive(Serialize, Deserialize)]
struct Comparison {
    selected: Figures,
    random: Figures,
    densest: Figures,
}

impl SelectSummary {
    /// SetMeasuress a choice.
    pub(super) fn new(
        pool: &Pool,
        scored: &Scored,
        (selection, copies): (&Selection, Option<(usize, usize)>),
        options: &SelectionOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let count = |reason| selection.left.iter().flatten().filter(|left| **left == reason).count();
        let selected = selection.rows.len();
        let candidates = pool.candidates();
        let densities = &scored.scores.pseudo_density;
        let measures =
            SetMeasures { targets: &scored.targets, candidates: &candidates, densities, seed: options.seed };
        let excluded = scored.excluded(pool);
        let allowed: Vec<usize> = (0..excluded.len()).filter(|&row| !excluded[row]).collect();
        let random = (0..RANDOM_SETS)
            .map(|draw| measures.figures(&measures.random(&allowed, selected, draw), progress))
            .collect::<Result<Vec<_>>>()?;
        let figures = Comparison {
            selected: measures.figures(&selection.rows, progress)?,
            random: Figures::mean(&random),
            densest: measures.figures(&measures.densest(&allowed, selected), progress)?,
        };
        let groups = pool.groups.as_ref().map(|labels| labels.iter().collect::<BTreeSet<_>>().len());
        Ok(Self {
            complete: selected == options.n,
            pool: pool.paths.len(),
            wanted: options.n,
            selected,
            in_set_already: pool.must_paths.len(),
            quality: scored.quality_by,
            set: options.set,
            diversity: options.diversity,
            objective: selection.objective,
            worth: selection.worth,
            swaps: selection.swaps,
            not_novel: count(Reason::Excluded) - copies.map_or(0, |(of_real, _)| of_real),
            not_distinct: count(Reason::Conflict),
            copies_of_real: copies.map(|(of_real, _)| of_real),
            copies_of_chosen: copies.map(|(_, of_chosen)| of_chosen),
            in_groups_with_their_share: count(Reason::Share),
            groups,
            has_reference: scored.real.is_some(),
            files: pool.has_files,
            random_sets: RANDOM_SETS,
            figures,
        })
    }

    /// How many there are of those that were wanted, and why not more.
    pub(super) fn shortage(&self) -> String {
        let reasons = [
            (self.not_novel, "too near to a real image or in the set already"),
            (self.copies_of_real.unwrap_or(0), "copies of a real image or of one in the set already"),
            (self.not_distinct, "copies of a chosen one or too near to it"),
            (self.in_groups_with_their_share, "in groups that have given their share"),
        ];
        let reasons: Vec<String> = reasons
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, reason)| format!("{count} are {reason}"))
            .collect();
        let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let Self { wanted, pool, selected, .. } = self;
        format!("{wanted} images were asked for, the pool of {pool} can give {selected}{why}")
    }

    /// As JSON, or for a person.
    pub(super) fn render(&self, directory: &Path, json: bool) -> Result<String> {
        if json {
            return output::json_text(self);
        }
        let mut out = String::new();
        let _ = self.write_text(&mut out, directory);
        Ok(out)
    }

    fn write_text(&self, out: &mut String, directory: &Path) -> std::fmt::Result {
        writeln!(out, "{} of {} images chosen, in {}", self.selected, self.pool, directory.display())?;
        writeln!(
            out,
            "quality: {}; worth of the set: {}, {:.2} %; L = {}; objective {:.4}, {} swaps after the greedy choice",
            word(&self.quality),
            word(&self.set),
            self.worth,
            self.diversity,
            self.objective,
            self.swaps
        )?;
        if let Some(groups) = self.groups {
            writeln!(out, "from {groups} groups")?;
        }
        if let (Some(of_real), Some(of_chosen)) = (self.copies_of_real, self.copies_of_chosen) {
            writeln!(
                out,
                "copies found and replaced: {of_real} of real images or of what is in the set already, {of_chosen} of other candidates"
            )?;
        }
        if self.not_novel + self.not_distinct > 0 {
            writeln!(
                out,
                "left out: {} too near to a real image or in the set already, {} copies of a chosen one or too near to it",
                self.not_novel, self.not_distinct
            )?;
        }
        let random = format!("random ({} sets)", self.random_sets);
        writeln!(out, "\n                    recall  coverage   vendi  smallest distance  mean density")?;
        let Comparison { selected, random: of_random, densest } = &self.figures;
        for (name, figures) in [("chosen", selected), (&random, of_random), ("highest density", densest)] {
            write!(out, "{name:>17}")?;
            for (value, width) in [
                (figures.recall, 9),
                (figures.coverage, 10),
                (figures.vendi, 8),
                (figures.smallest_distance, 19),
            ] {
                match value {
                    Some(value) => write!(out, " {value:width$.3}", width = width - 1)?,
                    None => write!(out, " {:>width$}", "-", width = width - 1)?,
                }
            }
            writeln!(out, " {:13.3}", figures.mean_density)?;
        }
        let of = if self.has_reference { "reference" } else { "pool" };
        writeln!(
            out,
            "recall and coverage: how much of the {of} the set serves; vendi: how many different images it amounts to"
        )
    }
}

/// A value as the command line names it.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
