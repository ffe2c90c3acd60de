//! What `pd sample` writes about its candidates, and says in the end.

use crate::candidates::CandidateScores;
use crate::cli::output;
use crate::density::{Distribution, Quantiles, Rule, Threshold};
use crate::error::{Error, Result};
use crate::formats::table::{Table, Values};
use crate::sampling::draw::{Drawn, PilotReport};
use crate::sampling::{Copied, Decision};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// How many candidates were refused, and why.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::cli) struct Refused {
    /// Copies of another kept one, and those too near to one.
    pub not_distinct: usize,
    /// Copies of a real one, and those too near to one.
    pub not_novel: usize,
    /// Those of `not_distinct` that are copies; absent where copies are not refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_of_kept: Option<usize>,
    /// Those of `not_novel` that are copies; absent where copies are not refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_of_real: Option<usize>,
}

impl Refused {
    /// Counts what became of candidates, and what they are copies of; that is empty where copies are not refused.
    pub(super) fn of(decisions: &[Decision], copy_of: &[Option<Copied>]) -> Self {
        let count = |wanted| decisions.iter().filter(|decision| **decision == wanted).count();
        let copies = |is: fn(&Copied) -> bool| {
            (!copy_of.is_empty()).then(|| copy_of.iter().flatten().filter(|copied| is(copied)).count())
        };
        Self {
            not_distinct: count(Decision::NotDistinct),
            not_novel: count(Decision::NotNovel),
            copies_of_kept: copies(|copied| matches!(copied, Copied::Kept(_))),
            copies_of_real: copies(|copied| matches!(copied, Copied::Real(_))),
        }
    }

    /// The counts in words, those that are not 0.
    pub(in crate::cli) fn reasons(&self) -> Vec<String> {
        let (kept, real) = (self.copies_of_kept.unwrap_or(0), self.copies_of_real.unwrap_or(0));
        let counts = [
            (real, "copies of a real one"),
            (kept, "copies of another chosen one"),
            (self.not_novel.saturating_sub(real), "too near to a real one"),
            (self.not_distinct.saturating_sub(kept), "too near to another chosen one"),
        ];
        counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, words)| format!("{count} {words}"))
            .collect()
    }

    /// A line of the text, where anything was refused.
    pub(super) fn write_text(&self, out: &mut String) -> std::fmt::Result {
        match self.reasons() {
            reasons if reasons.is_empty() => Ok(()),
            reasons => writeln!(out, "refused: {}", reasons.join(", ")),
        }
    }
}

/// The column that names what each candidate is a copy of, where copies are refused.
pub(super) fn push_copies(
    table: &mut Table,
    copy_of: &[Option<Copied>],
    candidate: impl Fn(usize) -> Option<String>,
    reference_paths: &[String],
) -> Result<()> {
    if copy_of.is_empty() {
        return Ok(());
    }
    let name = |copied: &Option<Copied>| match (*copied)? {
        Copied::Kept(copy) => candidate(copy.row),
        Copied::Real(copy) => reference_paths.get(copy.row).cloned(),
    };
    table.push("copy_of", Values::OptionalText(copy_of.iter().map(name).collect()))
}

/// One row per candidate.
pub(super) fn table(drawn: &Drawn, reference_paths: &[String]) -> Result<Table> {
    let rows = drawn.decisions.len();
    let kept = |i: usize| drawn.decisions[i] == Decision::Kept;
    let mut table = Table::new();
    let file = (0..rows).map(|i| kept(i).then(|| drawn.records[i].name.clone())).collect();
    table.push("file", Values::OptionalText(file))?;
    table.push("seed", Values::OptionalInt(drawn.records.iter().map(|r| r.seed.map(i64::from)).collect()))?;
    if drawn.records.iter().any(|record| record.prompt.is_some()) {
        let prompts = drawn.records.iter().map(|record| record.prompt.clone()).collect();
        table.push("prompt", Values::OptionalText(prompts))?;
    }
    if let Some(scores) = &drawn.scores {
        push_scores(&mut table, scores, reference_paths)?;
    }
    table.push("weight", Values::Float(drawn.weights.clone()))?;
    let decision = drawn.decisions.iter().map(|d| d.name().to_string()).collect();
    table.push("decision", Values::Text(decision))?;
    let candidate = |row: usize| drawn.records.get(row).map(|record| record.name.clone());
    push_copies(&mut table, &drawn.copy_of, candidate, reference_paths)?;
    Ok(table)
}

/// The columns of candidates' scores.
pub(super) fn push_scores(
    table: &mut Table,
    CandidateScores { scores, predicted }: &CandidateScores,
    reference_paths: &[String],
) -> Result<()> {
    let nearest = |row: &Option<u32>| row.and_then(|row| reference_paths.get(row as usize).cloned());
    table.push("pseudo_density", Values::Float(scores.pseudo_density.clone()))?;
    if let Some(predicted) = predicted {
        table.push("predicted_density", Values::Float(predicted.clone()))?;
    }
    table.push("percentile", Values::Float(scores.percentile.clone()))?;
    table.push("nearest", Values::OptionalText(scores.nearest.iter().map(nearest).collect()))?;
    table.push("nearest_distance", Values::Float(scores.nearest_distance.clone()))
}

