//! `pd eval`: how generated sets compare with a real one.

use super::common::{ExtractorArgs, RunArgs};
use super::eval_summary::{EvalSummary, RealRow, Row};
use super::input;
use super::output;
use super::terminal::Terminal;
use clap::Args;
use clap::builder::PossibleValuesParser;
use ndarray::{ArcArray2, Axis};
use pseudo_density::error::{Error, Result};
use pseudo_density::extract::Identity;
use pseudo_density::formats::is_features_file;
use pseudo_density::formats::table::{Table, Values, format_of, write_table};
use pseudo_density::metrics::prdc::Boundary;
use pseudo_density::metrics::rarity::rarity;
use pseudo_density::metrics::realism::realism;
use pseudo_density::metrics::{
    Comparison, Draws, FeatureSet, METRICS, Metric, Needs, Options, Statistics, authenticity, evaluate,
    halves, metric,
};
use pseudo_density::reference::{Reference, is_reference};
use std::path::{Path, PathBuf};

/// Compare generated sets with a real one: FID, KID, precision, recall, density, coverage, ...
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd eval --real photos/ --generated samples/ fidelity/ diversity/
  pd eval --real real.npy --generated fake.npy --metrics precision,recall")]
pub struct Eval {
    /// Real set: images (directory, .zip, .tar), features file, reference directory, or for the Frechet distance alone an .npz with mu and sigma
    #[arg(long, value_name = "X")]
    real: PathBuf,
    /// Generated sets, each of the same kinds
    #[arg(long, value_name = "Y", num_args = 1.., required = true)]
    generated: Vec<PathBuf>,
    /// Metrics to compute; fid is fd [default: all but kid-subsets]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = metric_names())]
    metrics: Vec<String>,
    /// Write a row per generated set to FILE (.csv, .jsonl, .parquet; .json: the whole summary) instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a row per generated image to FILE: realism, rarity, nearest real image
    #[arg(long, value_name = "FILE")]
    per_sample: Option<PathBuf>,
    /// Write mean and covariance of the real set to FILE.npz, as pytorch-fid reads them
    #[arg(long, value_name = "FILE.npz")]
    save_stats: Option<PathBuf>,
    #[command(flatten)]
    how: MetricArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// How metrics are computed.
#[derive(Args)]
#[command(next_help_heading = "Metrics")]
struct MetricArgs {
    /// Neighbours k of precision, recall, realism and rarity
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Neighbours k of density and coverage, clipped or not
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k_density: u32,
    /// What a sample is whose distance equals a sphere's radius
    #[arg(long, default_value = "excluded")]
    boundary: Boundary,
    /// Subsets of kid-subsets
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    kid_subsets: u32,
    /// Rows of each
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    kid_subset_size: u32,
    /// Add a row of one random half of the real set against the other: what the values can be at best at that size
    #[arg(long)]
    self_check: bool,
    /// Give 95 % intervals from B resampled sets
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    bootstrap: Option<u32>,
    /// Key of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

fn metric_names() -> PossibleValuesParser {
    PossibleValuesParser::new(METRICS.iter().map(|metric| metric.name).chain([FD.1]))
}

impl MetricArgs {
    fn options(&self) -> Options {
        Options {
            k: self.k as usize,
            k_density: self.k_density as usize,
            boundary: self.boundary,
            kid_subsets: self.kid_subsets as usize,
            kid_subset_size: self.kid_subset_size as usize,
            seed: self.seed,
        }
    }

    fn draws(&self) -> Option<Draws> {
        self.bootstrap.map(|count| Draws { count: count as usize, seed: self.seed })
    }
}

/// The extractor whose Fréchet distance is the FID.
const FID_EXTRACTOR: &str = "inception-fid";
/// The registry's name of the Fréchet distance, and what it may be called instead.
const FD: (&str, &str) = ("fd", "fid");
/// Extension of files of statistics.
const STATISTICS: &str = "npz";

/// One side as it was read.
enum Side {
    Features { features: ArcArray2<f32>, paths: Vec<String>, identity: Identity },
    Statistics(Statistics),
}

impl Side {
    fn set<'p>(&self, path: &Path, options: &Options, terminal: &'p Terminal) -> Result<FeatureSet<'p>> {
        let set = match self {
            Side::Features { features, .. } => {
                FeatureSet::new(features.clone(), options, terminal).map_err(|e| about(path, e))?
            }
            Side::Statistics(statistics) => FeatureSet::from_statistics(statistics.clone(), terminal),
        };
        Ok(set.named(path.display().to_string()))
    }

    fn identity(&self) -> Option<&Identity> {
        match self {
            Side::Features { identity, .. } => Some(identity),
            Side::Statistics(_) => None,
        }
    }
}

/// An error about numbers, with the file they are in.
fn about(path: &Path, error: Error) -> Error {
    match error {
        Error::Data { reason, hint } => Error::data(format!("{}: {reason}", path.display()), hint),
        other => other,
    }
}

