//! The measures of how varied a set of images is.

use super::entropy::Entropy;
use super::facility::Facility;
use super::spread::Spread;
use super::worth::Worth;
use crate::density::median_pair_distance;
use crate::error::{Error, Result};
use ndarray::ArcArray2;
use serde::{Deserialize, Serialize};

/// How varied a set of images is, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum SetWorth {
    /// Facility location: how near every reference image (without a reference, every candidate) has a chosen one
    #[default]
    Facility,
    /// The smallest distance between two of the set
    Spread,
    /// Order-2 kernel entropy: how evenly the set fills the feature space
    Rke,
}

impl SetWorth {
    /// The weight L of the set's worth that measured best beside density or density ratio (`examples/README.md`).
    pub fn default_diversity(self) -> f64 {
        match self {
            SetWorth::Facility => 1.0,
            SetWorth::Spread => 0.01,
            SetWorth::Rke => 0.1,
        }
    }
}

/// An empty set of rows of `features` `[N, D]` that is to have `size` in the end. `targets` `[T, D]` are the reference, or the
/// candidates where there is none: what facility location serves, and what gives distances their scale.
///
/// # Errors
/// [`Error::Data`] if there are fewer than two targets or a value is not finite.
pub(super) fn empty_set(
    kind: SetWorth,
    features: &ArcArray2<f32>,
    targets: &ArcArray2<f32>,
    size: usize,
    seed: u64,
) -> Result<Box<dyn Worth>> {
    if features.ncols() != targets.ncols() {
        return Err(Error::data(
            format!(
                "candidates have {} values per row, the reference has {}",
                features.ncols(),
                targets.ncols()
            ),
            "use features of the same extractor",
        ));
    }
    let median = median_pair_distance(&mut targets.clone(), seed)?;
    Ok(match kind {
        SetWorth::Facility => Box::new(Facility::new(features.clone(), targets, median)?),
        SetWorth::Spread => Box::new(Spread::new(features.clone(), median)),
        SetWorth::Rke => Box::new(Entropy::new(features.clone(), median, size)),
    })
}
