//! Projected gradient steps on a batch of latents: Li et al., TMLR 2024, section 3.3; Madry et al., 2018.

use super::ball::{Ball, Norm};
use super::direction::Direction;
use super::gradient::{DensityGradient, density_gradient};
use super::objective::Objective;
use super::picture::Picture;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::{ForwardOptions, Generator, LatentSpace};
use crate::random::{Purpose, keyed};
use candle_core::{DType, Tensor};
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

/// How a search goes; strength (epsilon) and direction are given with each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SearchOptions {
    /// T, at least 1.
    pub steps: usize,
    /// Alpha; a quarter of epsilon if not given, as published.
    pub step_size: Option<f64>,
    /// What epsilon and alpha are measured by.
    pub norm: Norm,
    /// Start anywhere in the ball instead of in its centre.
    pub random_start: bool,
    /// Key of every random draw.
    pub seed: u64,
}

impl Default for SearchOptions {
    /// The published settings (with epsilon 0.1).
    fn default() -> Self {
        Self { steps: 10, step_size: None, norm: Norm::Linf, random_start: false, seed: 0 }
    }
}

/// Published step size, as a part of epsilon: 0.025 of 0.1.
const STEP_PART: f64 = 0.25;

/// Latents that are perturbed together; no result depends on which they are.
#[derive(Debug, Clone)]
pub struct Latents {
    /// `[B, …]`
    pub values: Tensor,
    /// The seed of each, where it was drawn from one.
    pub seeds: Option<Vec<u32>>,
    /// For each what its random streams are keyed by: its seed, else its row.
    pub keys: Vec<u64>,
    /// The class of each, where the generator has classes.
    pub classes: Option<Vec<u32>>,
}

impl Latents {
    /// A name for messages and files: `seed0007`, or `latent0007` for one of a file.
    pub fn name(&self, row: usize) -> String {
        let key = self.keys.get(row).copied().unwrap_or_default();
        let kind = if self.seeds.is_some() { "seed" } else { "latent" };
        format!("{kind}{key:04}")
    }

    /// The first `count` of them.
    pub(super) fn first(&self, count: usize) -> Result<Latents> {
        Ok(Latents {
            values: self.values.narrow(0, 0, count)?,
            seeds: self.seeds.as_ref().map(|seeds| seeds.iter().copied().take(count).collect()),
            keys: self.keys.iter().copied().take(count).collect(),
            classes: self.classes.as_ref().map(|classes| classes.iter().copied().take(count).collect()),
        })
    }
}

/// An image on the way, measured as it is written.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its latent, `[L]`.
    pub latent: Vec<f32>,
    /// As it is written.
    pub picture: Picture,
    /// Features of the written image, `[D]`.
    pub feature: Array1<f32>,
    /// Its density, of the kind that the search goes along.
    pub value: f64,
}

/// Where a search starts: the unperturbed images, and the gradients at their latents.
#[derive(Debug, Clone)]
pub struct Start {
    /// The unperturbed images.
    pub found: Vec<Found>,
    /// Empty where none was asked for.
    gradients: Vec<Vec<f64>>,
}

impl Start {
    /// The first `count` of them.
    pub(super) fn first(&self, count: usize) -> Start {
        Start {
            found: self.found.iter().take(count).cloned().collect(),
            gradients: self.gradients.iter().take(count).cloned().collect(),
        }
    }
}

/// Moves latents along the gradient of a density.
pub struct Search<'a> {
    /// Makes the images.
    pub generator: &'a dyn Generator,
    /// Makes their features.
    pub extractor: &'a LoadedExtractor,
    /// The density that is followed.
    pub objective: &'a dyn Objective,
    /// Space, truncation and noise; classes and keys come with the latents.
    pub conditions: ForwardOptions<'a>,
    /// How it goes.
    pub options: SearchOptions,
}

