//! The summary of scores, for a person or as JSON.

use super::checks;
use super::escape::one_line;
use super::output;
use crate::copies::Limit;
use crate::density::Quantiles;
use crate::error::Result;
use crate::images::{InputCounts, Inputs};
use crate::reference::LookRecord;
use crate::reference::score::Scores;
use serde::Serialize;
use std::fmt::Write;

/// Images shown at each end.
const SHOWN: usize = 5;

/// What a command that scores images has to say.
#[derive(Serialize, Default)]
pub(super) struct Summary {
    pub images: usize,
    pub extractor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    pub k: usize,
    pub exponent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Quantiles>,
    pub most_typical: Vec<Shown>,
    pub most_unusual: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_duplicates: Option<usize>,
    /// Copies among the images, where their pictures were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<LookRecord>,
    /// Images that are copies of real ones, where pictures were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies_of_real: Option<usize>,
    /// The surest pairs of copies, with their scores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copy_pairs: Vec<(String, String, f64)>,
    /// What may be wrong with images, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intrinsic_dimension: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictor: Option<crate::density::PredictorQuality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unscored_groups: Vec<(String, String)>,
    pub skipped: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<InputCounts>,
    /// `inputs` in words.
    #[serde(skip)]
    pub inputs_in_words: Option<String>,
}

/// One image of the summary.
#[derive(Serialize)]
pub(super) struct Shown {
    pub path: String,
    pub pseudo_density: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    pub nearest_distance: f64,
}

/// The most typical and the most unusual images, both from the extreme inwards; ties in row order.
pub(super) fn extremes(
    scores: &Scores,
    paths: &[String],
    reference_paths: &[String],
) -> (Vec<Shown>, Vec<Shown>) {
    let mut rows: Vec<usize> = (0..paths.len()).filter(|&i| scores.pseudo_density[i].is_finite()).collect();
    rows.sort_by(|&a, &b| scores.pseudo_density[b].total_cmp(&scores.pseudo_density[a]).then(a.cmp(&b)));
    let shown = |row: &usize| Shown {
        path: paths[*row].clone(),
        pseudo_density: scores.pseudo_density[*row],
        nearest: scores.nearest[*row].and_then(|n| reference_paths.get(n as usize).cloned()),
        nearest_distance: scores.nearest_distance[*row],
    };
    let typical = rows.iter().take(SHOWN).map(shown).collect();
    let unusual = rows.iter().rev().take(SHOWN).map(shown).collect();
    (typical, unusual)
}

impl Summary {
    /// The same with what became of the inputs.
    pub(super) fn with_inputs(self, inputs: Option<&Inputs>) -> Self {
        let Some(inputs) = inputs else { return self };
        Self {
            skipped: inputs.skipped.iter().map(|s| (s.path.clone(), s.reason.clone())).collect(),
            inputs: Some(inputs.counts()),
            inputs_in_words: Some(inputs.describe()),
            ..self
        }
    }

    /// As one JSON object.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub(super) fn json(&self) -> Result<String> {
        output::json_text(self)
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let _ = self.write_text(&mut out);
        out
    }

    /// What is known of copies, and how much was looked at to know it.
    fn write_copies(&self, out: &mut String) -> std::fmt::Result {
        if let Some(LookRecord { images, looked_at, left, .. }) = self.copies {
            write!(
                out,
                "\n{images} of {} images are copies of another ({looked_at} pairs of pictures looked at",
                self.images
            )?;
            match left {
                0 => writeln!(out, ")")?,
                left => writeln!(out, "; {left} more that are less alike were not: pd dups looks at all)")?,
            }
            for (path, other, score) in &self.copy_pairs {
                writeln!(out, "  {score:7.3}  {}  {}", one_line(path), one_line(other))?;
            }
        } else if let Some(copies) = self.copies_of_real {
            writeln!(out, "\n{copies} of {} images are copies of a real one", self.images)?;
        } else if let Some(same) = self.exact_duplicates.filter(|same| *same > 0) {
            writeln!(
                out,
                "\n{same} images have the same features as another; there are no pictures to tell copies by"
            )?;
        }
        Ok(())
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} images, {}", self.images, self.extractor)?;
        write!(out, "K = {}, exponent {}", self.k, self.exponent)?;
        if let Some(index) = &self.index {
            write!(out, ", {index}")?;
        }
        if let Some(dimension) = self.intrinsic_dimension {
            write!(out, ", intrinsic dimension {dimension:.1}")?;
        }
        writeln!(out)?;
        if let Some(reference) = &self.reference {
            writeln!(out, "against {}: 1 is its average", one_line(reference))?;
        }
        if let Some(q) = &self.quantiles {
            writeln!(out, "\npseudo density (1 is the average)")?;
            writeln!(out, "      p1    p10    p20    p50    p80    p90    p99")?;
            for value in [q.p1, q.p10, q.p20, q.p50, q.p80, q.p90, q.p99] {
                write!(out, " {value:6.3}")?;
            }
            writeln!(out)?;
        }
        for (title, images) in [("most typical", &self.most_typical), ("most unusual", &self.most_unusual)] {
            writeln!(out, "\n{title}")?;
            for image in images {
                write!(out, "  {:7.3}  {}", image.pseudo_density, one_line(&image.path))?;
                if let Some(nearest) = &image.nearest {
                    write!(out, "  (nearest {} at {:.3})", one_line(nearest), image.nearest_distance)?;
                }
                writeln!(out)?;
            }
        }
        if let Some(groups) = self.groups {
            writeln!(out, "\n{groups} groups, each scored within itself")?;
        }
        for (name, reason) in &self.unscored_groups {
            writeln!(out, "  not scored: {}, {reason}", one_line(name))?;
        }
        self.write_copies(out)?;
        if !self.checks.is_empty() {
            out.push_str(&checks::text(&self.checks));
        }
        if let Some(p) = &self.predictor {
            let number = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.3}"));
            writeln!(
                out,
                "\ndensity predictor on {} held-out images: R2 {}, Spearman {}, MSE {:.5}",
                p.validation_rows,
                number(p.r2),
                number(p.spearman),
                p.mse
            )?;
        }
        if let Some(line) = &self.inputs_in_words {
            writeln!(out, "\n{line}")?;
        }
        Ok(())
    }
}
