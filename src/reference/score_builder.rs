//! The scores of a set from the neighbours of its rows. Lists of neighbours are added in groups, in the order of rows, and not kept,
//! so that memory holds a few numbers for each row. An unsharded run adds one group, a merge of shards many.

use super::scores::{Duplicates, ScoreOptions, Scores, SetScores};
use crate::copies::NEAREST;
use crate::density::{Distribution, IntrinsicDimension, PseudoDensity};
use crate::error::Result;
use crate::neighbors::{IndexRecord, Neighbors, Search};

/// What is known of the rows `0..n` whose neighbours have been added.
pub(super) struct ScoreBuilder {
    options: ScoreOptions,
    mean_distances: Vec<f64>,
    nearest: Vec<Option<u32>>,
    nearest_distances: Vec<f64>,
    near: Vec<u32>,
    dimension: IntrinsicDimension,
}

impl ScoreBuilder {
    /// A builder without rows.
    pub(super) fn new(options: ScoreOptions) -> Self {
        Self {
            options,
            mean_distances: Vec::new(),
            nearest: Vec::new(),
            nearest_distances: Vec::new(),
            near: Vec::new(),
            dimension: IntrinsicDimension::default(),
        }
    }

    /// Adds the neighbours of the rows that follow those before: of each row among all others, copies included.
    pub(super) fn add(&mut self, neighbors: &Neighbors) {
        self.mean_distances.extend(neighbors.mean_distances());
        for q in 0..neighbors.len() {
            let (rows, distances) = neighbors.of(q);
            self.nearest.push(rows.first().copied());
            self.near.extend(rows.iter().take(NEAREST));
            self.nearest_distances.push(distances[0]);
        }
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
                copy_of: None,
                group: Vec::new(),
            },
            quantiles: distribution.quantiles(),
            model,
            exact_duplicates: copied.len(),
            near: self.near,
            intrinsic_dimension: self.dimension.estimate(),
            index_record,
        })
    }
}
