//! Random streams of this room: every draw is keyed by (seed, purpose, step), so that a resumed run draws what an uninterrupted one does.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is for. The numbers are part of the results; other rooms have their own.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Which real images a batch holds.
    RealRows = 0x7401,
    /// Which of them are mirrored.
    Mirror = 0x7402,
    /// The latents of a batch.
    Latents = 0x7403,
    /// Classes of generated images.
    Classes = 0x7404,
    /// Whether a generated image is accepted.
    Accept = 0x7405,
    /// The noise that a denoiser is trained on.
    Noise = 0x7406,
    /// Its noise levels.
    Timesteps = 0x7407,
    /// The fixed latents of sample sheets.
    Sheet = 0x7408,
    /// The fixed latents of evaluations.
    Evaluation = 0x7409,
}

/// The stream of `item` (a step, an image) for one purpose under a seed.
pub fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(item);
    rng
}

/// `count` standard normal numbers (Box and Muller's method) from a stream.
pub fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (radius, angle): (f64, f64) = (rng.random(), rng.random());
        // 1 - u is never 0, whose logarithm is not finite.
        let radius = (-2.0 * (1.0 - radius).ln()).sqrt();
        let angle = std::f64::consts::TAU * angle;
        values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1_and_belong_to_their_key() {
        const COUNT: usize = 40_001;
        let values = normals(&mut keyed(7, Purpose::Latents, 3), COUNT);
        let mean = |f: fn(f64) -> f64| values.iter().map(|&v| f(v.into())).sum::<f64>() / COUNT as f64;
        assert_eq!(values.len(), COUNT);
        assert!(mean(|v| v).abs() < 0.02 && (mean(|v| v * v) - 1.0).abs() < 0.03);
        assert_eq!(normals(&mut keyed(7, Purpose::Latents, 3), 9), values[..9]);
        assert_ne!(normals(&mut keyed(7, Purpose::Noise, 3), 9), values[..9]);
        assert_ne!(normals(&mut keyed(7, Purpose::Latents, 4), 9), values[..9]);
    }
}
