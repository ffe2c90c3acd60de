//! The arguments of `pd eval`, and the sets and options that they name.

use super::space_args::SpaceArgs;
use crate::cli::common::{self, ExtractorArgs, RunArgs};
use crate::cli::group_by::GroupBy;
use crate::cli::tables::TableArgs;
use crate::cli::{input, output};
use crate::error::{Error, Result};
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::metrics::{
    Boundary, EvaluationOptions, FID, FID_INFINITY, KD, METRICS, Options, Side, check_metrics,
};
use crate::reference::{Reference, is_reference};
use crate::runs::ShardRequest;
use candle_core::Device;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Compare generated sets with a real one: FID, KID, precision, recall, density, coverage, ...
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd eval --real photos/ --generated samples/ fidelity/ diversity/
  pd eval --preset adm --real photos/ --generated samples/ -o table.tex")]
pub(crate) struct Eval {
    /// Real set: images (directory, .zip, .tar, or .npz of pixels as ADM's samplers write it), features file, reference directory, or an .npz with mu and sigma (mu_s and sigma_s for sFID), which suffice for the Frechet distance. Where an .npz has these beside pixels, as ADM's reference files, they serve Inception's spaces. What is computed of images is kept in the cache, 4 GiB at most
    #[arg(long, value_name = "X")]
    pub real: PathBuf,
    /// Generated sets to compare: images, features files or reference directories
    #[arg(long, value_name = "Y", num_args = 1.., required = true)]
    pub generated: Vec<PathBuf>,
    /// Metrics to compute; without this option all of them but those on request
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', ignore_case = true, value_parser = metric_names())]
    pub metrics: Vec<String>,
    /// Do one shard of the work: I/N with I from 0, auto/N or auto; `pd merge OUT` writes OUT/eval.json and OUT/eval.csv
    #[arg(long, value_name = "I/N", value_parser = common::shard, requires = "output", conflicts_with_all = ["per_sample", "save_stats"])]
    pub shard: Option<ShardRequest>,
    /// Write a row per generated set to FILE (.csv, .jsonl, .parquet; .tex, .md: rounded, for a paper; .json: the whole summary) instead of printing it; with --shard, a directory
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a row per generated image to FILE: its realism, its rarity, and the real image nearest to it
    #[arg(long, value_name = "FILE")]
    pub per_sample: Option<PathBuf>,
    #[command(flatten)]
    pub tables: TableArgs,
    /// Write mean and covariance of the real set to FILE.npz, as pytorch-fid and ADM's evaluator read them
    #[arg(long, value_name = "FILE.npz")]
    pub save_stats: Option<PathBuf>,
    #[command(flatten)]
    pub how: MetricArgs,
    #[command(flatten)]
    pub extractor: ExtractorArgs,
    #[command(flatten)]
    pub spaces: SpaceArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

fn metric_names() -> impl TypedValueParser<Value = String> {
    let named = METRICS.iter().map(|metric| {
        let when = if metric.by_default { "" } else { " (on request)" };
        PossibleValue::new(metric.name).help(format!("{}{when}", metric.about))
    });
    let others = [
        (FID, "another name of fd"),
        (FID_INFINITY, "another name of fd-infinity"),
        (KD, "another name of kid"),
    ];
    PossibleValuesParser::new(named.chain(others.map(|(name, help)| PossibleValue::new(name).help(help))))
        .map(|name| name.to_ascii_lowercase())
}

/// Extension of files of statistics.
const STATISTICS: &str = "npz";

/// Whether a path is called as files of statistics are.
pub(super) fn is_statistics_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(STATISTICS))
}

