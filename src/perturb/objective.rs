//! The densities that a search moves along: rule 2 for the neighbours of the moment, or the predictor of rule 3.
//! Both give values as they are reported, and gradients with respect to the features in closed form or by the tensor graph.

use crate::density::{DensityPredictor, PseudoDensity};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::reference::{Reference, Scorer};
use candle_core::{Device, Var};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

/// A density of features with its gradient.
pub trait Objective: Sync {
    /// The density of each row of `features` `[B, D]`, as it is reported, `[B]`. A row's value depends on no other row.
    ///
    /// # Errors
    /// If the features are not finite or of another width.
    fn values(&self, features: ArrayView2<f32>) -> Result<Vec<f64>>;

    /// The gradient of each row's density with respect to its features, `[B, D]`. A row's gradient depends on no other row.
    ///
    /// # Errors
    /// As [`Objective::values`].
    fn gradients(&self, features: ArrayView2<f64>) -> Result<Array2<f64>>;
}

/// Rule 2 against a reference (`--density knn`): the neighbours are found anew for every feature.
pub struct KnnDensity<'a>(pub &'a Scorer);

impl Objective for KnnDensity<'_> {
    fn values(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        Ok(self.0.score(features, None, &Silent)?.pseudo_density)
    }

    fn gradients(&self, features: ArrayView2<f64>) -> Result<Array2<f64>> {
        let neighbors = self.0.neighbors(features.mapv(|v| v as f32).view(), None, &Silent)?;
        let reference = self.0.features();
        let mut gradients = Array2::zeros(features.dim());
        for (q, mut gradient) in gradients.outer_iter_mut().enumerate() {
            let rows: Vec<_> = neighbors.of(q).0.iter().map(|&row| reference.row(row as usize)).collect();
            gradient.assign(&knn_gradient(features.row(q), &rows, self.0.model()));
        }
        Ok(gradients)
    }
}

/// The gradient of rule 2 at `feature` `[D]` for fixed `neighbors`: `-n rho / d_K * mean_j (f - x_j) / |f - x_j|`.
/// A neighbour at distance 0 adds nothing: its distance has no slope there.
pub fn knn_gradient(
    feature: ArrayView1<f64>,
    neighbors: &[ArrayView1<f32>],
    model: &PseudoDensity,
) -> Array1<f64> {
    let count = neighbors.len().max(1) as f64;
    let mut mean_distance = 0.0;
    let mut slope = Array1::zeros(feature.len());
    for neighbor in neighbors {
        let difference = &feature - &neighbor.mapv(f64::from);
        let distance = difference.dot(&difference).sqrt();
        if distance > 0.0 {
            mean_distance += distance / count;
            slope.scaled_add(1.0 / (distance * count), &difference);
        }
    }
    if mean_distance > 0.0 {
        slope *= -model.exponent * model.density(mean_distance) / mean_distance;
    }
    slope
}

/// The predictor of a reference (`--density predictor`, the paper's).
pub struct PredictedDensity {
    predictor: DensityPredictor,
}

impl PredictedDensity {
    /// The predictor that `pd index` trained; `None` where it trained none.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if the reference is not indexed or the file is damaged.
    pub fn open(reference: &Reference) -> Result<Option<Self>> {
        if reference.density()?.predictor.is_none() {
            return Ok(None);
        }
        Ok(Some(Self::new(reference.predictor()?)))
    }

    /// Of a trained predictor.
    pub fn new(predictor: DensityPredictor) -> Self {
        Self { predictor }
    }
}

impl Objective for PredictedDensity {
    fn values(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        Ok(self.predictor.predict_rows(features)?.into_iter().map(f64::from).collect())
    }

    fn gradients(&self, features: ArrayView2<f64>) -> Result<Array2<f64>> {
        let values: Vec<f32> = features.iter().map(|&v| v as f32).collect();
        let rows = Var::from_vec(values, features.dim(), &Device::Cpu)?;
        let grads = self.predictor.predict(&rows)?.sum_all()?.backward()?;
        let Some(found) = grads.get(&rows) else { return Ok(Array2::zeros(features.dim())) };
        let found = found.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        Array2::from_shape_vec(features.dim(), found).map_err(|e| Error::data(e.to_string(), ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(exponent: f64) -> PseudoDensity {
        PseudoDensity { k: 3, exponent, rows: 100, floor: 0.5, scaled_sum: 20.0 }
    }

    #[test]
    fn the_gradient_of_rule_2_is_that_of_central_differences() {
        let rows: [[f32; 4]; 3] = [[0.0, 1.0, 2.0, -1.0], [1.5, 0.0, 0.25, 0.5], [-1.0, -1.0, 0.0, 3.0]];
        let neighbors: Vec<ArrayView1<f32>> = rows.iter().map(ArrayView1::from).collect();
        let feature = ndarray::array![0.3, -0.7, 1.1, 0.2];
        for exponent in [1.0, 2.5] {
            let model = model(exponent);
            // The plain formula, in plain loops.
            let rho = |f: &Array1<f64>| {
                let distance = |row: &[f32; 4]| {
                    row.iter().zip(f).map(|(&x, &f)| (f - f64::from(x)).powi(2)).sum::<f64>().sqrt()
                };
                let mean = rows.iter().map(distance).sum::<f64>() / 3.0;
                (0.5 / mean).powf(exponent) * 100.0 / 20.0
            };
            let gradient = knn_gradient(feature.view(), &neighbors, &model);
            for i in 0..4 {
                const STEP: f64 = 1e-6;
                let at = |step: f64| {
                    let mut moved = feature.clone();
                    moved[i] += step;
                    rho(&moved)
                };
                let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((gradient[i] - difference).abs() < 1e-8, "{} and {difference}", gradient[i]);
            }
        }
    }

    #[test]
    fn on_a_neighbour_the_gradient_is_finite() {
        let rows = [[1.0f32, 2.0], [4.0, 6.0]];
        let neighbors: Vec<ArrayView1<f32>> = rows.iter().map(ArrayView1::from).collect();
        let gradient = knn_gradient(ndarray::array![1.0, 2.0].view(), &neighbors, &model(1.0));
        assert!(gradient.iter().all(|g| g.is_finite() && *g > 0.0), "{gradient}");
        let gradient = knn_gradient(ndarray::array![1.0, 2.0].view(), &neighbors[..1], &model(1.0));
        assert_eq!(gradient, ndarray::array![0.0, 0.0]);
    }
}
