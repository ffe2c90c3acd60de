//! How generated sets compare with a real one: a registry of metrics, one file each, and what they share.
//! [`evaluate`] compares whole sets. Below it, a [`FeatureSet`] computes neighbours, statistics and spectra of a set once, a
//! [`Comparison`] joins two sets, and [`estimate`] gives the values of any of [`METRICS`].
//! All sums are float64 in fixed trees, counts are exact, and memory grows with rows, never with pairs.

mod authenticity;
mod cmmd;
mod comparison;
mod evaluation;
mod factored;
mod feature_set;
pub(crate) mod frechet;
mod frechet_infinity;
mod inception_score;
mod keep;
mod kernel;
pub(crate) mod kid;
mod kind;
mod least_rows;
mod manifold;
mod matrix;
mod metric;
mod options;
pub(crate) mod prdc;
mod presets;
pub(crate) mod rarity;
pub(crate) mod realism;
mod registry;
mod resampling;
mod rke;
mod spectrum;
mod spread;
mod statistics;
#[cfg(test)]
mod test_support;
mod transport;
pub(crate) mod vendi;

pub(crate) use authenticity::authenticity;
pub(crate) use comparison::Comparison;
pub(crate) use evaluation::{EvaluatedSet, Evaluator, Spaces, check_metrics, check_rows, check_same};
pub use evaluation::{
    Evaluation, EvaluationOptions, EvaluationSet, GroupedSet, SetContent, SpaceResults, SpacesRequest,
    Verdict, evaluate, evaluate_images,
};
pub(crate) use feature_set::FeatureSet;
pub(crate) use frechet::FID;
pub(crate) use keep::Keep;
pub(crate) use kid::KD;
pub(crate) use kind::SpaceKind;
pub(crate) use least_rows::Side;
pub(crate) use manifold::Boundary;
pub(crate) use metric::{Better, Estimate, Metric};
pub(crate) use options::Options;
pub(crate) use presets::{PROTOCOLS, Protocol, protocol};
pub(crate) use registry::{FID_INFINITY, METRICS, estimate, metric};
pub(crate) use resampling::halves;
pub(crate) use statistics::{RootedStatistics, Statistics};
pub(crate) use transport::{Transport, transport};

#[cfg(test)]
mod tests;
