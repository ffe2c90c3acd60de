//! The latents of a range perturbed batch after batch, by every strength.

use super::direction::Direction;
use super::finished::{FinishedLatent, FinishedLatents, perturbed_file};
use super::options::{Models, RunOptions};
use super::report::SampleRow;
use super::search::{Candidates, InitialState, Search};
use crate::candidates::{LatentBatch, latent_array};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use crate::reference::DensityBy;
use candle_core::Tensor;
use std::ops::Range;

/// Perturbs the latents of a range that are not finished yet. How they are cut into batches changes no result.
///
/// # Errors
/// [`Error::Usage`] if strengths or steps make no sense, or the density that is followed is not the one of `models`; what [`Search`]
/// and writing return; [`Error::Interrupted`].
pub(super) fn perturb_latents(
    models: &Models,
    options: &RunOptions,
    range: Range<usize>,
    finished: &FinishedLatents,
    progress: &dyn Progress,
) -> Result<()> {
    options.check()?;
    if models.scorer.density.by() != options.density {
        return Err(Error::usage("the density to follow is not the one that scores", ""));
    }
    let search = Search {
        generator: models.generator,
        extractor: &models.scorer.extractor,
        density: &models.scorer.density,
        conditions: models.latents.conditions(models.generator)?,
        options: options.search,
    };
    let work = Work { models, options, search, progress };
    let next = finished.next(range.clone());
    progress.start("perturbing", work.steps(range.len()), "steps");
    progress.advance(work.steps(next - range.start));
    let mut at = next;
    for batch in models.latents.batches(models.generator, next..range.end, models.batch) {
        let batch = batch?;
        work.batch(&batch, at, finished)?;
        at += batch.len();
    }
    progress.finish();
    Ok(())
}

struct Work<'a> {
    models: &'a Models<'a>,
    options: &'a RunOptions,
    search: Search<'a>,
    progress: &'a dyn Progress,
}

/// Densities of images, by both definitions.
struct Densities {
    knn: Vec<f64>,
    predictor: Vec<f64>,
}

/// What a strength did to the latents of a batch.
struct Strength {
    eps: f64,
    best: Candidates,
    after: Densities,
    /// Pseudo densities of the controls, where they are asked for.
    control: Option<Vec<f64>>,
}

impl Work<'_> {
    fn steps(&self, latents: usize) -> u64 {
        (latents * self.options.epsilons.len() * self.options.search.length()) as u64
    }

    /// Perturbs a batch, whose first latent is the `first`-th of all, and keeps what is found.
    fn batch(&self, batch: &LatentBatch, first: usize, finished: &FinishedLatents) -> Result<()> {
        let initial = self.search.initial_state(batch)?;
        let before = self.densities(&initial.unperturbed)?;
        let mut strengths = Vec::with_capacity(self.options.epsilons.len());
        for &eps in &self.options.epsilons {
            let best = self.perturb(batch, &initial, self.options.bias, eps, batch.len() as u64)?;
            let after = self.densities(&best)?;
            let control = match self.options.control {
                true => Some(self.knn(&self.search.control(batch, &initial, eps)?)?),
                false => None,
            };
            strengths.push(Strength { eps, best, after, control });
        }
        let opposites = self.opposites(batch, &initial, first)?;
        let of_strengths: Vec<&Tensor> = strengths.iter().map(|strength| &strength.best.latents).collect();
        // The strengths of one latent lie next to each other.
        let latents = Tensor::stack(&of_strengths, 1)?;
        for i in 0..batch.len() {
            let latents = latent_array(&latents.get(i)?)?;
            let latent = FinishedLatent {
                original: &initial.unperturbed.candidates[i].image,
                perturbed: strengths
                    .iter()
                    .map(|s| (self.row(batch, i, &initial, &before, s), &s.best.candidates[i].image))
                    .collect(),
                latents,
                opposite: opposites
                    .as_ref()
                    .and_then(|(found, densities)| Some((&found.candidates.get(i)?.image, densities[i]))),
            };
            finished.keep(first + i, latent)?;
        }
        Ok(())
    }

    /// What a strength did to the `i`-th latent of a batch.
    fn row(
        &self,
        batch: &LatentBatch,
        i: usize,
        initial: &InitialState,
        before: &Densities,
        strength: &Strength,
    ) -> SampleRow {
        let (original, found) = (&initial.unperturbed.candidates[i], &strength.best.candidates[i]);
        let difference = &found.feature.mapv(f64::from) - &original.feature.mapv(f64::from);
        SampleRow {
            file: perturbed_file(strength.eps, &batch.names[i]),
            seed: batch.seeds[i],
            eps: strength.eps,
            density_before: before.knn[i],
            density_after: strength.after.knn[i],
            predictor_before: before.predictor[i],
            predictor_after: strength.after.predictor[i],
            feature_distance: difference.dot(&difference).sqrt(),
            improved: self.options.bias.improves(original.value, found.value),
            control_density: strength.control.as_ref().map(|control| control[i]),
        }
    }

    /// The latents that the sheet shows, perturbed the other way by the largest strength, with their pseudo densities; `None` where
    /// the sheet shows none of this batch.
    fn opposites(
        &self,
        batch: &LatentBatch,
        initial: &InitialState,
        first: usize,
    ) -> Result<Option<(Candidates, Vec<f64>)>> {
        let shown = self.options.grid.saturating_sub(first).min(batch.len());
        if shown == 0 {
            return Ok(None);
        }
        let (batch, initial) = (batch.first(shown)?, initial.first(shown)?);
        let eps = self.options.epsilons[self.options.strongest()];
        let found = self.perturb(&batch, &initial, self.options.bias.opposite(), eps, 0)?;
        let densities = self.knn(&found)?;
        Ok(Some((found, densities)))
    }

    fn perturb(
        &self,
        batch: &LatentBatch,
        initial: &InitialState,
        bias: Direction,
        eps: f64,
        counted: u64,
    ) -> Result<Candidates> {
        self.search.perturb(batch, initial, bias, eps, &|| {
            self.progress.advance(counted);
            check_stop(self.progress, || "finished latents are kept; the same command continues".into())
        })
    }

    fn densities(&self, found: &Candidates) -> Result<Densities> {
        let density = &self.models.scorer.density;
        let predictor = match self.options.density {
            DensityBy::Predictor => Some(found.values()),
            DensityBy::Knn => density.predicted(found.features().view())?,
        };
        let predictor = predictor.unwrap_or_else(|| vec![f64::NAN; found.candidates.len()]);
        Ok(Densities { knn: self.knn(found)?, predictor })
    }

    /// Pseudo densities by nearest neighbours: searched for only where the search followed others.
    fn knn(&self, found: &Candidates) -> Result<Vec<f64>> {
        match self.options.density {
            DensityBy::Knn => Ok(found.values()),
            DensityBy::Predictor => self.models.scorer.density.pseudo_densities(found.features().view()),
        }
    }
}
