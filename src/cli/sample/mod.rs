//! `pd sample`: images drawn by weight, from a generator or from a pool.

mod cost;
mod kept_features;
mod pool;
mod shard;
mod summary;
mod wanted;
mod writer;

pub(super) use shard::merge_sample;

use super::bias::BiasArgs;
use super::bundled::Bundled;
use super::common::{self, ExtractorArgs, RunArgs};
use super::generator_args::GeneratorArgs;
use super::maker::{Maker, NumberedPrompts};
use super::output::Results;
use super::program_args::ProgramArgs;
use super::refusals::RefusalArgs;
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::candidates::{DensityScorer, PromptOrder, ReferenceDensity};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::Seeds;
use crate::reference::{DensityBy, Reference};
use crate::runs::{Opened, PARTIAL, Partial, Record, RunDir, RunIdentity, ShardRequest};
use crate::sampling::draw::DEFAULT_N;
use crate::sampling::sharded::SAMPLE;
use crate::sampling::{DEFAULT_BUDGET, DrawRecord, GeneratedCandidates, ReferenceStats, WeightRecord};
use clap::{Args, ValueEnum};
use pool::PoolRequest;
use serde_json::json;
use shard::SampleShard;
use std::path::{Path, PathBuf};
use summary::SampleSummary;
use wanted::Wanted;
use writer::SampleWriter;

/// Draw images from a generator, or choose from a pool, by their pseudo density
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd sample --generator g.pth --reference ref/ --bias diversity -n 500 -o out/
  pd sample --pool generated/ --reference ref/ -n 100 --novel --distinct")]
pub(super) struct Sample {
    /// Choose from these images (or features, or a reference) instead of a generator's, each at most once. Their features are kept in the cache, 2 GiB at most
    #[arg(long, value_name = "IMAGES", conflicts_with_all = ["generator", "generator_command", "budget", "pilot", "max_draws", "seeds", "latents"])]
    pool: Option<PathBuf>,
    /// Reference directory to score candidates against; not needed if every candidate is kept [default, if no --generator is named either: the built-in demonstration]
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    /// With --pool REF: the directory or archive of the pictures that the reference was made of, from which the chosen ones are copied
    #[arg(long, value_name = "IMAGES", requires = "pool")]
    images: Option<PathBuf>,
    /// Number of images to keep, or `all` that the weights, --distinct and --novel let through [default: 64; with --seeds or --latents, all]
    #[arg(long, short, value_name = "N|all")]
    n: Option<Wanted>,
    /// With --prompts: let -n, --budget, --pilot, --max-draws, the weights and --distinct hold for each prompt by itself, and not for all together
    #[arg(long, value_name = "prompt", requires = "prompts", hide_possible_values = true)]
    per: Option<Per>,
    /// Score one shard of the candidates that --seeds or --latents lists: I/N with I from 0, auto/N or auto; `pd merge OUT` then chooses among all
    #[arg(long, value_name = "I/N", value_parser = common::shard, conflicts_with = "pool")]
    shard: Option<ShardRequest>,
    /// Output directory for the images, samples.csv, latents.npy and summary.json
    #[arg(long, short, value_name = "OUT", default_value = "pd-sample")]
    output: PathBuf,
    #[command(flatten)]
    bias: BiasArgs,
    /// Average number of candidates drawn for each kept image [default: 4; the two-level rule has its own acceptance rate]
    #[arg(long, value_name = "R")]
    budget: Option<f64>,
    /// Number of candidates drawn first, on which the acceptance rate is estimated; they count as draws. With the ratio rule, fewer than 1000 push the result a little towards fidelity [default: N times the budget, at least 300 and at most 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pilot: Option<u64>,
    /// Largest number of candidates [default: 100 for each image to keep]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_draws: Option<u64>,
    #[command(flatten)]
    refusals: RefusalArgs,
    /// How the density of candidates is found: from the nearest real images, or by the reference's predictor
    #[arg(long, default_value = "knn")]
    density: DensityBy,
    /// With --pool: an image may be chosen several times
    #[arg(long, requires = "pool", conflicts_with = "distinct")]
    replace: bool,
    /// With --pool: link the chosen files instead of copying them
    #[arg(long, requires = "pool")]
    link: bool,
    /// Write grid.png, a contact sheet of the first kept images
    #[arg(long)]
    grid: bool,
    /// Random seed that decides which candidates are accepted; the seeds of latents are --seeds
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    candidates: GeneratorArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// What is drawn by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Per {
    /// The candidates of each prompt.
    Prompt,
}

