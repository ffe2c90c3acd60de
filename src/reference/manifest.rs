//! `manifest.json`: what a reference was made with.

use super::files;
use super::score::Duplicates;
use crate::density::{PredictorQuality, PseudoDensity, Quantiles};
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::formats::atomic::write_json;
use crate::images::LeftOut;
use crate::neighbors::IndexRecord;
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};

/// How many pairs of a set were looked at, and what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookRecord {
    /// Images that are a copy of another.
    pub images: usize,
    /// Pairs of copies.
    pub pairs: usize,
    /// Pairs that were looked at: those near in features or alike from afar.
    pub looked_at: usize,
    /// Such pairs that were not, because there were too many.
    pub left: usize,
}

/// The subcommand that makes references.
pub(crate) const EMBED: &str = "embed";

/// Raised when a reader of the last version could not read the next.
const SCHEMA: u32 = 1;

/// What a reference was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub schema: u32,
    /// The subcommand that made the directory; absent where an earlier version did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What the features were made with.
    #[serde(flatten)]
    pub identity: Identity,
    /// SHA-256 over names and sizes of the inputs.
    pub input_digest: String,
    /// N: rows of the features.
    pub rows: usize,
    /// Inputs that could not be used.
    pub skipped: usize,
    /// Files among the inputs that were not looked into, by kind.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// SHA-256 over the SHA-256 of each row's file, in order; absent for features of another program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// Feature files in row order, relative to the directory.
    pub features: Vec<String>,
    /// Files of descriptors in row order, relative to the directory; none where there were no pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<String>,
    /// Of `pd index`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub density: Option<DensityRecord>,
}

/// What `pd index` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DensityRecord {
    /// K, the exponent n, N and the normalising constant in the form that computes densities.
    #[serde(flatten)]
    pub model: PseudoDensity,
    /// `sum_i raw(x_i)` over the reference: the normalising constant as published.
    pub sum_of_raw: f64,
    /// Percentiles of the reference's densities.
    pub quantiles: Quantiles,
    /// What was done about copies.
    pub duplicates: Duplicates,
    /// Images whose features are those of another.
    pub exact_duplicates: usize,
    /// The copies that looking at pictures found; absent where there were no pictures, or an earlier version did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<LookRecord>,
    /// Levina-Bickel; absent where neighbours are all copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intrinsic_dimension: Option<f64>,
    /// The index that found the neighbours.
    pub index: IndexRecord,
    /// Key of every random draw.
    pub seed: u64,
    /// Quality of the density predictor on held-out images; absent where none was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<PredictorQuality>,
}

impl Manifest {
    pub(super) fn new(identity: Identity, input_digest: String, rows: usize, skipped: usize) -> Self {
        let features = vec![files::FEATURES.to_string()];
        Self {
            schema: SCHEMA,
            command: Some(EMBED.into()),
            identity,
            input_digest,
            rows,
            skipped,
            left_out: LeftOut::default(),
            content_digest: None,
            features,
            descriptors: Vec::new(),
            density: None,
        }
    }

    /// The same for images of this [`content_digest`](super::store::content_digest), among which `left_out` was left out, with their
    /// descriptors.
    pub(super) fn of(self, content_digest: String, left_out: LeftOut) -> Self {
        let descriptors = vec![files::DESCRIPTORS.to_string()];
        Self { content_digest: Some(content_digest), left_out, descriptors, ..self }
    }

    /// Reads and checks `dir/manifest.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not there; [`Error::Malformed`] if it is damaged, of another version, or names files outside.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(files::MANIFEST);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let wrong = |reason: String| Error::malformed(&path, reason, Remedy::RemakeReference);
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(wrong(format!("schema version {} is not {SCHEMA}", manifest.schema)));
        }
        if let Some(preprocessing) = &manifest.identity.preprocessing {
            preprocessing.validate()?;
        }
        let inside = |part: Component| matches!(part, Component::Normal(_));
        let outside = |name: &&String| name.is_empty() || !Path::new(name).components().all(inside);
        if let Some(name) = manifest.features.iter().chain(&manifest.descriptors).find(outside) {
            return Err(wrong(format!("{name:?} is no file of this directory")));
        }
        if manifest.features.is_empty() {
            return Err(wrong("names no files of features".into()));
        }
        if let Some(DensityRecord { model, .. }) = &manifest.density {
            let sane = model.k > 0 && model.floor > 0.0 && model.floor.is_finite() && model.scaled_sum >= 1.0;
            if !sane
                || !model.scaled_sum.is_finite()
                || !model.exponent.is_finite()
                || model.rows != manifest.rows
            {
                return Err(wrong("the constants of the pseudo density make no sense".into()));
            }
        }
        Ok(manifest)
    }

    /// Writes `dir/manifest.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_json(dir.join(files::MANIFEST), self)
    }
}
