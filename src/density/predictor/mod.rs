//! The density predictor (Li et al., TMLR 2024, section 3.2): a network that predicts the pseudo density of a feature, cheaply and
//! differentiably. An MLP `D -> 512 -> 256 -> 128 -> 1` with ReLU, on standardised features.

mod file;
mod standardize;
mod train;

pub(crate) use train::PredictorQuality;

use crate::error::{Error, Result};
use crate::ops;
use crate::ops::activation::Activation;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, VarBuilder};
use ndarray::ArrayView2;
use standardize::Standardization;
use std::collections::HashMap;
use std::fmt;

/// Widths of the hidden layers.
const HIDDEN: [usize; 3] = [512, 256, 128];

/// Rows that are predicted together: bounds the memory, changes no result.
const ROWS_TOGETHER: usize = 4096;

/// (inputs, outputs) of each layer of a predictor for features of this width.
fn layer_widths(width: usize) -> [(usize, usize); HIDDEN.len() + 1] {
    let mut inputs = width;
    std::array::from_fn(|i| {
        let outputs = HIDDEN.get(i).copied().unwrap_or(1);
        (std::mem::replace(&mut inputs, outputs), outputs)
    })
}

/// Where the tensors of a layer stand: `layers.0.weight` and `layers.0.bias`, as a PyTorch module would name them.
fn layer_name(number: usize) -> String {
    format!("layers.{number}")
}

/// The layers of a predictor for features of this width, of the tensors with their names. They keep the tensors themselves: layers of
/// variables are trained when the variables are.
fn linear_layers(width: usize, tensors: HashMap<String, Tensor>) -> Result<Vec<Linear>> {
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let layers = (0..).zip(layer_widths(width));
    Ok(layers
        .map(|(number, (inputs, outputs))| candle_nn::linear(inputs, outputs, builder.pp(layer_name(number))))
        .collect::<candle_core::Result<_>>()?)
}

/// The given rows of features `[N, D]`, in their order: `[rows, D]`.
fn select(features: ArrayView2<f32>, rows: &[usize]) -> Result<Tensor> {
    let mut values: Vec<f32> = Vec::with_capacity(rows.len() * features.ncols());
    rows.iter().for_each(|&row| values.extend(features.row(row)));
    Ok(Tensor::from_vec(values, (rows.len(), features.ncols()), &Device::Cpu)?)
}

/// A trained density predictor.
#[derive(Clone)]
pub struct DensityPredictor {
    standardization: Standardization,
    /// What was trained and is saved.
    layers: Vec<Linear>,
    /// The same layers as operations whose rows do not depend on each other, which candle's matrix product does not promise.
    network: Vec<ops::linear::Linear>,
}

impl fmt::Debug for DensityPredictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "density predictor of features of width {}", self.width())
    }
}

impl DensityPredictor {
    fn new(standardization: Standardization, layers: Vec<Linear>) -> Result<DensityPredictor> {
        let mut network = Vec::with_capacity(layers.len());
        for (number, layer) in layers.iter().enumerate() {
            let last = number + 1 == layers.len();
            let activation = if last { Activation::Identity } else { Activation::Relu };
            network.push(ops::linear::Linear::new(layer.weight(), layer.bias().cloned(), activation)?);
        }
        Ok(DensityPredictor { standardization, layers, network })
    }

    /// Width D of the features it takes.
    pub fn width(&self) -> usize {
        self.standardization.width()
    }

    /// The same predictor with its weights on a device, where the features of [`Self::predict`] have to be.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the device refuses.
    pub fn to_device(&self, device: &Device) -> Result<DensityPredictor> {
        let moved = |layer: &Linear| -> Result<Linear> {
            let bias = layer.bias().map(|bias| bias.to_device(device)).transpose()?;
            Ok(Linear::new(layer.weight().to_device(device)?, bias))
        };
        let layers = self.layers.iter().map(moved).collect::<Result<_>>()?;
        DensityPredictor::new(self.standardization.to_device(device)?, layers)
    }

    /// Predicted pseudo density `[B]` of `features` `[B, D]`, in single precision, differentiable with respect to them. A row's value
    /// depends on no other row.
    ///
    /// # Errors
    /// [`Error::Data`] if the features have another width, [`Error::Tensor`] if they are no matrix or on another device.
    pub fn predict(&self, features: &Tensor) -> Result<Tensor> {
        let (_, width) = features.dims2()?;
        self.check_width(width)?;
        // From here on columns are rows and rows are columns, as the layers want them.
        let x = self.standardization.apply(&features.to_dtype(DType::F32)?)?;
        let x = x.t()?.contiguous()?.unsqueeze(0)?;
        let y = self.network.iter().try_fold(x, |x, layer| layer.tokens(&x))?;
        Ok(y.flatten_all()?)
    }

    /// Predicted pseudo density of each row of `features` `[B, D]`, `[B]`. A row's value depends on no other row.
    ///
    /// # Errors
    /// [`Error::Data`] if the features have another width.
    pub fn predict_rows(&self, features: ArrayView2<f32>) -> Result<Vec<f32>> {
        self.predict_selected(features, &Vec::from_iter(0..features.nrows()))
    }

