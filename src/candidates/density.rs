//! Densities of features against a reference, by nearest neighbours (Li et al., TMLR 2024, section 3.1) or by the density predictor
//! (section 3.2), with their gradients with respect to the features.

use super::record::CandidateScores;
use crate::density::{DensityPredictor, PseudoDensity};
use crate::error::{Error, Result};
use crate::progress::{Progress, Silent, Unreported};
use crate::reference::{DensityBy, Reference, Scorer};
use crate::remedy::Remedy;
use candle_core::{Device, Var};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

/// A density of features. A row's density and gradient depend on no other row.
pub(crate) trait Density: Sync {
    /// The density of each row of `features` `[B, D]`, `[B]`.
    ///
    /// # Errors
    /// If the features are not finite or of another width.
    fn densities(&self, features: ArrayView2<f32>) -> Result<Vec<f64>>;

    /// The same densities (those of the features in float32), and the gradient of each with respect to its features, `[B, D]`.
    ///
    /// # Errors
    /// As [`Density::densities`].
    fn densities_and_gradients(&self, features: ArrayView2<f64>) -> Result<(Vec<f64>, Array2<f64>)>;
}

/// The densities that a reference gives.
pub struct ReferenceDensity {
    scorer: Scorer,
    predictor: Option<BoundedPredictor>,
    by: DensityBy,
}

/// A density predictor whose densities are never below the lowest of a real image: a regression may fall below 0, of which no weight
/// can be made.
struct BoundedPredictor {
    predictor: DensityPredictor,
    lowest: f64,
}

impl ReferenceDensity {
    /// From a reference that is open. The predictor is asked where `by` says so; where it does not, one may be given for comparison.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no predictor where `by` asks for one.
    pub fn new(scorer: Scorer, predictor: Option<DensityPredictor>, by: DensityBy) -> Result<Self> {
        if by == DensityBy::Predictor && predictor.is_none() {
            return Err(Error::usage("the reference has no density predictor", Remedy::TrainPredictor));
        }
        let lowest = scorer.distribution().sorted().first().copied().unwrap_or_default();
        let predictor = predictor.map(|predictor| BoundedPredictor { predictor, lowest });
        Ok(Self { scorer, predictor, by })
    }

    /// Reads a reference, and its predictor where `by` asks for it. Exact search multiplies matrices on `device`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the reference is damaged, not indexed, or has no predictor where one is asked for.
    pub fn open(
        reference: &Reference,
        by: DensityBy,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let scorer = Scorer::open(reference, device, progress)?;
        let predictor = match by {
            DensityBy::Knn => None,
            DensityBy::Predictor => Some(reference.predictor()?),
        };
        Self::new(scorer, predictor, by)
    }

    /// The reference.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// Which density is asked for.
    pub fn by(&self) -> DensityBy {
        self.by
    }

    /// Scores of features `[Q, D]`; `own[q]` is the row of the reference that is the candidate itself.
    ///
    /// # Errors
    /// [`Error::Data`] if the features do not fit the reference.
    pub fn scores(
        &self,
        features: ArrayView2<f32>,
        own: Option<&[Option<u32>]>,
        progress: &dyn Progress,
    ) -> Result<CandidateScores> {
        let scores = self.scorer.score(features, own, &Unreported(progress))?;
        let predicted = match self.by {
            DensityBy::Knn => None,
            DensityBy::Predictor => self.predicted(features)?,
        };
        Ok(CandidateScores { scores, predicted })
    }

    /// Pseudo densities `[B]` by nearest neighbours, whatever density is asked for.
    ///
    /// # Errors
    /// As [`ReferenceDensity::scores`].
    pub fn pseudo_densities(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        self.scorer.densities(features)
    }

    /// Predicted densities `[B]`, whatever density is asked for; `None` without a predictor.
    ///
    /// # Errors
    /// If the features are of another width.
    pub fn predicted(&self, features: ArrayView2<f32>) -> Result<Option<Vec<f64>>> {
        self.predictor.as_ref().map(|predictor| predictor.densities(features)).transpose()
    }
}

impl Density for ReferenceDensity {
    fn densities(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        match (self.by, &self.predictor) {
            (DensityBy::Predictor, Some(predictor)) => predictor.densities(features),
            _ => self.pseudo_densities(features),
        }
    }

    fn densities_and_gradients(&self, features: ArrayView2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
        let rounded = features.mapv(|v| v as f32);
        if let (DensityBy::Predictor, Some(predictor)) = (self.by, &self.predictor) {
            return predictor.densities_and_gradients(rounded.view());
        }
        let neighbors = self.scorer.neighbors(rounded.view(), None, &Silent)?;
        let (reference, model) = (self.scorer.features(), self.scorer.model());
        let mut gradients = Array2::zeros(features.dim());
        for (q, mut gradient) in gradients.outer_iter_mut().enumerate() {
            let rows: Vec<_> = neighbors.of(q).0.iter().map(|&row| reference.row(row as usize)).collect();
            gradient.assign(&knn_gradient(features.row(q), &rows, model));
        }
        let densities = neighbors.mean_distances().into_iter().map(|d| model.density(d)).collect();
        Ok((densities, gradients))
    }
}

