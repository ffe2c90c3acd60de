//! `pd sweep`: what each rule and strength would give.

mod judge;

use super::bundled::Bundled;
use super::common::{ExtractorArgs, RunArgs};
use super::generator_args::{GeneratorArgs, named};
use super::maker::{Maker, NumberedPrompts, Source};
use super::output::{self, Results};
use super::program_args::ProgramArgs;
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::candidates::{CandidateSource, GeneratorSource, KeptSource, PromptOrder, watched_features};
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::formats::npy::{read_npy, write_npy};
use crate::formats::table::{Table, Values, write_table};
use crate::generate::{Seeds, Truncation};
use crate::neighbors::IndexKind;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::reference::score::ScoreOptions;
use crate::report::{Point, frontier_plot};
use crate::runs::{Opened, PARTIAL, Partial, Record, RunDir, RunIdentity};
use crate::sampling::sweep::{
    Judged, LARGEST_BUDGET, LEAST_JUDGED, Outcome, Pool, Setting, Space, grid, mark_frontier, sweep,
};
use clap::Args;
use judge::{FeatureSpace, JudgeArgs};
use ndarray::{ArcArray2, Array2, s};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;

/// Compare what each rule and strength of `pd sample` would give: precision, recall, Frechet distance and cost
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd sweep --generator g.pth --reference ref/ --min-recall 0.6 -o sweep/
  pd sweep --generator g.pth --reference ref/ --judge-extractor resnet50 \\
    --images photos/")]
pub(super) struct Sweep {
    /// Reference directory; one random half of it scores candidates, the other half evaluates [default, if no --generator is named either: the built-in demonstration]
    #[arg(long, value_name = "REF")]
    reference: Option<PathBuf>,
    /// Number of candidates; all settings choose from the same ones
    #[arg(long, short, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(16..))]
    n: u32,
    /// Number of images that each setting is evaluated on [default: an eighth of the candidates]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(LEAST_JUDGED as i64..))]
    judged: Option<u32>,
    /// Print the setting of the highest precision among those with at least this recall
    #[arg(long, value_name = "R")]
    min_recall: Option<f64>,
    /// Print the setting of the highest recall among those with at least this precision
    #[arg(long, value_name = "P")]
    min_precision: Option<f64>,
    /// Output directory for sweep.csv, sweep.svg and summary.json
    #[arg(long, short, value_name = "OUT", default_value = "pd-sweep")]
    output: PathBuf,
    /// Random seed that decides which candidates are accepted; the seeds of latents are --seeds
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What was named, as printed commands repeat it.
    #[arg(skip)]
    inputs: String,
    #[command(flatten)]
    candidates: GeneratorArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// psi of the truncation curve.
const PSIS: [f64; 5] = [0.5, 0.6, 0.7, 0.8, 0.9];
/// Candidates that are kept on disk together.
const BLOCK: usize = 256;
/// The table of the settings.
const TABLE: &str = "sweep.csv";

#[derive(Serialize)]
struct SweepSummary {
    complete: bool,
    candidates: usize,
    judged: usize,
    dimension: f64,
    metrics: [&'static str; 5],
    #[serde(skip_serializing_if = "Option::is_none")]
    second_space: Option<String>,
    best: Vec<Best>,
    outcomes: Vec<Outcome>,
}

#[derive(Serialize)]
struct Best {
    wanted: String,
    outcome: Outcome,
    command: String,
}

impl Sweep {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let (args, output) = (self.tables, self.output.clone());
        args.of_run(&output, &[TABLE], self.carry_out(results))
    }