/// How metrics are computed.
#[derive(Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct MetricArgs {
    /// Number k of nearest neighbours for precision, recall, realism and rarity
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Number k of nearest neighbours for density, coverage and their clipped versions
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k_density: u32,
    /// Whether a sample on the boundary of a neighbourhood counts as inside it
    #[arg(long, default_value = "excluded")]
    boundary: Boundary,
    /// Number of subsets for the metric kid-subsets
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    kid_subsets: u32,
    /// Number of images in each subset for the metric kid-subsets
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    kid_subset_size: u32,
    /// Also compare one random half of the real set with the other half, which shows the best values possible at that size
    #[arg(long)]
    pub self_check: bool,
    /// Also compare each group on its own, by the metrics that its images suffice for: folder, prompt, or a table FILE.csv with the columns path and group
    #[arg(long, value_name = "BY", conflicts_with = "shard")]
    pub groups: Option<GroupBy>,
    /// Compute 95 % intervals from B bootstrap samples of each generated set (100 or more are usual), and say which generated sets differ from the first; the real set is taken as it is
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    bootstrap: Option<u32>,
    /// Show how far chance moves each value: the standard deviation over S seeds, of metrics that draw, and over S disjoint parts of each generated set
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(2..=1000))]
    spread: Option<u32>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Eval {
    /// What the library is asked for, to compute on `device`.
    pub(crate) fn options(&self, device: &Device) -> EvaluationOptions {
        let how = &self.how;
        EvaluationOptions {
            metrics: self.metrics.clone(),
            parameters: Options {
                k: how.k as usize,
                k_density: how.k_density as usize,
                boundary: how.boundary,
                kid_subsets: how.kid_subsets as usize,
                kid_subset_size: how.kid_subset_size as usize,
                seed: how.seed,
                numpy_seed: None,
                inception_part: None,
                device: device.clone(),
            },
            self_check: how.self_check,
            bootstrap: how.bootstrap,
            spread: how.spread,
            per_sample: self.per_sample.is_some(),
        }
    }

    /// Refuses paths that cannot work, before anything is computed.
    ///
    /// # Errors
    /// For a missing input, an output of an unknown format, or inputs that cannot be compared.
    pub(crate) fn check_paths(&self) -> Result<()> {
        self.spaces.check()?;
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
        if let Some(path) = &self.save_stats {
            output::check_file_path(path)?;
        }
        let all = || self.paths();
        if let Some(missing) = all().find(|path| !ImageSet::is_named_by(path)) {
            let reason = std::fs::metadata(missing).err();
            return Err(Error::io("open", missing)(reason.unwrap_or_else(|| ErrorKind::NotFound.into())));
        }
        let written = [output, self.per_sample.as_ref(), self.save_stats.as_ref()];
        let written: Vec<&Path> = written.into_iter().flatten().map(PathBuf::as_path).collect();
        self.how.groups.as_ref().map_or(Ok(()), GroupBy::check)?;
        let groups = self.how.groups.as_ref().and_then(GroupBy::table);
        output::check_distinct(&written, &all().chain(groups).collect::<Vec<_>>())?;
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
        self.check_metrics(all().any(|path| is_images(&path)))
    }

    /// # Errors
    /// If a metric is asked for that the extractor of the images cannot serve.
    fn check_metrics(&self, images: bool) -> Result<()> {
        if self.spaces.are_given() || !images {
            return Ok(());
        }
        self.network()?.map_or(Ok(()), |name| check_metrics(&self.metrics, &name))
    }

    /// The name of the network that makes the features of images, where it is known before the images are looked at.
    ///
    /// # Errors
    /// If the reference that it is of cannot be opened.
    pub(super) fn network(&self) -> Result<Option<String>> {
        if is_reference(&self.real) {
            return Ok(Some(Reference::open(&self.real)?.manifest.identity.extractor.clone()));
        }
        Ok(self.extractor.network().map(str::to_owned))
    }

    /// The real set, then the generated ones.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.real].into_iter().chain(&self.generated).map(PathBuf::as_path)
    }

    /// The side of each of [`Eval::paths`].
    pub(super) fn sides() -> impl Iterator<Item = Side> {
        std::iter::once(Side::Real).chain(std::iter::repeat(Side::Generated))
    }

    /// Whether a path may name a file of mean and covariance alone.
    pub(crate) fn may_be_statistics(&self, path: &Path) -> bool {
        self.extractor.key.is_none() && is_statistics_file(path) && is_features_file(path)
    }
}
