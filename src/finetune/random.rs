//! Random streams of this room: every draw is keyed by (seed, purpose, step), so that a resumed run draws what an uninterrupted one does.

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
    /// Where the styles of two latents are mixed.
    Mixing = 0x740a,
    /// The second latents.
    MixedLatents = 0x740b,
    /// The latents whose paths are measured.
    PathLatents = 0x740c,
    /// The noise that their images are seen through.
    PathNoise = 0x740d,
}

/// The stream of `item` (a step, an image) for one purpose under a seed.
pub fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    crate::random::keyed(seed, purpose as u64, item)
}

/// `count` standard normal numbers from a stream.
pub fn normals(rng: ChaCha8Rng, count: usize) -> Vec<f32> {
    crate::random::normals(rng).take(count).map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1_and_belong_to_their_key() {
        const COUNT: usize = 40_001;
        let values = normals(keyed(7, Purpose::Latents, 3), COUNT);
        let mean = |f: fn(f64) -> f64| values.iter().map(|&v| f(v.into())).sum::<f64>() / COUNT as f64;
        assert_eq!(values.len(), COUNT);
        assert!(mean(|v| v).abs() < 0.02 && (mean(|v| v * v) - 1.0).abs() < 0.03);
        assert_eq!(normals(keyed(7, Purpose::Latents, 3), 9), values[..9]);
        assert_ne!(normals(keyed(7, Purpose::Noise, 3), 9), values[..9]);
        assert_ne!(normals(keyed(7, Purpose::Latents, 4), 9), values[..9]);
    }
}
