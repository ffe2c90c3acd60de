//! How generated sets compare with a real one: a registry of metrics, one file each, and what they share.
//! [`evaluate`] compares whole sets. Below it, a [`FeatureSet`] computes neighbours, statistics and spectra of a set once, a
//! [`Comparison`] joins two sets, and [`estimate`] gives the values of any of [`METRICS`].
//! All sums are float64 in fixed trees, counts are exact, and memory grows with rows, never with pairs.

mod authenticity;
mod comparison;
mod evaluation;
pub mod frechet;
mod kernel;
pub mod kid;
mod manifold;
mod matrix;
mod metric;
pub mod prdc;
pub mod rarity;
pub mod realism;
mod registry;
mod resampling;
mod rke;
mod spectrum;
mod statistics;
#[cfg(test)]
mod test_support;
pub mod vendi;

pub use authenticity::authenticity;
pub use comparison::{Comparison, FeatureSet, Options};
pub use evaluation::{
    EvaluatedSet, Evaluation, EvaluationOptions, EvaluationSet, Evaluator, SetContent, check_same, evaluate,
};
pub use frechet::FID;
pub use manifold::Boundary;
pub use metric::{Better, Estimate, Metric};
pub use registry::{METRICS, estimate, metric};
pub use resampling::halves;
pub use statistics::Statistics;

#[cfg(test)]
mod tests;
