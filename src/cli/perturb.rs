//! `pd perturb`: single samples made more or less typical.

use super::bundled::Bundled;
use super::common::{self, ExtractorArgs, RunArgs};
use super::generator_args::{GeneratorArgs, named};
use super::output::Results;
use super::{presets, shard};
use crate::candidates::{DensityScorer, ReferenceDensity};
use crate::density::Preset;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::Seeds;
use crate::perturb::{
    Direction, EPSILON, Models, Norm, PerturbRun, Report, RunOptions, SearchOptions, perturb_shard, run,
};
use crate::reference::{DensityBy, Reference, Scorer};
use crate::runs::ShardRequest;
use clap::Args;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Move latents by gradient steps, so that their images become more or less typical
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd perturb --generator g.pth --reference ref/ --bias diversity -o out/
  pd perturb --generator ddpm/ --reference ref/ --bias fidelity --eps 0.1,0.2")]
pub(super) struct Perturb {
    /// Reference directory, made by `pd embed` and `pd index` [default, if no --generator is named either: the built-in demonstration]
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    /// Direction: towards higher density (fidelity) or lower density (diversity)
    #[arg(long, value_parser = presets::of_perturbation())]
    bias: Preset,
    /// Do one shard of the latents: I/N with I from 0, auto/N or auto; `pd merge OUT` joins the shards
    #[arg(long, value_name = "I/N", value_parser = common::shard)]
    shard: Option<ShardRequest>,
    /// Output directory for the images, samples.csv, latents.npy, grid.png and summary.json
    #[arg(long, short, value_name = "OUT", default_value = "pd-perturb")]
    output: PathBuf,
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    generator: GeneratorArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// How latents are moved.
#[derive(Args)]
#[command(next_help_heading = "Search")]
struct SearchArgs {
    /// Largest distance eps that a latent may move; several values are tried in one run
    #[arg(long, value_name = "EPS", value_delimiter = ',', default_values_t = [EPSILON])]
    eps: Vec<f64>,
    /// Number T of gradient steps
    #[arg(long, value_name = "T", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Step size alpha [default: a quarter of --eps]
    #[arg(long, value_name = "ALPHA")]
    step_size: Option<f64>,
    /// Norm in which --eps and --step-size are measured
    #[arg(long, default_value = "linf")]
    norm: Norm,
    /// Start at a random point within --eps instead of at the latent itself
    #[arg(long)]
    random_start: bool,
    /// Density whose gradient is followed: that from the nearest real images, or that of the reference's predictor
    #[arg(long, default_value = "knn")]
    density: DensityBy,
    /// Also measure a step of the same size in a random direction, as a control
    #[arg(long)]
    control: bool,
    /// Number of samples in grid.png, each moved in both directions; 0 for no grid
    #[arg(long, value_name = "N", default_value_t = 8)]
    grid: u16,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// The latents of a run that names none.
const DEFAULT_SEEDS: (u32, u64) = (0, 16);
/// What the images of rows of a file are called by.
const LATENT_ROW: &str = "latent";

impl Perturb {
    pub(super) fn run(mut self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        Bundled::stand_in(&mut self.generator, &mut self.reference, &terminal)?;
        self.extractor.refuse_key()?;
        let reference = Reference::open(named(self.reference.as_deref())?)?;
        reference.density()?;
        let identity = &reference.manifest.identity;
        let extractor = LoadedExtractor::for_identity(identity, &self.extractor.request(terminal.device()))?;
        let (generator, origin) = self.generator.open(&terminal)?;
        let default_seeds = Seeds::consecutive(DEFAULT_SEEDS.0, DEFAULT_SEEDS.1)?;
        let latents =
            self.generator.latents(generator.as_ref(), &default_seeds, LATENT_ROW, terminal.device())?;
        let count = latents.len();
        let count = usize::try_from(count)
            .map_err(|_| Error::usage(format!("{count} seeds are too many"), "name fewer"))?;
        let options = self.search.options(self.bias.try_into()?);
        options.check()?;
        let scorer = Scorer::open(&reference, terminal.device(), &terminal)?;
        let model = scorer.model().clone();
        // Its densities are reported whichever are followed.
        let predictor =
            reference.density()?.predictor.is_some().then(|| reference.predictor()).transpose()?;
        let density = ReferenceDensity::new(scorer, predictor, options.density)?;
        let record = json!({
            "perturb": serde_json::to_value(&options).map_err(|e| Error::data(e.to_string(), ""))?,
            "generator": self.generator.describe((generator.as_ref(), &origin), &default_seeds)?,
            "reference": {
                "extractor": identity.describe(),
                "weights_sha256": identity.weights_sha256,
                "input_digest": reference.manifest.input_digest,
                "k": model.k,
                "exponent": model.exponent,
                "rows": model.rows,
                "scaled_sum": model.scaled_sum,
            },
        });
        let models = Models {
            generator: generator.as_ref(),
            latents: &latents,
            scorer: &DensityScorer { extractor, density },
            batch: self.extractor.embed_options().batch,
        };
        if let Some(shard) = self.shard {
            let shard = shard::resolve(shard)?;
            let of = PerturbRun { record, options, latents: count };
            let part = perturb_shard(&self.output, &models, &of, shard, &terminal)?;
            return shard::report(&self.output, &part, &terminal, self.run.json);
        }
        let report = run(&self.output, &models, &options, record.clone(), &terminal)?;
        terminal.say(&format!(
            "wrote {} images to {}",
            report.images * options.epsilons.len(),
            self.output.display()
        ));
        terminal.print(&match self.run.json {
            true => format!("{:#}\n", report.summary(record)?),
            false => text(&report),
        })
    }
}

impl SearchArgs {
    fn options(&self, bias: Direction) -> RunOptions {
        RunOptions {
            bias,
            epsilons: self.eps.clone(),
            density: self.density,
            search: SearchOptions {
                steps: self.steps as usize,
                step_size: self.step_size,
                norm: self.norm,
                random_start: self.random_start,
                seed: self.seed,
            },
            control: self.control,
            grid: self.grid.into(),
        }
    }
}

/// The report for a person.
fn text(report: &Report) -> String {
    let (way, higher) = match report.bias {
        Direction::Higher => ("fidelity", "higher"),
        Direction::Lower => ("diversity", "lower"),
    };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let change = |share: f64| format!("{:+.1} %", 100.0 * share);
    let mut text = format!("{} images towards {way}\n", report.images);
    for strength in &report.strengths {
        let _ = write!(
            text,
            "eps {}: {} moved to {higher} density, pseudo density {:.3} -> {:.3} (mean change {}",
            strength.eps,
            percent(strength.moved),
            strength.mean_density_before,
            strength.mean_density_after,
            change(strength.mean_relative_change),
        );
        if let Some(predicted) = strength.predictor_mean_relative_change {
            let _ = write!(text, ", by the predictor {}", change(predicted));
        }
        if let Some(control) = strength.control_mean_relative_change {
            let _ = write!(text, "; a random direction of this size {}", change(control));
        }
        text.push_str(")\n");
    }
    text
}
