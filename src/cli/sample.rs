//! `pd sample`: images drawn by weight, from a generator or from a pool.

use super::bias::{BUDGET, BiasArgs};
use super::bundled::Bundled;
use super::common::{ExtractorArgs, RunArgs};
use super::generator_args::GeneratorArgs;
use super::output;
use super::run_dir::RunDir;
use super::sample_pool;
use super::sample_summary::{SampleSummary, table};
use super::terminal::Terminal;
use clap::Args;
use ndarray::Array2;
use pseudo_density::density::DensityPredictor;
use pseudo_density::error::{Error, Result};
use pseudo_density::extract::LoadedExtractor;
use pseudo_density::formats::npy::write_npy;
use pseudo_density::formats::table::write_table;
use pseudo_density::generate::Seeds;
use pseudo_density::images::{Alpha, contact_sheet, decode, write_png};
use pseudo_density::reference::{DensityBy, Reference, Scorer};
use pseudo_density::sampling::draw::{DrawOptions, Drawn, Judgement, draw};
use pseudo_density::sampling::{Judge, Source, Spacing};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Draw images from a generator, or choose from a pool, by their pseudo density
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd sample --generator g.pth --reference ref/ --bias diversity -n 500 -o out/
  pd sample --pool photos/ --reference ref/ --bias fidelity -n 100 --distinct 10")]
pub struct Sample {
    /// Choose from these images (or features) instead, without replacement
    #[arg(long, value_name = "IMAGES", conflicts_with_all = ["generator", "budget", "pilot", "max_draws", "seeds", "latents"])]
    pool: Option<PathBuf>,
    /// Reference that says what is typical; not needed where everything is kept [default where no --generator is named either: the demonstration that pd carries]
    #[arg(long, value_name = "REF")]
    pub reference: Option<PathBuf>,
    /// Images wanted [default: 64; all that are accepted where --seeds or --latents lists candidates]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub n: Option<u64>,
    /// Directory for images, samples.csv, latents.npy and summary.json
    #[arg(long, short, value_name = "OUT", default_value = "pd-sample")]
    pub output: PathBuf,
    #[command(flatten)]
    pub bias: BiasArgs,
    /// Draws for each kept image on average, at most [default: 4; the two-level rule has its own acceptance]
    #[arg(long, value_name = "R")]
    budget: Option<f64>,
    /// Candidates that the acceptance is estimated on; part of the draws [default: N times the budget, 1000 to 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pilot: Option<u64>,
    /// Candidates at most [default: 100 for each image wanted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_draws: Option<u64>,
    /// Keep images only that are as far from each other as P percent of the real ones are from their nearest
    #[arg(long, value_name = "P", value_parser = percentile)]
    pub distinct: Option<f64>,
    /// Keep images only whose nearest real one is at least that far
    #[arg(long, value_name = "P", value_parser = percentile)]
    pub novel: Option<f64>,
    /// Whose densities weigh the images
    #[arg(long, default_value = "knn")]
    pub density: DensityBy,
    /// Pool: draw with replacement
    #[arg(long, requires = "pool", conflicts_with = "distinct")]
    pub replace: bool,
    /// Pool: link the chosen files instead of copying them
    #[arg(long, requires = "pool")]
    pub link: bool,
    /// Write grid.png, a sheet of the first kept images
    #[arg(long)]
    grid: bool,
    /// Key of every random draw beside the latents
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    candidates: GeneratorArgs,
    #[command(flatten)]
    pub extractor: ExtractorArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Images wanted where nothing else says how many.
const DEFAULT_N: u64 = 64;
/// Candidates of a pilot.
const PILOT: std::ops::RangeInclusive<f64> = 1000.0..=10_000.0;
/// Draws for each wanted image, at most.
const MAX_DRAWS: u64 = 100;
/// Images of `grid.png`.
const GRID: usize = 64;
const GRID_COLUMNS: usize = 8;

fn percentile(text: &str) -> std::result::Result<f64, String> {
    match text.strip_prefix('p').unwrap_or(text).parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("must be a percentile, 0 to 100".into()),
    }
}

impl Sample {
    pub fn run(mut self) -> Result<()> {
        let terminal = self.run.start()?;
        if self.pool.is_none() {
            Bundled::stand_in(&mut self.candidates, &mut self.reference, &terminal)?;
        }
        match &self.pool {
            Some(pool) => sample_pool::run(&self, pool, &terminal),
            None => self.run_generator(&terminal),
        }
    }

    /// The reference, where there is one.
    pub fn open_reference(&self) -> Result<Option<Reference>> {
        let reference = self.reference.as_deref().map(Reference::open).transpose()?;
        if let Some(reference) = &reference {
            reference.density()?;
        }
        Ok(reference)
    }

    /// The predictor, where it is asked for.
    pub fn predictor(&self, reference: &Reference) -> Result<Option<DensityPredictor>> {
        match self.density {
            DensityBy::Knn => Ok(None),
            DensityBy::Predictor => reference.predictor().map(Some),
        }
    }

    /// How far the kept have to be apart.
    pub fn spacing(&self, reference: &Reference) -> Result<Spacing> {
        Spacing::of_percentiles(self.distinct, self.novel, &reference.nearest_distances()?)
    }

