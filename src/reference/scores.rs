//! What scoring a set is asked for, and what it gives: options, scores and their table.

use crate::density::{Distribution, PseudoDensity, Quantiles};
use crate::error::Result;
use crate::formats::table::{Table, Values};
use crate::neighbors::{IndexKind, IndexRecord};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What is done about copies, which the published formula takes for typical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// The published formula; a row whose mean distance is 0 takes the smallest mean distance above 0.
    #[default]
    Keep,
    /// The K nearest at a distance above 0, so that copies do not make each other typical.
    Collapse,
}

/// How densities are computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScoreOptions {
    /// Neighbours.
    pub k: usize,
    /// The exponent n of the pseudo density, whose raw value is `(1 / d_K)^n`.
    pub exponent: f64,
    /// What is done about copies.
    pub duplicates: Duplicates,
    /// What finds the neighbours.
    pub index: IndexKind,
    /// Key of every random draw (samples that statistics are estimated on).
    pub seed: u64,
}

impl Default for ScoreOptions {
    /// K 10 and the exponent 1, as in Li et al., TMLR 2024, with copies as they are.
    fn default() -> Self {
        Self { k: 10, exponent: 1.0, duplicates: Duplicates::Keep, index: IndexKind::Auto, seed: 0 }
    }
}

impl ScoreOptions {
    /// With as many neighbours as each of `rows` has, where these are fewer than asked for.
    pub(crate) fn of_few(self, rows: usize) -> Self {
        Self { k: self.k.min(rows.saturating_sub(1)).max(1), ..self }
    }
}

/// One row per image, the columns of a score table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// rho, 1 on average over the reference.
    pub pseudo_density: Vec<f64>,
    /// Share of the reference at or below, 0 to 100.
    pub percentile: Vec<f64>,
    /// d_K.
    pub mean_knn_distance: Vec<f64>,
    /// The nearest (other) image of the reference.
    pub nearest: Vec<Option<u32>>,
    /// Its distance.
    pub nearest_distance: Vec<f64>,
    /// The image of the reference that it is a copy of; `None` where pictures were not looked at.
    pub copy_of: Option<Vec<Option<u32>>>,
    /// The group an image was scored in; empty without groups.
    pub group: Vec<String>,
}

impl Scores {
    /// Percentiles of the densities; `None` if no row has one.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let finite: Vec<f64> = self.pseudo_density.iter().copied().filter(|rho| rho.is_finite()).collect();
        Distribution::new(&finite).ok().map(|d| d.quantiles())
    }

    /// Drops all but the first `n` rows.
    pub fn truncate(&mut self, n: usize) {
        self.pseudo_density.truncate(n);
        self.percentile.truncate(n);
        self.mean_knn_distance.truncate(n);
        self.nearest.truncate(n);
        self.nearest_distance.truncate(n);
        self.copy_of.iter_mut().for_each(|copy_of| copy_of.truncate(n));
        self.group.truncate(n);
    }

    /// The rows of a range.
    ///
    /// # Panics
    /// If the range reaches beyond the rows.
    pub fn part(&self, rows: Range<usize>) -> Self {
        Self {
            pseudo_density: self.pseudo_density[rows.clone()].to_vec(),
            percentile: self.percentile[rows.clone()].to_vec(),
            mean_knn_distance: self.mean_knn_distance[rows.clone()].to_vec(),
            nearest: self.nearest[rows.clone()].to_vec(),
            nearest_distance: self.nearest_distance[rows.clone()].to_vec(),
            copy_of: self.copy_of.as_ref().map(|copy_of| copy_of[rows.clone()].to_vec()),
            group: self.group.get(rows).map_or_else(Vec::new, <[String]>::to_vec),
        }
    }

    /// Appends the rows of others.
    pub fn extend(&mut self, more: Self) {
        self.pseudo_density.extend(more.pseudo_density);
        self.percentile.extend(more.percentile);
        self.mean_knn_distance.extend(more.mean_knn_distance);
        self.nearest.extend(more.nearest);
        self.nearest_distance.extend(more.nearest_distance);
        if let (Some(copy_of), Some(more)) = (&mut self.copy_of, more.copy_of) {
            copy_of.extend(more);
        }
        self.group.extend(more.group);
    }

    /// The table of these scores; `nearest` rows are named by `reference_paths`. A row of a group that was too small is empty.
    ///
    /// # Errors
    /// If the lengths do not fit.
    pub fn table(&self, paths: &[String], reference_paths: &[String]) -> Result<Table> {
        self.table_of(0..self.pseudo_density.len(), paths, reference_paths)
    }

    /// Some of the rows of [`Scores::table`]; `paths` are theirs.
    pub(super) fn table_of(
        &self,
        rows: Range<usize>,
        paths: &[String],
        reference_paths: &[String],
    ) -> Result<Table> {
        let nearest = |row: &Option<u32>| row.and_then(|row| reference_paths.get(row as usize).cloned());
        let floats = |column: &[f64]| Values::Float(column[rows.clone()].to_vec());
        let mut table = Table::new();
        table.push("path", Values::Text(paths.to_vec()))?;
        table.push("pseudo_density", floats(&self.pseudo_density))?;
        table.push("percentile", floats(&self.percentile))?;
        table.push("mean_knn_distance", floats(&self.mean_knn_distance))?;
        table.push(
            "nearest",
            Values::OptionalText(self.nearest[rows.clone()].iter().map(nearest).collect()),
        )?;
        table.push("nearest_distance", floats(&self.nearest_distance))?;
        if let Some(copy_of) = &self.copy_of {
            let copied = copy_of[rows.clone()].iter().map(nearest).collect();
            table.push("copy_of", Values::OptionalText(copied))?;
        }
        if !self.group.is_empty() {
            table.push("group", Values::Text(self.group[rows.clone()].to_vec()))?;
        }
        Ok(table)
    }
}

/// A set scored within itself.
pub struct SetScores {
    /// The scores of each row.
    pub scores: Scores,
    /// What computes the density of further images.
    pub model: PseudoDensity,
    /// Percentiles of the densities.
    pub quantiles: Quantiles,
    /// Images whose features are those of another.
    pub exact_duplicates: usize,
    /// The nearest few rows of each, `[N, n]`: what it may be a copy of.
    pub near: Vec<u32>,
    /// Levina-Bickel; `None` where all neighbours are copies.
    pub intrinsic_dimension: Option<f64>,
    /// What is to be remembered of the index that found the neighbours.
    pub index_record: IndexRecord,
}

/// Scores within groups: each has its own neighbours and its own constant.
pub(crate) struct GroupedScores {
    /// The scores of each row; NaN in groups that are too small.
    pub scores: Scores,
    /// Groups that were scored, with their sizes' models.
    pub scored: usize,
    /// Names and reasons of the groups that were not.
    pub unscored: Vec<(String, String)>,
}
