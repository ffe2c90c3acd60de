//! Densities of a set within itself, as a whole or in groups.

use super::score_builder::ScoreBuilder;
use crate::density::score_groups;
use crate::error::{Error, Result};
use crate::neighbors::{self, AnyIndex, BuildOptions, ExactIndex, NeighborIndex, Search};
use crate::progress::Progress;
use crate::remedy::Remedy;
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2, Axis};
use std::path::Path;

pub(crate) use super::scores::GroupedScores;
pub use super::scores::{Duplicates, ScoreOptions, Scores, SetScores};

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
    Ok(score_indexed(features, options, None, device, progress)?.0)
}

/// [`score_set`], with the index that found the neighbours. A graph may begin with one in the directory `earlier`.
///
/// # Errors
/// As [`score_set`].
pub(super) fn score_indexed(
    features: &ArcArray2<f32>,
    options: ScoreOptions,
    earlier: Option<&Path>,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(SetScores, AnyIndex)> {
    neighbors::check_finite(features.view())?;
    check_enough(features.nrows(), options.k)?;
    let of_index = BuildOptions {
        kind: options.index,
        k: options.k,
        seed: options.seed,
        earlier: earlier.map(Path::to_path_buf),
        device: device.clone(),
    };
    let (index, record) = neighbors::build(features.clone(), &of_index, progress)?;
    let mut builder = ScoreBuilder::new(options);
    builder.add(&index.search_self(Search { k: options.k, skip_zero: false }, progress)?);
    let scores = builder.finish(record, |rows, search| {
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
        match rows {
            1 => {
                format!("one image alone has no neighbours to compare it with, and {k} of them are asked for")
            }
            rows => format!("{rows} images are too few for {k} neighbours of each"),
        },
        Remedy::FewerNeighbours(Some(rows.saturating_sub(1))),
    ))
}

/// Scores every row of `features` `[N, D]` by its neighbours within its group. Exact search multiplies matrices on `device`.
///
/// # Errors
/// As [`score_groups`].
pub(crate) fn score_set_in_groups(
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
