//! Training of the density predictor: split, epochs, early stopping, and how good it became.

use super::file::{bias_name, weight_name};
use super::standardize::Standardization;
use super::{DensityPredictor, layer_widths, linear_layers, select};
use crate::density::correlation::spearman;
use crate::error::{Error, Result};
use crate::ops::linear::linear;
use crate::progress::{Progress, check_stop};
use crate::random::{Purpose, keyed};
use crate::remedy::Remedy;
use crate::train::{Adam, AdamConfig};
use candle_core::{Device, Tensor, Var};
use candle_nn::{Linear, loss};
use ndarray::ArrayView2;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// The published settings (Li et al., section 4.1).
const BATCH: usize = 64;
const EPOCHS: usize = 100;
const ADAM: AdamConfig = AdamConfig { lr: 1e-3, beta1: 0.9, beta2: 0.999 };
/// One row in five is held out.
const VALIDATION_SHARE: usize = 5;
/// Epochs without a better validation error before training stops (ours; the best epoch is kept either way).
const PATIENCE: usize = 10;
/// With fewer rows there is nothing to learn or to validate on.
const MIN_ROWS: usize = 10;

/// How well a predictor does on the fifth of the reference that it was not trained on (which chose its epoch).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PredictorQuality {
    /// Mean squared error of the predicted pseudo density.
    pub mse: f64,
    /// Share of the variance explained, at most 1; none where the held-out densities are all equal.
    pub r2: Option<f64>,
    /// Spearman's rank correlation with the pseudo density, -1 to 1; none where either side is constant.
    pub spearman: Option<f64>,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch that was kept, counted from 1.
    pub best_epoch: usize,
    /// Rows trained on.
    pub train_rows: usize,
    /// Rows held out.
    pub validation_rows: usize,
}