/// Quantiles of densities before and after the choice, a line each.
pub(super) fn write_quantiles(out: &mut String, lines: [(&str, &Quantiles); 2]) -> std::fmt::Result {
    writeln!(out, "\npseudo density (1 is the reference's average)")?;
    writeln!(out, "                 p1    p10    p20    p50    p80    p90    p99")?;
    for (name, q) in lines {
        write!(out, "{name:>12}")?;
        for value in [q.p1, q.p10, q.p20, q.p50, q.p80, q.p90, q.p99] {
            write!(out, " {value:6.3}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The summary of a run.
#[derive(Serialize, Deserialize)]
pub(super) struct SampleSummary {
    pub complete: bool,
    #[serde(skip)]
    pub output: String,
    pub rule: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dimension: Option<f64>,
    pub kept: usize,
    pub draws: usize,
    pub rejected: usize,
    #[serde(flatten)]
    pub refused: Refused,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pilot: Option<Pilot>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub effective_sample_size: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub density_of_candidates: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub density_of_kept: Option<Quantiles>,
}

/// What the pilot said.
#[derive(Serialize, Deserialize)]
pub(super) struct Pilot {
    pub images: usize,
    pub acceptance: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub predictor_spearman: Option<f64>,
}

impl SampleSummary {
    /// Of a run that is over.
    pub(super) fn new(drawn: &Drawn, rule: Option<Rule<Threshold>>, output: &Path) -> Self {
        let count = |decision| drawn.decisions.iter().filter(|d| **d == decision).count();
        let quantiles = |rows: &mut dyn Iterator<Item = usize>| {
            let scores = &drawn.scores.as_ref()?.scores;
            let values: Vec<f64> = rows.map(|i| scores.pseudo_density[i]).collect();
            Distribution::new(&values).ok().map(|d| d.quantiles())
        };
        let of_pilot = |p: &PilotReport| Pilot {
            images: p.images,
            acceptance: p.acceptance,
            predictor_spearman: p.predictor_spearman,
        };
        Self {
            complete: drawn.complete,
            output: output.display().to_string(),
            rule: match rule {
                Some(Rule::TwoLevel { threshold, weight }) => {
                    format!("two-level, weight {weight} above {threshold}")
                }
                Some(rule) => rule.choice().to_string(),
                None => "none: everything is kept".into(),
            },
            dimension: match rule {
                Some(Rule::Ratio { dimension, .. }) => Some(dimension),
                _ => None,
            },
            kept: count(Decision::Kept),
            draws: drawn.draws,
            rejected: count(Decision::Rejected),
            refused: Refused::of(&drawn.decisions, &drawn.copy_of),
            pilot: drawn.pilot.as_ref().filter(|_| rule.is_some()).map(of_pilot),
            effective_sample_size: drawn
                .pilot
                .as_ref()
                .filter(|_| rule.is_some())
                .map(|p| p.effective_sample_size),
            density_of_candidates: quantiles(&mut (0..drawn.decisions.len())),
            density_of_kept: quantiles(&mut drawn.kept()),
        }
    }

    /// Of a directory whose run is finished.
    pub(super) fn of_file(summary: &serde_json::Value, output: &Path) -> Result<Self> {
        let wrong = |e: serde_json::Error| Error::malformed(output.join("summary.json"), e.to_string(), "");
        let mut found: Self = serde_json::from_value(summary.clone()).map_err(wrong)?;
        found.output = output.display().to_string();
        Ok(found)
    }

    /// As JSON, or for a person.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub(super) fn render(&self, json: bool) -> Result<String> {
        if json {
            return output::json_text(self);
        }
        let mut out = String::new();
        let _ = self.write_text(&mut out);
        Ok(out)
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{} images kept of {} draws", self.kept, self.draws)?;
        if self.kept > 0 {
            write!(out, " ({:.2} draws each)", self.draws as f64 / self.kept as f64)?;
        }
        writeln!(out, ", in {}", self.output)?;
        write!(out, "rule: {}", self.rule)?;
        if let Some(m) = self.dimension {
            write!(out, ", dimension m {m:.2}")?;
        }
        writeln!(out)?;
        if let (Some(pilot), Some(size)) = (&self.pilot, self.effective_sample_size) {
            writeln!(
                out,
                "pilot of {}: {:.1} % accepted, weights worth {size:.0} unweighted images",
                pilot.images,
                100.0 * pilot.acceptance
            )?;
            if let Some(agreement) = pilot.predictor_spearman {
                writeln!(out, "predicted and nearest-neighbour densities: Spearman {agreement:.3}")?;
            }
        }
        self.refused.write_text(out)?;
        if let (Some(before), Some(after)) = (&self.density_of_candidates, &self.density_of_kept) {
            write_quantiles(out, [("candidates", before), ("kept", after)])?;
        }
        Ok(())
    }
}