impl Eval {
    pub fn run(self) -> Result<()> {
        let terminal = self.run.start()?;
        self.check_paths()?;
        let options = self.how.options();
        let reference = is_reference(&self.real).then(|| Reference::open(&self.real)).transpose()?;
        let real_side = self.read(&self.real, None, &terminal)?;
        let real = real_side.set(&self.real, &options, &terminal)?;
        if let Some(path) = &self.save_stats {
            real.statistics()?.save(path)?;
            terminal.say(&format!(
                "wrote mean and covariance of {} to {}",
                self.real.display(),
                path.display()
            ));
        }
        let mut summary = EvalSummary::new(&self.real, &options, self.how.bootstrap);
        summary.real = RealRow { path: self.real.display().to_string(), n: real.rows(), alone: Vec::new() };
        let mut identity = real_side.identity().cloned();
        let mut samples = Samples::default();
        let mut metrics = Vec::new();
        for path in &self.generated {
            let side = self.read(path, reference.as_ref(), &terminal)?;
            match (&identity, side.identity()) {
                (Some(known), Some(own)) => {
                    if let Some(difference) = known.difference(own) {
                        return Err(Error::usage(
                            format!("{} does not fit the sets before it: {difference}", path.display()),
                            "all sets have to be made with the same extractor, weights and preprocessing",
                        ));
                    }
                }
                (None, Some(own)) => identity = Some(own.clone()),
                (_, None) => {}
            }
            let generated = side.set(path, &options, &terminal)?;
            let comparison =
                Comparison::new(&real, &generated, &options, &terminal).map_err(|e| about(path, e))?;
            metrics = self.metrics(&comparison, identity.as_ref(), &terminal)?;
            for metric in &metrics {
                if let Some(caution) = (metric.caution)(&comparison) {
                    summary.warn(format!("{}: {caution}", path.display()), &terminal);
                }
            }
            let estimates = evaluate(&comparison, &metrics, self.how.draws())?;
            summary.generated.push(Row { path: path.display().to_string(), n: generated.rows(), estimates });
            if self.per_sample.is_some() {
                samples.add(path, &side, &real_side, &comparison)?;
            }
        }
        let alone: Vec<&'static Metric> = metrics.iter().copied().filter(|metric| metric.alone).collect();
        if !alone.is_empty() && real.has_features() {
            let comparison = Comparison::new(&real, &real, &options, &terminal)?;
            summary.real.alone = evaluate(&comparison, &alone, self.how.draws())?;
        }
        if self.how.self_check {
            summary.self_check = Some(self.self_check(&real_side, &metrics, &options, &terminal)?);
        }
        summary.describe(identity.as_ref(), &metrics, is_fid(identity.as_ref()));
        if let Some(path) = &self.per_sample {
            write_table(path, &samples.table()?)?;
            terminal.say(&format!("wrote {} rows to {}", samples.paths.len(), path.display()));
        }
        self.deliver(&summary, &terminal)
    }

