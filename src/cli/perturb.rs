//! `pd perturb`: single samples made more or less typical.

use super::bundled::Bundled;
use super::common::{self, ExtractorArgs, RunArgs};
use super::generator_args::{GeneratorArgs, named};
use super::output::Results;
use super::program_args::ProgramArgs;
use super::terminal::Terminal;
use super::{presets, shard};
use crate::candidates::{DensityScorer, ProgramGenerator, ReferenceDensity};
use crate::density::Preset;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::{Generator, Origin, Seeds};
use crate::perturb::{
    Direction, EPSILON, Models, Norm, PerturbRun, Report, RunOptions, SearchOptions, perturb_shard, run,
};
use crate::reference::{DensityBy, Reference, Scorer};
use crate::remedy::Remedy;
use crate::runs::ShardRequest;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Move latents by gradient steps, or by a search without gradients, so that their images become more or less typical
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd perturb --generator g.pth --reference ref/ --bias diversity -o out/
  pd perturb --generator-command 'python make.py' --reference ref/ \\
    --bias fidelity --search zero-order --passes 50 -o out/")]
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
    program: ProgramArgs,
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
    /// How latents are moved: along the gradient, or without it (zero-order), which any generator that takes latents allows
    #[arg(long, value_name = "gradient|zero-order", default_value = "gradient", hide_possible_values = true)]
    search: SearchKind,
    /// Number of images that --search zero-order makes of each latent, for each --eps [default: 50]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..))]
    passes: Option<u32>,
    /// Number T of gradient steps [default: 10]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Step size alpha of gradient steps [default: a quarter of --eps]
    #[arg(long, value_name = "ALPHA")]
    step_size: Option<f64>,
    /// Norm in which --eps and --step-size are measured
    #[arg(long, default_value = "linf")]
    norm: Norm,
    /// Start gradient steps at a random point within --eps instead of at the latent itself
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

/// How latents are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SearchKind {
    /// Along the gradient.
    Gradient,
    /// Without it.
    ZeroOrder,
}

/// Passes of a search without gradients, where none are given.
const PASSES: u32 = 50;
/// The latents of a run that names none.
const DEFAULT_SEEDS: (u32, u64) = (0, 16);
/// What the images of rows of a file are called by.
const LATENT_ROW: &str = "latent";

impl Perturb {
    pub(super) fn run(mut self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        // What makes no sense is said before a demonstration is laid out.
        let options = self.search.options(self.bias.try_into()?, self.program.is_named())?;
        options.check()?;
        if self.program.is_named() {
            self.generator.refuse_for_program()?;
        }
        Bundled::stand_in((&mut self.generator, &self.program), &mut self.reference, &terminal)?;
        self.extractor.refuse_key()?;
        let reference = Reference::open(named(self.reference.as_deref())?)?;
        reference.density()?;
        let identity = &reference.manifest.identity;
        let extractor = LoadedExtractor::for_identity(identity, &self.extractor.request(terminal.device()))?;
        let (generator, origin) = self.open(&terminal)?;
        let default_seeds = Seeds::consecutive(DEFAULT_SEEDS.0, DEFAULT_SEEDS.1)?;
        let latents =
            self.generator.latents(generator.as_ref(), &default_seeds, LATENT_ROW, terminal.device())?;
        let count = latents.len();
        let count = usize::try_from(count)
            .map_err(|_| Error::usage(format!("{count} seeds are too many"), "name fewer"))?;
        let scorer = Scorer::open(&reference, terminal.device(), &terminal)?;
        let model = scorer.model().clone();
        // Its densities are reported whichever are followed.
        let predictor =
            reference.density()?.predictor.is_some().then(|| reference.predictor()).transpose()?;
        let density = ReferenceDensity::new(scorer, predictor, options.density)?;
        let record = json!({
            "perturb": serde_json::to_value(&options).map_err(|e| Error::data(e.to_string(), ""))?,
            "generator": match &origin {
                Some(origin) => self.generator.describe((generator.as_ref(), origin), &default_seeds)?,
                None => self.generator.describe_program(
                    &generator.info().config,
                    self.program.describe_prompts()?,
                    &default_seeds,
                )?,
            },
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

    /// The generator, and where a network was found.
    fn open<'a>(&self, terminal: &'a Terminal) -> Result<(Box<dyn Generator + 'a>, Option<Origin>)> {
        let prompts = self.program.prompts()?;
        let Some(program) = self.program.start(terminal)? else {
            let (generator, origin) = self.generator.open(terminal)?;
            if self.search.search == SearchKind::Gradient && generator.variables().is_none() {
                let reason = format!("a generator of the kind {} gives no gradient", origin.family);
                return Err(Error::usage(reason, Remedy::SearchWithoutGradient));
            }
            return Ok((generator, Some(origin)));
        };
        let prompt = match &prompts {
            None => None,
            Some(prompts) => Some(prompts.only().cloned().ok_or_else(|| {
                Error::usage(
                    "latents are moved for one prompt, and --prompts has several",
                    "put one into the file",
                )
            })?),
        };
        let batch = self.extractor.embed_options().batch;
        let class = self.generator.class();
        Ok((Box::new(ProgramGenerator::new(program, class, prompt, batch, terminal)?), None))
    }
}

impl SearchArgs {
    /// What was asked for; a generator that is another program gives no gradient.
    fn options(&self, bias: Direction, is_program: bool) -> Result<RunOptions> {
        let of_gradients = [
            ("--steps", self.steps.is_some()),
            ("--step-size", self.step_size.is_some()),
            ("--random-start", self.random_start),
        ];
        let passes = match self.search {
            SearchKind::Gradient if is_program => {
                return Err(Error::usage("a program gives no gradient", Remedy::SearchWithoutGradient));
            }
            SearchKind::Gradient if self.passes.is_some() => {
                return Err(Error::usage(
                    "--passes is of a search without gradients",
                    "add --search zero-order, or say --steps",
                ));
            }
            SearchKind::Gradient => None,
            SearchKind::ZeroOrder => match of_gradients.iter().find(|(_, given)| *given) {
                Some((name, _)) => {
                    return Err(Error::usage(
                        format!("{name} is of gradient steps, and --search zero-order makes none"),
                        "leave it out; --passes says how many images are made of each latent",
                    ));
                }
                None => Some(self.passes.unwrap_or(PASSES) as usize),
            },
        };
        let defaults = SearchOptions::default();
        Ok(RunOptions {
            bias,
            epsilons: self.eps.clone(),
            density: self.density,
            search: SearchOptions {
                steps: self.steps.map_or(defaults.steps, |steps| steps as usize),
                step_size: self.step_size,
                norm: self.norm,
                random_start: self.random_start,
                seed: self.seed,
                passes,
            },
            control: self.control,
            grid: self.grid.into(),
        })
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
