//! The list of metrics, and their values for a comparison.

use super::comparison::Comparison;
use super::metric::{Estimate, Metric, Spread};
use super::resampling::{Draws, interval};
use super::{authenticity, cmmd, frechet, frechet_infinity, inception_score, kid, prdc, rke, vendi};
use crate::error::{Error, Result};

/// Another name of FD-infinity.
pub(crate) const FID_INFINITY: &str = "fid-infinity";

/// Every metric. To add one, add its file and a line here.
pub(crate) const METRICS: &[&Metric] = &[
    &frechet::METRIC,
    &frechet_infinity::METRIC,
    &kid::METRIC,
    &kid::SUBSETS,
    &cmmd::METRIC,
    &prdc::precision::METRIC,
    &prdc::recall::METRIC,
    &prdc::density::METRIC,
    &prdc::coverage::METRIC,
    &prdc::clipped::DENSITY,
    &prdc::clipped::COVERAGE,
    &prdc::probabilistic::PRECISION,
    &prdc::probabilistic::RECALL,
    &vendi::METRIC,
    &rke::METRIC,
    &authenticity::METRIC,
    &frechet::SPATIAL,
    &inception_score::METRIC,
];

/// The metric of this name.
///
/// # Errors
/// [`Error::Usage`] naming the known ones.
pub(crate) fn metric(name: &str) -> Result<&'static Metric> {
    METRICS.iter().copied().find(|metric| metric.name == name).ok_or_else(|| {
        let known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        Error::usage(format!("`{name}` is no metric"), format!("known: {}", known.join(", ")))
    })
}

/// The metrics of these names, each once. `fid` is the Fréchet distance and `kd` the kernel distance, in whatever space they are, and so
/// is `fid-infinity`.
///
/// # Errors
/// As [`metric`].
pub(super) fn named(names: &[String]) -> Result<Vec<&'static Metric>> {
    let mut chosen: Vec<&'static Metric> = Vec::new();
    for name in names {
        let metric = match name.as_str() {
            frechet::FID => &frechet::METRIC,
            FID_INFINITY => &frechet_infinity::METRIC,
            kid::KD => &kid::METRIC,
            name => metric(name)?,
        };
        if chosen.iter().all(|other| other.name != metric.name) {
            chosen.push(metric);
        }
    }
    Ok(chosen)
}

/// The values of `metrics` for one pair of sets, with intervals where `draws` are given.
///
/// An interval shows how much a value moves when the generated rows are drawn again, the real set being as it is.
///
/// # Errors
/// What a metric returns.
pub(crate) fn estimate(
    comparison: &Comparison<'_>,
    metrics: &[&'static Metric],
    draws: Option<Draws>,
) -> Result<Vec<Estimate>> {
    let mut estimates = Vec::new();
    for metric in metrics {
        let measured = (metric.compute)(comparison)?;
        let mut bounds = None;
        if let (Some(draws), Some(&value)) = (draws, measured.values.first()) {
            bounds = match (&measured.mean, metric.replicates) {
                (Some(mean), _) => Some(interval(mean.replicates(draws), None)),
                (None, Some(replicates)) => {
                    let [least, most] = metric.range;
                    let bounds = interval(replicates(comparison, &draws)?, Some(value));
                    // Rounding may bring a value itself out of the range.
                    Some(bounds.map(|bound| bound.clamp(least.min(value), most.max(value))))
                }
                (None, None) => None,
            };
        }
        for (&column, value) in metric.columns.iter().zip(measured.values) {
            estimates.push(Estimate { column, value, interval: bounds.take(), spread: Spread::default() });
        }
    }
    Ok(estimates)
}
