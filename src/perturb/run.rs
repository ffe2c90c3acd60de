//! A whole run: batch after batch, every strength, and what is written of it.

use super::direction::Direction;
use super::grid::{Column, grid};
use super::output::{LATENTS, ORIGINALS, Output, SAMPLES};
use super::report::{Report, SampleRow, table};
use super::search::{Candidate, Candidates, InitialState, Search, SearchOptions};
use crate::candidates::{DensityScorer, LatentBatch, LatentSource};
use crate::error::{Error, Result};
use crate::formats::npy::write_npy;
use crate::formats::table::write_table;
use crate::generate::{ForwardOptions, Generator};
use crate::images::RgbImage;
use crate::progress::{Progress, check_stop};
use crate::reference::DensityBy;
use crate::remedy::Remedy;
use candle_core::Tensor;
use ndarray::{ArrayD, IxDyn};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a run is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Which way.
    pub bias: Direction,
    /// Strengths, each above 0.
    pub epsilons: Vec<f64>,
    /// What is followed.
    pub density: DensityBy,
    /// How.
    pub search: SearchOptions,
    /// Whether a random direction of the same size is measured beside it.
    pub control: bool,
    /// Samples shown in `grid.png`; 0 for no grid.
    pub grid: usize,
}

/// Everything that a run computes with.
pub struct Models<'a> {
    /// Makes the images.
    pub generator: &'a dyn Generator,
    /// The latents that can be perturbed.
    pub latents: &'a LatentSource,
    /// Scores the images; its density is the one that is followed.
    pub scorer: &'a DensityScorer,
    /// Latents that are worked on together.
    pub batch: usize,
}

impl Models<'_> {
    fn batches(&self, range: Range<usize>) -> impl Iterator<Item = Result<LatentBatch>> {
        self.latents.batches(self.generator, range, self.batch)
    }
}

/// Perturbs the latents of a range, and writes images, `samples.csv`, `latents.npy` and `grid.png` to `output`.
/// Rows are in the order of the latents, the strengths of each next to each other. How the latents are cut into batches changes
/// no result.
///
/// # Errors
/// [`Error::Usage`] if strengths or steps make no sense, or the density that is followed is not the one of `models`; what [`Search`]
/// and writing return; [`Error::Interrupted`].
pub fn run(
    models: &Models,
    options: &RunOptions,
    range: Range<usize>,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Report> {
    let end = range.end;
    run_and_show(models, options, (range, end..end), output, progress)
}

/// As [`run()`]; the latents of `shown` only go into the sheet.
pub(super) fn run_and_show(
    models: &Models,
    options: &RunOptions,
    (range, shown): (Range<usize>, Range<usize>),
    output: &Output,
    progress: &dyn Progress,
) -> Result<Report> {
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
    let steps = range.len() * options.epsilons.len() * options.search.steps;
    progress.start("perturbing", steps as u64, "steps");
    let mut run = Run {
        models,
        options,
        search,
        output,
        progress,
        rows: Vec::new(),
        latents: Vec::new(),
        columns: Vec::new(),
    };
    for batch in models.batches(range) {
        run.batch(&batch?, true)?;
    }
    for batch in models.batches(shown) {
        run.batch(&batch?, false)?;
    }
    progress.finish();
    run.finish()
}

impl RunOptions {
    /// Whether strengths and steps make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] saying which does not.
    pub fn check(&self) -> Result<()> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.epsilons.is_empty() || !self.epsilons.iter().copied().all(positive) {
            return Err(Error::usage("a strength is not a number above 0", Remedy::PublishedPerturbation));
        }
        let mut sorted = self.epsilons.clone();
        sorted.sort_by(f64::total_cmp);
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::usage("a strength is asked for twice", Remedy::PublishedPerturbation));
        }
        if self.search.step_size.is_some_and(|size| !positive(size)) || self.search.steps == 0 {
            return Err(Error::usage("steps and their size must be above 0", Remedy::PublishedPerturbation));
        }
        Ok(())
    }
}

struct Run<'a> {
    models: &'a Models<'a>,
    options: &'a RunOptions,
    search: Search<'a>,
    output: &'a Output,
    progress: &'a dyn Progress,
    rows: Vec<SampleRow>,
    latents: Vec<f32>,
    columns: Vec<Column>,
}

/// Densities of images, by both definitions.
struct Densities {
    knn: Vec<f64>,
    predictor: Vec<f64>,
}

