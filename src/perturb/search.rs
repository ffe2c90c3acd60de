//! Projected gradient descent on a batch of latents: Li et al., TMLR 2024, section 3.3; Madry et al., 2018. Without gradients:
//! [`super::zero_order`].

use super::ball::{Balls, Norm};
use super::direction::Direction;
use super::zero_order::Trials;
use crate::candidates::{Density, Evaluation, LatentBatch, evaluate, evaluate_with_gradient};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::{ForwardOptions, Generator};
use crate::images::RgbImage;
use crate::random::{Purpose, keyed};
use crate::remedy::Remedy;
use candle_core::{DType, Tensor};
use ndarray::{Array1, Array2, ArrayView1};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How a search goes; strength (epsilon) and direction are given with each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// Images of each latent that a search without gradients makes, beside the unperturbed one; `None` follows gradients, in `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<usize>,
}

impl SearchOptions {
    /// What is counted while a latent is perturbed: steps, or passes of the generator.
    pub(super) fn length(&self) -> usize {
        self.passes.unwrap_or(self.steps)
    }
}

impl Default for SearchOptions {
    /// The published settings (with epsilon 0.1).
    fn default() -> Self {
        Self { steps: 10, step_size: None, norm: Norm::Linf, random_start: false, seed: 0, passes: None }
    }
}

/// Published step size, as a part of epsilon: 0.025 of 0.1.
const STEP_PART: f64 = 0.25;

/// An image on the way, measured as it is written.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// As it is written.
    pub image: RgbImage,
    /// Features of the written image, `[D]`.
    pub feature: Array1<f32>,
    /// Its density, of the kind that the search follows.
    pub value: f64,
}

/// Latents with the images that they give.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    /// `[B, …]`
    pub latents: Tensor,
    /// `[B]`
    pub candidates: Vec<Candidate>,
}

impl Candidates {
    /// Features as a matrix `[B, D]`.
    pub(super) fn features(&self) -> Array2<f32> {
        let width = self.candidates.first().map_or(0, |candidate| candidate.feature.len());
        let mut features = Array2::zeros((self.candidates.len(), width));
        let rows = features.outer_iter_mut().zip(&self.candidates);
        rows.for_each(|(mut row, candidate)| row.assign(&candidate.feature));
        features
    }

    /// The densities `[B]` that the search follows.
    pub(super) fn values(&self) -> Vec<f64> {
        self.candidates.iter().map(|candidate| candidate.value).collect()
    }

    /// Takes over those of `others` that are better.
    fn keep_better(&mut self, others: Candidates, bias: Direction) -> Result<()> {
        let better = |(best, other): (&Candidate, &Candidate)| bias.improves(best.value, other.value);
        let better: Vec<bool> = self.candidates.iter().zip(&others.candidates).map(better).collect();
        let mask: Vec<u8> = better.iter().map(|&better| u8::from(better)).collect();
        let mut dims = vec![1; others.latents.rank()];
        dims[0] = mask.len();
        let mask = Tensor::from_vec(mask, dims, self.latents.device())?;
        let mask = mask.broadcast_as(others.latents.shape())?.contiguous()?;
        self.latents = mask.where_cond(&others.latents, &self.latents)?;
        for ((best, other), better) in self.candidates.iter_mut().zip(others.candidates).zip(better) {
            if better {
                *best = other;
            }
        }
        Ok(())
    }
}

/// Where a search starts: the unperturbed images, and the gradients at their latents.
#[derive(Debug, Clone)]
pub(super) struct InitialState {
    /// The unperturbed images.
    pub unperturbed: Candidates,
    /// `[B, …]`; `None` for a search without them.
    gradients: Option<Tensor>,
}

impl InitialState {
    /// The first `count` of them.
    pub(super) fn first(&self, count: usize) -> Result<Self> {
        Ok(Self {
            unperturbed: Candidates {
                latents: self.unperturbed.latents.narrow(0, 0, count)?,
                candidates: self.unperturbed.candidates.iter().take(count).cloned().collect(),
            },
            gradients: self.gradients.as_ref().map(|gradients| gradients.narrow(0, 0, count)).transpose()?,
        })
    }
}