    /// [`Self::predict_rows`] of the given rows, in their order.
    fn predict_selected(&self, features: ArrayView2<f32>, rows: &[usize]) -> Result<Vec<f32>> {
        self.check_width(features.ncols())?;
        let mut predicted = Vec::with_capacity(rows.len());
        for rows in rows.chunks(ROWS_TOGETHER) {
            predicted.extend(self.predict(&select(features, rows)?)?.to_vec1::<f32>()?);
        }
        Ok(predicted)
    }

    fn check_width(&self, width: usize) -> Result<()> {
        if width == self.width() {
            return Ok(());
        }
        Err(Error::data(
            format!("the density predictor takes features of width {}, these have {width}", self.width()),
            "use the extractor that the reference was made with",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::gaussian;
    use crate::progress::Silent;
    use candle_core::Var;
    use ndarray::{Array2, ArrayView1, s};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn trained() -> (DensityPredictor, Array2<f32>) {
        let features = gaussian(200, 6, &mut ChaCha8Rng::seed_from_u64(2)).mapv(|x| 3.0 * x + 10.0);
        let densities: Vec<f64> =
            features.rows().into_iter().map(|row| 1.0 + 0.1 * f64::from(row[0] - row[1].abs())).collect();
        (DensityPredictor::train_for(20, features.view(), &densities, 0, &Silent).unwrap().0, features)
    }

    /// The network in double precision, written plainly.
    fn plain(predictor: &DensityPredictor, feature: ArrayView1<f32>) -> f64 {
        let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let (mean, std): (Vec<f64>, Vec<f64>) =
            (wide(&predictor.standardization.mean), wide(&predictor.standardization.std));
        let standardised = feature.iter().zip(mean.iter().zip(&std));
        let mut values: Vec<f64> =
            standardised.map(|(x, (mean, std))| (f64::from(*x) - mean) / std).collect();
        for (number, layer) in predictor.layers.iter().enumerate() {
            let (weight, bias): (Vec<f64>, Vec<f64>) = (wide(layer.weight()), wide(layer.bias().unwrap()));
            let output = |(weights, bias): (&[f64], &f64)| {
                let y: f64 = weights.iter().zip(&values).map(|(w, x)| w * x).sum::<f64>() + bias;
                if number + 1 < predictor.layers.len() { y.max(0.0) } else { y }
            };
            values = weight.chunks(values.len()).zip(&bias).map(output).collect();
        }
        values[0]
    }

    #[test]
    fn predictions_are_those_of_the_plain_network() {
        let (predictor, features) = trained();
        let found = predictor.predict_rows(features.view()).unwrap();
        for (row, found) in features.rows().into_iter().zip(found) {
            let expected = plain(&predictor, row);
            assert!(
                (f64::from(found) - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn a_batch_gives_the_bits_that_single_rows_give() {
        let (predictor, features) = trained();
        let all = predictor.predict_rows(features.view()).unwrap();
        for row in [0, 3, 8, 199] {
            let single = features.slice(s![row..=row, ..]);
            assert_eq!(predictor.predict_rows(single).unwrap(), [all[row]]);
        }
        let columns_apart = features.t().as_standard_layout().to_owned();
        assert_eq!(
            predictor.predict_rows(columns_apart.t()).unwrap(),
            all,
            "whatever the layout of the features"
        );
        let moved = predictor.to_device(&Device::Cpu).unwrap();
        assert_eq!(moved.predict_rows(features.view()).unwrap(), all);
    }

    #[test]
    fn the_gradient_of_a_batch_has_the_bits_of_those_of_single_rows() {
        let (predictor, features) = trained();
        let gradient = |rows: &[usize]| -> Vec<Vec<f32>> {
            let var = Var::from_tensor(&select(features.view(), rows).unwrap()).unwrap();
            let sum = predictor.predict(&var).unwrap().sum_all().unwrap();
            sum.backward().unwrap().get(&var).unwrap().to_vec2().unwrap()
        };
        let all = gradient(&Vec::from_iter(0..200));
        for row in [0, 77, 199] {
            assert_eq!(gradient(&[row]), [all[row].clone()]);
        }
    }

    #[test]
    fn the_gradient_reaches_the_features() {
        let (predictor, features) = trained();
        let few = features.slice(s![..5, ..]).to_owned();
        let var = Var::from_tensor(&select(few.view(), &[0, 1, 2, 3, 4]).unwrap()).unwrap();
        let sum = predictor.predict(&var).unwrap().sum_all().unwrap();
        let gradient = sum.backward().unwrap().get(&var).unwrap().to_vec2::<f32>().unwrap();
        for (row, gradient) in gradient.iter().enumerate() {
            for (column, &found) in gradient.iter().enumerate() {
                let at = |shift: f32| {
                    let mut moved = few.row(row).to_owned();
                    moved[column] += shift;
                    plain(&predictor, moved.view())
                };
                let step = 0.02;
                let expected = (at(step) - at(-step)) / (2.0 * f64::from(step));
                let found = f64::from(found);
                assert!(
                    (found - expected).abs() < 2e-3 + 0.05 * expected.abs(),
                    "{row} {column}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn another_width_is_refused() {
        let (predictor, _) = trained();
        let error = predictor.predict_rows(Array2::zeros((3, 7)).view()).unwrap_err();
        assert_eq!(error.to_string(), "the density predictor takes features of width 6, these have 7");
        let wide = Tensor::zeros((3, 7), DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(predictor.predict(&wide), Err(Error::Data { .. })));
        assert!(predictor.predict_rows(Array2::zeros((0, 6)).view()).unwrap().is_empty());
    }
}
