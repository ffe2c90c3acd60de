//! The ball around a latent that a search never leaves, and the steps inside it (Li et al., TMLR 2024, section 3.3, for `linf`).
//! Latents are float32; offsets from the centre are computed in float64 and rounded towards the centre. All of it on the device that
//! the latents are on.

use crate::error::Result;
use candle_core::{D, DType, Tensor};
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

/// The balls of one radius around the latents of a batch.
#[derive(Debug, Clone)]
pub(super) struct Balls {
    /// The latents that are perturbed, `[B, L]` in float64.
    centers: Tensor,
    /// Epsilon, above 0.
    radius: f64,
    norm: Norm,
    /// The shape of the latents, `[B, …]`.
    shape: Vec<usize>,
}

/// Part of the magnitude of a float32 that is more than half the distance to its neighbour and less than one and a half, on both
/// sides of a power of two.
const TO_NEIGHBOR: f64 = 1.25 / (1u64 << f32::MANTISSA_DIGITS) as f64;
/// The distance of two float32 below the smallest normal one.
const SUBNORMAL_STEP: f64 = f32::from_bits(1) as f64;

impl Balls {
    /// Around the latents `centers` `[B, …]`.
    ///
    /// # Errors
    /// What the device returns.
    pub(super) fn new(centers: &Tensor, radius: f64, norm: Norm) -> Result<Self> {
        Ok(Self { centers: rows(centers)?, radius, norm, shape: centers.dims().to_vec() })
    }

    /// Distance of each point of `points` `[B, …]` from its centre, `[B]`.
    ///
    /// # Errors
    /// If the shapes differ.
    #[cfg(test)]
    pub(super) fn distances(&self, points: &Tensor) -> Result<Vec<f64>> {
        Ok(length(self.norm, &(rows(points)? - &self.centers)?)?.flatten_all()?.to_vec1()?)
    }

    /// One step of length `size` from `points` `[B, …]` along `gradients` (against them where `size` is negative), brought back into
    /// the balls: `clip(z + size * sign(g), z0 - eps, z0 + eps)`, or with [`Norm::L2`] along `g / |g|` and scaled back to the sphere.
    ///
    /// # Errors
    /// If the shapes differ.
    pub(super) fn step(&self, points: &Tensor, gradients: &Tensor, size: f64) -> Result<Tensor> {
        let direction = self.direction(&rows(gradients)?)?;
        self.within(((rows(points)? - &self.centers)? + (direction * size)?)?)
    }

    /// The points at the distance `size` from the centres, along the directions `[B, L]` or, where it is negative, against them.
    ///
    /// # Errors
    /// What the device returns.
    pub(super) fn towards(&self, directions: &[Vec<f64>], size: f64) -> Result<Tensor> {
        let directions = Tensor::from_vec(directions.concat(), self.centers.shape(), self.centers.device())?;
        self.within((self.direction(&directions)? * size)?)
    }

    /// What a step of size 1 along these gradients adds to each coordinate.
    fn direction(&self, gradients: &Tensor) -> Result<Tensor> {
        Ok(match self.norm {
            Norm::Linf => gradients.sign()?,
            Norm::L2 => {
                let norm = length(Norm::L2, gradients)?;
                // A gradient of 0 has no direction: its row stays 0, whatever it is divided by.
                gradients.broadcast_div(&(&norm + norm.eq(0.0)?.to_dtype(DType::F64)?)?)?
            }
        })
    }

    /// A point of each ball, drawn evenly from it by the row's own stream.
    ///
    /// # Errors
    /// What the device returns.
    pub(super) fn random_points<R: RngExt>(&self, streams: impl Iterator<Item = R>) -> Result<Tensor> {
        let (radius, width) = (self.radius, self.width());
        self.drawn(streams, |rng| match self.norm {
            Norm::Linf => (0..width).map(|_| radius * rng.random_range(-1.0..1.0)).collect(),
            Norm::L2 => {
                let direction: Vec<f64> = (0..width).map(|_| normal(rng)).collect();
                let norm = direction.iter().map(|d| d * d).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                let radius = radius * rng.random::<f64>().powf(1.0 / width.max(1) as f64);
                direction.iter().map(|d| d / norm * radius).collect()
            }
        })
    }

