//! How typical an image is: mean neighbour distance, pseudo density, and the density predictor trained on it (Li et al., TMLR 2024,
//! section 3). Beside them importance weights, quantiles and thresholds of a reference, groups and intrinsic dimension.
//! This module works on features and neighbour lists; it does not know which index found the neighbours.
//!
//! # How to read the numbers
//!
//! | column | meaning |
//! |---|---|
//! | `path` | the image, relative to the set that was named |
//! | `pseudo_density` | 1 on average over the reference; 1.2 means that the K nearest neighbours are, by the mean, 1.2 times as near as for an average image |
//! | `percentile` | share of the reference at or below this density, 0 to 100 |
//! | `mean_knn_distance` | mean Euclidean distance to the K nearest reference images |
//! | `nearest`, `nearest_distance` | the nearest (other) image and its distance; 0 is an exact copy |
//! | `group` | the group within which the image was scored |
//!
//! - Exact copies make each other look typical. [`Duplicates::Collapse`](crate::reference::score::Duplicates::Collapse) looks for the
//!   K nearest images at a distance above 0 instead.
//! - In a mixed set, rare kinds of images have the lowest densities and a series from one studio the highest. Groups are scored each by itself.
//! - Densities of different extractors, references or K cannot be compared.

mod correlation;
mod dimension;
mod group_labels;
mod groups;
mod log_weights;
mod pair_distance;
pub(crate) mod predictor;
mod preset;
mod pseudo;
mod quantiles;
mod rule;
#[cfg(test)]
pub(crate) mod test_support;
mod threshold;
mod truncation;

pub(crate) use correlation::spearman;
pub(crate) use dimension::IntrinsicDimension;
pub(crate) use group_labels::{Grouping, parent_folder};
pub(crate) use groups::score_groups;
pub(crate) use log_weights::{cumulative_weights, effective_sample_size, log_mean_weight};
pub(crate) use pair_distance::median_pair_distance;
pub use predictor::DensityPredictor;
pub(crate) use predictor::PredictorQuality;
pub use preset::Preset;
pub(crate) use preset::{Finetuning, TwoLevelNumbers};
pub use pseudo::PseudoDensity;
pub use quantiles::Distribution;
pub(crate) use quantiles::{Quantiles, median, quantile_linear};
pub use rule::{Rule, RuleChoice};
pub use threshold::Threshold;
pub(crate) use truncation::Truncation;
