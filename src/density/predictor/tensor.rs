//! The density predictor on candle tensors, differentiable with respect to the features.

use super::DensityPredictor;
use crate::error::Result;
use candle_core::{DType, Device, Tensor};

/// A density predictor whose weights lie on a device; its weights receive no gradient.
#[derive(Debug, Clone)]
pub struct TensorPredictor {
    width: usize,
    mean: Tensor,
    std: Tensor,
    /// (weight transposed `[inputs, outputs]`, bias `[1, outputs]`)
    layers: Vec<(Tensor, Tensor)>,
}

impl DensityPredictor {
    /// Uploads the weights, once for many calls.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] if the device refuses.
    pub fn to_device(&self, device: &Device) -> Result<TensorPredictor> {
        let row = |values: &[f32]| Tensor::from_slice(values, (1, values.len()), device);
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let weight = Tensor::from_slice(&layer.weight, (layer.outputs, layer.inputs), device)?;
            layers.push((weight.t()?.contiguous()?, row(&layer.bias)?));
        }
        Ok(TensorPredictor {
            width: self.width(),
            mean: row(&self.standardization.mean)?,
            std: row(&self.standardization.std)?,
            layers,
        })
    }

    /// Predicted pseudo density `[B]` of `features` `[B, D]`, differentiable with respect to them. For many calls, upload
    /// once with [`Self::to_device`].
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the features have another width, [`crate::Error::Tensor`] if they are no matrix.
    pub fn predict(&self, features: &Tensor) -> Result<Tensor> {
        let (_, width) = features.dims2()?;
        self.check_width(width)?;
        self.to_device(features.device())?.predict(features)
    }
}

impl TensorPredictor {
    /// Width D of the features it takes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Predicted pseudo density `[B]` of `features` `[B, D]`, in single precision, differentiable with respect to them.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] if the shape or the device does not fit.
    pub fn predict(&self, features: &Tensor) -> Result<Tensor> {
        let mut x = features.to_dtype(DType::F32)?.broadcast_sub(&self.mean)?.broadcast_div(&self.std)?;
        for (number, (weight, bias)) in self.layers.iter().enumerate() {
            x = x.matmul(weight)?.broadcast_add(bias)?;
            if number + 1 < self.layers.len() {
                x = x.relu()?;
            }
        }
        Ok(x.squeeze(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::test_support::gaussian;
    use crate::error::Error;
    use crate::progress::Silent;
    use candle_core::Var;
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn trained() -> (DensityPredictor, Array2<f32>) {
        let features = gaussian(200, 6, &mut ChaCha8Rng::seed_from_u64(2)).mapv(|x| 3.0 * x + 10.0);
        let densities: Vec<f64> =
            features.rows().into_iter().map(|row| 1.0 + 0.1 * f64::from(row[0] - row[1].abs())).collect();
        (DensityPredictor::train(features.view(), &densities, 0, &Silent).unwrap().0, features)
    }

    fn upload(features: &Array2<f32>) -> Tensor {
        Tensor::from_iter(features.iter().copied(), &Device::Cpu).unwrap().reshape(features.dim()).unwrap()
    }

    #[test]
    fn tensors_and_rows_get_the_same_densities() {
        let (predictor, features) = trained();
        let rows = predictor.predict_rows(features.view()).unwrap();
        let tensors = predictor.predict(&upload(&features)).unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in rows.iter().zip(tensors) {
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
        }
    }

    #[test]
    fn a_batch_gives_the_bits_that_single_rows_give() {
        let (predictor, features) = trained();
        let all = predictor.predict_rows(features.view()).unwrap();
        for row in [0, 3, 8, 199] {
            let single = features.slice(ndarray::s![row..=row, ..]);
            assert_eq!(predictor.predict_rows(single).unwrap(), [all[row]]);
        }
        let columns_apart = features.t().as_standard_layout().to_owned();
        assert_eq!(
            predictor.predict_rows(columns_apart.t()).unwrap(),
            all,
            "whatever the layout of the features"
        );
    }

    #[test]
    fn the_gradient_reaches_the_features() {
        let (predictor, features) = trained();
        let few = features.slice(ndarray::s![..5, ..]).to_owned();
        let var = Var::from_tensor(&upload(&few)).unwrap();
        let sum = predictor.predict(&var).unwrap().sum_all().unwrap();
        let gradient = sum.backward().unwrap().get(&var).unwrap().to_vec2::<f32>().unwrap();
        for row in 0..5 {
            for column in 0..6 {
                let at = |shift: f32| {
                    let mut moved = few.clone();
                    moved[[row, column]] += shift;
                    f64::from(predictor.predict_rows(moved.view()).unwrap()[row])
                };
                let step = 0.02;
                let expected = (at(step) - at(-step)) / (2.0 * f64::from(step));
                let found = f64::from(gradient[row][column]);
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
        assert!(matches!(predictor.predict(&upload(&Array2::zeros((3, 7)))), Err(Error::Data { .. })));
        assert!(predictor.predict_rows(Array2::zeros((0, 6)).view()).unwrap().is_empty());
    }
}
