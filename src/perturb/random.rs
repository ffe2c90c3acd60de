//! Random streams of perturbing, keyed by what they are for: (seed, purpose, item), never by a place in a common stream.

use rand_chacha::ChaCha8Rng;

/// What a stream is for. The numbers are part of the results; other modules have their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Where in the ball a search starts.
    Start = 0x7001,
    /// The direction of the control.
    Control = 0x7002,
}

/// The stream of one image (its key) for one purpose under a seed.
pub(super) fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    crate::random::keyed(seed, purpose as u64, item)
}
