//! A whole run: batch after batch, every strength, and what is written of it.

use super::direction::Direction;
use super::grid::{Column, grid};
use super::objective::{KnnDensity, Objective, PredictedDensity};
use super::output::{GRID, LATENTS, ORIGINALS, Output, SAMPLES};
use super::report::{Report, SampleRow, table};
use super::search::{Found, Latents, Search, SearchOptions, Start, features};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::npy::write_npy;
use crate::formats::table::write_table;
use crate::generate::{ForwardOptions, Generator};
use crate::images::write_png_bytes;
use crate::progress::{Progress, check_stop};
use crate::reference::{DensityBy, Scorer};
use ndarray::{ArrayD, IxDyn};
use serde::{Deserialize, Serialize};

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
    /// Space, truncation and noise.
    pub conditions: ForwardOptions<'a>,
    /// The one that the reference was made with.
    pub extractor: &'a LoadedExtractor,
    /// The reference.
    pub scorer: &'a Scorer,
    /// Its predictor, where it has one.
    pub predictor: Option<&'a PredictedDensity>,
}

/// Perturbs `count` latents, which come in batches, and writes images, `samples.csv`, `latents.npy` and `grid.png` to `output`.
/// Rows are in the order of the latents, the strengths of each next to each other. How the latents are cut into batches changes
/// no result.
///
/// # Errors
/// [`Error::Usage`] if the predictor is asked for and there is none, or strengths or steps make no sense; what [`Search`] and
/// writing return; [`Error::Interrupted`].
pub fn run(
    models: &Models,
    options: &RunOptions,
    count: u64,
    batches: impl Iterator<Item = Result<Latents>>,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Report> {
    run_and_show(models, options, (count, batches), std::iter::empty(), output, progress)
}

/// As [`run()`]; the latents of `shown` only go into the sheet.
pub(super) fn run_and_show(
    models: &Models,
    options: &RunOptions,
    (count, batches): (u64, impl Iterator<Item = Result<Latents>>),
    shown: impl Iterator<Item = Result<Latents>>,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Report> {
    options.check()?;
    let knn = KnnDensity(models.scorer);
    let objective: &dyn Objective = match (options.density, models.predictor) {
        (DensityBy::Knn, _) => &knn,
        (DensityBy::Predictor, Some(predictor)) => predictor,
        (DensityBy::Predictor, None) => {
            return Err(Error::usage(
                "the reference has no density predictor",
                "run `pd index` without --no-predictor, or use --density knn",
            ));
        }
    };
    let search = Search {
        generator: models.generator,
        extractor: models.extractor,
        objective,
        conditions: models.conditions,
        options: options.search,
    };
    let steps = count * (options.epsilons.len() * options.search.steps) as u64;
    progress.start("perturbing", steps, "steps");
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
    for latents in batches {
        run.batch(&latents?, true)?;
    }
    for latents in shown {
        run.batch(&latents?, false)?;
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
            return Err(Error::usage("a strength is not a number above 0", "the published one is --eps 0.1"));
        }
        let mut sorted = self.epsilons.clone();
        sorted.sort_by(f64::total_cmp);
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::usage("a strength is asked for twice", "give each --eps once"));
        }
        if self.search.step_size.is_some_and(|size| !positive(size)) || self.search.steps == 0 {
            return Err(Error::usage(
                "steps and their size must be above 0",
                "published are --steps 10 --step-size 0.025 for --eps 0.1",
            ));
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
    /// Moves a batch, and writes it down where it `counts`.
    fn batch(&mut self, latents: &Latents, counts: bool) -> Result<()> {
        let start = self.search.start(latents)?;
        let before = self.densities(&start.found)?;
        if counts {
            for (row, found) in start.found.iter().enumerate() {
                self.output.write_picture(ORIGINALS, &latents.name(row), &found.picture)?;
            }
        }
        let mut rows: Vec<Vec<SampleRow>> = vec![Vec::new(); start.found.len()];
        let mut moved: Vec<Vec<Found>> = vec![Vec::new(); start.found.len()];
        for &eps in &self.options.epsilons {
            let best = self.climb(latents, &start, self.options.bias, eps, start.found.len() as u64)?;
            let after = self.densities(&best)?;
            let control = match self.options.control {
                true => Some(self.densities(&self.search.control(latents, &start, eps)?)?.knn),
                false => None,
            };
            for (i, found) in best.into_iter().enumerate() {
                let difference = &found.feature.mapv(f64::from) - &start.found[i].feature.mapv(f64::from);
                let (folder, name) = (format!("eps-{eps}"), latents.name(i));
                rows[i].push(SampleRow {
                    file: match counts {
                        true => self.output.write_picture(&folder, &name, &found.picture)?,
                        false => String::new(),
                    },
                    seed: latents.seeds.as_ref().and_then(|seeds| seeds.get(i).copied()),
                    eps,
                    density_before: before.knn[i],
                    density_after: after.knn[i],
                    predictor_before: before.predictor[i],
                    predictor_after: after.predictor[i],
                    feature_distance: difference.dot(&difference).sqrt(),
                    improved: self.options.bias.improves(start.found[i].value, found.value),
                    control_density: control.as_ref().map(|control| control[i]),
                });
                moved[i].push(found);
            }
        }
        self.show(latents, &start, &before, &rows, &moved)?;
        if !counts {
            return Ok(());
        }
        self.latents.extend(moved.into_iter().flatten().flat_map(|found| found.latent));
        self.rows.extend(rows.into_iter().flatten());
        Ok(())
    }

    /// Adds columns to the grid while there is room: the strongest perturbation, and the opposite one, made for this.
    fn show(
        &mut self,
        latents: &Latents,
        start: &Start,
        before: &Densities,
        rows: &[Vec<SampleRow>],
        moved: &[Vec<Found>],
    ) -> Result<()> {
        let room = self.options.grid.saturating_sub(self.columns.len()).min(start.found.len());
        let epsilons = &self.options.epsilons;
        let strongest = (0..epsilons.len()).max_by(|&a, &b| epsilons[a].total_cmp(&epsilons[b]));
        let (Some(strongest), 1..) = (strongest, room) else { return Ok(()) };
        let (latents, start) = (latents.first(room)?, start.first(room));
        let bias = self.options.bias;
        let opposite = self.climb(&latents, &start, bias.opposite(), epsilons[strongest], 0)?;
        let densities = self.densities(&opposite)?;
        for (i, opposite) in opposite.into_iter().enumerate() {
            let asked = (moved[i][strongest].picture.clone(), rows[i][strongest].density_after);
            let original = (start.found[i].picture.clone(), before.knn[i]);
            let opposite = (opposite.picture, densities.knn[i]);
            self.columns.push(match bias {
                Direction::Higher => [opposite, original, asked],
                Direction::Lower => [asked, original, opposite],
            });
        }
        Ok(())
    }

    fn climb(
        &self,
        latents: &Latents,
        start: &Start,
        bias: Direction,
        eps: f64,
        counted: u64,
    ) -> Result<Vec<Found>> {
        self.search.climb(latents, start, bias, eps, &|| {
            self.progress.advance(counted);
            check_stop(|| "only finished images are written; the same command begins again".into())
        })
    }

    fn densities(&self, found: &[Found]) -> Result<Densities> {
        let features = features(found);
        let knn = KnnDensity(self.models.scorer).values(features.view())?;
        let predictor = match self.models.predictor {
            Some(predictor) => predictor.values(features.view())?,
            None => vec![f64::NAN; knn.len()],
        };
        Ok(Densities { knn, predictor })
    }

    fn finish(self) -> Result<Report> {
        let Self { models, options, output, rows, latents, columns, .. } = self;
        write_table(output.path(SAMPLES), &table(&rows)?)?;
        let space = models.generator.info().space(models.conditions.space)?;
        let shape: Vec<usize> = [rows.len()].into_iter().chain(space.shape.iter().copied()).collect();
        let latents = ArrayD::from_shape_vec(IxDyn(&shape), latents)
            .map_err(|e| Error::data(format!("latents cannot be written: {e}"), ""))?;
        write_npy(output.path(LATENTS), &latents)?;
        if let Some(grid) = grid(&columns) {
            write_png_bytes(&output.path(GRID), &grid.pixels, (grid.width, grid.height), 3)?;
        }
        Ok(Report::new(&rows, options.bias, &options.epsilons))
    }
}
