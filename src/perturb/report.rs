//! What a run found: a row for each image and strength, and what they amount to.

use super::direction::Direction;
use crate::error::{Error, Result};
use crate::formats::table::{Columns, Table, Values};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The column of the controls.
const CONTROL: &str = "control_density";

/// A perturbed image: one row of `samples.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// Its file, relative to the directory of the table.
    pub file: String,
    /// The seed of its latent, if it was drawn from one.
    pub seed: Option<u32>,
    /// How far its latent was allowed to move.
    pub eps: f64,
    /// Pseudo density of the original.
    pub density_before: f64,
    /// Pseudo density of the perturbed image.
    pub density_after: f64,
    /// The predictor's opinion of the original; NaN where the reference has no predictor.
    pub predictor_before: f64,
    /// The predictor's opinion of the perturbed image.
    pub predictor_after: f64,
    /// Euclidean distance of the features of both.
    pub feature_distance: f64,
    /// Whether a better image was found; the original is returned where not.
    pub improved: bool,
    /// Pseudo density of the control, where one was asked for: a random sign of the same size.
    pub control_density: Option<f64>,
}

/// What a strength did to all images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StrengthReport {
    /// How far latents were allowed to move.
    pub eps: f64,
    /// Share of images whose pseudo density moved the asked way, 0 to 1.
    pub moved: f64,
    /// Share of images that were improved in the density that was followed, 0 to 1.
    pub improved: f64,
    /// Mean pseudo density of the originals.
    pub mean_density_before: f64,
    /// Mean pseudo density of the perturbed images.
    pub mean_density_after: f64,
    /// Mean over images of `after / before - 1` of the pseudo density.
    pub mean_relative_change: f64,
    /// The same of the predictor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictor_mean_relative_change: Option<f64>,
    /// Mean distance of features.
    pub mean_feature_distance: f64,
    /// Mean relative change of the pseudo density by the control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_mean_relative_change: Option<f64>,
    /// Share of the controls that moved the asked way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_moved: Option<f64>,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Images that were perturbed.
    pub images: usize,
    /// Which way.
    pub bias: Direction,
    /// One for each strength, in the order asked for.
    pub strengths: Vec<StrengthReport>,
}

impl Report {
    /// Sums up rows, those of one image next to each other, its strengths in the order of `epsilons`.
    pub fn new(rows: &[SampleRow], bias: Direction, epsilons: &[f64]) -> Self {
        let count = epsilons.len().max(1);
        let strengths = epsilons.iter().enumerate().map(|(at, &eps)| {
            let of_eps: Vec<&SampleRow> = rows.iter().skip(at).step_by(count).collect();
            StrengthReport::new(&of_eps, bias, eps)
        });
        Self { images: rows.len() / count, bias, strengths: strengths.collect() }
    }

    /// The report with the settings of its run, as `summary.json` has it.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be written as JSON.
    pub(crate) fn summary(&self, settings: Value) -> Result<Value> {
        let mut summary = serde_json::to_value(self).map_err(|e| Error::data(e.to_string(), ""))?;
        if let (Some(summary), Value::Object(settings)) = (summary.as_object_mut(), settings) {
            summary.extend(settings);
        }
        Ok(summary)
    }
}

impl StrengthReport {
    fn new(rows: &[&SampleRow], bias: Direction, eps: f64) -> Self {
        let mean = |value: &dyn Fn(&SampleRow) -> f64| {
            rows.iter().map(|row| value(row)).sum::<f64>() / rows.len().max(1) as f64
        };
        let share = |holds: &dyn Fn(&SampleRow) -> bool| mean(&|row| f64::from(u8::from(holds(row))));
        let controls = rows.iter().any(|row| row.control_density.is_some());
        let control = |row: &SampleRow| row.control_density.unwrap_or(row.density_before);
        let predicted = !rows.is_empty() && rows.iter().all(|row| row.predictor_before.is_finite());
        Self {
            eps,
            moved: share(&|row| bias.improves(row.density_before, row.density_after)),
            improved: share(&|row| row.improved),
            mean_density_before: mean(&|row| row.density_before),
            mean_density_after: mean(&|row| row.density_after),
            mean_relative_change: mean(&|row| row.density_after / row.density_before - 1.0),
            predictor_mean_relative_change: predicted
                .then(|| mean(&|row| row.predictor_after / row.predictor_before - 1.0)),
            mean_feature_distance: mean(&|row| row.feature_distance),
            control_mean_relative_change: controls
                .then(|| mean(&|row| control(row) / row.density_before - 1.0)),
            control_moved: controls.then(|| share(&|row| bias.improves(row.density_before, control(row)))),
        }
    }
}

