//! The map that transports one Gaussian onto another: what the gradient of the Fréchet distance is made of (Dowson and Landau 1982;
//! Takatsu 2011).

use super::matrix::{inverse_square_root, multiply};
use super::statistics::{RootedStatistics, Statistics};
use crate::error::Result;
use ndarray::Array2;

/// What takes the Gaussian of generated features onto that of real ones.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    /// `T` `[D, D]`, symmetric, with `T S_g T = S_r` for the covariances `S_g` of the generated and `S_r` of the real features.
    pub map: Array2<f64>,
    /// The squared Fréchet distance of both.
    pub distance: f64,
}

/// `T = R (R S_g R)^(-1/2) R` with `R = S_r^(1/2)`. Neither covariance may be singular.
///
/// The squared Fréchet distance grows by `2 (m_g - m_r) . dm` with a step `dm` of the generated mean and by `tr((I - T) dS)` with a
/// step `dS` of the generated covariance.
///
/// # Errors
/// [`crate::Error::Data`] if a covariance is singular or not finite.
pub(crate) fn transport(real: &RootedStatistics, generated: &Statistics) -> Result<Transport> {
    let root = real.root.view();
    let product = multiply(multiply(root, generated.covariance.view()).view(), root);
    let (inverse, trace) = inverse_square_root(product.view())?;
    let map = multiply(multiply(root, inverse.view()).view(), root);
    let first = &real.statistics;
    let mean_term: f64 = first.mean.iter().zip(&generated.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let distance =
        mean_term + first.covariance.diag().sum() + generated.covariance.diag().sum() - 2.0 * trace;
    Ok(Transport { map, distance })
}

#[cfg(test)]
mod tests {
    use super::super::frechet::frechet_distance;
    use super::*;
    use crate::progress::Silent;
    use ndarray::Array1;

    fn features(rows: usize, scale: f32) -> Array2<f32> {
        Array2::from_shape_fn((rows, 5), |(i, j)| {
            scale * ((i * 37 + j * 11 + i * j * 3) as f32).sin() + j as f32
        })
    }

    fn statistics() -> (RootedStatistics, Statistics) {
        let of = |rows, scale| Statistics::of(features(rows, scale).view(), &Silent).unwrap();
        (of(200, 1.0).rooted().unwrap(), of(90, 0.4))
    }

    #[test]
    fn the_map_takes_one_covariance_to_the_other_and_the_distance_is_the_metric() {
        let (real, generated) = statistics();
        let Transport { map, distance } = transport(&real, &generated).unwrap();
        let moved = map.dot(&generated.covariance).dot(&map);
        assert!((&moved - &real.statistics().covariance).iter().all(|d| d.abs() < 1e-9), "{moved}");
        assert!((&map - &map.t()).iter().all(|d| d.abs() < 1e-9));
        assert!((distance - frechet_distance(&real, &generated).unwrap()).abs() < 1e-9);
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let (real, generated) = statistics();
        let map = transport(&real, &generated).unwrap().map;
        let slope = Array2::<f64>::eye(5) - &map;
        let step = 1e-5;
        let at = |mean: &Array1<f64>, covariance: &Array2<f64>| {
            let moved = Statistics { mean: mean.clone(), covariance: covariance.clone(), rows: None };
            frechet_distance(&real, &moved).unwrap()
        };
        for i in 0..5 {
            let mut ends = [generated.mean.clone(), generated.mean.clone()];
            ends[0][i] += step;
            ends[1][i] -= step;
            let found =
                (at(&ends[0], &generated.covariance) - at(&ends[1], &generated.covariance)) / (2.0 * step);
            let expected = 2.0 * (generated.mean[i] - real.statistics().mean[i]);
            assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} {expected}");
            for j in 0..=i {
                let mut ends = [generated.covariance.clone(), generated.covariance.clone()];
                for (end, sign) in ends.iter_mut().zip([1.0, -1.0]) {
                    end[[i, j]] += sign * step;
                    if i != j {
                        end[[j, i]] += sign * step;
                    }
                }
                let found = (at(&generated.mean, &ends[0]) - at(&generated.mean, &ends[1])) / (2.0 * step);
                let expected = if i == j { slope[[i, i]] } else { slope[[i, j]] + slope[[j, i]] };
                assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_singular_covariance_is_refused() {
        let (real, mut generated) = statistics();
        generated.covariance.fill(0.0);
        assert!(transport(&real, &generated).is_err());
    }
}