impl Run<'_> {
    /// Perturbs a batch, and writes it down where it `counts`.
    fn batch(&mut self, batch: &LatentBatch, counts: bool) -> Result<()> {
        let initial = self.search.initial_state(batch)?;
        let originals = &initial.unperturbed.candidates;
        let before = self.densities(&initial.unperturbed)?;
        if counts {
            for (name, original) in batch.names.iter().zip(originals) {
                self.write(ORIGINALS, name, &original.image)?;
            }
        }
        let mut rows: Vec<Vec<SampleRow>> = vec![Vec::new(); batch.len()];
        let mut moved: Vec<Vec<Candidate>> = vec![Vec::new(); batch.len()];
        let mut latents = Vec::new();
        for &eps in &self.options.epsilons {
            let best = self.perturb(batch, &initial, self.options.bias, eps, batch.len() as u64)?;
            let after = self.densities(&best)?;
            let control = match self.options.control {
                true => Some(self.knn(&self.search.control(batch, &initial, eps)?)?),
                false => None,
            };
            latents.push(best.latents);
            for (i, found) in best.candidates.into_iter().enumerate() {
                let difference = &found.feature.mapv(f64::from) - &originals[i].feature.mapv(f64::from);
                let file = match counts {
                    true => self.write(&format!("eps-{eps}"), &batch.names[i], &found.image)?,
                    false => String::new(),
                };
                rows[i].push(SampleRow {
                    file,
                    seed: batch.seeds[i],
                    eps,
                    density_before: before.knn[i],
                    density_after: after.knn[i],
                    predictor_before: before.predictor[i],
                    predictor_after: after.predictor[i],
                    feature_distance: difference.dot(&difference).sqrt(),
                    improved: self.options.bias.improves(originals[i].value, found.value),
                    control_density: control.as_ref().map(|control| control[i]),
                });
                moved[i].push(found);
            }
        }
        self.show(batch, &initial, &before, &rows, &moved)?;
        if counts {
            // The strengths of one latent lie next to each other.
            self.latents.extend(Tensor::stack(&latents, 1)?.flatten_all()?.to_vec1::<f32>()?);
            self.rows.extend(rows.into_iter().flatten());
        }
        Ok(())
    }

    /// Adds columns to the grid while there is room: the strongest perturbation, and the opposite one, made for this.
    fn show(
        &mut self,
        batch: &LatentBatch,
        initial: &InitialState,
        before: &Densities,
        rows: &[Vec<SampleRow>],
        moved: &[Vec<Candidate>],
    ) -> Result<()> {
        let room = self.options.grid.saturating_sub(self.columns.len()).min(batch.len());
        let epsilons = &self.options.epsilons;
        let strongest = (0..epsilons.len()).max_by(|&a, &b| epsilons[a].total_cmp(&epsilons[b]));
        let (Some(strongest), 1..) = (strongest, room) else { return Ok(()) };
        let (batch, initial) = (batch.first(room)?, initial.first(room)?);
        let bias = self.options.bias;
        let opposite = self.perturb(&batch, &initial, bias.opposite(), epsilons[strongest], 0)?;
        let densities = self.knn(&opposite)?;
        for (i, opposite) in opposite.candidates.into_iter().enumerate() {
            let asked = (moved[i][strongest].image.clone(), rows[i][strongest].density_after);
            let original = (initial.unperturbed.candidates[i].image.clone(), before.knn[i]);
            let opposite = (opposite.image, densities[i]);
            self.columns.push(match bias {
                Direction::Higher => [opposite, original, asked],
                Direction::Lower => [asked, original, opposite],
            });
        }
        Ok(())
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
            check_stop(self.progress, || {
                "only finished images are written; the same command begins again".into()
            })
        })
    }

    fn write(&self, folder: &str, name: &str, image: &RgbImage) -> Result<String> {
        let gray = self.models.generator.info().image_shape.channels == 1;
        self.output.write_image(folder, name, image, gray)
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

    fn finish(self) -> Result<Report> {
        let Self { models, options, output, rows, latents, columns, search, .. } = self;
        write_table(output.path(SAMPLES), &table(&rows)?)?;
        let ForwardOptions { space, .. } = search.conditions;
        let space = models.generator.info().space(space)?;
        let shape: Vec<usize> = [rows.len()].into_iter().chain(space.shape.iter().copied()).collect();
        let latents = ArrayD::from_shape_vec(IxDyn(&shape), latents)
            .map_err(|e| Error::data(format!("latents cannot be written: {e}"), ""))?;
        write_npy(output.path(LATENTS), &latents)?;
        if let Some(grid) = grid(&columns) {
            output.write_grid(&grid)?;
        }
        Ok(Report::new(&rows, options.bias, &options.epsilons))
    }
}