    /// The point of each ball's surface in the direction of random signs: the paper's control.
    ///
    /// # Errors
    /// What the device returns.
    pub(super) fn random_signs<R: RngExt>(&self, streams: impl Iterator<Item = R>) -> Result<Tensor> {
        let width = self.width();
        let size = match self.norm {
            Norm::Linf => self.radius,
            Norm::L2 => self.radius / (width.max(1) as f64).sqrt(),
        };
        self.drawn(streams, |rng| {
            (0..width).map(|_| if rng.random::<bool>() { size } else { -size }).collect()
        })
    }

    /// Coordinates of a latent.
    pub(super) fn width(&self) -> usize {
        self.centers.dims().last().copied().unwrap_or_default()
    }

    fn drawn<R: RngExt>(
        &self,
        streams: impl Iterator<Item = R>,
        offsets: impl Fn(&mut R) -> Vec<f64>,
    ) -> Result<Tensor> {
        let offsets: Vec<f64> = streams.flat_map(|mut rng| offsets(&mut rng)).collect();
        self.within(Tensor::from_vec(offsets, self.centers.shape(), self.centers.device())?)
    }

    /// The nearest points of the balls for these offsets `[B, L]` from the centres, `[B, …]` in float32.
    fn within(&self, offsets: Tensor) -> Result<Tensor> {
        let points = match self.norm {
            Norm::Linf => self.at(&offsets.clamp(-self.radius, self.radius)?)?,
            Norm::L2 => {
                let norm = length(Norm::L2, &offsets)?;
                let ones = norm.ones_like()?;
                let longer = norm.gt(self.radius)?;
                let mut scale =
                    longer.where_cond(&(&ones * self.radius)?.div(&norm.maximum(self.radius)?)?, &ones)?;
                let smaller = 1.0 - f64::from(f32::EPSILON);
                loop {
                    let points = self.at(&offsets.broadcast_mul(&scale)?)?;
                    let outside = length(self.norm, &(rows(&points)? - &self.centers)?)?.gt(self.radius)?;
                    if outside.flatten_all()?.to_vec1::<u8>()?.iter().all(|&outside| outside == 0) {
                        break points;
                    }
                    scale = outside.where_cond(&(&scale * smaller)?, &scale)?;
                }
            }
        };
        Ok(points.reshape(self.shape.as_slice())?)
    }

    /// Centres and offsets added in float32, each coordinate rounded so that it is not farther than its offset.
    fn at(&self, offsets: &Tensor) -> Result<Tensor> {
        let points = (&self.centers + offsets)?.to_dtype(DType::F32)?.to_dtype(DType::F64)?;
        let moved = (&points - &self.centers)?;
        let too_far = moved.abs()?.gt(&offsets.abs()?)?;
        let step = (points.abs()? * TO_NEIGHBOR)?.maximum(SUBNORMAL_STEP)?;
        let nearer = (&points - (moved.sign()? * step)?)?;
        Ok(too_far.where_cond(&nearer, &points)?.to_dtype(DType::F32)?)
    }
}

/// A row for each latent, in float64.
fn rows(latents: &Tensor) -> Result<Tensor> {
    Ok(latents.flatten_from(1)?.to_dtype(DType::F64)?)
}

