//! Points that a search without gradients tries: pairs of opposite directions estimate the gradient (Salimans et al., arXiv 1703.03864,
//! with antithetic pairs), and the estimate says where the best point of the ball should be. The directions are orthogonal to each other
//! (Choromanski et al., ICML 2018, structured evolution strategies): rows of a Hadamard matrix with random signs, so that as many pairs as a
//! latent has numbers give the gradient of a linear density exactly.

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
    /// Random signs by which the rows of the Hadamard matrix are multiplied, `[B]` of `[L]`.
    signs: Vec<Vec<f64>>,
    /// The directions of the pair that is tried, of 1 and -1, `[B]` of `[L]`.
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
            signs: zeros.clone(),
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
                self.turn();
                self.balls.towards(&self.directions, self.radius)
            }
            Next::Opposite => self.balls.towards(&self.directions, -self.radius),
            Next::Proposed => self.balls.towards(&self.estimates, self.sign * self.radius),
        }
    }

    /// Takes the next directions.
    fn turn(&mut self) {
        let row = self.pairs % self.balls.width().next_power_of_two();
        if row == 0 {
            for (signs, stream) in self.signs.iter_mut().zip(&mut self.streams) {
                signs.fill_with(|| if stream.random::<bool>() { 1.0 } else { -1.0 });
            }
        }
        for (direction, signs) in self.directions.iter_mut().zip(&self.signs) {
            for (column, (value, sign)) in direction.iter_mut().zip(signs).enumerate() {
                // Sylvester's matrix has -1 where row and column share an odd number of binary digits.
                let is_negative = (row & column).count_ones() % 2 == 1;
                *value = if is_negative { -sign } else { *sign };
            }
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

#[cfg(test)]
mod tests {
    use super::super::ball::Norm;
    use super::*;
    use crate::random::{Purpose, keyed};
    use candle_core::Device;

    const SLOPES: [[f64; 5]; 2] = [[3.0, -1.0, 0.5, 2.0, -0.5], [-1.0, -1.0, 4.0, 0.3, 1.0]];

    /// The points of so many passes, when the density of each latent has the slopes of its row.
    fn tried(passes: usize, norm: Norm, bias: Direction) -> Vec<Vec<Vec<f32>>> {
        let centers = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
        let balls = Balls::new(&centers, 0.5, norm).unwrap();
        let streams = [7, 9].map(|key| keyed(1, Purpose::PerturbTrial, key)).into();
        let mut trials = Trials::new(balls, streams, 0.5, bias);
        let pass = |_| {
            let points = trials.next().unwrap().to_vec2::<f32>().unwrap();
            let density = |(point, slopes): (&Vec<f32>, &[f64; 5])| {
                point.iter().zip(slopes).map(|(&x, slope)| f64::from(x) * slope).sum()
            };
            trials.learn(&points.iter().zip(&SLOPES).map(density).collect::<Vec<f64>>());
            points
        };
        (0..passes).map(pass).collect()
    }

    #[test]
    fn pairs_are_opposite_and_the_estimate_of_a_linear_density_finds_its_corner() {
        let points = tried(500, Norm::Linf, Direction::Higher);
        let negated = |row: &Vec<f32>| row.iter().map(|x| -x).collect::<Vec<f32>>();
        let opposite = |point: &[Vec<f32>]| point.iter().map(negated).collect::<Vec<_>>();
        assert_eq!(points[1], opposite(&points[0]));
        assert_ne!(points[0][0], points[0][1]);
        let corner = SLOPES.map(|slopes| slopes.map(|slope| 0.5 * slope.signum() as f32).to_vec());
        assert_eq!(points[499], corner);
        assert_eq!(tried(500, Norm::Linf, Direction::Lower)[499], opposite(&corner));
    }

    #[test]
    fn directions_are_orthogonal_and_as_many_pairs_as_numbers_give_the_gradient_exactly() {
        let slopes = [0.7f64, -2.0, 0.01, 0.3];
        let balls =
            Balls::new(&Tensor::zeros((1, 4), candle_core::DType::F32, &Device::Cpu).unwrap(), 0.5, Norm::L2);
        let mut trials =
            Trials::new(balls.unwrap(), vec![keyed(1, Purpose::PerturbTrial, 3)], 0.5, Direction::Higher);
        let mut directions = Vec::new();
        for _ in 0..10 {
            let point = trials.next().unwrap().to_vec2::<f32>().unwrap().remove(0);
            if trials.next == Next::There {
                directions.push(point.clone());
            }
            trials.learn(&[point.iter().zip(slopes).map(|(&x, slope)| f64::from(x) * slope).sum()]);
        }
        assert_eq!((directions.len(), trials.pairs), (4, 4));
        for (i, one) in directions.iter().enumerate() {
            for other in &directions[..i] {
                let dot: f32 = one.iter().zip(other).map(|(x, y)| x * y).sum();
                assert!(dot.abs() < 1e-6, "{dot}");
            }
        }
        let scale = trials.estimates[0][0] / slopes[0];
        for (estimate, slope) in trials.estimates[0].iter().zip(slopes) {
            assert!((estimate / scale - slope).abs() < 1e-6, "{:?}", trials.estimates);
        }
    }

    #[test]
    fn in_the_euclidean_ball_the_proposal_goes_along_the_gradient() {
        let point = tried(2000, Norm::L2, Direction::Higher).remove(1999);
        for (point, slopes) in point.iter().zip(SLOPES) {
            let dot: f64 = point.iter().zip(slopes).map(|(&x, slope)| f64::from(x) * slope).sum();
            let norms = 0.5 * slopes.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            assert!(dot / norms > 0.98, "{}", dot / norms);
        }
    }
}