    fn carry_out(mut self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        self.inputs = self.reference.as_ref().map_or_else(String::new, |reference| {
            let generator = self.program.shown().unwrap_or_else(|| self.candidates.shown());
            format!(" {generator} --reference {}", reference.display())
        });
        Bundled::stand_in((&mut self.candidates, &self.program), &mut self.reference, &terminal)?;
        let path = named(self.reference.as_deref())?;
        let reference = Reference::open(path)?;
        let record = reference.density()?.clone();
        let mut spaces = vec![FeatureSpace::open(&reference, &self.extractor, terminal.device())?];
        let second = self.judge.open(&reference, self.extractor.embed_options(), &terminal)?;
        let second_space = second.as_ref().map(|space| space.extractor.identity().describe());
        spaces.extend(second);
        let all_seeds = Seeds::consecutive(0, u64::from(u32::MAX))?;
        let batch = self.extractor.embed_options().batch;
        let (order, most) = (PromptOrder::InTurn, u64::MAX);
        let prompts = self.program.prompts()?.map(|file| NumberedPrompts { file, order, most });
        let named = (&self.candidates, &self.program);
        let maker = Maker::open(named, prompts, &all_seeds, batch, &terminal)?;
        let made = maker.source(batch);
        let source = made.candidates();
        let n = (self.n as usize).min(usize::try_from(source.len()).unwrap_or(usize::MAX));
        let judged = self.judged.map_or((n as f64 / LARGEST_BUDGET) as usize, |n| n as usize);
        let run = json!({
            "candidates": maker.describe(named, &all_seeds)?,
            "reference": reference.digest()?,
            "second": second_space,
            "n": n,
            "judged": judged,
            "seed": self.seed,
        });
        let identity = RunIdentity::new("sweep", Record::Summary, run);
        let directory = match RunDir::open(&self.output, &identity)? {
            Opened::Finished(_) => {
                terminal.say(&format!("{} is finished already", self.output.display()));
                return Ok(());
            }
            Opened::New(directory) | Opened::Continue(directory) => directory,
        };
        let dir = directory.path();
        let partial = Partial::open(dir.join(PARTIAL), &identity.settings)?;
        // A network makes a block of images sooner than they are written.
        let kept = match &made {
            Source::Network(_) => None,
            Source::Program(_) => Some(KeptSource::new(source, partial.path(""))),
        };
        let mut blocks = Blocks { partial: &partial, source, kept: kept.as_ref(), spaces: &spaces, next: 0 };
        terminal.start("candidates", n as u64, "images");
        let pool_features = blocks.features(0..n, &terminal)?;
        terminal.finish();
        let options = ScoreOptions {
            k: record.model.k,
            exponent: record.model.exponent,
            duplicates: record.duplicates,
            index: IndexKind::Auto,
            seed: self.seed,
        };
        let pool =
            Pool::new(pool_features[0].clone(), &spaces[0].real, options, terminal.device(), &terminal)?;
        let judges = spaces
            .iter()
            .map(|space| Space::new(space.real.clone(), self.seed, terminal.device(), &terminal))
            .collect::<Result<Vec<_>>>()?;
        let sides: Vec<Judged> = pool_features.iter().zip(&judges).collect();
        let settings = grid(pool.dimension());
        let mut outcomes = sweep(&pool, &settings, &sides, (judged, self.seed), &terminal)?;
        if outcomes.len() < settings.len() {
            terminal.warn(&format!(
                "{} settings are left out: they accept fewer than {LEAST_JUDGED} of {n} candidates; more -n would tell",
                settings.len() - outcomes.len()
            ));
        }
        if let Source::Network(network) = &made
            && network.generator.info().truncates
        {
            outcomes.extend(self.truncation_curve(network, &mut blocks, &judges, judged, &terminal)?);
        }
        mark_frontier(&mut outcomes);
        write_table(dir.join(TABLE), &table(&outcomes)?)?;
        let plot = frontier_plot("what each rule and strength gives", &points(&outcomes));
        write_atomic(dir.join("sweep.svg"), |out| out.write_all(plot.as_bytes()))?;
        let summary = SweepSummary {
            complete: true,
            candidates: n,
            judged,
            dimension: pool.dimension(),
            metrics: ["fd", "precision", "recall", "density", "coverage"],
            second_space,
            best: self.best(&outcomes),
            outcomes,
        };
        identity.write_summary(dir, &summary)?;
        partial.remove()?;
        let text = match self.run.json {
            true => format!("{:#}\n", serde_json::to_value(&summary).map_err(output::not_json)?),
            false => self.text(&summary),
        };
        terminal.print(&text)
    }

