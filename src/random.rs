//! Random numbers: every draw comes from a stream of its own, keyed by (seed, purpose, item), so that no draw depends on how many
//! were made before it. A run that is resumed or split draws the same numbers as one that is not.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is for. The numbers are part of the results: they never change, and no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Pairs of rows whose distances estimate the median distance.
    PairSample = 1,
    /// Which rows the density predictor is validated on.
    PredictorSplit = 2,
    /// The initial weights of a layer of the density predictor.
    PredictorWeights = 3,
    /// The order of the rows in an epoch of the density predictor.
    PredictorEpoch = 4,
    /// Whether sampling accepts a candidate.
    Accept = 5,
    /// The order in which a pool is drawn from.
    Draw = 6,
    /// The order of the candidates in a random set that a selection is compared with.
    RandomSet = 0x7301,
    /// The order of the reference whose parts the coverage of a small set is measured on.
    ReferenceParts = 0x7302,
    /// The pivots of a cell of rows, when a graph of neighbours is built.
    NeighborCells = 0x7303,

    /// The initial weights of a layer of a generator or discriminator.
    Initialisation = 0x6701,
    /// The noise that a stochastic sampler adds at a step; the seed is the image's key.
    SamplerNoise = 0x6702,
    /// Noise between the layers of a generator; the seed is the image's key.
    LayerNoise = 0x6703,
    /// How an image is augmented before a discriminator sees it; the seed is the image's key.
    Augmentation = 0x6704,
    /// What a layer drops in training; the seed is the image's key.
    Dropout = 0x6705,

    /// Where in the ball a perturbation starts.
    PerturbStart = 0x7001,
    /// The direction of a perturbation's control.
    PerturbControl = 0x7002,
    /// The directions that a search without gradients tries.
    PerturbTrial = 0x7003,

    /// Which real images a training batch holds.
    RealRows = 0x7401,
    /// Which of them are mirrored.
    Mirror = 0x7402,
    /// The latents of a training batch.
    Latents = 0x7403,
    /// Classes of generated images.
    Classes = 0x7404,
    /// Whether a generated image is accepted into a training batch.
    AcceptGenerated = 0x7405,
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
    /// The second latents of mixed styles.
    MixedLatents = 0x740b,
    /// The latents whose path lengths are penalised.
    PathLatents = 0x740c,
    /// The random images that path lengths are projected on.
    PathNoise = 0x740d,
    /// The latents of a pilot that the ratio rule is measured against in training.
    Pilot = 0x740e,
    /// Which images of a training batch are generated ones that were kept, and which.
    KeptRows = 0x740f,

    /// Rows of a bootstrap sample of a metric.
    Bootstrap = 0x6d65_7472_6963_7301,
    /// Real rows of a subset of KID.
    RealSubset = 0x6d65_7472_6963_7302,
    /// Generated rows of a subset of KID.
    GeneratedSubset = 0x6d65_7472_6963_7303,
    /// The halves of a set.
    Halves = 0x6d65_7472_6963_7304,
    /// Generated rows of a part of a set whose Fréchet distance is extrapolated.
    FrechetPart = 0x6d65_7472_6963_7305,
    /// The order of the generated rows before the Inception score cuts them into parts.
    InceptionSplits = 0x6d65_7472_6963_7306,
    /// The parts of a generated set whose values are compared with each other.
    SpreadParts = 0x6d65_7472_6963_7307,
    /// The halves of a generated set whose recalls are compared with each other.
    HalfSamples = 0x6d65_7472_6963_7308,
}

/// The stream of `item` (a layer, a step, a row, an image's key) for one purpose under a seed.
pub(crate) fn keyed(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(item);
    rng
}

/// A number above 0 and below 1 for `item`.
pub(crate) fn uniform(seed: u64, purpose: Purpose, item: u64) -> f64 {
    let bits = keyed(seed, purpose, item).next_u64() >> 11;
    (bits as f64 + 0.5) / (1u64 << 53) as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_standard_normal_and_belong_to_their_key() {
        const COUNT: usize = 40_001;
        let draw = |seed, purpose, item, count| -> Vec<f64> {
            normals(keyed(seed, purpose, item)).take(count).collect()
        };
        let values = draw(7, Purpose::SamplerNoise, 3, COUNT);
        let mean = |f: fn(f64) -> f64| values.iter().map(|&v| f(v)).sum::<f64>() / COUNT as f64;
        assert!(mean(|v| v).abs() < 0.02);
        assert!((mean(|v| v * v) - 1.0).abs() < 0.03);
        assert!((mean(|v| v.powi(4)) - 3.0).abs() < 0.2);
        assert_eq!(draw(7, Purpose::SamplerNoise, 3, 9), values[..9]);
        for (seed, purpose, item) in
            [(8, Purpose::SamplerNoise, 3), (7, Purpose::SamplerNoise, 4), (7, Purpose::Noise, 3)]
        {
            assert_ne!(draw(seed, purpose, item, 9), values[..9]);
        }
    }
}
