//! The running average of a generator's weights, by its half-life in images (Karras et al. 2018, and `ema_kimg` of StyleGAN2-ADA).

use crate::error::{Error, Result};
use crate::generate::Variables;
use serde::{Deserialize, Serialize};

/// How fast the average forgets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EmaConfig {
    /// Half-life in thousands of images; 0 is no average but the weights themselves.
    pub kimg: f64,
    /// Half-life at most this share of the images seen so far, for networks that start from nothing.
    pub rampup: Option<f64>,
}

impl EmaConfig {
    /// What the old average keeps in a step of `batch` images, after `seen` images in all.
    pub fn decay(self, batch: u64, seen: u64) -> f64 {
        const IMAGES_PER_KIMG: f64 = 1000.0;
        let longest = self.rampup.map_or(f64::INFINITY, |share| share * seen as f64);
        let half_life = (self.kimg * IMAGES_PER_KIMG).min(longest);
        if half_life > 0.0 { 0.5f64.powf(batch as f64 / half_life) } else { 0.0 }
    }
}

/// Moves `ema` towards `generator`: a parameter keeps `decay` of its old value, buffers are copied, as StyleGAN2-ADA does.
///
/// # Errors
/// [`Error::Usage`] if they are not of one network.
pub(super) fn update_ema(ema: &Variables, generator: &Variables, decay: f64) -> Result<()> {
    let another = || Error::usage("the running average is of another network", "");
    let (mut to, mut from) = (ema.parameters(), generator.parameters());
    loop {
        match (to.next(), from.next()) {
            (None, None) => break,
            (Some((a, average)), Some((b, new))) if a == b => {
                let new = new.as_detached_tensor();
                let kept = ((average.as_detached_tensor() - &new)? * decay)?;
                average.set(&(new + kept)?)?;
            }
            _ => return Err(another()),
        }
    }
    for (name, new) in generator.buffers() {
        let average = ema.get(name).ok_or_else(another)?;
        // A copy: a variable cannot be set from its own memory, and the two networks must not come to share it.
        average.set(&new.as_detached_tensor().copy()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Builder, Init};
    use candle_core::{DType, Device};
    use std::path::Path;

    #[test]
    fn half_of_the_start_is_left_after_the_half_life() {
        let config = EmaConfig { kimg: 2.0, rampup: None };
        assert!((config.decay(500, 0).powi(4) - 0.5).abs() < 1e-12);
        assert_eq!(EmaConfig { kimg: 0.0, rampup: None }.decay(64, 640), 0.0);
    }

    #[test]
    fn the_ramp_shortens_the_half_life_at_the_beginning_only() {
        let config = EmaConfig { kimg: 10.0, rampup: Some(0.05) };
        assert_eq!(config.decay(64, 0), 0.0);
        assert!((config.decay(50, 1000) - 0.5).abs() < 1e-12);
        assert_eq!(config.decay(64, 1_000_000), EmaConfig { kimg: 10.0, rampup: None }.decay(64, 0));
    }

    #[test]
    fn parameters_are_averaged_and_buffers_copied() {
        let make = |weight: f64, statistic: f64| {
            let mut builder = Builder::from_nothing(0, Path::new("c"), DType::F64, &Device::Cpu);
            builder.parameter("w", &[1], Init::Constant(weight)).unwrap();
            builder.buffer("running_mean", &[1], Init::Constant(statistic)).unwrap();
            builder.finish(&[]).unwrap()
        };
        let (ema, generator) = (make(1.0, 1.0), make(3.0, 3.0));
        update_ema(&ema, &generator, 0.75).unwrap();
        let value = |name: &str| ema.get(name).unwrap().to_vec1::<f64>().unwrap()[0];
        assert_eq!((value("w"), value("running_mean")), (1.5, 3.0));
    }
}
