//! Densities of a set within itself and against a reference, with the numbers that stand beside them in every table.

use super::findings::Findings;
use crate::density::{Distribution, NearDuplicates, PseudoDensity, Quantiles, score_groups};
use crate::error::{Error, Result};
use crate::formats::table::{Table, Values};
use crate::neighbors::{
    self, AnyIndex, BuildOptions, ExactIndex, IndexKind, IndexRecord, NeighborIndex, Search,
};
use crate::progress::Progress;
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2, Axis};
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
pub struct ScoreOptions {
    /// Neighbours.
    pub k: usize,
    /// The exponent n of rule 2.
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
    /// Images with a copy at distance 0.
    pub exact_duplicates: usize,
    /// Pairs closer than a quarter of the median pair distance.
    pub near_duplicates: NearDuplicates,
    /// Median distance of two images.
    pub median_pair_distance: f64,
    /// Levina-Bickel; `None` where all neighbours are copies.
    pub intrinsic_dimension: Option<f64>,
    /// What is to be remembered of the index that found the neighbours.
    pub index_record: IndexRecord,
}

/// Scores every row of `features` `[N, D]` by its neighbours among the others. Exact search multiplies matrices on `device`.
///
/// # Errors
/// [`Error::Data`] for N <= K, values that are not finite, or constant features.
pub fn score_set(
    features: &ArcArray2<f32>,
    options: ScoreOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<SetScores> {
    Ok(score_indexed(features, options, device, progress)?.0)
}

/// [`score_set`], with the index that found the neighbours.
///
/// # Errors
/// As [`score_set`].
pub(super) fn score_indexed(
    features: &ArcArray2<f32>,
    options: ScoreOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(SetScores, AnyIndex)> {
    neighbors::check_finite(features.view())?;
    check_enough(features.nrows(), options.k)?;
    let of_index =
        BuildOptions { kind: options.index, k: options.k, seed: options.seed, device: device.clone() };
    let (index, record) = neighbors::build(features.clone(), &of_index, progress)?;
    let mut findings = Findings::new(&mut features.clone(), options)?;
    findings.add(&index.search_self(Search { k: options.k, skip_zero: false }, progress)?);
    let scores = findings.scores(record, |rows, search| {
        let own: Vec<Option<u32>> = rows.iter().map(|&row| Some(row as u32)).collect();
        let found = index.search(features.select(Axis(0), rows).view(), Some(&own), search, progress)?;
        Ok(found.mean_distances())
    })?;
    Ok((scores, index))
}

/// Whether each of `rows` can have `k` neighbours among the others.
///
/// # Errors
/// [`Error::Data`] if not.
pub(super) fn check_enough(rows: usize, k: usize) -> Result<()> {
    if rows > k {
        return Ok(());
    }
    Err(Error::data(
        format!("{rows} images are too few for {k} neighbours of each"),
        format!("use more images, or --k {}", rows.saturating_sub(1).max(1)),
    ))
}

/// Scores within groups: each has its own neighbours and its own constant.
pub struct GroupedScores {
    /// The scores of each row; NaN in groups that are too small.
    pub scores: Scores,
    /// Groups that were scored, with their sizes' models.
    pub scored: usize,
    /// Names and reasons of the groups that were not.
    pub unscored: Vec<(String, String)>,
}

/// Scores every row of `features` `[N, D]` by its neighbours within its group. Exact search multiplies matrices on `device`.
///
/// # Errors
/// As [`score_groups`].
pub fn score_set_in_groups(
    features: ArrayView2<f32>,
    groups: Vec<String>,
    options: ScoreOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<GroupedScores> {
    let search = Search { k: options.k, skip_zero: options.duplicates == Duplicates::Collapse };
    let found = score_groups(features, &groups, search, options.exponent, progress, |rows| {
        Ok(Box::new(ExactIndex::new(rows.to_owned().into_shared())?.on(device)))
    })?;
    let mut scores = Scores { group: groups, ..Scores::default() };
    for row in &found.rows {
        let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
        scores.pseudo_density.push(or_nan(row.map(|r| r.pseudo_density)));
        scores.percentile.push(or_nan(row.map(|r| r.percentile)));
        scores.mean_knn_distance.push(or_nan(row.map(|r| r.mean_knn_distance)));
        scores.nearest.push(row.map(|r| r.nearest));
        scores.nearest_distance.push(or_nan(row.map(|r| r.nearest_distance)));
    }
    let unscored =
        found.unscored.into_iter().map(|g| (g.name, format!("{} images: {}", g.rows, g.reason))).collect();
    Ok(GroupedScores { scores, scored: found.scored.len(), unscored })
}
