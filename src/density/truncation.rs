//! Importance weights cut at a multiple of their mean: of a few images that outweigh all others nothing can be learnt.

use super::log_weights::{effective_sample_size, log_mean_weight};

/// How weights are cut at a multiple of their mean (truncated importance sampling, Ionides 2008), and cut lower until the effective
/// sample size is a given share of the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truncation {
    /// Largest weight, in means of the weights before the cut.
    pub clip: f64,
    /// Least effective sample size, as a share of the images: 0 to 1.
    pub min_ess: f64,
}

/// Steps of the search for the highest cut that leaves the effective sample size.
const BISECTIONS: usize = 60;

impl Truncation {
    /// What is cut where nothing else is asked for.
    pub const DEFAULT: Self = Self { clip: 100.0, min_ess: 0.3 };

    /// Scales weights, given as logarithms, to a mean of 1 and cuts them. Returns the cut as a multiple of the mean.
    pub(crate) fn apply(&self, logs: &mut [f64]) -> f64 {
        let shift = log_mean_weight(logs);
        logs.iter_mut().for_each(|log| *log -= shift);
        let smallest = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let enough = |cut: f64| {
            let cut: Vec<f64> = logs.iter().map(|log| log.min(cut)).collect();
            effective_sample_size(&cut) >= self.min_ess * logs.len() as f64
        };
        let mut high = self.clip.ln();
        if !enough(high) {
            // A cut at the smallest weight makes all the same, which is always enough.
            let mut low = smallest;
            for _ in 0..BISECTIONS {
                let middle = 0.5 * (low + high);
                if enough(middle) { low = middle } else { high = middle }
            }
            high = low;
        }
        logs.iter_mut().for_each(|log| *log = log.min(high));
        high.exp()
    }
}