    fn truncation_curve(
        &self,
        network: &GeneratorSource,
        blocks: &mut Blocks,
        judges: &[Space],
        judged: usize,
        terminal: &Terminal,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        terminal.start("truncation", (PSIS.len() * judged) as u64, "images");
        for psi in PSIS {
            let all_seeds = Seeds::consecutive(0, u64::from(u32::MAX))?;
            let mut latents =
                self.candidates.candidate_latents(network.generator, &all_seeds, terminal.device())?;
            latents.truncation = Some(Truncation { psi, cutoff: None });
            let source = GeneratorSource { latents: &latents, ..*network };
            let mut truncated = Blocks { source: &source, ..*blocks };
            let features = truncated.features(0..judged, terminal)?;
            blocks.next = truncated.next;
            let setting = Setting::Truncated(psi);
            let mut values = features.iter().zip(judges).map(|(f, space)| space.judge(f.clone()));
            outcomes.push(Outcome {
                family: setting.family().into(),
                flags: setting.flags(),
                draws_per_kept: 1.0,
                effective_share: 1.0,
                n: judged,
                values: values.next().transpose()?.unwrap_or_default(),
                judged: values.next().transpose()?.unwrap_or_default(),
                on_frontier: false,
            });
        }
        terminal.finish();
        Ok(outcomes)
    }

    /// The best settings by several wishes, each with the command that gives it.
    fn best(&self, outcomes: &[Outcome]) -> Vec<Best> {
        let Some((_, precision, recall)) = outcomes.first().map(Outcome::headline) else { return Vec::new() };
        let fd = |o: &Outcome| -o.headline().0;
        let (of_precision, of_recall) = (|o: &Outcome| o.headline().1, |o: &Outcome| o.headline().2);
        let find = |wanted: String, allowed: &dyn Fn(&Outcome) -> bool, value: &dyn Fn(&Outcome) -> f64| {
            let best = outcomes.iter().filter(|o| allowed(o)).max_by(|a, b| value(a).total_cmp(&value(b)))?;
            Some(Best { wanted, command: self.command(best), outcome: best.clone() })
        };
        let at_least = |floor: f64, value: fn(&Outcome) -> f64| move |o: &Outcome| value(o) >= floor;
        let mut best = vec![
            find("the lowest Frechet distance".into(), &|_| true, &fd),
            find(
                "the highest precision without losing recall".into(),
                &at_least(recall, of_recall),
                &of_precision,
            ),
            find(
                "the highest recall without losing precision".into(),
                &at_least(precision, of_precision),
                &of_recall,
            ),
        ];
        if let Some(floor) = self.min_recall {
            best.push(find(
                format!("the highest precision at a recall of {floor}"),
                &at_least(floor, of_recall),
                &of_precision,
            ));
        }
        if let Some(floor) = self.min_precision {
            best.push(find(
                format!("the highest recall at a precision of {floor}"),
                &at_least(floor, of_precision),
                &of_recall,
            ));
        }
        best.into_iter().flatten().collect()
    }

    fn command(&self, outcome: &Outcome) -> String {
        format!("pd sample{} {} -n 1000 -o out", self.inputs, outcome.flags)
    }

    fn text(&self, summary: &SweepSummary) -> String {
        let mut out = format!(
            "{} settings on {} candidates, each judged on {} images against a half of the reference that did not score\n\
             dimension m {:.2}; k = 3 (density and coverage: 5)\n\n",
            summary.outcomes.len(),
            summary.candidates,
            summary.judged,
            summary.dimension
        );
        let _ = writeln!(out, "on the frontier of precision and recall, and the unbiased one:");
        let _ = writeln!(
            out,
            "{:<46} {:>6} {:>9} {:>7} {:>8} {:>9}",
            "", "draws", "precision", "recall", "coverage", "fd"
        );
        let shown = |o: &&Outcome| o.on_frontier || o.family == "unbiased";
        let mut rows: Vec<&Outcome> = summary.outcomes.iter().filter(shown).collect();
        rows.sort_by(|a, b| a.values[1].total_cmp(&b.values[1]));
        for o in rows {
            let (fd, precision, recall) = o.headline();
            let _ = writeln!(
                out,
                "{:<46} {:>6.2} {precision:>9.4} {recall:>7.4} {:>8.4} {fd:>9.3}",
                o.flags, o.draws_per_kept, o.values[4]
            );
        }
        for best in &summary.best {
            let _ = writeln!(out, "\n{}:\n  {}", best.wanted, best.command);
        }
        let _ =
            writeln!(out, "\nall settings: {0}/sweep.csv, the plot: {0}/sweep.svg", self.output.display());
        out
    }
}

/// Features of candidates by block, those of an earlier run from disk.
#[derive(Clone, Copy)]
struct Blocks<'a> {
    partial: &'a Partial,
    source: &'a dyn CandidateSource,
    /// The same, where images are kept on disk until their block is finished.
    kept: Option<&'a KeptSource<'a>>,
    spaces: &'a [FeatureSpace],
    /// The number of the next block on disk.
    next: usize,
}

