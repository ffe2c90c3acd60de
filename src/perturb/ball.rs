//! The ball around a latent that a search never leaves, and the steps inside it (rule 4 for `linf`).
//! Latents are float32; offsets from the centre are computed in float64 and rounded towards the centre.

use rand::RngExt;
use serde::{Deserialize, Serialize};

/// What distance is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// The largest coordinate; a step goes along the sign of the gradient (the paper's).
    #[default]
    Linf,
    /// The Euclidean norm; a step goes along the gradient, scaled to the step size.
    L2,
}

/// All latents within `radius` of `center`.
#[derive(Debug, Clone, Copy)]
pub struct Ball<'a> {
    /// The latent that is perturbed.
    pub center: &'a [f32],
    /// Epsilon, above 0.
    pub radius: f64,
    /// What distance is measured by.
    pub norm: Norm,
}

impl Ball<'_> {
    /// Distance of a point from the centre.
    pub fn distance(&self, point: &[f32]) -> f64 {
        length(self.norm, point.iter().zip(self.center).map(|(&p, &c)| f64::from(p) - f64::from(c)))
    }

    /// One step of length `size` from `at` along `gradient` (against it where `size` is negative), brought back into the ball:
    /// `clip(z + size * sign(g), z0 - eps, z0 + eps)`, or with [`Norm::L2`] along `g / |g|` and scaled back to the sphere.
    pub fn step(&self, at: &[f32], gradient: &[f64], size: f64) -> Vec<f32> {
        let norm = length(Norm::L2, gradient.iter().copied());
        let direction = |g: f64| match self.norm {
            Norm::Linf if g == 0.0 => 0.0,
            Norm::Linf => g.signum(),
            Norm::L2 if norm == 0.0 => 0.0,
            Norm::L2 => g / norm,
        };
        let offsets = at.iter().zip(self.center).zip(gradient);
        self.within(offsets.map(|((&p, &c), &g)| f64::from(p) - f64::from(c) + size * direction(g)).collect())
    }

    /// A point drawn evenly from the ball.
    pub fn random_point(&self, rng: &mut impl RngExt) -> Vec<f32> {
        let offsets: Vec<f64> = match self.norm {
            Norm::Linf => self.center.iter().map(|_| self.radius * rng.random_range(-1.0..1.0)).collect(),
            Norm::L2 => {
                let direction: Vec<f64> = self.center.iter().map(|_| normal(rng)).collect();
                let norm = length(Norm::L2, direction.iter().copied()).max(f64::MIN_POSITIVE);
                let radius = self.radius * rng.random::<f64>().powf(1.0 / self.center.len().max(1) as f64);
                direction.iter().map(|d| d / norm * radius).collect()
            }
        };
        self.within(offsets)
    }

    /// The point of the ball's surface in the direction of random signs: the paper's control.
    pub fn random_sign(&self, rng: &mut impl RngExt) -> Vec<f32> {
        let size = match self.norm {
            Norm::Linf => self.radius,
            Norm::L2 => self.radius / (self.center.len().max(1) as f64).sqrt(),
        };
        self.within(self.center.iter().map(|_| if rng.random::<bool>() { size } else { -size }).collect())
    }

    /// The nearest point of the ball, in float32.
    fn within(&self, mut offsets: Vec<f64>) -> Vec<f32> {
        match self.norm {
            Norm::Linf => {
                offsets.iter_mut().for_each(|offset| *offset = offset.clamp(-self.radius, self.radius));
                self.at(&offsets)
            }
            Norm::L2 => {
                let norm = length(Norm::L2, offsets.iter().copied());
                let mut scale = if norm > self.radius { self.radius / norm } else { 1.0 };
                loop {
                    let scaled: Vec<f64> = offsets.iter().map(|offset| offset * scale).collect();
                    let point = self.at(&scaled);
                    if self.distance(&point) <= self.radius {
                        return point;
                    }
                    scale *= 1.0 - f64::from(f32::EPSILON);
                }
            }
        }
    }

    /// Centre and offsets added, each coordinate rounded so that it is not farther than its offset.
    fn at(&self, offsets: &[f64]) -> Vec<f32> {
        let rounded = |(&center, &offset): (&f32, &f64)| {
            let value = (f64::from(center) + offset) as f32;
            if (f64::from(value) - f64::from(center)).abs() <= offset.abs() {
                return value;
            }
            if value > center { value.next_down() } else { value.next_up() }
        };
        self.center.iter().zip(offsets).map(rounded).collect()
    }
}

