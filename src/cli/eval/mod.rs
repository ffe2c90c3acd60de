//! `pd eval`: how generated sets compare with a real one.

mod compare;
mod shard;
mod summary;

pub use shard::{EVAL, merge_eval};

use super::common::{self, ExtractorArgs, RunArgs};
use super::input;
use super::output;
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::formats::is_features_file;
use crate::formats::table::{format_of, write_table};
use crate::images::ImageSet;
use crate::metrics::{METRICS, Statistics};
use crate::reference::{Reference, is_reference};
use crate::shards::ShardRequest;
use clap::Args;
use clap::builder::PossibleValuesParser;
use compare::{FD, MetricArgs, Plan, Samples, Side, about};
use std::path::{Path, PathBuf};
use summary::EvalSummary;

/// Compare generated sets with a real one: FID, KID, precision, recall, density, coverage, ...
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd eval --real photos/ --generated samples/ fidelity/ diversity/
  pd eval --real real.npy --generated fake.npy --metrics precision,recall")]
pub struct Eval {
    /// Real set: images (directory, .zip, .tar), features file, reference directory, or for the Frechet distance alone an .npz with mu and sigma
    #[arg(long, value_name = "X")]
    pub real: PathBuf,
    /// Generated sets to compare: images, features files or reference directories
    #[arg(long, value_name = "Y", num_args = 1.., required = true)]
    pub generated: Vec<PathBuf>,
    /// Metrics to compute; fid is another name for fd [default: all but kid-subsets]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = metric_names())]
    metrics: Vec<String>,
    /// Do one shard of the work: I/N with I from 0, auto/N or auto; `pd merge OUT` writes OUT/eval.json and OUT/eval.csv
    #[arg(long, value_name = "I/N", value_parser = common::shard, requires = "output", conflicts_with_all = ["per_sample", "save_stats"])]
    shard: Option<ShardRequest>,
    /// Write a row per generated set to FILE (.csv, .jsonl, .parquet; .json: the whole summary) instead of printing it; with --shard, a directory
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
    pub extractor: ExtractorArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

fn metric_names() -> PossibleValuesParser {
    PossibleValuesParser::new(METRICS.iter().map(|metric| metric.name).chain([FD.1]))
}

/// Extension of files of statistics.
const STATISTICS: &str = "npz";

impl Eval {
    pub fn run(self) -> Result<()> {
        let terminal = self.run.start()?;
        self.check_paths()?;
        let plan = self.plan();
        if let (Some(shard), Some(out)) = (self.shard, &self.output) {
            return self.run_shard(plan, shard, out, &terminal);
        }
        let reference = is_reference(&self.real).then(|| Reference::open(&self.real)).transpose()?;
        let read = |set: usize| {
            let path = self.paths().nth(set).unwrap_or(&self.real);
            self.read(path, reference.as_ref(), &terminal)
        };
        let mut samples = self.per_sample.as_ref().map(|_| Samples::default());
        let summary = plan.compare(read, self.save_stats.as_deref(), samples.as_mut(), &terminal)?;
        if let (Some(path), Some(samples)) = (&self.per_sample, &samples) {
            write_table(path, &samples.table()?)?;
            terminal.say(&format!("wrote {} rows to {}", samples.paths.len(), path.display()));
        }
        self.deliver(&summary, &terminal)
    }

    fn plan(&self) -> Plan {
        let names = self.paths().map(|path| path.display().to_string()).collect();
        Plan { names, metrics: self.metrics.clone(), how: self.how.clone() }
    }

    /// What can be refused before the work.
    fn check_paths(&self) -> Result<()> {
        let output = self.output.as_ref().filter(|_| self.shard.is_none());
        for path in [output, self.per_sample.as_ref()].into_iter().flatten() {
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
        let all = || self.paths();
        if let Some(missing) = all().find(|path| !ImageSet::is_named_by(path)) {
            let missing_file = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::io("open", missing)(missing_file));
        }
        let paths: Vec<&Path> = all().collect();
        input::refuse_unused(&paths, &self.extractor)?;
        let is_images = |path: &&Path| !is_features_file(path) && !is_reference(path);
        let is_features = |path: &&Path| is_features_file(path) && !self.may_be_statistics(path);
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

    /// The real set, then the generated ones.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.real].into_iter().chain(&self.generated).map(PathBuf::as_path)
    }

    pub fn may_be_statistics(&self, path: &Path) -> bool {
        self.extractor.key.is_none() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case(STATISTICS))
    }

    fn read(&self, path: &Path, reference: Option<&Reference>, terminal: &Terminal) -> Result<Side> {
        if self.may_be_statistics(path)
            && let Some(statistics) = Statistics::load(path)?
        {
            return Ok(Side::Statistics(statistics));
        }
        let input = input::read(path, &self.extractor, reference, terminal);
        let input = input.map_err(|e| about(&path.display().to_string(), e))?;
        terminal.report_skipped(&input.skipped);
        let features = input.features.into_shared();
        Ok(Side::Features { features, paths: input.paths, identity: input.identity })
    }

    fn deliver(&self, summary: &EvalSummary, terminal: &Terminal) -> Result<()> {
        if let Some(path) = &self.output {
            if format_of(path)?.extension() == "json" {
                crate::formats::atomic::write_atomic(path, |out| {
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