impl Blocks<'_> {
    /// Features of candidates in every space.
    fn features(&mut self, range: Range<usize>, terminal: &Terminal) -> Result<Vec<ArcArray2<f32>>> {
        let extractors: Vec<_> = self.spaces.iter().map(|space| &space.extractor).collect();
        let widths: Vec<usize> = extractors.iter().map(|e| e.identity().dimension).collect();
        let mut all: Vec<Array2<f32>> =
            widths.iter().map(|&width| Array2::zeros((range.len(), width))).collect();
        for start in range.clone().step_by(BLOCK) {
            let block = start..(start + BLOCK).min(range.end);
            let path = self.partial.data(self.next);
            let rows = start - range.start..block.end - range.start;
            if !self.partial.has(self.next) {
                crate::progress::check_stop(terminal, || {
                    "finished blocks are kept; the same command continues".into()
                })?;
                let source = self.kept.map_or(self.source, |kept| kept);
                let parts = watched_features(source, block.clone(), &extractors, terminal)?;
                let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
                let together = ndarray::concatenate(ndarray::Axis(1), &views)
                    .map_err(|e| Error::data(e.to_string(), ""))?;
                write_npy(&path, &together)?;
                self.partial.finish(self.next, &block.len())?;
                self.kept.map_or(Ok(()), |kept| kept.discard(block.clone()))?;
            }
            let together = read_npy(&path)?;
            if together.dim() != (block.len(), widths.iter().sum()) {
                return Err(Error::malformed(
                    &path,
                    "is not of this run",
                    "remove the directory and run again",
                ));
            }
            let mut from = 0;
            for (all, width) in all.iter_mut().zip(&widths) {
                all.slice_mut(s![rows.clone(), ..]).assign(&together.slice(s![.., from..from + width]));
                from += width;
            }
            self.next += 1;
            terminal.advance(block.len() as u64);
        }
        Ok(all.into_iter().map(Array2::into_shared).collect())
    }
}

fn points(outcomes: &[Outcome]) -> Vec<Point> {
    let point = |o: &Outcome| Point {
        family: o.family.clone(),
        label: format!(
            "{}: precision {:.3}, recall {:.3}, fd {:.2}",
            o.flags, o.values[1], o.values[2], o.values[0]
        ),
        precision: o.values[1],
        recall: o.values[2],
        cost: o.draws_per_kept,
        on_frontier: o.on_frontier,
    };
    outcomes.iter().map(point).collect()
}

fn table(outcomes: &[Outcome]) -> Result<Table> {
    let mut table = Table::new();
    table.push("family", Values::Text(outcomes.iter().map(|o| o.family.clone()).collect()))?;
    table.push("flags", Values::Text(outcomes.iter().map(|o| o.flags.clone()).collect()))?;
    table.push("draws_per_kept", Values::Float(outcomes.iter().map(|o| o.draws_per_kept).collect()))?;
    table.push("effective_share", Values::Float(outcomes.iter().map(|o| o.effective_share).collect()))?;
    table.push("n", Values::Int(outcomes.iter().map(|o| o.n as i64).collect()))?;
    for (i, name) in ["fd", "precision", "recall", "density", "coverage"].into_iter().enumerate() {
        table.push(name, Values::Float(outcomes.iter().map(|o| o.values[i]).collect()))?;
        if outcomes.iter().all(|o| o.judged.len() > i) {
            table.push(
                format!("judge_{name}"),
                Values::Float(outcomes.iter().map(|o| o.judged[i]).collect()),
            )?;
        }
    }
    table.push("frontier", Values::Bool(outcomes.iter().map(|o| o.on_frontier).collect()))?;
    Ok(table)
}
