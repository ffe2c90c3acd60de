//! Candidates of a generator: numbered, each with its own latent and its own key, the same in any batch.

use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::{ForwardOptions, Generator, NoiseMode, Seeds, Truncation, latents_of_seeds, pixels};
use crate::images::{Prepared, RgbImage, gray_or_rgb};
use crate::neighbors::check_finite;
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;
use std::ops::Range;

/// Where latents come from.
pub enum Latents {
    /// One for each seed, as numpy draws them.
    Seeds(Seeds),
    /// Given ones, `[n, …]`.
    Given(Tensor),
}

/// A generator with everything that its images depend on.
pub struct Source<'a> {
    /// Makes the images.
    pub generator: &'a dyn Generator,
    /// One latent for each candidate.
    pub latents: Latents,
    /// Name of the latent space; the generator's first if not given.
    pub space: Option<String>,
    /// The class of every image.
    pub class: Option<u32>,
    /// Truncation.
    pub truncation: Option<Truncation>,
    /// Noise between the layers.
    pub noise: NoiseMode,
    /// Type of the generator's numbers.
    pub dtype: DType,
    /// Where it computes.
    pub device: Device,
}

impl Source<'_> {
    /// How many candidates there are.
    pub fn len(&self) -> u64 {
        match &self.latents {
            Latents::Seeds(seeds) => seeds.count(),
            Latents::Given(latents) => latents.dim(0).unwrap_or(0) as u64,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seed of each candidate of a range; `None` for given latents.
    pub fn seeds(&self, range: Range<usize>) -> Vec<Option<u32>> {
        match &self.latents {
            Latents::Seeds(seeds) => seeds.at(range).map(Some).collect(),
            Latents::Given(_) => vec![None; range.len()],
        }
    }

    /// What the random draws of each candidate are keyed by: its seed, or its row.
    pub fn keys(&self, range: Range<usize>) -> Vec<u64> {
        let seeds = self.seeds(range.clone());
        range.zip(seeds).map(|(row, seed)| seed.map_or(row as u64, u64::from)).collect()
    }

    /// The name of each candidate's image: `seed0012.png` as the StyleGAN programs have it, or `row0012.png`.
    pub fn names(&self, range: Range<usize>) -> Vec<String> {
        let seeds = self.seeds(range.clone());
        let name = |(row, seed): (usize, Option<u32>)| match seed {
            Some(seed) => format!("seed{seed:04}.png"),
            None => format!("row{row:04}.png"),
        };
        range.zip(seeds).map(name).collect()
    }

    /// Latents `[B, …]` of a range.
    ///
    /// # Errors
    /// If the space has no prior to draw from.
    pub fn latents(&self, range: Range<usize>) -> Result<Tensor> {
        match &self.latents {
            Latents::Seeds(_) => {
                let seeds: Vec<u32> = self.seeds(range).into_iter().flatten().collect();
                let space = self.generator.info().space(self.space.as_deref())?;
                latents_of_seeds(space, &seeds, self.dtype, &self.device)
            }
            Latents::Given(latents) => Ok(latents.narrow(0, range.start, range.len())?),
        }
    }

    /// The images of a range, as they are written.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for an image that is not finite; what the generator returns.
    pub fn images(&self, range: Range<usize>) -> Result<Vec<RgbImage>> {
        let keys = self.keys(range.clone());
        let classes = self.class.map(|class| vec![class; range.len()]);
        let conditions = ForwardOptions {
            classes: classes.as_deref(),
            space: self.space.as_deref(),
            truncation: self.truncation,
            noise: self.noise,
            keys: Some(&keys),
            ..ForwardOptions::default()
        };
        let images = self.generator.generate(&self.latents(range)?, &conditions)?;
        let shape = self.generator.info().image_shape;
        let size = (shape.width as u32, shape.height as u32);
        let bytes = pixels::to_bytes(&images, self.generator.info().quantization)?;
        bytes.into_iter().map(|pixels| gray_or_rgb(size, pixels)).collect()
    }

    /// Features `[B, D]` of a range by each of the extractors, of the images as they are written.
    ///
    /// # Errors
    /// As [`Source::images`]; if features are not finite.
    pub fn features(
        &self,
        range: Range<usize>,
        extractors: &[&LoadedExtractor],
        batch: usize,
    ) -> Result<Vec<Array2<f32>>> {
        let mut parts = vec![Vec::new(); extractors.len()];
        for start in range.clone().step_by(batch.max(1)) {
            let images = self.images(start..(start + batch.max(1)).min(range.end))?;
            for (extractor, parts) in extractors.iter().zip(&mut parts) {
                parts.push(features_of(extractor, &images)?);
            }
        }
        parts.iter().map(|parts| join(parts)).collect()
    }
}

/// Features of images as they are written.
pub(super) fn features_of(extractor: &LoadedExtractor, images: &[RgbImage]) -> Result<Array2<f32>> {
    let preprocessing = extractor.preprocessing();
    let prepared: Vec<Prepared> =
        images.par_iter().map(|image| Prepared::of_image(image, preprocessing)).collect();
    let features = extractor.features(&prepared.iter().map(Some).collect::<Vec<_>>())?;
    check_finite(features.view())?;
    Ok(features)
}

/// Batches one after the other.
pub(super) fn join(parts: &[Array2<f32>]) -> Result<Array2<f32>> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views).map_err(|e| Error::data(format!("features do not fit each other: {e}"), ""))
}
