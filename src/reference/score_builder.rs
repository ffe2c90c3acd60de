//! The scores of a set from the neighbours of its rows. Lists of neighbours are added in groups, in the order of rows, and not kept,
//! so that memory holds a few numbers for each row. An unsharded run adds one group, a merge of shards many.

use super::scores::{Duplicates, ScoreOptions, Scores, SetScores};
use crate::density::{
    Distribution, IntrinsicDimension, NearDuplicateSearch, PseudoDensity, median_pair_distance,
    near_duplicate_threshold,
};
use crate::error::Result;
use crate::formats::FeatureRows;
use crate::neighbors::{IndexRecord, Neighbors, Search};

/// Pairs of near-duplicates that are listed, the closest first; all are counted.
const LISTED_PAIRS: usize = 100_000;

/// What is known of the rows `0..n` whose neighbours have been added.
pub(super) struct ScoreBuilder {
    options: ScoreOptions,
    median_pair_distance: f64,
    mean_distances: Vec<f64>,
    nearest: Vec<Option<u32>>,
    nearest_distances: Vec<f64>,
    near_duplicates: NearDuplicateSearch,
    dimension: IntrinsicDimension,
}

impl ScoreBuilder {
    /// A builder without rows. Only a sample of `features` `[N, D]` is read.
    ///
    /// # Errors
    /// As [`median_pair_distance`].
    pub(super) fn new(features: &mut dyn FeatureRows, options: ScoreOptions) -> Result<Self> {
        let median = median_pair_distance(features, options.seed)?;
        let near_duplicates = NearDuplicateSearch::new(near_duplicate_threshold(median), LISTED_PAIRS);
        Ok(Self {
            options,
            median_pair_distance: median,
            mean_distances: Vec::new(),
            nearest: Vec::new(),
            nearest_distances: Vec::new(),
            near_duplicates,
            dimension: IntrinsicDimension::default(),
        })
    }

    /// Adds the neighbours of the rows that follow those before: of each row among all others, copies included.
    pub(super) fn add(&mut self, neighbors: &Neighbors) {
        self.mean_distances.extend(neighbors.mean_distances());
        for q in 0..neighbors.len() {
            let (rows, distances) = neighbors.of(q);
            self.nearest.push(rows.first().copied());
            self.nearest_distances.push(distances[0]);
        }
        self.near_duplicates.add(neighbors);
        self.dimension.add(neighbors);
    }

    /// The scores of all rows. With [`Duplicates::Collapse`], `search_again` gives the mean neighbour distance of rows (ascending) that
    /// have a copy among their neighbours.
    ///
    /// # Errors
    /// As [`PseudoDensity::fit`]; what `search_again` returns.
    pub(super) fn finish(
        mut self,
        index_record: IndexRecord,
        search_again: impl FnOnce(&[usize], Search) -> Result<Vec<f64>>,
    ) -> Result<SetScores> {
        let ScoreOptions { k, exponent, duplicates, .. } = self.options;
        let copied = (0..).zip(&self.nearest_distances).filter(|(_, distance)| **distance == 0.0);
        let copied: Vec<usize> = copied.map(|(row, _)| row).collect();
        if duplicates == Duplicates::Collapse && !copied.is_empty() {
            for (&row, mean) in copied.iter().zip(search_again(&copied, Search { k, skip_zero: true })?) {
                self.mean_distances[row] = mean;
            }
        }
        let (model, pseudo_density) = PseudoDensity::fit(&self.mean_distances, k, exponent)?;
        let distribution = Distribution::new(&pseudo_density)?;
        Ok(SetScores {
            scores: Scores {
                percentile: pseudo_density.iter().map(|&rho| distribution.percentile(rho)).collect(),
                pseudo_density,
                mean_knn_distance: self.mean_distances,
                nearest: self.nearest,
                nearest_distance: self.nearest_distances,
                group: Vec::new(),
            },
            quantiles: distribution.quantiles(),
            model,
            exact_duplicates: copied.len(),
            near_duplicates: self.near_duplicates.finish(),
            median_pair_distance: self.median_pair_distance,
            intrinsic_dimension: self.dimension.estimate(),
            index_record,
        })
    }
}