impl DensityPredictor {
    /// Trains a predictor of pseudo densities `[N]` on `features` `[N, D]`. The same seed gives the same bytes at any
    /// thread count.
    ///
    /// # Errors
    /// [`Error::Data`] if there are fewer than 10 rows, not one density per row, a value that is not finite (in single
    /// precision, for densities), or if training diverges; [`Error::Interrupted`] if it was asked to stop.
    pub fn train(
        features: ArrayView2<f32>,
        densities: &[f64],
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<(DensityPredictor, PredictorQuality)> {
        // A step is many small operations: from outside the thread pool, waking it for each would cost more than they do.
        rayon::scope(|_| Self::train_for(EPOCHS, features, densities, seed, progress))
    }

    /// [`Self::train`] for so many epochs at most.
    pub(super) fn train_for(
        most: usize,
        features: ArrayView2<f32>,
        densities: &[f64],
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<(DensityPredictor, PredictorQuality)> {
        let targets = check(features, densities)?;
        let (train_rows, validation_rows) = split(densities.len(), seed);
        let standardization = Standardization::fit(features, &train_rows)?;
        let parameters = initial_parameters(features.ncols(), seed)?;
        let layers = linear_layers(
            features.ncols(),
            parameters.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect(),
        )?;
        let mut adam = Adam::new(parameters.iter().map(|(name, var)| (name.as_str(), var)), ADAM)?;
        let validation: Vec<f64> = validation_rows.iter().map(|&row| densities[row]).collect();
        let mut best: Option<(DensityPredictor, PredictorQuality)> = None;
        let mut epochs = 0;
        progress.start("train density predictor", most as u64, "epochs");
        for epoch in 1..=most {
            let mut order = train_rows.clone();
            order.shuffle(&mut keyed(seed, Purpose::PredictorEpoch, epoch as u64));
            for batch in order.chunks(BATCH) {
                check_stop(progress, || {
                    "the density predictor is trained from the start next time".to_string()
                })?;
                let x = standardization.apply(&select(features, batch)?)?;
                let y = Tensor::from_iter(batch.iter().map(|&row| targets[row]), &Device::Cpu)?;
                adam.step(&loss::mse(&forward(&layers, x)?, &y)?.backward()?, 1.0)?;
            }
            epochs = epoch;
            progress.advance(1);
            let predictor = DensityPredictor::new(standardization.clone(), copied(&layers)?)?;
            let predicted = predictor.predict_selected(features, &validation_rows)?;
            let mse = mean_squared_error(&predicted, &validation);
            if mse.is_finite() && best.as_ref().is_none_or(|(_, best)| mse < best.mse) {
                let quality = PredictorQuality {
                    mse,
                    r2: r2(mse, &validation),
                    spearman: spearman(
                        &predicted.iter().map(|p| f64::from(*p)).collect::<Vec<_>>(),
                        &validation,
                    ),
                    epochs: 0,
                    best_epoch: epoch,
                    train_rows: train_rows.len(),
                    validation_rows: validation.len(),
                };
                best = Some((predictor, quality));
            }
            if epoch >= best.as_ref().map_or(0, |(_, best)| best.best_epoch) + PATIENCE {
                break;
            }
        }
        progress.finish();
        let (predictor, quality) = best.ok_or_else(|| {
            Error::data("the training of the density predictor diverged", Remedy::SmallerExponent)
        })?;
        Ok((predictor, PredictorQuality { epochs, ..quality }))
    }
}

/// Weights and biases as `torch.nn.Linear` draws them: Kaiming-uniform with `a = sqrt(5)`, which is uniform within
/// `1 / sqrt(inputs)` for both. From our generator, since candle's own on the CPU takes no seed.
fn initial_parameters(width: usize, seed: u64) -> Result<Vec<(String, Var)>> {
    let mut parameters = Vec::new();
    for (number, (inputs, outputs)) in layer_widths(width).into_iter().enumerate() {
        let mut rng = keyed(seed, Purpose::PredictorWeights, number as u64);
        let bound = 1.0 / (inputs as f32).sqrt();
        for (name, shape) in [(weight_name(number), &[outputs, inputs][..]), (bias_name(number), &[outputs])]
        {
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect();
            parameters.push((name, Var::from_vec(values, shape, &Device::Cpu)?));
        }
    }
    Ok(parameters)
}

/// Standardised features `[B, D]` to predicted densities `[B]`, differentiable with respect to the layers' variables. Products are ours:
/// those of candle (`Linear`'s own) take several times as long with their gradients, and may round otherwise with other threads.
fn forward(layers: &[Linear], mut x: Tensor) -> Result<Tensor> {
    for (number, layer) in layers.iter().enumerate() {
        x = linear(&x, layer.weight(), layer.bias())?;
        if number + 1 < layers.len() {
            x = x.relu()?;
        }
    }
    Ok(x.squeeze(1)?)
}

/// The layers as they are now: a step changes variables in place.
fn copied(layers: &[Linear]) -> Result<Vec<Linear>> {
    let copy = |tensor: &Tensor| tensor.detach().copy();
    let layers = layers
        .iter()
        .map(|layer| Ok(Linear::new(copy(layer.weight())?, layer.bias().map(copy).transpose()?)));
    Ok(layers.collect::<candle_core::Result<_>>()?)
}

/// The densities in single precision.
fn check(features: ArrayView2<f32>, densities: &[f64]) -> Result<Vec<f32>> {
    if features.nrows() != densities.len() {
        return Err(Error::data(
            format!("{} densities for {} images", densities.len(), features.nrows()),
            "",
        ));
    }
    if densities.len() < MIN_ROWS || features.ncols() == 0 {
        return Err(Error::data(
            format!(
                "{} images are too few to train a density predictor, which needs {MIN_ROWS}",
                densities.len()
            ),
            Remedy::NearestNeighbourDensity,
        ));
    }
    let targets: Vec<f32> = densities.iter().map(|density| *density as f32).collect();
    match targets.iter().position(|target| !target.is_finite()) {
        None => Ok(targets),
        Some(row) => Err(Error::data(
            format!("the pseudo density {} of row {row} is too large to be learnt", densities[row]),
            Remedy::SmallerExponent,
        )),
    }
}

/// Rows to train on and rows held out, each ascending.
fn split(rows: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut train: Vec<usize> = (0..rows).collect();
    train.shuffle(&mut keyed(seed, Purpose::PredictorSplit, 0));
    let mut validation = train.split_off(rows - rows / VALIDATION_SHARE);
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

fn mean_squared_error(predicted: &[f32], expected: &[f64]) -> f64 {
    let squares = predicted
        .iter()
        .zip(expected)
        .map(|(predicted, expected)| (f64::from(*predicted) - expected).powi(2));
    squares.sum::<f64>() / expected.len() as f64
}

/// `1 - mse / variance`.
fn r2(mse: f64, expected: &[f64]) -> Option<f64> {
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let variance = expected.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / expected.len() as f64;
    (variance > 0.0).then(|| 1.0 - mse / variance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::predictor::file::testing::bytes;
    use crate::density::test_support::{Fixture, gaussian};
    use crate::progress::Silent;
    use ndarray::{Array2, s};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    fn known_function(rows: usize, columns: usize) -> (Array2<f32>, Vec<f64>) {
        let features = gaussian(rows, columns, &mut ChaCha8Rng::seed_from_u64(11));
        let density = |x: &[f32]| {
            1.0 + 0.3 * f64::from(x[0]) + 0.2 * f64::from(x[1] * x[2]) - 0.4 * f64::from(x[3].abs())
        };
        let densities = features.rows().into_iter().map(|row| density(row.as_slice().unwrap())).collect();
        (features, densities)
    }

    #[test]
    fn initial_weights_are_uniform_within_the_bound_of_torch() {
        let parameters = initial_parameters(400, 1).unwrap();
        assert_eq!(parameters.len(), 8);
        for (name, bound) in [("layers.0.weight", 0.05f32), ("layers.1.weight", 512f32.sqrt().recip())] {
            let (_, var) = parameters.iter().find(|(found, _)| found == name).unwrap();
            let values: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
            assert!(values.iter().all(|w| w.abs() <= bound));
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            let variance = values.iter().map(|w| w * w).sum::<f32>() / n;
            assert!(
                mean.abs() < 0.01 * bound && (variance / (bound * bound / 3.0) - 1.0).abs() < 0.01,
                "{name}"
            );
        }
    }

    #[test]
    fn a_known_function_is_learnt() {
        let (features, densities) = known_function(1000, 5);
        let (predictor, quality) =
            DensityPredictor::train_for(15, features.view(), &densities, 1, &Silent).unwrap();
        assert!(quality.r2.unwrap() > 0.8 && quality.spearman.unwrap() > 0.9, "{quality:?}");
        assert_eq!((quality.train_rows, quality.validation_rows), (800, 200));
        assert!(quality.best_epoch <= quality.epochs && quality.epochs <= 15);

        let (_, held_out) = split(1000, 1);
        let predicted = predictor.predict_rows(features.view()).unwrap();
        let found: Vec<f32> = held_out.iter().map(|&row| predicted[row]).collect();
        let expected: Vec<f64> = held_out.iter().map(|&row| densities[row]).collect();
        assert_eq!(mean_squared_error(&found, &expected), quality.mse, "the best epoch is the one kept");
    }

    #[test]
    fn real_features_say_something_of_their_density() {
        let fixture = Fixture::load();
        let densities = fixture.per_sample("density_real_K10");
        let features = fixture.features("real_2000");
        let (_, quality) = DensityPredictor::train_for(8, features.view(), &densities, 0, &Silent).unwrap();
        assert!(quality.r2.unwrap() > 0.3 && quality.spearman.unwrap() > 0.6, "{quality:?}");
    }

    #[test]
    fn bytes_depend_on_the_seed_and_not_on_the_threads() {
        let (features, densities) = known_function(333, 13);
        let train = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let train = || DensityPredictor::train_for(3, features.view(), &densities, seed, &Silent);
            let (predictor, quality) = pool.install(train).unwrap();
            (bytes(&predictor), serde_json::to_string(&quality).unwrap())
        };
        let one = train(1, 5);
        assert_eq!(one, train(2, 5));
        assert_eq!(one, train(7, 5));
        assert_ne!(one, train(1, 6));
    }

    #[test]
    fn a_fifth_is_held_out_and_every_row_is_used_once() {
        for rows in [10, 11, 64, 1001] {
            let (train, validation) = split(rows, 3);
            assert_eq!(validation.len(), rows / 5);
            let all: BTreeSet<usize> = train.iter().chain(&validation).copied().collect();
            assert_eq!((all.len(), train.len() + validation.len()), (rows, rows));
        }
        assert_ne!(split(64, 3), split(64, 4));
    }

    #[test]
    fn ten_rows_can_be_trained_on_and_nine_cannot() {
        let (features, densities) = known_function(10, 4);
        let (_, quality) = DensityPredictor::train(features.view(), &densities, 0, &Silent).unwrap();
        assert_eq!((quality.train_rows, quality.validation_rows), (8, 2));
        let error =
            DensityPredictor::train(features.slice(s![..9, ..]), &densities[..9], 0, &Silent).unwrap_err();
        assert!(matches!(error, Error::Data { .. }));
        let expected = "9 images are too few to train a density predictor, which needs 10";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn unusable_numbers_are_refused() {
        let (mut features, mut densities) = known_function(20, 4);
        assert!(DensityPredictor::train(features.view(), &densities[..19], 0, &Silent).is_err());
        densities[7] = 1e300;
        let error = DensityPredictor::train(features.view(), &densities, 0, &Silent).unwrap_err();
        assert!(error.hint().unwrap().contains("SmallerExponent"));
        densities[7] = 1.0;
        features.fill(f32::NAN);
        assert!(matches!(
            DensityPredictor::train(features.view(), &densities, 0, &Silent),
            Err(Error::Data { .. })
        ));
    }

    #[test]
    fn equal_densities_have_a_quality_without_correlation() {
        let (features, _) = known_function(40, 4);
        let (_, quality) = DensityPredictor::train(features.view(), &[1.0; 40], 0, &Silent).unwrap();
        assert_eq!(quality.r2, None);
        assert_eq!(quality.spearman, None);
        let json = serde_json::to_string(&quality).unwrap();
        assert_eq!(serde_json::from_str::<PredictorQuality>(&json).unwrap().r2, None);
    }

    #[test]
    fn progress_counts_epochs() {
        struct Count(Mutex<(u64, u64)>);
        impl Progress for Count {
            fn start(&self, _: &str, total: u64, unit: &'static str) {
                assert_eq!(unit, "epochs");
                self.0.lock().unwrap().0 = total;
            }
            fn advance(&self, done: u64) {
                self.0.lock().unwrap().1 += done;
            }
            fn finish(&self) {}
            fn warn(&self, _: &str) {}
            fn stop_requested(&self) -> bool {
                false
            }
        }
        let (features, densities) = known_function(50, 4);
        let count = Count(Mutex::new((0, 0)));
        let (_, quality) = DensityPredictor::train(features.view(), &densities, 0, &count).unwrap();
        assert_eq!(*count.0.lock().unwrap(), (EPOCHS as u64, quality.epochs as u64));
    }
}