/// Moves latents along the gradient of a density.
pub(super) struct Search<'a> {
    /// Makes the images.
    pub generator: &'a dyn Generator,
    /// Makes their features.
    pub extractor: &'a LoadedExtractor,
    /// The density that is followed.
    pub density: &'a dyn Density,
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
    pub(super) fn initial_state(&self, batch: &LatentBatch) -> Result<InitialState> {
        self.generator.info().check(&batch.values, &batch.conditions(self.conditions))?;
        let latents = batch.values.to_dtype(DType::F32)?;
        if self.options.passes.is_some() {
            return Ok(InitialState {
                unperturbed: self.without_gradients(batch, latents)?,
                gradients: None,
            });
        }
        let (unperturbed, gradients) = self.with_gradients(batch, latents)?;
        Ok(InitialState { unperturbed, gradients: Some(gradients) })
    }

    /// The best images that `options.steps` steps within `epsilon` of each latent met, or `options.passes` passes; the unperturbed one
    /// where none was better. `after_step` is called after each of them.
    ///
    /// # Errors
    /// As [`Search::initial_state`]; what `after_step` returns.
    pub(super) fn perturb(
        &self,
        batch: &LatentBatch,
        initial: &InitialState,
        bias: Direction,
        epsilon: f64,
        after_step: &dyn Fn() -> Result<()>,
    ) -> Result<Candidates> {
        let balls = self.balls(initial, epsilon)?;
        let mut best = initial.unperturbed.clone();
        let Some(first) = &initial.gradients else {
            let trials =
                Trials::new(balls, self.streams(batch, Purpose::PerturbTrial).collect(), epsilon, bias);
            self.search_without_gradients(batch, trials, &mut best, bias, after_step)?;
            return Ok(best);
        };
        let size = bias.sign() * self.options.step_size.unwrap_or(STEP_PART * epsilon);
        let (mut at, mut gradients) = (best.latents.clone(), first.clone());
        if self.options.random_start {
            at = balls.random_points(self.streams(batch, Purpose::PerturbStart))?;
            let reached;
            (reached, gradients) = self.with_gradients(batch, at.clone())?;
            best.keep_better(reached, bias)?;
        }
        for step in 1..=self.options.steps {
            at = balls.step(&at, &gradients, size)?;
            let reached;
            if step < self.options.steps {
                (reached, gradients) = self.with_gradients(batch, at.clone())?;
            } else {
                reached = self.without_gradients(batch, at.clone())?;
            }
            best.keep_better(reached, bias)?;
            after_step()?;
        }
        Ok(best)
    }

    /// Keeps the best of the images that `trials` proposes.
    fn search_without_gradients(
        &self,
        batch: &LatentBatch,
        mut trials: Trials,
        best: &mut Candidates,
        bias: Direction,
        after_step: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        for _ in 0..self.options.length() {
            let reached = self.without_gradients(batch, trials.next()?)?;
            trials.learn(&reached.values());
            best.keep_better(reached, bias)?;
            after_step()?;
        }
        Ok(())
    }

    /// Images in the direction of random signs, as far away as a search may go: the paper's control.
    ///
    /// # Errors
    /// As [`Search::initial_state`].
    pub(super) fn control(
        &self,
        batch: &LatentBatch,
        initial: &InitialState,
        epsilon: f64,
    ) -> Result<Candidates> {
        let moved =
            self.balls(initial, epsilon)?.random_signs(self.streams(batch, Purpose::PerturbControl))?;
        self.without_gradients(batch, moved)
    }

    fn balls(&self, initial: &InitialState, radius: f64) -> Result<Balls> {
        Balls::new(&initial.unperturbed.latents, radius, self.options.norm)
    }

    /// A stream for each latent.
    fn streams(&self, batch: &LatentBatch, purpose: Purpose) -> impl Iterator<Item = ChaCha8Rng> {
        let seed = self.options.seed;
        batch.keys.iter().map(move |&key| keyed(seed, purpose, key))
    }

    fn without_gradients(&self, batch: &LatentBatch, latents: Tensor) -> Result<Candidates> {
        let conditions = batch.conditions(self.conditions);
        let found = evaluate(self.generator, self.extractor, self.density, &latents, &conditions)?;
        Ok(measured(latents, found))
    }

    fn with_gradients(&self, batch: &LatentBatch, latents: Tensor) -> Result<(Candidates, Tensor)> {
        let conditions = batch.conditions(self.conditions);
        let (found, gradients) =
            evaluate_with_gradient(self.generator, self.extractor, self.density, &latents, &conditions)?;
        // A row with a number that is not finite has no finite sum of magnitudes.
        let sums = gradients.flatten_from(1)?.to_dtype(DType::F64)?.abs()?.sum(1)?.to_vec1::<f64>()?;
        if let Some(row) = sums.iter().position(|sum| !sum.is_finite()) {
            let name = batch.names.get(row).map_or("a latent", String::as_str);
            return Err(Error::data(
                format!("the gradient of {name} is not finite"),
                Remedy::SmallerPerturbation,
            ));
        }
        Ok((measured(latents, found), gradients))
    }
}

fn measured(latents: Tensor, found: Evaluation) -> Candidates {
    let rows = found.images.into_iter().zip(found.features.outer_iter()).zip(found.densities);
    let candidate = |((image, feature), value): ((_, ArrayView1<f32>), _)| Candidate {
        image,
        feature: feature.to_owned(),
        value,
    };
    Candidates { latents, candidates: rows.map(candidate).collect() }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
