//! What a run is asked for, and what it computes with.

use super::direction::Direction;
use super::search::SearchOptions;
use crate::candidates::{DensityScorer, LatentSource};
use crate::error::{Error, Result};
use crate::generate::Generator;
use crate::reference::DensityBy;
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};

/// What a run is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunOptions {
    /// Which way.
    pub bias: Direction,
    /// Strengths, each above 0.
    pub epsilons: Vec<f64>,
    /// What is followed.
    pub density: DensityBy,
    /// How.
    pub search: SearchOptions,
    /// Whether a random direction of the same size is measured beside it.
    pub control: bool,
    /// Samples shown in `grid.png`; 0 for no grid.
    pub grid: usize,
}

/// Everything that a run computes with.
pub struct Models<'a> {
    /// Makes the images.
    pub generator: &'a dyn Generator,
    /// The latents that are perturbed.
    pub latents: &'a LatentSource,
    /// Scores the images; its density is the one that is followed.
    pub scorer: &'a DensityScorer,
    /// Latents that are worked on together.
    pub batch: usize,
}

/// The published strength.
pub(crate) const EPSILON: f64 = 0.1;

impl RunOptions {
    /// The published settings, towards `bias`, without control and grid.
    pub fn new(bias: Direction) -> Self {
        Self {
            bias,
            epsilons: vec![EPSILON],
            density: DensityBy::Knn,
            search: SearchOptions::default(),
            control: false,
            grid: 0,
        }
    }

    /// Whether strengths and steps make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] saying which does not.
    pub fn check(&self) -> Result<()> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.epsilons.is_empty() || !self.epsilons.iter().copied().all(positive) {
            return Err(Error::usage("a strength is not a number above 0", Remedy::PublishedPerturbation));
        }
        let mut sorted = self.epsilons.clone();
        sorted.sort_by(f64::total_cmp);
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::usage("a strength is asked for twice", Remedy::PublishedPerturbation));
        }
        if self.search.step_size.is_some_and(|size| !positive(size)) || self.search.length() == 0 {
            return Err(Error::usage("steps and their size must be above 0", Remedy::PublishedPerturbation));
        }
        Ok(())
    }

    /// The place of the largest strength among [`RunOptions::epsilons`].
    pub(super) fn strongest(&self) -> usize {
        let epsilons = &self.epsilons;
        (0..epsilons.len()).max_by(|&a, &b| epsilons[a].total_cmp(&epsilons[b])).unwrap_or_default()
    }
}
