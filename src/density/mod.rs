//! How typical an image is: mean neighbour distance, pseudo density (rules 1 and 2) and the predictor trained on it (rule 3).
//! Around them: the importance weights of rules 5 and 7, quantiles and thresholds of a reference, scoring within groups, duplicates, intrinsic dimension.
//! Works on features and neighbour lists only; which index found the neighbours is not its business.

mod correlation;
mod dimension;
mod duplicates;
mod group_labels;
mod groups;
mod importance;
pub mod predictor;
mod pseudo;
mod quantiles;
pub(crate) mod random;
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
pub use importance::{
    Rule, TwoLevel, cumulative_weights, effective_sample_size, log_mean_weight, log_power_weight,
    log_ratio_weight,
};
pub use predictor::{DensityPredictor, PredictorQuality, TensorPredictor};
pub use pseudo::PseudoDensity;
pub use quantiles::{Distribution, Quantiles, quantile_linear, quantile_published};
pub use threshold::Threshold;
