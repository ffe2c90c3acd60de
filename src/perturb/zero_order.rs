//! Points that a search without gradients tries: pairs of opposite directions estimate the gradient (Salimans et al., arXiv 1703.03864,
//! with antithetic pairs), and the estimate says where the best point of the ball should be.

use super::ball::Balls;
use super::direction::Direction;
use crate::error::Result;
use candle_core::Tensor;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Pairs between two points that the estimate proposes.
const PAIRS: usize = 2;

/// What the next point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first of a pair.
    There,
    /// The other one, in the opposite direction.
    Opposite,
    /// What the estimate proposes.
    Proposed,
}

/// Points within the balls around the latents of a batch, one at a time for each. What is tried for a latent depends on its own stream and
/// densities only.
pub(super) struct Trials {
    balls: Balls,
    streams: Vec<ChaCha8Rng>,
    radius: f64,
    /// The sum of densities of pairs' first points less their second ones, times their directions; `[B]` of `[L]`.
    estimates: Vec<Vec<f64>>,
    /// The directions of the pair that is tried: signs, `[B]` of `[L]`.
    directions: Vec<Vec<f64>>,
    /// Densities of the first points of the pair.
    there: Vec<f64>,
    next: Next,
    pairs: usize,
    sign: f64,
}

impl Trials {
    /// Within balls of this radius, with a stream for each latent.
    pub(super) fn new(balls: Balls, streams: Vec<ChaCha8Rng>, radius: f64, bias: Direction) -> Self {
        let zeros = vec![vec![0.0; balls.width()]; streams.len()];
        Self {
            balls,
            streams,
            radius,
            directions: zeros.clone(),
            estimates: zeros,
            there: Vec::new(),
            next: Next::There,
            pairs: 0,
            sign: bias.sign(),
        }
    }

    /// The next points, `[B, …]`.
    ///
    /// # Errors
    /// What the device returns.
    pub(super) fn next(&mut self) -> Result<Tensor> {
        match self.next {
            Next::There => {
                for (direction, stream) in self.directions.iter_mut().zip(&mut self.streams) {
                    direction.fill_with(|| if stream.random::<bool>() { 1.0 } else { -1.0 });
                }
                self.balls.towards(&self.directions, self.radius)
            }
            Next::Opposite => self.balls.towards(&self.directions, -self.radius),
            Next::Proposed => self.balls.towards(&self.estimates, self.sign * self.radius),
        }
    }

    /// Takes the densities `[B]` of the points that were tried last.
    pub(super) fn learn(&mut self, densities: &[f64]) {
        self.next = match self.next {
            Next::There => {
                self.there = densities.to_vec();
                Next::Opposite
            }
            Next::Opposite => {
                let differences = self.there.iter().zip(densities).map(|(there, opposite)| there - opposite);
                for ((estimate, direction), difference) in
                    self.estimates.iter_mut().zip(&self.directions).zip(differences)
                {
                    for (estimate, direction) in estimate.iter_mut().zip(direction) {
                        *estimate += difference * direction;
                    }
                }
                self.pairs += 1;
                if self.pairs.is_multiple_of(PAIRS) { Next::Proposed } else { Next::There }
            }
            Next::Proposed => Next::There,
        };
    }
}
