//! Random streams keyed by what they are for, so that no draw depends on how many were made before it.
//! Each room has its own list of purposes; their numbers are part of the results and differ between rooms.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The stream of `item` (a layer, a step, an image) for one purpose under a seed.
pub(crate) fn keyed(seed: u64, purpose: u64, item: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&purpose.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(item);
    rng
}

/// Standard normal numbers from a stream (Box and Muller's method, both values of a pair).
pub(crate) fn normals(mut rng: ChaCha8Rng) -> impl Iterator<Item = f64> {
    std::iter::from_fn(move || {
        let (radius, angle): (f64, f64) = (rng.random(), rng.random());
        // 1 - u is never 0, whose logarithm is not finite.
        let radius = (-2.0 * (1.0 - radius).ln()).sqrt();
        let angle = std::f64::consts::TAU * angle;
        Some([radius * angle.cos(), radius * angle.sin()])
    })
    .flatten()
}