/// The table of the candidates.
pub(super) const TABLE: &str = "samples.csv";
/// Candidates of a pilot.
const PILOT: std::ops::RangeInclusive<f64> = 300.0..=10_000.0;
/// Smaller pilots lean towards fidelity: densities among few generated images are those of wider surroundings.
const UNBIASED_PILOT: usize = 1000;
/// Draws for each wanted image, at most.
const MAX_DRAWS: u64 = 100;

impl Sample {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let (args, output) = (self.tables, self.output.clone());
        args.of_run(&output, &[TABLE], self.carry_out(results))
    }

    fn carry_out(mut self, results: &Results) -> Result<()> {
        self.tables.check(self.shard.is_some(), true)?;
        let terminal = self.run.start(results)?;
        if self.pool.is_none() {
            Bundled::stand_in((&mut self.candidates, &self.program), &mut self.reference, &terminal)?;
        }
        match &self.pool {
            Some(pool) => self.run_pool(pool, &terminal),
            None => self.run_generator(&terminal),
        }
    }

    fn run_pool(&self, pool: &Path, terminal: &Terminal) -> Result<()> {
        let Some(reference) = self.open_reference()? else {
            return Err(Error::usage(
                "a pool is weighed against a reference, and none was named",
                "make one with `pd embed IMAGES -o ref/ && pd index ref/`, and name it: --reference ref/",
            ));
        };
        let Some(wanted) = self.n else {
            return Err(Error::usage("how many images are wanted from the pool?", "add -n 100, or -n all"));
        };
        let request = PoolRequest {
            pool,
            output: &self.output,
            images: self.images.as_deref(),
            reference: &reference,
            wanted,
            grid: self.grid,
            weights: self.bias.weights(None, reference.density()?.intrinsic_dimension)?,
            density: self.density,
            refusals: &self.refusals,
            replace: self.replace,
            link: self.link,
            seed: self.seed,
            extractor: &self.extractor,
            json: self.run.json,
        };
        request.run(terminal)
    }

    /// The reference, where there is one.
    fn open_reference(&self) -> Result<Option<Reference>> {
        let reference = self.reference.as_deref().map(Reference::open).transpose()?;
        if let Some(reference) = &reference {
            reference.density()?;
        }
        Ok(reference)
    }

    fn run_generator(&self, terminal: &Terminal) -> Result<()> {
        let reference = self.open_reference()?;
        if reference.is_none() && (self.bias.weighs() || self.refusals.any()) {
            return Err(Error::usage(
                "weights, --distinct and --novel need a reference that says what is typical",
                "make one with `pd embed IMAGES -o ref/ && pd index ref/`, and name it: --reference ref/",
            ));
        }
        self.refusals.check(reference.as_ref(), true)?;
        let dimension = reference.as_ref().and_then(|r| r.manifest.density.as_ref()?.intrinsic_dimension);
        let weights = self.bias.weights(self.budget, dimension)?;
        if weights.is_none() && self.pilot.is_some() {
            return Err(Error::usage(
                "--pilot estimates weights, and everything is kept",
                "add --bias or --rule",
            ));
        }
        let prompts = self.program.prompts()?;
        let is_listed = self.candidates.lists_candidates()
            || prompts.as_ref().is_some_and(|prompts| prompts.counts_all());
        if self.n == Some(Wanted::All) && !is_listed {
            return Err(Error::usage(
                "a generator has no end of candidates, and all were asked for",
                "say how many are kept (-n 100), or list the candidates: --seeds 0-999",
            ));
        }
        let all_seeds = Seeds::consecutive(0, u64::from(u32::MAX))?;
        let batch = self.extractor.embed_options().batch;
        let n = self.wanted(is_listed);
        let (order, most) = match (self.per, n) {
            (None, _) => (PromptOrder::InTurn, u64::MAX),
            (Some(Per::Prompt), None) => (PromptOrder::OneByOne, u64::MAX),
            (Some(Per::Prompt), Some(n)) => (PromptOrder::OneByOne, self.draws_for(n)),
        };
        let prompts = prompts.map(|file| NumberedPrompts { file, order, most });
        let named = (&self.candidates, &self.program);
        let maker = Maker::open(named, prompts, &all_seeds, batch, terminal)?;
        let made = maker.source(batch);
        let source = made.candidates();
        let groups = maker.of_prompts().filter(|_| self.per.is_some());
        let largest = groups.as_ref().and_then(|groups| groups.iter().max()).map(|&count| count as u64);
        let mut record = self.draw_record(weights.as_ref(), n, largest.unwrap_or(source.len()));
        let run = json!({
            "candidates": maker.describe(named, &all_seeds)?,
            "reference": reference.as_ref().map(|r| r.digest()).transpose()?,
            "density": format!("{:?}", self.density).to_lowercase(),
            "options": record,
            "refused": self.refusals.describe(),
            "per": self.per.and_then(|per| per.to_possible_value()).map(|per| per.get_name().to_owned()),
        });
        let writer = SampleWriter { weights, n: record.n.map(|n| n as u64), grid: self.grid };
        let scorer = reference.as_ref().map(|reference| self.scorer(reference, terminal)).transpose()?;
        let (scorer, mut stats, mut look) = (scorer.as_ref(), None, None);
        if let (Some(reference), Some(scorer)) = (&reference, scorer) {
            let real = scorer.density.scorer();
            record.resolve(real.distribution());
            let spacing = self.refusals.spacing(&reference.nearest_distances()?)?;
            stats = Some(ReferenceStats::new(real, spacing, self.refusals.copies()));
            if self.refusals.copies().any() {
                look = Some(self.refusals.second_look(&scorer.extractor, Some((reference, real)))?);
            }
        }
        let (stats, look) = (stats.as_ref(), look.as_ref());
        if let Some(shard) = self.shard {
            let request = SampleShard {
                shard,
                out: &self.output,
                source,
                groups,
                is_listed,
                scorer,
                look,
                reference: stats,
                run,
                record,
                writer,
                json: self.run.json,
            };
            return request.run(terminal);
        }
        let options = record.options()?;
        let is_ratio = options.rule.is_some_and(|rule| rule.needs_generated_density());
        let identity = RunIdentity::new(SAMPLE, Record::Summary, run);
        let directory = match RunDir::open(&self.output, &identity)? {
            Opened::Finished(summary) => {
                terminal.say(&format!("{} is finished already", self.output.display()));
                return terminal
                    .print(&SampleSummary::of_file(&summary, &self.output)?.render(self.run.json)?);
            }
            Opened::New(directory) | Opened::Continue(directory) => directory,
        };
        let dir = directory.path();
        let partial = Partial::open(dir.join(PARTIAL), &identity.settings)?;
        if scorer.is_some() && !partial.has(0) {
            cost::say(&made, groups.as_deref(), &options, terminal)?;
        }
        if is_ratio && options.pilot < UNBIASED_PILOT {
            terminal.say(&format!(
                "a pilot of {} candidates leans a little towards fidelity; --pilot {UNBIASED_PILOT} does not",
                options.pilot
            ));
        }
        let generated = GeneratedCandidates::new(source, scorer, partial, terminal).looking(look);
        let (drawn, summary) =
            writer.draw((&generated, groups.as_deref()), (stats, &options), (dir, &identity), terminal)?;
        generated.finish()?;
        terminal.print(&summary.render(self.run.json)?)?;
        writer.check_complete(&drawn, source.len(), dir, self.extractor.strict, terminal)
    }

    /// Images to keep; `None` for all that are let through.
    fn wanted(&self, is_listed: bool) -> Option<u64> {
        match (self.n, is_listed) {
            (Some(Wanted::Number(n)), _) => Some(n),
            (None, false) => Some(DEFAULT_N),
            (Some(Wanted::All) | None, _) => None,
        }
    }

    /// Candidates at most, to keep `n`.
    fn draws_for(&self, n: u64) -> u64 {
        self.max_draws.unwrap_or(n.saturating_mul(MAX_DRAWS))
    }

    fn draw_record(&self, weights: Option<&WeightRecord>, n: Option<u64>, candidates: u64) -> DrawRecord {
        let wanted = n.unwrap_or(candidates);
        let budget = weights.and_then(WeightRecord::budget).unwrap_or(DEFAULT_BUDGET);
        let draws = if n.is_some() { wanted as f64 * budget } else { wanted as f64 };
        let pilot = match (self.pilot, weights) {
            (Some(pilot), _) => pilot,
            (None, Some(_)) => draws.clamp(*PILOT.start(), *PILOT.end()) as u64,
            // Uniform weights leave nothing to estimate.
            (None, None) => 1,
        };
        DrawRecord {
            n: n.map(|n| n as usize),
            pilot: pilot as usize,
            max_draws: self.draws_for(wanted),
            weights: weights.cloned().unwrap_or_else(WeightRecord::uniform),
            seed: self.seed,
        }
    }

    /// Reads what scores candidates.
    fn scorer(&self, reference: &Reference, terminal: &Terminal) -> Result<DensityScorer> {
        let density = ReferenceDensity::open(reference, self.density, terminal.device(), terminal)?;
        let identity = &reference.manifest.identity;
        let extractor = LoadedExtractor::for_identity(identity, &self.extractor.request(terminal.device()))?;
        Ok(DensityScorer { extractor, density })
    }
}
