//! Dropout inside the residual blocks of a diffusion model that is trained: part of its official configuration.

use crate::error::Result;
use crate::generate::options::ForwardOptions;
use crate::random::{Purpose, keyed};
use candle_core::{Device, Tensor};
use rand::RngExt;

/// Dropout (Srivastava et al. 2014) of one layer: in training a share of the values is 0 and the others are scaled up for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    /// 0 to below 1.
    pub share: f64,
    /// The layer, which with the key of an image decides what is dropped.
    pub layer: u64,
}

impl Dropout {
    /// `x` `[B, …]` with values dropped in the pass of a training step, of each image by its key; where images have no keys, `x`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub(super) fn forward(self, x: Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let Some(keys) = options.keys.filter(|_| options.mode.is_first_order() && self.share > 0.0) else {
            return Ok(x);
        };
        let each = x.elem_count() / keys.len().max(1);
        let kept = (1.0 / (1.0 - self.share)) as f32;
        let threshold = (self.share * (u64::from(u32::MAX) + 1) as f64) as u32;
        let mut factors = Vec::with_capacity(x.elem_count());
        for &key in keys {
            let mut random = keyed(key, Purpose::Dropout, self.layer);
            factors.extend((0..each).map(|_| if random.random::<u32>() < threshold { 0.0 } else { kept }));
        }
        let factors = Tensor::from_vec(factors, x.dims(), &Device::Cpu)?;
        Ok((&x * factors.to_dtype(x.dtype())?.to_device(x.device())?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::options::Mode;
    use candle_core::DType;

    fn dropped(keys: &[u64], mode: Mode, layer: u64) -> Vec<Vec<f32>> {
        let x = Tensor::ones((keys.len(), 4, 40, 50), DType::F32, &Device::Cpu).unwrap();
        let options = ForwardOptions { keys: Some(keys), mode, ..ForwardOptions::default() };
        let y = Dropout { share: 0.3, layer }.forward(x, &options).unwrap();
        y.flatten_from(1).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn a_share_is_zero_in_training_and_the_mean_stays() {
        let values = dropped(&[7], Mode::train(), 1).concat();
        let zeros = values.iter().filter(|&&v| v == 0.0).count() as f64 / values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        assert!((zeros - 0.3).abs() < 0.02 && (mean - 1.0).abs() < 0.02, "{zeros} {mean}");
        assert!(values.iter().all(|&v| v == 0.0 || v == (1.0 / 0.7) as f32));
    }

    #[test]
    fn an_image_decides_for_itself_and_each_layer_differs() {
        let (alone, together) = (dropped(&[7], Mode::train(), 1), dropped(&[3, 7], Mode::train(), 1));
        assert_eq!(alone[0], together[1]);
        assert_ne!(together[0], together[1]);
        assert_ne!(alone, dropped(&[7], Mode::train(), 2));
        assert!(dropped(&[7], Mode::Eval, 1)[0].iter().all(|&v| v == 1.0));
    }
}
