//! Random streams keyed by what they are for, so that no draw depends on how many were made before it.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What a stream is for. The numbers are part of the results.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Pairs whose distances estimate the median.
    PairSample = 1,
    /// Which rows the predictor is tested on.
    Split = 2,
    /// The initial weights of a layer.
    Weights = 3,
    /// The order of the rows in an epoch.
    Epoch = 4,
    /// Whether a candidate is accepted.
    Accept = 5,
    /// The order in which a pool is drawn from.
    Draw = 6,
}

/// The stream of `item` (a layer, an epoch) for one purpose under a seed.
pub fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    crate::random::keyed(seed, purpose as u64, item)
}

/// A number above 0 and below 1 for `item`.
pub fn uniform(seed: u64, purpose: Purpose, item: u64) -> f64 {
    let bits = keyed(seed, purpose, item).next_u64() >> 11;
    (bits as f64 + 0.5) / (1u64 << 53) as f64
}
