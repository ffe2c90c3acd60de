//! What `pd select` chooses from: features and names, and what single images are worth.

use super::Select;
use crate::candidates::{CandidateScores, ReferenceDensity};
use crate::cli::input::{self, Input};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::formats::digest::sha256;
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::neighbors::standard_layout;
use crate::reference::score::Scores;
use crate::reference::{Reference, is_reference};
use crate::sampling::Spacing;
use crate::selection::{Qualities, QualityBy};
use ndarray::{ArcArray2, Array2, Axis, concatenate, s};
use std::collections::HashMap;
use std::path::Path;

/// The candidates and the images that are in the set already.
pub(super) struct Pool {
    /// Of the candidates and, after them, of the images that are in the set already, `[M + P, D]`.
    pub features: ArcArray2<f32>,
    /// Names of the candidates, `[M]`.
    pub paths: Vec<String>,
    /// Names of the images that are in the set already, `[P]`.
    pub must_paths: Vec<String>,
    /// The group of each candidate, where there are groups.
    pub groups: Option<Vec<String>>,
    /// Whether the candidates are files that can be copied.
    pub has_files: bool,
    /// What the features were made with.
    pub identity: Identity,
}

/// The real images that candidates are measured against.
pub(super) struct Real {
    /// What scores against them.
    pub density: ReferenceDensity,
    /// The row among them that each candidate itself is, `[M]`.
    pub own: Vec<Option<u32>>,
}

/// What single images are worth, and what they are measured against.
pub(super) struct Scored {
    /// Against the reference, or within the pool, `[M]`.
    pub scores: Scores,
    /// The real images; `None` without a reference.
    pub real: Option<Real>,
    /// What each candidate is worth, `[M]`.
    pub quality: Vec<f64>,
    /// What that is.
    pub quality_by: QualityBy,
    /// Features of the reference, or of the candidates, `[T, D]`.
    pub targets: ArcArray2<f32>,
    /// How far the chosen have to be apart, and from the real images.
    pub spacing: Spacing,
}

impl Pool {
    /// Reads the pool in `place`, the images that must be in the set, and the groups.
    pub(super) fn read(
        select: &Select,
        place: &Path,
        reference: Option<&Reference>,
        terminal: &Terminal,
    ) -> Result<Self> {
        let source = select.features.as_deref().unwrap_or(place);
        let named: Vec<&Path> = [Some(source), select.must.as_deref()].into_iter().flatten().collect();
        input::refuse_unused(&named, &select.extractor)?;
        let read = |path: &Path| {
            let input = input::read(path, &select.extractor, reference, terminal)?;
            if let Some(inputs) = &input.inputs {
                terminal.report_inputs(inputs);
            }
            Ok::<Input, Error>(input)
        };
        let candidates = match &select.features {
            Some(features) => in_order_of(place, features, read(features)?, terminal)?,
            None => read(place)?,
        };
        let pool_is_images = !is_features_file(place) && !is_reference(place);
        let groups = select.groups.as_ref();
        let groups = groups.map(|by| by.labels(place, &candidates.paths, terminal)).transpose()?;
        let (mut features, mut must_paths) = (candidates.features, Vec::new());
        if let Some(must) = &select.must {
            let must = read(must)?;
            if let Some(difference) = candidates.identity.difference(&must.identity) {
                return Err(Error::usage(
                    format!("the images of --must do not fit the pool: {difference}"),
                    "both have to be made with the same extractor, weights and preprocessing",
                ));
            }
            features = concatenate(Axis(0), &[features.view(), must.features.view()])
                .map_err(|e| Error::data(e.to_string(), ""))?;
            must_paths = must.paths;
        }
        let paths = candidates.paths;
        let features = standard_layout(features.into_shared());
        Ok(Self {
            features,
            paths,
            must_paths,
            groups,
            has_files: pool_is_images,
            identity: candidates.identity,
        })
    }

    /// Features of the candidates alone, `[M, D]`.
    pub(super) fn candidates(&self) -> ArcArray2<f32> {
        if self.must_paths.is_empty() {
            return self.features.clone();
        }
        self.features.slice(s![..self.paths.len(), ..]).to_owned().into_shared()
    }

