//! `pd index`: neighbours, pseudo densities and the predictor of a reference.

use super::copies::{among, copy_table};
use super::files;
use super::manifest::DensityRecord;
use super::score::{ScoreOptions, Scores, SetScores, score_indexed};
use super::store::{Reference, write_csv};
use crate::density::{DensityPredictor, PredictorQuality};
use crate::error::{Error, Result};
use crate::formats::FeatureRows;
use crate::formats::table::write_csv_in_pieces;
use crate::neighbors::IndexRecord;
use crate::progress::Progress;
use crate::runs::RunDir;
use candle_core::Device;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Rows of a table that are put together at a time.
const TABLE_ROWS: usize = 1 << 14;

/// What `pd index` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IndexOptions {
    /// How densities are computed.
    pub score: ScoreOptions,
    /// Whether the density predictor is trained.
    pub predictor: bool,
}

/// What is new in the reference.
pub struct Indexed {
    /// The scores, as in `scores.csv`.
    pub scores: Scores,
    /// Paths of the rows.
    pub paths: Vec<String>,
    /// What the manifest now says.
    pub record: DensityRecord,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { score: ScoreOptions::default(), predictor: true }
    }
}

/// Adds neighbours, densities and predictor to a reference, replacing those it had. Exact search multiplies matrices on `device`.
///
/// # Errors
/// As [`super::score::score_set`]; [`Error::Usage`] if another process writes the reference; what writing returns.
pub fn index(
    reference: &mut Reference,
    options: IndexOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Indexed> {
    let _directory = RunDir::locked(&reference.dir)?;
    let mut features = reference.features()?.into_shared();
    let (found, index) = score_indexed(&features, options.score, Some(&reference.dir), device, progress)?;
    keep(reference, &mut features, found, move |dir, record| index.save(dir, record), options, progress)
}

/// Writes what was found into the reference, and trains the predictor on it, which takes all features. `place_index` puts the
/// files of the index there, removes those of an earlier one, and notes them.
pub(super) fn keep(
    reference: &mut Reference,
    features: &mut dyn FeatureRows,
    found: SetScores,
    place_index: impl FnOnce(&Path, &mut IndexRecord) -> Result<()>,
    options: IndexOptions,
    progress: &dyn Progress,
) -> Result<Indexed> {
    let paths = reference.paths()?;
    let SetScores {
        mut scores,
        model,
        quantiles,
        exact_duplicates,
        near,
        intrinsic_dimension,
        mut index_record,
    } = found;
    let dir = reference.dir.clone();
    // Until all is written there is no density: a reader never sees the constants of one run beside the scores of another.
    reference.manifest.density = None;
    reference.manifest.save(&dir)?;
    place_index(&dir, &mut index_record)?;
    let copies = match reference.descriptors()? {
        Some(mut descriptors) => Some(among(paths.len(), &near, &mut descriptors, features, progress)?),
        None => None,
    };
    scores.copy_of = copies.as_ref().map(|copies| copies.of.clone());
    let pieces = (0..paths.len()).step_by(TABLE_ROWS).map(|first| {
        let rows = first..(first + TABLE_ROWS).min(paths.len());
        scores.table_of(rows.clone(), &paths[rows], &paths)
    });
    write_csv_in_pieces(&dir.join(files::SCORES), pieces)?;
    write_csv(
        &dir.join(files::DUPLICATES),
        &copy_table(copies.as_ref().map_or(&[], |copies| &copies.pairs), &paths)?,
    )?;
    let predictor = if options.predictor {
        train_predictor(
            reference,
            features.whole()?.view(),
            &scores.pseudo_density,
            options.score.seed,
            progress,
        )?
    } else {
        remove(&dir.join(files::PREDICTOR))?;
        None
    };
    let record = DensityRecord {
        sum_of_raw: model.sum_of_raw(),
        model,
        quantiles,
        duplicates: options.score.duplicates,
        exact_duplicates,
        copies: copies.map(|copies| copies.record),
        intrinsic_dimension,
        index: index_record,
        seed: options.score.seed,
        predictor,
    };
    reference.manifest.density = Some(record.clone());
    reference.manifest.save(&dir)?;
    Ok(Indexed { scores, paths, record })
}

fn train_predictor(
    reference: &Reference,
    features: ArrayView2<f32>,
    densities: &[f64],
    seed: u64,
    progress: &dyn Progress,
) -> Result<Option<PredictorQuality>> {
    let path = reference.dir.join(files::PREDICTOR);
    match DensityPredictor::train(features, densities, seed, progress) {
        Ok((predictor, quality)) => {
            predictor.save(&path)?;
            Ok(Some(quality))
        }
        Err(Error::Data { reason, .. }) => {
            progress.warn(&format!("no density predictor: {reason}"));
            remove(&path)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