/// The length of each row, `[B, 1]`.
fn length(norm: Norm, rows: &Tensor) -> Result<Tensor> {
    Ok(match norm {
        Norm::Linf => rows.abs()?.max_keepdim(D::Minus1)?,
        Norm::L2 => rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?,
    })
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
    use candle_core::Device;
    use proptest::prelude::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()
    }

    fn values(points: &Tensor) -> Vec<f32> {
        points.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn balls(center: &[f32], radius: f64, norm: Norm) -> Balls {
        Balls::new(&tensor(center), radius, norm).unwrap()
    }

    #[test]
    fn a_step_of_linf_is_the_published_one() {
        let center = [1.0, -2.0, 0.5];
        let ball = balls(&center, 0.25, Norm::Linf);
        let once = ball.step(&tensor(&center), &tensor(&[3.0, -1e-9, 0.0]), 0.125).unwrap();
        assert_eq!(values(&once), [1.125, -2.125, 0.5]);
        let twice = ball.step(&once, &tensor(&[1.0, 1.0, 1.0]), -0.375).unwrap();
        assert_eq!(values(&twice), [0.75, -2.25, 0.25]);
        assert_eq!(ball.distances(&twice).unwrap(), [0.25]);
    }

    #[test]
    fn a_step_of_l2_has_its_size_and_ends_on_the_sphere() {
        let center = [0.0f32; 2];
        let ball = balls(&center, 1.0, Norm::L2);
        let along = tensor(&[3.0, 4.0]);
        let once = ball.step(&tensor(&center), &along, 0.5).unwrap();
        let near = |a: &Tensor, b: [f32; 2]| values(a).iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&once, [0.3, 0.4]), "{once}");
        let far = ball.step(&once, &along, 7.0).unwrap();
        assert!(near(&far, [0.6, 0.8]), "{far}");
        let stays = ball.step(&once, &tensor(&[0.0, 0.0]), 0.5).unwrap();
        assert_eq!(values(&stays), values(&once));
    }

    #[test]
    fn each_latent_of_a_batch_has_its_own_ball_and_keeps_its_shape() {
        let centers = Tensor::new(&[[[1f32, 2.0]], [[-3.0, 4.0]]], &Device::Cpu).unwrap();
        let gradients = Tensor::new(&[[[1f32, -1.0]], [[0.0, 2.0]]], &Device::Cpu).unwrap();
        for norm in [Norm::Linf, Norm::L2] {
            let ball = Balls::new(&centers, 0.5, norm).unwrap();
            let moved = ball.step(&centers, &gradients, 0.25).unwrap();
            assert_eq!(moved.dims(), [2, 1, 2]);
            for row in 0..2 {
                let only = |t: &Tensor| t.narrow(0, row, 1).unwrap();
                let alone = Balls::new(&only(&centers), 0.5, norm).unwrap();
                let alone = alone.step(&only(&centers), &only(&gradients), 0.25).unwrap();
                assert_eq!(values(&alone), values(&only(&moved)));
            }
        }
    }

    #[test]
    fn the_control_has_the_size_of_the_ball() {
        let center = [0.25f32; 64];
        for norm in [Norm::Linf, Norm::L2] {
            let ball = balls(&center, 0.1, norm);
            let point = ball.random_signs([keyed(0, Purpose::PerturbControl, 5)].into_iter()).unwrap();
            assert!((ball.distances(&point).unwrap()[0] - 0.1).abs() < 1e-6);
            let point = values(&point);
            assert!(point.iter().any(|&p| p > 0.25) && point.iter().any(|&p| p < 0.25));
        }
    }

    /// Centre and offset added and rounded towards the centre, by the neighbours of a float32 as the standard library has them.
    fn rounded(center: f32, offset: f64) -> f32 {
        let value = (f64::from(center) + offset) as f32;
        if (f64::from(value) - f64::from(center)).abs() <= offset.abs() {
            return value;
        }
        if value > center { value.next_down() } else { value.next_up() }
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
            let ball = balls(&center, radius, if l2 { Norm::L2 } else { Norm::Linf });
            let mut rng = keyed(seed, Purpose::PerturbStart, 0);
            let inside = |point: &Tensor| ball.distances(point).unwrap()[0] <= radius;
            prop_assert!(inside(&ball.random_signs([&mut rng].into_iter()).unwrap()));
            let mut at = ball.random_points([&mut rng].into_iter()).unwrap();
            prop_assert!(inside(&at));
            for size in sizes {
                let gradient: Vec<f32> = center.iter().map(|_| normal(&mut rng) as f32).collect();
                at = ball.step(&at, &tensor(&gradient), size).unwrap();
                prop_assert!(inside(&at));
            }
        }

        #[test]
        fn a_coordinate_is_rounded_towards_its_centre(
            bits in prop::collection::vec(any::<u32>(), 1..40),
            near_a_power_of_two in any::<bool>(),
            part in -1e-6f64..1e-6,
        ) {
            let center: Vec<f32> = bits
                .into_iter()
                .map(|bits| f32::from_bits(if near_a_power_of_two { bits & 0xff80_0001 } else { bits }))
                .filter(|value| value.abs() < 1e30)
                .collect();
            let offsets: Vec<f64> = center.iter().map(|&c| part * f64::from(c)).collect();
            let expected: Vec<f32> = center.iter().zip(&offsets).map(|(&c, &o)| rounded(c, o)).collect();
            let ball = balls(&center, 1.0, Norm::Linf);
            let offsets = Tensor::from_slice(&offsets, (1, offsets.len()), &Device::Cpu).unwrap();
            prop_assert_eq!(values(&ball.at(&offsets).unwrap()), expected);
        }
    }
}