    /// Of names, groups and features.
    pub(super) fn digest(&self) -> String {
        let features = input::digests(self.features.view());
        sha256(format!("{:?}", (features, &self.paths, &self.must_paths, &self.groups)).as_bytes())
    }

    /// Finds densities and what each candidate is worth.
    pub(super) fn score(
        &self,
        select: &Select,
        reference: Option<&Reference>,
        terminal: &Terminal,
    ) -> Result<Scored> {
        let features = self.candidates();
        let Some(reference) = reference else { return self.score_within(select, features, terminal) };
        let density = ReferenceDensity::open(reference, select.density, terminal.device(), terminal)?;
        let scorer = density.scorer();
        let own = scorer.own_rows(features.view(), &self.paths);
        let real = (&density, reference.density()?.intrinsic_dimension);
        let judged = Qualities::against(&features, &own, real, select.quality, select.seed, terminal)?;
        let spacing = select.refusals.spacing(&reference.nearest_distances()?)?;
        let targets = scorer.shared_features();
        let Qualities { scores: CandidateScores { scores, .. }, quality, by: quality_by } = judged;
        let real = Some(Real { density, own });
        Ok(Scored { scores, real, quality, quality_by, targets, spacing })
    }

    /// Without a reference the pool is measured within itself.
    fn score_within(&self, select: &Select, features: ArcArray2<f32>, terminal: &Terminal) -> Result<Scored> {
        let judged = Qualities::within(&features, select.quality, select.seed, terminal.device(), terminal)?;
        let Qualities { scores: CandidateScores { scores, .. }, quality, by: quality_by } = judged;
        let spacing = select.refusals.spacing(&scores.nearest_distance)?;
        Ok(Scored { scores, real: None, quality, quality_by, targets: features, spacing })
    }
}

impl Scored {
    /// Candidates that are too near to a real image, or that are in the set already.
    pub(super) fn excluded(&self, pool: &Pool) -> Vec<bool> {
        let must = pool.paths.len()..pool.features.nrows();
        let is_in = |row: usize| must.clone().any(|other| pool.features.row(row) == pool.features.row(other));
        let real = self.real.is_some();
        let distances = self.scores.nearest_distance.iter().enumerate();
        distances.map(|(row, &distance)| (real && distance < self.spacing.novel) || is_in(row)).collect()
    }
}

/// Features that exist already, in the order of the images of `pool`.
fn in_order_of(pool: &Path, file: &Path, input: Input, terminal: &Terminal) -> Result<Input> {
    if is_features_file(pool) || is_reference(pool) {
        return Err(Error::usage(
            format!("{} holds features itself", pool.display()),
            "leave --features out, or name the images as the pool",
        ));
    }
    let set = ImageSet::open(pool, terminal)?;
    let names: Vec<String> = (0..set.len()).map(|i| set.path(i).to_owned()).collect();
    if is_features_file(file) {
        if names.len() != input.features.nrows() {
            return Err(Error::malformed(
                file,
                format!(
                    "{} rows for the {} images of {}",
                    input.features.nrows(),
                    names.len(),
                    pool.display()
                ),
                "a row for each image is needed, in the order of their paths",
            ));
        }
        return Ok(Input { paths: names, ..input });
    }
    let rows: HashMap<&str, usize> = input.paths.iter().map(String::as_str).zip(0..).collect();
    let found: Vec<(String, usize)> =
        names.iter().filter_map(|name| Some((name.clone(), *rows.get(name.as_str())?))).collect();
    if found.is_empty() {
        return Err(Error::malformed(
            file,
            format!("has features of none of the {} images of {}", names.len(), pool.display()),
            "paths are relative to the image set",
        ));
    }
    if found.len() < names.len() {
        terminal.say(&format!(
            "warning: {} of {} images have no features in {} and are left out",
            names.len() - found.len(),
            names.len(),
            file.display()
        ));
    }
    let (paths, at): (Vec<String>, Vec<usize>) = found.into_iter().unzip();
    let features: Array2<f32> = input.features.select(Axis(0), &at);
    Ok(Input { features, paths, images: Vec::new(), ..input })
}