impl BoundedPredictor {
    fn densities(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        Ok(self.bounded(self.predictor.predict_rows(features)?))
    }

    /// The gradients are those of the predictions before the bound is applied: with it they would be 0 where a search most needs a
    /// direction.
    fn densities_and_gradients(&self, features: ArrayView2<f32>) -> Result<(Vec<f64>, Array2<f64>)> {
        let values: Vec<f32> = features.iter().copied().collect();
        let rows = Var::from_vec(values, features.dim(), &Device::Cpu)?;
        let predicted = self.predictor.predict(&rows)?;
        let densities = self.bounded(predicted.to_vec1()?);
        let gradients = match predicted.sum_all()?.backward()?.get(&rows) {
            Some(found) => {
                let found = found.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
                Array2::from_shape_vec(features.dim(), found).map_err(|e| Error::data(e.to_string(), ""))?
            }
            None => Array2::zeros(features.dim()),
        };
        Ok((densities, gradients))
    }

    fn bounded(&self, raw: Vec<f32>) -> Vec<f64> {
        raw.into_iter().map(|rho| f64::from(rho).max(self.lowest)).collect()
    }
}

/// The gradient of the pseudo density at `feature` `[D]` for fixed `neighbors`: `-n rho / d_K * mean_j (f - x_j) / |f - x_j|`.
/// A neighbour at distance 0 adds nothing: its distance has no slope there.
pub(super) fn knn_gradient(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::IndexKind;
    use crate::reference::score::{Duplicates, ScoreOptions};

    fn model(exponent: f64) -> PseudoDensity {
        PseudoDensity { k: 3, exponent, rows: 100, floor: 0.5, scaled_sum: 20.0 }
    }

    #[test]
    fn the_gradient_of_the_pseudo_density_is_that_of_central_differences() {
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

    /// Features around a line, and an indexed reference of them with its predictor.
    fn reference(by: DensityBy, duplicates: Duplicates) -> (ReferenceDensity, Array2<f32>) {
        let mut features =
            Array2::from_shape_fn((90, 4), |(i, j)| ((i * 7 + j * 13) as f32 * 0.37).sin() + 0.02 * i as f32);
        let first = features.row(0).to_owned();
        features.row_mut(1).assign(&first);
        let options = ScoreOptions { k: 5, exponent: 1.5, duplicates, index: IndexKind::Exact, seed: 0 };
        let (scorer, _) =
            Scorer::of_features(features.clone().into_shared(), options, &Device::Cpu, &Silent).unwrap();
        let known = scorer.score(features.view(), None, &Silent).unwrap().pseudo_density;
        let (predictor, _) = DensityPredictor::train(features.view(), &known, 0, &Silent).unwrap();
        (ReferenceDensity::new(scorer, Some(predictor), by).unwrap(), features)
    }

    #[test]
    fn densities_are_those_of_the_scores_with_and_without_gradients() {
        for by in [DensityBy::Knn, DensityBy::Predictor] {
            for duplicates in [Duplicates::Keep, Duplicates::Collapse] {
                let (density, features) = reference(by, duplicates);
                let scores = density.scores(features.view(), None, &Silent).unwrap();
                assert_eq!(scores.predicted.is_some(), by == DensityBy::Predictor);
                assert_eq!(density.densities(features.view()).unwrap(), scores.densities());
                let (values, _) = density.densities_and_gradients(features.mapv(f64::from).view()).unwrap();
                assert_eq!(values, scores.densities());
                assert_eq!(density.pseudo_densities(features.view()).unwrap(), scores.scores.pseudo_density);
            }
        }
    }

    #[test]
    fn no_predicted_density_is_below_the_lowest_real_one_and_the_gradient_still_points_somewhere() {
        let (density, features) = reference(DensityBy::Predictor, Duplicates::Keep);
        let predictor = density.predictor.as_ref().unwrap().predictor.clone();
        let raw = predictor.predict_rows(features.view()).unwrap();
        let mut sorted = raw.clone();
        sorted.sort_by(f32::total_cmp);
        // A bound that half of the predictions are below.
        let bounded = BoundedPredictor { predictor, lowest: sorted[sorted.len() / 2].into() };
        let (densities, gradients) = bounded.densities_and_gradients(features.view()).unwrap();
        for ((raw, density), gradient) in raw.iter().zip(densities).zip(gradients.outer_iter()) {
            assert_eq!(density, f64::from(*raw).max(bounded.lowest));
            assert!(gradient.iter().any(|g| *g != 0.0));
        }
    }

    #[test]
    fn without_a_predictor_its_densities_are_refused() {
        let (density, _) = reference(DensityBy::Knn, Duplicates::Keep);
        let error = ReferenceDensity::new(density.scorer, None, DensityBy::Predictor).err().unwrap();
        assert!(matches!(error, Error::Usage { .. }));
    }
}
