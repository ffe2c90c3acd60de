//! Precision, recall and Fréchet distance of the averaged generator during a run, against the reference, on fixed latents.

use super::batches::fixed_latents;
use super::trainer::{Scalars, Trainer};
use crate::candidates::{features_of, join_rows, render};
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::generate::ForwardOptions;
use crate::metrics::{Comparison, FeatureSet, Options, estimate, metric};
use crate::progress::{Progress, Unreported, check_stop};
use crate::random::Purpose;
use crate::reference::Reference;
use candle_core::Device;

/// What an evaluation needs, read once.
pub struct Evaluator<'p> {
    extractor: LoadedExtractor,
    /// The reference, with everything that is computed of it once for all evaluations.
    real: FeatureSet<'p>,
    options: Options,
    images: usize,
    seed: u64,
    device: Device,
}

/// The column that is watched for the best; it is called FID only in the 2015 Inception's space.
pub(super) const DISTANCE: &str = "fd";

impl<'p> Evaluator<'p> {
    /// Evaluates `images` generated images in the space of the reference. What the first evaluation prepares of the reference is
    /// reported to `progress`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if the reference is damaged.
    pub fn new(
        reference: &Reference,
        extractor: LoadedExtractor,
        images: usize,
        seed: u64,
        device: &Device,
        progress: &'p dyn Progress,
    ) -> Result<Self> {
        let options = Options { device: device.clone(), ..Options::default() };
        let real = FeatureSet::new(reference.features()?.into_shared(), &options, progress)?;
        Ok(Self { extractor, real, options, images, seed, device: device.clone() })
    }

    /// `fd`, `precision` and `recall` of the averaged generator. Latent `i` is the same at every evaluation of a seed.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if features are not finite; [`crate::Error::Interrupted`].
    pub fn evaluate(&self, trainer: &dyn Trainer, progress: &dyn Progress) -> Result<Scalars> {
        let generator = trainer.ema();
        let mut parts = Vec::new();
        progress.start("evaluating", self.images as u64, "images");
        for start in (0..self.images).step_by(trainer.batch()) {
            check_stop(progress, String::new)?;
            let rows = trainer.batch().min(self.images - start);
            let keys: Vec<u64> = (start as u64..).take(rows).collect();
            let latents = fixed_latents(generator, self.seed, Purpose::Evaluation, &keys, &self.device)?;
            let classes: Option<Vec<u32>> = match generator.info().class_count {
                0 => None,
                count => Some(keys.iter().map(|key| (key % count as u64) as u32).collect()),
            };
            let conditions = ForwardOptions {
                classes: classes.as_deref(),
                keys: Some(&keys),
                ..ForwardOptions::default()
            };
            parts.push(features_of(&self.extractor, &render(generator, &latents, &conditions)?)?);
            progress.advance(rows as u64);
        }
        progress.finish();
        let unreported = Unreported(progress);
        let generated = FeatureSet::new(join_rows(&parts)?.into_shared(), &self.options, &unreported)?;
        let comparison = Comparison::new(&self.real, &generated, &self.options, &unreported)?;
        let metrics = [metric(DISTANCE)?, metric("precision")?, metric("recall")?];
        let estimates = estimate(&comparison, &metrics, None)?;
        Ok(estimates.into_iter().map(|estimate| (estimate.column, estimate.value)).collect())
    }
}