    fn run_generator(&self, terminal: &Terminal) -> Result<()> {
        let reference = self.open_reference()?;
        if reference.is_none() && (self.bias.weighs() || self.distinct.is_some() || self.novel.is_some()) {
            return Err(Error::usage(
                "weights, --distinct and --novel need a reference that says what is typical",
                "make one with `pd embed IMAGES -o ref/ && pd index ref/`, and name it: --reference ref/",
            ));
        }
        let dimension = reference.as_ref().and_then(|r| r.manifest.density.as_ref()?.intrinsic_dimension);
        let weights = self.bias.options(self.budget, dimension)?;
        if weights.is_none() && self.pilot.is_some() {
            return Err(Error::usage(
                "--pilot estimates weights, and everything is kept",
                "add --bias or --rule",
            ));
        }
        let generator = self.candidates.open()?;
        let all_seeds = Seeds::consecutive(0, u64::from(u32::MAX))?;
        let source = self.candidates.source(generator.as_ref(), &all_seeds)?;
        let n = match (self.n, self.candidates.lists_candidates()) {
            (Some(n), _) => Some(n),
            (None, true) => None,
            (None, false) => Some(DEFAULT_N),
        };
        let wanted = n.unwrap_or(source.len());
        let budget = weights.as_ref().and_then(|w| w.budget).unwrap_or(BUDGET);
        let draws = if n.is_some() { wanted as f64 * budget } else { wanted as f64 };
        let pilot = match (self.pilot, &weights) {
            (Some(pilot), _) => pilot,
            (None, Some(_)) => draws.clamp(*PILOT.start(), *PILOT.end()) as u64,
            // Where all weigh alike there is nothing to estimate.
            (None, None) => 1,
        };
        let options = DrawOptions {
            n: n.map(|n| n as usize),
            pilot: pilot as usize,
            max_draws: self.max_draws.unwrap_or(wanted.saturating_mul(MAX_DRAWS)),
            weights: weights.clone().unwrap_or_else(pseudo_density::sampling::WeightOptions::alike),
            seed: self.seed,
            batch: self.extractor.embed_options().batch,
        };
        let run = json!({
            "candidates": self.candidates.describe(generator.as_ref(), &all_seeds)?,
            "reference": reference.as_ref().map(|r| r.digest()).transpose()?,
            "density": format!("{:?}", self.density).to_lowercase(),
            "options": options,
            "distinct": self.distinct,
            "novel": self.novel,
        });
        let dir = match RunDir::open(&self.output, &run)? {
            RunDir::Finished(summary) => {
                terminal.say(&format!("{} is finished already", self.output.display()));
                return output::print(&SampleSummary::of_file(&summary, &self.output)?.render(self.run.json));
            }
            RunDir::New(dir) => dir,
        };
        let drawn = match &reference {
            Some(reference) => {
                let extractor =
                    LoadedExtractor::for_identity(&reference.manifest.identity, &self.extractor.request())?;
                let scorer = Scorer::open(reference, terminal)?;
                let predictor = self.predictor(reference)?;
                let judgement = Judgement {
                    extractor: &extractor,
                    judge: Judge { scorer: &scorer, predictor: predictor.as_ref() },
                    spacing: self.spacing(reference)?,
                };
                let drawn = draw(&source, Some(&judgement), &options, (&dir, &run), terminal)?;
                self.write(&dir, &source, &drawn, scorer.paths())?;
                drawn
            }
            None => {
                let drawn = draw(&source, None, &options, (&dir, &run), terminal)?;
                self.write(&dir, &source, &drawn, &[])?;
                drawn
            }
        };
        let summary = SampleSummary::new(&drawn, weights.as_ref(), &self.output);
        RunDir::finish(&dir, &summary, &run)?;
        output::print(&summary.render(self.run.json))?;
        self.check_complete(&drawn, &source)
    }

    /// Tables, latents and the sheet.
    fn write(&self, dir: &Path, source: &Source, drawn: &Drawn, reference_paths: &[String]) -> Result<()> {
        write_table(dir.join("samples.csv"), &table(drawn, reference_paths)?)?;
        let mut latents = Vec::new();
        let mut shape = vec![0];
        for row in drawn.kept() {
            let latent = source.latents(row..row + 1)?;
            shape = latent.dims().to_vec();
            latents.extend(latent.flatten_all()?.to_vec1::<f32>()?);
        }
        let rows = drawn.kept().count();
        if rows > 0 {
            shape[0] = rows;
            let array = ndarray::ArrayD::from_shape_vec(shape, latents)
                .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))?;
            write_npy(dir.join("latents.npy"), &array)?;
        } else {
            write_npy(dir.join("latents.npy"), &Array2::<f32>::zeros((0, 1)))?;
        }
        if self.grid {
            let mut images = Vec::new();
            for row in drawn.kept().take(GRID) {
                let path = dir.join(&drawn.names[row]);
                let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
                images.push(
                    decode(&bytes, Alpha::White).map_err(|reason| Error::malformed(&path, reason, ""))?,
                );
            }
            write_png(&dir.join("grid.png"), &contact_sheet(&images, GRID_COLUMNS))?;
        }
        Ok(())
    }

    fn check_complete(&self, drawn: &Drawn, source: &Source) -> Result<()> {
        if drawn.complete {
            return Ok(());
        }
        let kept = drawn.kept().count();
        let hint = if drawn.draws as u64 >= source.len() {
            "name more --seeds"
        } else {
            "raise --max-draws, ask for fewer with -n, or for a milder weight; lower --distinct and --novel"
        };
        Err(Error::data(
            format!(
                "{} draws gave {kept} of the {} images asked for; these are in {}",
                drawn.draws,
                self.n.unwrap_or(DEFAULT_N),
                self.output.display()
            ),
            hint,
        ))
    }
}