/// The rows as `samples.csv` holds them; the last column only where there are controls.
pub(super) fn table(rows: &[SampleRow]) -> Result<Table> {
    let floats = |value: fn(&SampleRow) -> f64| Values::Float(rows.iter().map(value).collect());
    let mut table = Table::new();
    table.push("file", Values::Text(rows.iter().map(|row| row.file.clone()).collect()))?;
    table.push("seed", Values::OptionalInt(rows.iter().map(|row| row.seed.map(i64::from)).collect()))?;
    table.push("eps", floats(|row| row.eps))?;
    table.push("density_before", floats(|row| row.density_before))?;
    table.push("density_after", floats(|row| row.density_after))?;
    table.push("predictor_before", floats(|row| row.predictor_before))?;
    table.push("predictor_after", floats(|row| row.predictor_after))?;
    table.push("feature_distance", floats(|row| row.feature_distance))?;
    table.push("improved", Values::Bool(rows.iter().map(|row| row.improved).collect()))?;
    if rows.iter().any(|row| row.control_density.is_some()) {
        table.push(CONTROL, floats(|row| row.control_density.unwrap_or(f64::NAN)))?;
    }
    Ok(table)
}

/// The rows that a table holds.
///
/// # Errors
/// [`crate::Error::Malformed`] if it is no such table.
pub(super) fn read_rows(path: &Path) -> Result<Vec<SampleRow>> {
    let table = Columns::read(path)?;
    let [eps, density_before, density_after] =
        ["eps", "density_before", "density_after"].map(|name| table.numbers(name));
    let [predictor_before, predictor_after, feature_distance] =
        ["predictor_before", "predictor_after", "feature_distance"].map(|name| table.numbers(name));
    let (eps, density_before, density_after) = (eps?, density_before?, density_after?);
    let (predictor_before, predictor_after, feature_distance) =
        (predictor_before?, predictor_after?, feature_distance?);
    let control = table.has(CONTROL).then(|| table.numbers(CONTROL)).transpose()?;
    let (files, seeds, improved) = (table.text("file")?, table.text("seed")?, table.text("improved")?);
    let row = |i: usize| SampleRow {
        file: files[i].clone(),
        seed: seeds[i].parse().ok(),
        eps: eps[i],
        density_before: density_before[i],
        density_after: density_after[i],
        predictor_before: predictor_before[i],
        predictor_after: predictor_after[i],
        feature_distance: feature_distance[i],
        improved: improved[i] == "true",
        control_density: control.as_ref().map(|control| control[i]),
    };
    Ok((0..table.rows()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(eps: f64, before: f64, after: f64, control: f64) -> SampleRow {
        SampleRow {
            file: String::new(),
            seed: None,
            eps,
            density_before: before,
            density_after: after,
            predictor_before: f64::NAN,
            predictor_after: f64::NAN,
            feature_distance: 2.0,
            improved: before != after,
            control_density: Some(control),
        }
    }

    #[test]
    fn rows_read_back_from_their_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.csv");
        let mut rows = vec![row(0.1, 1.0, 0.1 + 0.2, 1.5), row(0.2, 1.0 / 3.0, 1.0 / 3.0, 1e-9)];
        rows[0].seed = Some(7);
        for row in &mut rows {
            (row.predictor_before, row.predictor_after) = (1.5, f64::MIN_POSITIVE);
        }
        crate::formats::table::write_table(&path, &table(&rows).unwrap()).unwrap();
        assert_eq!(read_rows(&path).unwrap(), rows);
        std::fs::write(&path, "file,seed\na,1\n").unwrap();
        assert!(read_rows(&path).is_err());
    }

    #[test]
    fn each_strength_is_summed_up_on_its_own() {
        let rows = [
            row(0.1, 1.0, 0.5, 1.5),
            row(0.2, 1.0, 0.25, 1.0),
            row(0.1, 2.0, 2.0, 1.0),
            row(0.2, 2.0, 1.0, 2.0),
        ];
        let report = Report::new(&rows, Direction::Lower, &[0.1, 0.2]);
        assert_eq!(report.images, 2);
        let [weak, strong] = &report.strengths[..] else { panic!("two strengths") };
        assert_eq!((weak.moved, weak.improved, weak.mean_relative_change), (0.5, 0.5, -0.25));
        assert_eq!((weak.control_mean_relative_change, weak.control_moved), (Some(0.0), Some(0.5)));
        assert_eq!((strong.eps, strong.moved, strong.mean_relative_change), (0.2, 1.0, -0.625));
        assert_eq!((strong.mean_density_before, strong.mean_density_after), (1.5, 0.625));
        assert_eq!(strong.predictor_mean_relative_change, None);
    }
}
