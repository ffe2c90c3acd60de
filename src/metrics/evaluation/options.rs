//! What an evaluation computes.

use crate::metrics::options::Options;
use crate::metrics::resampling::Draws;
use serde::{Deserialize, Serialize};

/// What an evaluation computes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvaluationOptions {
    /// Names of metrics; empty for all that are computed by default and that the sets allow. `fid` is another name of `fd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// Parameters of the metrics.
    #[serde(flatten)]
    pub parameters: Options,
    /// Whether one random half of the real set is compared with the other, which shows the best values possible at that size.
    pub self_check: bool,
    /// Number of bootstrap samples for 95 % intervals; `None` for no intervals.
    pub bootstrap: Option<u32>,
    /// Seeds, and parts of each generated set, whose values are compared to show how far chance moves them; `None` for no such deviations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<u32>,
    /// Whether every generated image gets values of its own.
    #[serde(skip)]
    pub per_sample: bool,
}

impl EvaluationOptions {
    pub(super) fn draws(&self) -> Option<Draws> {
        self.bootstrap.map(|count| Draws { count: count as usize, seed: self.parameters.seed })
    }
}
