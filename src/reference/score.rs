//! Densities of a set within itself and against a reference, with the numbers that stand beside them in every table.

use crate::density::{
    Distribution, NearDuplicates, PseudoDensity, Quantiles, count_exact_duplicates, intrinsic_dimension,
    mean_knn_distances, median_pair_distance, near_duplicate_threshold, near_duplicates, score_groups,
};
use crate::error::{Error, Result};
use crate::formats::table::{Table, Values};
use crate::neighbors::{self, BuiltIndex, IndexKind, IndexRecord, Neighbors, Search};
use crate::progress::Progress;
use ndarray::{ArcArray2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// What is done about copies, which the published formula takes for typical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
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

/// Pairs of near-duplicates that are listed, the closest first; all are counted.
const LISTED_PAIRS: usize = 100_000;

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

    /// The table of these scores; `nearest` rows are named by `reference_paths`. A row of a group that was too small is empty.
    ///
    /// # Errors
    /// If the lengths do not fit.
    pub fn table(&self, paths: &[String], reference_paths: &[String]) -> Result<Table> {
        let nearest = |row: &Option<u32>| row.and_then(|row| reference_paths.get(row as usize).cloned());
        let mut table = Table::new();
        table.push("path", Values::Text(paths.to_vec()))?;
        table.push("pseudo_density", Values::Float(self.pseudo_density.clone()))?;
        table.push("percentile", Values::Float(self.percentile.clone()))?;
        table.push("mean_knn_distance", Values::Float(self.mean_knn_distance.clone()))?;
        table.push("nearest", Values::OptionalText(self.nearest.iter().map(nearest).collect()))?;
        table.push("nearest_distance", Values::Float(self.nearest_distance.clone()))?;
        if !self.group.is_empty() {
            table.push("group", Values::Text(self.group.clone()))?;
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
    /// The index that found the neighbours.
    pub index: BuiltIndex,
    /// What is to be remembered of it.
    pub index_record: IndexRecord,
}

/// Scores every row of `features` `[N, D]` by its neighbours among the others.
///
/// # Errors
/// [`Error::Data`] for N <= K, values that are not finite, or constant features.
pub fn score_set(
    features: &ArcArray2<f32>,
    options: ScoreOptions,
    progress: &dyn Progress,
) -> Result<SetScores> {
    neighbors::check_finite(features.view())?;
    check_enough(features.nrows(), options.k)?;
    let (index, index_record) =
        neighbors::build(options.index, features.clone(), options.k, options.seed, progress)?;
    let neighbors = index.search_self(Search { k: options.k, skip_zero: false }, progress)?;
    score_found(features, neighbors, (index, index_record), options, progress)
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

/// Scores of rows whose neighbours among the others are known.
pub(super) fn score_found(
    features: &ArcArray2<f32>,
    neighbors: Neighbors,
    (index, index_record): (BuiltIndex, IndexRecord),
    options: ScoreOptions,
    progress: &dyn Progress,
) -> Result<SetScores> {
    let exact_duplicates = count_exact_duplicates(&neighbors);
    let mean_distances = match options.duplicates {
        Duplicates::Keep => mean_knn_distances(&neighbors),
        Duplicates::Collapse => without_copies(&index, features.view(), &neighbors, progress)?,
    };
    let (model, pseudo_density) = PseudoDensity::fit(&mean_distances, options.k, options.exponent)?;
    let distribution = Distribution::new(&pseudo_density)?;
    let median = median_pair_distance(features.view(), options.seed)?;
    Ok(SetScores {
        scores: Scores {
            percentile: pseudo_density.iter().map(|&rho| distribution.percentile(rho)).collect(),
            pseudo_density,
            mean_knn_distance: mean_distances,
            nearest: (0..neighbors.len()).map(|q| neighbors.of(q).0.first().copied()).collect(),
            nearest_distance: (0..neighbors.len()).map(|q| neighbors.of(q).1[0]).collect(),
            group: Vec::new(),
        },
        quantiles: distribution.quantiles(),
        model,
        exact_duplicates,
        near_duplicates: near_duplicates(&neighbors, near_duplicate_threshold(median), LISTED_PAIRS),
        median_pair_distance: median,
        intrinsic_dimension: intrinsic_dimension(&neighbors).ok(),
        index,
        index_record,
    })
}

/// d_K over neighbours at a distance above 0: only rows with a copy among their neighbours are searched again.
fn without_copies(
    index: &BuiltIndex,
    features: ArrayView2<f32>,
    neighbors: &Neighbors,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let mut means = mean_knn_distances(neighbors);
    let rows: Vec<usize> = (0..neighbors.len()).filter(|&q| neighbors.of(q).1[0] == 0.0).collect();
    if !rows.is_empty() {
        let own: Vec<Option<u32>> = rows.iter().map(|&row| Some(row as u32)).collect();
        let search = Search { k: neighbors.k, skip_zero: true };
        let found = index.search(features.select(Axis(0), &rows).view(), Some(&own), search, progress)?;
        for (row, mean) in rows.into_iter().zip(mean_knn_distances(&found)) {
            means[row] = mean;
        }
    }
    Ok(means)
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

/// Scores every row of `features` `[N, D]` by its neighbours within its group.
///
/// # Errors
/// As [`score_groups`].
pub fn score_set_in_groups(
    features: ArrayView2<f32>,
    groups: Vec<String>,
    options: ScoreOptions,
    progress: &dyn Progress,
) -> Result<GroupedScores> {
    let search = Search { k: options.k, skip_zero: options.duplicates == Duplicates::Collapse };
    let found = score_groups(features, &groups, search, options.exponent, progress, |rows| {
        neighbors::build_borrowed(rows)
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
