//! How typical an image is: its pseudo density, made of the mean distance to its nearest neighbours, and the predictor trained on it
//! (Li et al., TMLR 2024, sections 3.1 and 3.2). Around them: importance rules and presets, quantiles and thresholds of a reference,
//! scoring within groups, duplicates, intrinsic dimension.
//! Works on features and neighbour lists only; which index found the neighbours is not its business.

mod correlation;
mod dimension;
mod duplicates;
mod group_labels;
mod groups;
mod log_weights;
pub mod predictor;
mod preset;
mod pseudo;
mod quantiles;
pub(crate) mod random;
mod rule;
#[cfg(test)]
pub(crate) mod test_support;
mod threshold;

pub use correlation::{average_ranks, spearman};
pub use dimension::IntrinsicDimension;
pub use duplicates::{
    NearDuplicateSearch, NearDuplicates, Pair, median_pair_distance, near_duplicate_threshold,
};
pub use group_labels::{Grouping, parent_folder};
pub use groups::{GroupScores, RowScore, ScoredGroup, UnscoredGroup, score_groups};
pub use log_weights::{cumulative_weights, effective_sample_size, log_mean_weight};
pub use predictor::{DensityPredictor, PredictorQuality, TensorPredictor};
pub use preset::{Meaning, Preset, TwoLevelNumbers};
pub use pseudo::PseudoDensity;
pub use quantiles::{Distribution, Quantiles, quantile_linear, quantile_published};
pub use rule::{Rule, RuleChoice};
pub use threshold::Threshold;