fn length(norm: Norm, offsets: impl Iterator<Item = f64>) -> f64 {
    match norm {
        Norm::Linf => offsets.fold(0.0, |most, offset| most.max(offset.abs())),
        Norm::L2 => offsets.map(|offset| offset * offset).sum::<f64>().sqrt(),
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl RngExt) -> f64 {
    // 1 - u is never 0, whose logarithm is not finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, keyed};
    use proptest::prelude::*;

    #[test]
    fn a_step_of_linf_is_the_published_one() {
        let center = [1.0, -2.0, 0.5];
        let ball = Ball { center: &center, radius: 0.25, norm: Norm::Linf };
        let once = ball.step(&center, &[3.0, -1e-9, 0.0], 0.125);
        assert_eq!(once, [1.125, -2.125, 0.5]);
        let twice = ball.step(&once, &[1.0, 1.0, 1.0], -0.375);
        assert_eq!(twice, [0.75, -2.25, 0.25]);
        assert_eq!(ball.distance(&twice), 0.25);
    }

    #[test]
    fn a_step_of_l2_has_its_size_and_ends_on_the_sphere() {
        let center = [0.0f32; 2];
        let ball = Ball { center: &center, radius: 1.0, norm: Norm::L2 };
        let once = ball.step(&center, &[3.0, 4.0], 0.5);
        assert!((once[0] - 0.3).abs() < 1e-6 && (once[1] - 0.4).abs() < 1e-6, "{once:?}");
        let far = ball.step(&once, &[3.0, 4.0], 7.0);
        assert!((far[0] - 0.6).abs() < 1e-6 && (far[1] - 0.8).abs() < 1e-6, "{far:?}");
        assert_eq!(ball.step(&once, &[0.0, 0.0], 0.5), once);
    }

    #[test]
    fn the_control_has_the_size_of_the_ball() {
        let center = [0.25f32; 64];
        for norm in [Norm::Linf, Norm::L2] {
            let ball = Ball { center: &center, radius: 0.1, norm };
            let point = ball.random_sign(&mut keyed(0, Purpose::PerturbControl, 5));
            assert!((ball.distance(&point) - 0.1).abs() < 1e-6);
            assert!(point.iter().any(|&p| p > 0.25) && point.iter().any(|&p| p < 0.25));
        }
    }

    proptest! {
        #[test]
        fn no_step_and_no_draw_leaves_the_ball(
            center in prop::collection::vec(-1e4f32..1e4, 1..40),
            radius in 1e-9f64..10.0,
            sizes in prop::collection::vec(-20.0f64..20.0, 1..6),
            l2 in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let ball = Ball { center: &center, radius, norm: if l2 { Norm::L2 } else { Norm::Linf } };
            let mut rng = keyed(seed, Purpose::PerturbStart, 0);
            prop_assert!(ball.distance(&ball.random_sign(&mut rng)) <= radius);
            let mut at = ball.random_point(&mut rng);
            prop_assert!(ball.distance(&at) <= radius);
            for size in sizes {
                let gradient: Vec<f64> = center.iter().map(|_| normal(&mut rng)).collect();
                at = ball.step(&at, &gradient, size);
                prop_assert!(ball.distance(&at) <= radius);
            }
        }
    }
}