impl Search<'_> {
    /// Images, densities and gradients of unperturbed latents: needed once for any number of strengths and directions.
    ///
    /// # Errors
    /// [`Error::Usage`] if the latents are not those of the generator, or a network gives no gradient; [`Error::Data`] naming the
    /// first image or gradient that is not finite.
    pub fn start(&self, latents: &Latents) -> Result<Start> {
        let conditions = ForwardOptions {
            classes: latents.classes.as_deref(),
            keys: Some(&latents.keys),
            ..self.conditions
        };
        self.generator.info().check(&latents.values, &conditions)?;
        let rows = latents.keys.len();
        let values = latents.values.to_dtype(DType::F32)?.reshape((rows, ()))?.to_vec2::<f32>()?;
        self.evaluate(latents, values, true)
    }

    /// The best image that `options.steps` steps within `epsilon` of each latent met; the unperturbed one where none was better.
    /// `after_step` is called after each step.
    ///
    /// # Errors
    /// As [`Search::start`]; what `after_step` returns.
    pub fn climb(
        &self,
        latents: &Latents,
        start: &Start,
        bias: Direction,
        epsilon: f64,
        after_step: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<Found>> {
        let balls = self.balls(start, epsilon);
        let size = bias.sign() * self.options.step_size.unwrap_or(STEP_PART * epsilon);
        let mut best = start.found.clone();
        let mut keep_better = |reached: &Start| {
            for (best, found) in best.iter_mut().zip(&reached.found) {
                if bias.improves(best.value, found.value) {
                    *best = found.clone();
                }
            }
        };
        let mut at = start.clone();
        if self.options.random_start {
            let draw = |(ball, &key): (&Ball, &u64)| {
                ball.random_point(&mut keyed(self.options.seed, Purpose::PerturbStart, key))
            };
            at = self.evaluate(latents, balls.iter().zip(&latents.keys).map(draw).collect(), true)?;
            keep_better(&at);
        }
        for step in 1..=self.options.steps {
            let moved = balls.iter().zip(at.found.iter().zip(&at.gradients));
            let moved = moved.map(|(ball, (found, gradient))| ball.step(&found.latent, gradient, size));
            at = self.evaluate(latents, moved.collect(), step < self.options.steps)?;
            keep_better(&at);
            after_step()?;
        }
        Ok(best)
    }

    /// Images in the direction of random signs, as far away as a search may go: the paper's control.
    ///
    /// # Errors
    /// As [`Search::start`].
    pub fn control(&self, latents: &Latents, start: &Start, epsilon: f64) -> Result<Vec<Found>> {
        let draw = |(ball, &key): (&Ball, &u64)| {
            ball.random_sign(&mut keyed(self.options.seed, Purpose::PerturbControl, key))
        };
        let moved = self.balls(start, epsilon).iter().zip(&latents.keys).map(draw).collect();
        Ok(self.evaluate(latents, moved, false)?.found)
    }

    fn balls<'s>(&self, start: &'s Start, radius: f64) -> Vec<Ball<'s>> {
        let norm = self.options.norm;
        start.found.iter().map(|found| Ball { center: &found.latent, radius, norm }).collect()
    }

    /// Images of the latents `[B][L]`, measured as written, and with the gradients at them if asked for.
    fn evaluate(&self, latents: &Latents, values: Vec<Vec<f32>>, with_gradient: bool) -> Result<Start> {
        let conditions = ForwardOptions {
            classes: latents.classes.as_deref(),
            keys: Some(&latents.keys),
            ..self.conditions
        };
        let tensor = self.tensor(&values, self.generator.info().space(conditions.space)?)?;
        let (images, gradients) = if with_gradient {
            let features = |images: &Tensor| self.extractor.features_of_images(images);
            let DensityGradient { images, gradient } =
                density_gradient(self.generator, &tensor, &conditions, features, self.objective)?;
            let gradients = gradient.reshape((values.len(), ()))?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
            if let Some(row) = gradients.iter().position(|row| row.iter().any(|g| !g.is_finite())) {
                return Err(Error::data(
                    format!("the gradient of {} is not finite", latents.name(row)),
                    "a smaller --eps or --trunc keeps its latent where the networks work; \
                     --density knn and predictor have different gradients",
                ));
            }
            (images, gradients)
        } else {
            (self.generator.generate(&tensor, &conditions)?, Vec::new())
        };
        let pictures = Picture::of_images(&images, self.generator.info().quantization)?;
        let preprocessing = self.extractor.preprocessing();
        let prepared: Vec<_> = pictures.iter().map(|picture| picture.prepared(preprocessing)).collect();
        let features = self.extractor.features(&prepared.iter().map(Some).collect::<Vec<_>>())?;
        let densities = self.objective.values(features.view())?;
        let rows = values.into_iter().zip(pictures).zip(features.outer_iter()).zip(densities);
        let found = rows.map(|(((latent, picture), feature), value)| Found {
            latent,
            picture,
            feature: feature.to_owned(),
            value,
        });
        Ok(Start { found: found.collect(), gradients })
    }

    fn tensor(&self, values: &[Vec<f32>], space: &LatentSpace) -> Result<Tensor> {
        let dims: Vec<usize> = [values.len()].into_iter().chain(space.shape.iter().copied()).collect();
        let device = self
            .generator
            .variables()
            .and_then(|variables| variables.parameters().next())
            .map(|(_, var)| var.device().clone());
        let device = device.unwrap_or(candle_core::Device::Cpu);
        Ok(Tensor::from_vec(values.concat(), dims, &device)?)
    }
}

/// Features of several images as a matrix `[B, D]`.
pub(super) fn features(found: &[Found]) -> Array2<f32> {
    let width = found.first().map_or(0, |found| found.feature.len());
    let mut features = Array2::zeros((found.len(), width));
    features.outer_iter_mut().zip(found).for_each(|(mut row, found)| row.assign(&found.feature));
    features
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