    /// What can be refused before the work.
    fn check_paths(&self) -> Result<()> {
        for path in [&self.output, &self.per_sample].into_iter().flatten() {
            output::check_table_path(path)?;
        }
        if let Some(path) = &self.save_stats
            && path.extension().is_none_or(|e| e != STATISTICS)
        {
            return Err(Error::usage(
                format!("{} does not end in .{STATISTICS}", path.display()),
                "that is the format that is written",
            ));
        }
        let all = || self.generated.iter().chain([&self.real]);
        if let Some(missing) = all().find(|path| !path.exists()) {
            let missing_file = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::io("open", missing)(missing_file));
        }
        let paths: Vec<&Path> = all().map(PathBuf::as_path).collect();
        input::refuse_unused(&paths, &self.extractor)?;
        let is_images = |path: &&PathBuf| !is_features_file(path) && !is_reference(path);
        let is_features = |path: &&PathBuf| is_features_file(path) && !self.may_be_statistics(path);
        if let (Some(features), Some(images)) = (all().find(is_features), all().find(is_images)) {
            return Err(Error::usage(
                format!(
                    "{} holds features that another program made, {} holds images: they cannot be compared",
                    features.display(),
                    images.display()
                ),
                "give images, or features of one extractor, on both sides",
            ));
        }
        Ok(())
    }

    fn may_be_statistics(&self, path: &Path) -> bool {
        self.extractor.key.is_none() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case(STATISTICS))
    }

    fn read(&self, path: &Path, reference: Option<&Reference>, terminal: &Terminal) -> Result<Side> {
        if self.may_be_statistics(path)
            && let Some(statistics) = Statistics::load(path)?
        {
            return Ok(Side::Statistics(statistics));
        }
        let input = input::read(path, &self.extractor, reference, terminal).map_err(|e| about(path, e))?;
        terminal.report_skipped(&input.skipped);
        let features = input.features.into_shared();
        Ok(Side::Features { features, paths: input.paths, identity: input.identity })
    }

    /// The metrics to compute: those named, else all that these sides allow.
    fn metrics(
        &self,
        comparison: &Comparison<'_>,
        identity: Option<&Identity>,
        terminal: &Terminal,
    ) -> Result<Vec<&'static Metric>> {
        if self.metrics.is_empty() {
            let features = comparison.real.has_features() && comparison.generated.has_features();
            let allowed =
                |metric: &&&Metric| metric.by_default && (features || metric.needs == Needs::Statistics);
            return Ok(METRICS.iter().filter(allowed).copied().collect());
        }
        let mut chosen: Vec<&'static Metric> = Vec::new();
        for name in &self.metrics {
            if name == FD.1 && !is_fid(identity) {
                terminal.say(&format!(
                    "warning: a Frechet distance is the FID only with --extractor {FID_EXTRACTOR}; here it is called {}",
                    FD.0
                ));
            }
            let metric = metric(if name == FD.1 { FD.0 } else { name })?;
            if chosen.iter().all(|other| other.name != metric.name) {
                chosen.push(metric);
            }
        }
        Ok(chosen)
    }

    fn self_check(
        &self,
        real: &Side,
        metrics: &[&'static Metric],
        options: &Options,
        terminal: &Terminal,
    ) -> Result<Row> {
        let Side::Features { features, .. } = real else {
            return Err(Error::usage(
                "--self-check needs the real images or features, not their mean and covariance",
                "leave it out",
            ));
        };
        let (first, second) = halves(features.nrows(), options.seed);
        let half = |rows: Vec<u32>| {
            let rows: Vec<usize> = rows.into_iter().map(|row| row as usize).collect();
            let half = features.select(Axis(0), &rows).into_shared();
            FeatureSet::new(half, options, terminal).map(|set| set.named("half of the real set"))
        };
        let (first, second) = (half(first)?, half(second)?);
        let comparison = Comparison::new(&first, &second, options, terminal)?;
        let estimates = evaluate(&comparison, metrics, self.how.draws())?;
        Ok(Row { path: "real, half against half".into(), n: second.rows(), estimates })
    }

    fn deliver(&self, summary: &EvalSummary, terminal: &Terminal) -> Result<()> {
        if let Some(path) = &self.output {
            if format_of(path)?.extension() == "json" {
                pseudo_density::formats::atomic::write_atomic(path, |out| {
                    std::io::Write::write_all(out, summary.json().as_bytes())
                })?;
            } else {
                write_table(path, &summary.table()?)?;
            }
            terminal.say(&format!("wrote {} sets to {}", summary.generated.len(), path.display()));
        }
        if self.run.json {
            output::print(&summary.json())?;
        } else if self.output.is_none() {
            output::print(&summary.text())?;
        }
        Ok(())
    }
}

fn is_fid(identity: Option<&Identity>) -> bool {
    identity.is_some_and(|identity| identity.extractor == FID_EXTRACTOR && !identity.normalize)
}

/// The rows of `--per-sample`.
#[derive(Default)]
struct Samples {
    sets: Vec<String>,
    paths: Vec<String>,
    realism: Vec<f64>,
    rarity: Vec<f64>,
    nearest: Vec<String>,
    nearest_distance: Vec<f64>,
    authentic: Vec<bool>,
}

impl Samples {
    fn add(&mut self, set: &Path, side: &Side, real: &Side, comparison: &Comparison<'_>) -> Result<()> {
        let (Side::Features { paths, .. }, Side::Features { paths: real, .. }) = (side, real) else {
            return Err(Error::usage(
                "--per-sample needs images or features on both sides, not their mean and covariance",
                "leave it out",
            ));
        };
        self.sets.extend(paths.iter().map(|_| set.display().to_string()));
        self.paths.extend(paths.iter().cloned());
        self.realism.extend(realism(comparison)?);
        self.rarity.extend(rarity(comparison)?);
        let found = authenticity(comparison)?;
        self.nearest
            .extend(found.nearest.iter().map(|row| real.get(*row as usize).cloned().unwrap_or_default()));
        self.nearest_distance.extend(found.nearest_distance);
        self.authentic.extend(found.authentic);
        Ok(())
    }

    fn table(&self) -> Result<Table> {
        let mut table = Table::new();
        table.push("set", Values::Text(self.sets.clone()))?;
        table.push("path", Values::Text(self.paths.clone()))?;
        table.push("realism", Values::Float(self.realism.clone()))?;
        table.push("rarity", Values::Float(self.rarity.clone()))?;
        table.push("nearest", Values::Text(self.nearest.clone()))?;
        table.push("nearest_distance", Values::Float(self.nearest_distance.clone()))?;
        table.push("authentic", Values::Bool(self.authentic.clone()))?;
        Ok(table)
    }
}
