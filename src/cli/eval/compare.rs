//! What `pd eval` compares, and how: the same whether features were just made or come out of parts.

use super::summary::{EvalSummary, RealRow, Row};
use crate::cli::common::device;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::formats::table::{Table, Values};
use crate::metrics::Boundary;
use crate::metrics::rarity::rarity;
use crate::metrics::realism::realism;
use crate::metrics::{
    Comparison, Draws, FeatureSet, METRICS, Metric, Needs, Options, Statistics, authenticity, evaluate,
    halves, metric,
};
use clap::Args;
use ndarray::{ArcArray2, Axis};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How metrics are computed.
#[derive(Args, Clone, Serialize, Deserialize)]
#[command(next_help_heading = "Metrics")]
pub struct MetricArgs {
    /// Number k of nearest neighbours for precision, recall, realism and rarity
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Number k of nearest neighbours for density and coverage, clipped or not
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k_density: u32,
    /// Whether a sample lies inside a neighbourhood whose radius equals its distance
    #[arg(long, default_value = "excluded")]
    boundary: Boundary,
    /// Number of subsets for the metric kid-subsets
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    kid_subsets: u32,
    /// Rows in each subset for the metric kid-subsets
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    kid_subset_size: u32,
    /// Also compare one random half of the real set with the other half, which shows the best values possible at that size
    #[arg(long)]
    self_check: bool,
    /// Compute 95 % intervals from B bootstrap samples
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    bootstrap: Option<u32>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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
            device: device(),
        }
    }

    fn draws(&self) -> Option<Draws> {
        self.bootstrap.map(|count| Draws { count: count as usize, seed: self.seed })
    }
}

/// The extractor whose Fréchet distance is the FID.
const FID_EXTRACTOR: &str = "inception-fid";
/// The registry's name of the Fréchet distance, and what it may be called instead.
pub const FD: (&str, &str) = ("fd", "fid");
/// One side as it was read.
pub enum Side {
    Features { features: ArcArray2<f32>, paths: Vec<String>, identity: Identity },
    Statistics(Statistics),
}

impl Side {
    fn set<'p>(&self, name: &str, options: &Options, terminal: &'p Terminal) -> Result<FeatureSet<'p>> {
        let set = match self {
            Side::Features { features, .. } => {
                FeatureSet::new(features.clone(), options, terminal).map_err(|e| about(name, e))?
            }
            Side::Statistics(statistics) => FeatureSet::from_statistics(statistics.clone(), terminal),
        };
        Ok(set.named(name.to_owned()))
    }

    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Side::Features { identity, .. } => Some(identity),
            Side::Statistics(_) => None,
        }
    }
}

/// An error about numbers, with the file they are in.
pub fn about(name: &str, error: Error) -> Error {
    match error {
        Error::Data { reason, hint } => Error::data(format!("{name}: {reason}"), hint),
        other => other,
    }
}

/// Which sets are compared, and how: all that the numbers depend on beside the features.
#[derive(Serialize, Deserialize)]
pub struct Plan {
    /// What the sets are called: the real one, then the generated ones.
    pub names: Vec<String>,
    /// Metrics that were asked for; empty for all that the sets allow.
    pub metrics: Vec<String>,
    /// How they are computed.
    pub how: MetricArgs,
}

impl Plan {
    /// Compares the sets that `read` gives by number, each when its turn comes. Writes the statistics of the real set to
    /// `save_stats`, and adds the rows of each generated set to `samples`.
    pub fn compare(
        &self,
        read: impl Fn(usize) -> Result<Side>,
        save_stats: Option<&Path>,
        mut samples: Option<&mut Samples>,
        terminal: &Terminal,
    ) -> Result<EvalSummary> {
        let options = self.how.options();
        let Some((real_name, generated_names)) = self.names.split_first() else {
            return Err(Error::data("there is no set to compare with", ""));
        };
        let real_side = read(0)?;
        let real = real_side.set(real_name, &options, terminal)?;
        if let Some(path) = save_stats {
            real.statistics()?.save(path)?;
            terminal.say(&format!("wrote mean and covariance of {real_name} to {}", path.display()));
        }
        let mut summary = EvalSummary::new(&options, self.how.bootstrap);
        summary.real = RealRow { path: real_name.clone(), n: real.rows(), alone: Vec::new() };
        let mut identity = real_side.identity().cloned();
        let mut metrics = Vec::new();
        for (name, set) in generated_names.iter().zip(1..) {
            let side = read(set)?;
            check_same(&mut identity, name, side.identity())?;
            let generated = side.set(name, &options, terminal)?;
            let comparison =
                Comparison::new(&real, &generated, &options, terminal).map_err(|e| about(name, e))?;
            metrics = self.metrics(&comparison, identity.as_ref(), terminal)?;
            for metric in &metrics {
                if let Some(caution) = (metric.caution)(&comparison) {
                    summary.warn(format!("{name}: {caution}"), terminal);
                }
            }
            let estimates = evaluate(&comparison, &metrics, self.how.draws())?;
            summary.generated.push(Row { path: name.clone(), n: generated.rows(), estimates });
            if let Some(samples) = &mut samples {
                samples.add(name, &side, &real_side, &comparison)?;
            }
        }
        let alone: Vec<&'static Metric> = metrics.iter().copied().filter(|metric| metric.alone).collect();
        if !alone.is_empty() && real.has_features() {
            let comparison = Comparison::new(&real, &real, &options, terminal)?;
            summary.real.alone = evaluate(&comparison, &alone, self.how.draws())?;
        }
        if self.how.self_check {
            summary.self_check = Some(self.self_check(&real_side, &metrics, &options, terminal)?);
        }
        summary.describe(identity.as_ref(), &metrics, is_fid(identity.as_ref()));
        Ok(summary)
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
}

/// Whether a set was made as those before it; the first that says how is what the others are held to.
pub fn check_same(identity: &mut Option<Identity>, name: &str, own: Option<&Identity>) -> Result<()> {
    match (&*identity, own) {
        (Some(known), Some(own)) => match known.difference(own) {
            Some(difference) => Err(Error::usage(
                format!("{name} does not fit the sets before it: {difference}"),
                "all sets have to be made with the same extractor, weights and preprocessing",
            )),
            None => Ok(()),
        },
        (None, Some(own)) => {
            *identity = Some(own.clone());
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

fn is_fid(identity: Option<&Identity>) -> bool {
    identity.is_some_and(|identity| identity.extractor == FID_EXTRACTOR && !identity.normalize)
}

/// The rows of `--per-sample`.
#[derive(Default)]
pub struct Samples {
    sets: Vec<String>,
    pub paths: Vec<String>,
    realism: Vec<f64>,
    rarity: Vec<f64>,
    nearest: Vec<String>,
    nearest_distance: Vec<f64>,
    authentic: Vec<bool>,
}

impl Samples {
    fn add(&mut self, set: &str, side: &Side, real: &Side, comparison: &Comparison<'_>) -> Result<()> {
        let (Side::Features { paths, .. }, Side::Features { paths: real, .. }) = (side, real) else {
            return Err(Error::usage(
                "--per-sample needs images or features on both sides, not their mean and covariance",
                "leave it out",
            ));
        };
        self.sets.extend(paths.iter().map(|_| set.to_owned()));
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

    pub fn table(&self) -> Result<Table> {
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
