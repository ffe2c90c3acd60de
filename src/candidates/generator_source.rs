//! Candidates that a generator of this process makes of latents.

use super::image::CandidateImage;
use super::latents::{LatentSource, latent_array};
use super::record::CandidateRecord;
use super::render::render_watched;
use super::source::{CandidateSource, Deliver, Delivered};
use crate::error::Result;
use crate::generate::Generator;
use crate::progress::{Progress, check_stop};
use ndarray::ArrayD;
use std::ops::Range;

/// A generator with the latents that its candidates are made of.
pub struct GeneratorSource<'a> {
    /// Makes the images.
    pub generator: &'a dyn Generator,
    /// One latent for each candidate.
    pub latents: &'a LatentSource,
    /// Candidates of a forward pass.
    pub batch: usize,
}

impl CandidateSource for GeneratorSource<'_> {
    fn len(&self) -> u64 {
        self.latents.len()
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        Ok(self.latents.records(range))
    }

    fn images(&self, range: Range<usize>, deliver: &mut Deliver, progress: &dyn Progress) -> Result<()> {
        const HINT: &str = "finished blocks are kept; the same command continues";
        let common = self.latents.conditions(self.generator)?;
        let stages = self.generator.info().stages.max(1) as f64;
        let start = range.start;
        let mut number = start;
        for batch in self.latents.batches(self.generator, range, self.batch) {
            let batch = batch?;
            let mut watch = |stage: usize| {
                let of_batch = batch.len() as f64 * stage as f64 / stages;
                progress.under_way((number - start) as f64 + of_batch);
                check_stop(progress, || HINT.into())
            };
            let images =
                render_watched(self.generator, &batch.values, &batch.conditions(common), &mut watch)?;
            let delivered = (number..)
                .zip(images)
                .map(|(number, image)| Delivered { number, image: CandidateImage::Pixels(image) });
            deliver(delivered.collect())?;
            number += batch.len();
        }
        Ok(())
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        latent_array(&self.latents.batch(self.generator, range)?.values).map(Some)
    }
}
