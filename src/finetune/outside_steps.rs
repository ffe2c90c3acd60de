//! Features of what the generator makes outside the steps: for evaluations, and for the densities among generated images.

use super::latents::fixed_latents;
use crate::candidates::{features_of, join_rows, render};
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::generate::{ForwardOptions, Generator};
use crate::progress::{Progress, check_stop};
use crate::random::Purpose;
use candle_core::Device;
use ndarray::Array2;

/// Images that are made outside the steps: image `keys[i]` of a seed and a purpose is always made of the same latent, and of the
/// class `keys[i]` modulo the number of classes.
pub(super) struct OutsideSteps<'a> {
    pub generator: &'a dyn Generator,
    pub seed: u64,
    pub purpose: Purpose,
    pub keys: &'a [u64],
    /// Images that are made at a time.
    pub batch: usize,
    pub device: &'a Device,
}

impl OutsideSteps<'_> {
    /// The features `[N, D]` of the images by each of the extractors.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if features are not finite; [`crate::Error::Interrupted`].
    pub(super) fn features(
        &self,
        extractors: &[&LoadedExtractor],
        progress: &dyn Progress,
    ) -> Result<Vec<Array2<f32>>> {
        let mut parts: Vec<Vec<Array2<f32>>> = vec![Vec::new(); extractors.len()];
        for keys in self.keys.chunks(self.batch.max(1)) {
            check_stop(progress, String::new)?;
            let latents = fixed_latents(self.generator, self.seed, self.purpose, keys, self.device)?;
            let classes: Option<Vec<u32>> = match self.generator.info().class_count {
                0 => None,
                count => Some(keys.iter().map(|key| (key % count as u64) as u32).collect()),
            };
            let conditions =
                ForwardOptions { classes: classes.as_deref(), keys: Some(keys), ..ForwardOptions::default() };
            let images = render(self.generator, &latents, &conditions)?;
            for (extractor, parts) in extractors.iter().zip(&mut parts) {
                parts.push(features_of(extractor, &images)?);
            }
            progress.advance(keys.len() as u64);
        }
        parts.iter().map(|parts| join_rows(parts)).collect()
    }
}
