//! `pd index`: neighbours, pseudo densities and the density predictor of a reference.

use super::common::{DensityArgs, RunArgs};
use super::output;
use super::summary::{Summary, extremes, pairs};
use clap::Args;
use pseudo_density::error::Result;
use pseudo_density::reference::{IndexOptions, Reference, index, read_skipped};
use std::path::PathBuf;

/// Adds the neighbour index, the pseudo densities and the density predictor to a reference
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd index ref/
  pd index ref/ --k 20 --duplicates collapse")]
pub struct Index {
    /// Reference directory that `pd embed` made
    #[arg(value_name = "REF")]
    reference: PathBuf,
    #[command(flatten)]
    density: DensityArgs,
    /// Do not train the density predictor
    #[arg(long)]
    no_predictor: bool,
    #[command(flatten)]
    run: RunArgs,
}

impl Index {
    pub fn run(self) -> Result<()> {
        let terminal = self.run.start()?;
        let mut reference = Reference::open(&self.reference)?;
        let options = IndexOptions { score: self.density.options(), predictor: !self.no_predictor };
        let done = index(&mut reference, options, &terminal)?;
        let (most_typical, most_unusual) = extremes(&done.scores, &done.paths, &done.paths);
        let record = done.record;
        let summary = Summary {
            images: done.paths.len(),
            extractor: reference.manifest.identity.describe(),
            k: record.model.k,
            exponent: record.model.exponent,
            index: Some(record.index.describe()),
            quantiles: Some(record.quantiles),
            most_typical,
            most_unusual,
            exact_duplicates: Some(record.exact_duplicates),
            near_duplicate_pairs: Some(record.near_duplicate_pairs),
            intrinsic_dimension: record.intrinsic_dimension,
            predictor: record.predictor,
            skipped: pairs(&read_skipped(&self.reference)?),
            ..Summary::default()
        };
        output::print(&if self.run.json { summary.json() } else { summary.text() })
    }
}
