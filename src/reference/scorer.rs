//! A reference opened for scoring: its index, its constants and its distribution, read once and asked many times.

use super::Reference;
use super::row_name;
use super::score::{Duplicates, ScoreOptions, Scores, score_indexed};
use crate::density::{Distribution, PseudoDensity};
use crate::error::Result;
use crate::neighbors::{self, AnyIndex, NeighborIndex, Neighbors, Search};
use crate::progress::{Progress, Silent};
use candle_core::Device;
use ndarray::{ArcArray2, ArrayView2};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How the density of an image that is not of the reference is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DensityBy {
    /// Pseudo density, from the distances to the nearest real images
    #[default]
    Knn,
    /// An estimate of it by the density predictor of the reference, as in the paper
    Predictor,
}

/// An indexed reference, ready to score any number of batches.
pub struct Scorer {
    index: AnyIndex,
    features: ArcArray2<f32>,
    model: PseudoDensity,
    distribution: Distribution,
    duplicates: Duplicates,
    paths: Vec<String>,
    device: Device,
}

impl Scorer {
    /// Reads everything that scoring needs. Exact search multiplies matrices on `device`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if the reference is damaged or not indexed.
    pub fn open(reference: &Reference, device: &Device, progress: &dyn Progress) -> Result<Self> {
        let record = reference.density()?;
        let features = reference.features()?.into_shared();
        Ok(Self {
            index: neighbors::open(&reference.dir, &record.index, features.clone(), device, progress)?,
            features,
            model: record.model.clone(),
            distribution: reference.distribution()?,
            duplicates: record.duplicates,
            paths: reference.paths()?,
            device: device.clone(),
        })
    }

    /// From features `[N, D]` that are a reference of their own: scored within themselves, with names by row.
    /// Returns their intrinsic dimension too.
    ///
    /// # Errors
    /// As [`super::score::score_set`].
    pub fn of_features(
        features: ArcArray2<f32>,
        options: ScoreOptions,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Self, Option<f64>)> {
        let (found, index) = score_indexed(&features, options, None, device, progress)?;
        let scorer = Self {
            distribution: Distribution::new(&found.scores.pseudo_density)?,
            index,
            model: found.model,
            duplicates: options.duplicates,
            paths: (0..features.nrows()).map(row_name).collect(),
            features,
            device: device.clone(),
        };
        Ok((scorer, found.intrinsic_dimension))
    }

    /// The pseudo density (section 3) with the constants of the reference.
    pub fn model(&self) -> &PseudoDensity {
        &self.model
    }

    /// The densities of the reference.
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// The name of each row of the reference.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Where exact search multiplies matrices.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Features of the reference, `[N, D]`.
    pub fn features(&self) -> ArrayView2<'_, f32> {
        self.features.view()
    }

    /// Features of the reference, `[N, D]`, shared.
    pub fn shared_features(&self) -> ArcArray2<f32> {
        self.features.clone()
    }

    /// The row of the reference that is the same image as a query: of the same path, with the same features.
    pub fn own_rows(&self, queries: ArrayView2<f32>, paths: &[String]) -> Vec<Option<u32>> {
        let rows: HashMap<&str, usize> = self.paths.iter().map(String::as_str).zip(0..).collect();
        let own = |path: &String, query| {
            let row = *rows.get(path.as_str())?;
            (self.features.row(row) == query).then_some(row as u32)
        };
        paths.iter().zip(queries.outer_iter()).map(|(path, query)| own(path, query)).collect()
    }

    /// [`Scorer::score`] of images by their paths: one that is an image of the reference is no neighbour of itself.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub fn score_images(
        &self,
        features: ArrayView2<f32>,
        paths: &[String],
        progress: &dyn Progress,
    ) -> Result<Scores> {
        self.score(features, Some(&self.own_rows(features, paths)), progress)
    }

    /// The K neighbours that the density of each query `[Q, D]` is made of; `own` as in [`Scorer::score`].
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub fn neighbors(
        &self,
        queries: ArrayView2<f32>,
        own: Option<&[Option<u32>]>,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        let skip_zero = self.duplicates == Duplicates::Collapse;
        self.index.search(queries, own, Search { k: self.model.k, skip_zero }, progress)
    }

    /// What finds neighbours in [`Scorer::features`].
    pub(crate) fn index(&self) -> &dyn NeighborIndex {
        &self.index
    }

    /// The pseudo densities `[Q]` of queries `[Q, D]`, as [`Scorer::score`] gives them, and nothing beside them.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub fn densities(&self, queries: ArrayView2<f32>) -> Result<Vec<f64>> {
        let neighbors = self.neighbors(queries, None, &Silent)?;
        Ok(neighbors.mean_distances().into_iter().map(|d| self.model.density(d)).collect())
    }

    /// Scores queries `[Q, D]`; `own[q]`, where given, is the row that is the query itself and does not count.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the queries are not finite or of another width.
    pub fn score(
        &self,
        queries: ArrayView2<f32>,
        own: Option<&[Option<u32>]>,
        progress: &dyn Progress,
    ) -> Result<Scores> {
        let k = self.model.k;
        let nearest = self.index.search(queries, own, Search { k, skip_zero: false }, progress)?;
        let mean_knn_distance = match self.duplicates {
            Duplicates::Keep => nearest.mean_distances(),
            Duplicates::Collapse => {
                self.index.search(queries, own, Search { k, skip_zero: true }, progress)?.mean_distances()
            }
        };
        let pseudo_density: Vec<f64> = mean_knn_distance.iter().map(|&d| self.model.density(d)).collect();
        Ok(Scores {
            percentile: pseudo_density.iter().map(|&rho| self.distribution.percentile(rho)).collect(),
            pseudo_density,
            mean_knn_distance,
            nearest: (0..nearest.len()).map(|q| nearest.of(q).0.first().copied()).collect(),
            nearest_distance: (0..nearest.len()).map(|q| nearest.of(q).1[0]).collect(),
            copy_of: None,
            group: Vec::new(),
        })
    }
}
