//! One linear layer in the usual layout: what is saved, loaded and given to candle.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
    /// W, `[outputs, inputs]` row-major.
    pub weight: Vec<f32>,
    /// b, `[outputs]`.
    pub bias: Vec<f32>,
}

impl Linear {
    /// Random weights as `torch.nn.Linear` draws them: Kaiming-uniform with `a = sqrt(5)`, which is uniform within
    /// `1 / sqrt(inputs)`, for weight and bias alike.
    pub fn random(inputs: usize, outputs: usize, rng: &mut ChaCha8Rng) -> Linear {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut draw = |count| (0..count).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect();
        Linear { inputs, outputs, weight: draw(inputs * outputs), bias: draw(outputs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn random_weights_are_uniform_within_the_bound_of_torch() {
        let linear = Linear::random(400, 500, &mut ChaCha8Rng::seed_from_u64(1));
        let bound = 0.05f32;
        assert!(linear.weight.iter().chain(&linear.bias).all(|w| w.abs() <= bound));
        let n = linear.weight.len() as f32;
        let mean = linear.weight.iter().sum::<f32>() / n;
        let variance = linear.weight.iter().map(|w| w * w).sum::<f32>() / n;
        assert!(mean.abs() < 1e-3 * bound.max(1.0) && (variance / (bound * bound / 3.0) - 1.0).abs() < 0.01);
    }
}
