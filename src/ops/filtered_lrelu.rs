//! The filtered leaky ReLU of StyleGAN3 (Karras et al. 2021, section 3.1): up-sampled, activated, down-sampled, so that what the
//! non-linearity adds beyond the band is filtered away. Differentiable to any order.

use super::leaky_relu::LeakyRelu;
use super::upfirdn::{Filter, Resample, upfirdn2d};
use candle_core::{Result, Tensor};

/// The resampling around a leaky ReLU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilteredLrelu<'a> {
    /// The filter before it, and how many pixels each becomes.
    pub up: Option<(&'a Filter, usize)>,
    /// The filter after it, and every how many-th pixel is kept.
    pub down: Option<(&'a Filter, usize)>,
    /// Zeros around the up-sampled image; negative to cut off.
    pub padding: (isize, isize),
    /// The non-linearity.
    pub activation: LeakyRelu,
}

/// `x` `[B, C, H, W]`, up-sampled (and multiplied by the square of the rate), activated, down-sampled.
///
/// # Errors
/// If nothing is left.
pub(crate) fn filtered_lrelu(x: &Tensor, op: FilteredLrelu) -> Result<Tensor> {
    let FilteredLrelu { up, down, padding, activation } = op;
    let identity = Filter::identity();
    let resample = |up: usize, down: usize, padding| Resample { up, down, padding, gain: (up * up) as f64 };
    let x = match up {
        Some((filter, rate)) => upfirdn2d(x, filter, resample(rate, 1, padding))?,
        None if padding != (0, 0) => upfirdn2d(x, &identity, resample(1, 1, padding))?,
        None => x.clone(),
    };
    let x = activation.forward(&x)?;
    match down {
        Some((filter, rate)) => upfirdn2d(&x, filter, resample(1, rate, (0, 0))),
        None => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn objective(x: &Tensor, op: FilteredLrelu) -> Tensor {
        let y = filtered_lrelu(x, op).unwrap();
        (&y * y.sqr().unwrap()).unwrap().sum_all().unwrap()
    }

    #[test]
    fn the_gradient_agrees_with_central_differences_in_float64() {
        const STEP: f64 = 1e-6;
        let filter = |taps: &[f64]| Filter::new(&Tensor::new(taps, &Device::Cpu).unwrap()).unwrap();
        let (up, down) = (filter(&[0.1, 0.4, 0.4, 0.1]), filter(&[0.2, 0.3, 0.3, 0.2]));
        let op = FilteredLrelu {
            up: Some((&up, 2)),
            down: Some((&down, 2)),
            padding: (2, 1),
            activation: LeakyRelu { slope: 0.2, gain: 1.5, clamp: Some(1.2) },
        };
        let values: Vec<f64> = (0..25).map(|i| f64::from(i * 37 % 23) / 11.0 - 1.03).collect();
        let tensor = |values: &[f64]| Tensor::from_slice(values, (1, 1, 5, 5), &Device::Cpu).unwrap();
        let x = Var::from_tensor(&tensor(&values)).unwrap();
        let grads = objective(&x, op).backward().unwrap();
        let gradient: Vec<f64> = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (i, gradient) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut values = values.clone();
                values[i] += step;
                objective(&tensor(&values), op).to_scalar::<f64>().unwrap()
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((difference - gradient).abs() < 1e-6 * (1.0 + gradient.abs()), "{difference} {gradient}");
        }
        let single = x.to_dtype(DType::F32).unwrap();
        let y = filtered_lrelu(&single, op).unwrap().to_dtype(DType::F64).unwrap();
        let difference = (y - filtered_lrelu(&x, op).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f64>().unwrap() < 1e-6);
    }
}
