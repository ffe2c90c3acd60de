//! Random streams of this room, keyed by what they are for: (seed, purpose, item), never by a place in a common stream.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream is for. The numbers are part of the results; other rooms have their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Where in the ball a search starts.
    Start = 0x7001,
    /// The direction of the control.
    Control = 0x7002,
}

/// The stream of one image (its key) for one purpose under a seed.
pub(super) fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(item);
    rng
}
