//! Random streams of generators, keyed by what they are for: (seed, purpose, item), never by a place in a common stream.

use rand_chacha::ChaCha8Rng;

/// What a stream is for. The numbers are part of the results; other modules have their own.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// The initial weights of a layer.
    Initialisation = 0x6701,
    /// What a stochastic sampler adds at a step.
    SamplerNoise = 0x6702,
    /// Noise between the layers of an image; the seed is the image's key.
    LayerNoise = 0x6703,
    /// How an image is augmented before a discriminator takes it; the seed is the image's key.
    Augmentation = 0x6704,
    /// What a layer drops in training; the seed is the image's key.
    Dropout = 0x6705,
}

/// A stream of `item` for one purpose under a seed.
pub fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    crate::random::keyed(seed, purpose as u64, item)
}

/// Standard normal numbers of `item` for one purpose under a seed.
pub fn normals(seed: u64, purpose: Purpose, item: u64) -> impl Iterator<Item = f64> {
    crate::random::normals(keyed(seed, purpose, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_standard_normal_and_belong_to_their_key() {
        const COUNT: usize = 40_000;
        let values: Vec<f64> = normals(7, Purpose::SamplerNoise, 3).take(COUNT).collect();
        let mean = |f: fn(f64) -> f64| values.iter().map(|&v| f(v)).sum::<f64>() / COUNT as f64;
        assert!(mean(|v| v).abs() < 0.02);
        assert!((mean(|v| v * v) - 1.0).abs() < 0.03);
        assert!((mean(|v| v.powi(4)) - 3.0).abs() < 0.2);
        assert!(normals(7, Purpose::SamplerNoise, 3).take(9).eq(values[..9].iter().copied()));
        for other in
            [normals(8, Purpose::SamplerNoise, 3).next(), normals(7, Purpose::SamplerNoise, 4).next()]
        {
            assert_ne!(other, Some(values[0]));
        }
        assert_ne!(normals(7, Purpose::Initialisation, 3).next(), Some(values[0]));
    }
}
