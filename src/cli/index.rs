//! `pd index`: neighbours, pseudo densities and the density predictor of a reference.

use super::common::{self, DensityArgs, RunArgs};
use super::output::Results;
use super::shard;
use super::summary::{Summary, extremes};
use super::tables::TableArgs;
use crate::error::Result;
use crate::images::Inputs;
use crate::reference::sharded_index::index_shard;
use crate::reference::{IndexOptions, Reference, files, index, read_skipped};
use crate::runs::ShardRequest;
use clap::Args;
use std::path::PathBuf;

/// Add the neighbour index, the pseudo densities and the density predictor to a reference
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd index ref/
  pd index ref/ --index exact --shard 3/16")]
pub(super) struct Index {
    /// Reference directory written by `pd embed`
    #[arg(value_name = "REF")]
    reference: PathBuf,
    /// Do one shard of the work: I/N with I from 0, auto/N or auto; `pd merge REF` completes the reference. With a graph each
    /// shard builds its own, so the neighbours found depend on N
    #[arg(long, value_name = "I/N", value_parser = common::shard)]
    shard: Option<ShardRequest>,
    #[command(flatten)]
    density: DensityArgs,
    /// Do not train the density predictor
    #[arg(long)]
    no_predictor: bool,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Index {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        self.tables.check(self.shard.is_some(), true)?;
        let tables = [files::IMAGES, files::SKIPPED, files::SCORES, files::DUPLICATES];
        self.tables.of_run(&self.reference, &tables, self.carry_out(results))
    }

    fn carry_out(&self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        let mut reference = Reference::open(&self.reference)?;
        let options = IndexOptions { score: self.density.options(), predictor: !self.no_predictor };
        if let Some(shard) = self.shard {
            let part =
                index_shard(&reference, options, shard::resolve(shard)?, terminal.device(), &terminal)?;
            return shard::report(&self.reference, &part, &terminal, self.run.json);
        }
        let done = index(&mut reference, options, terminal.device(), &terminal)?;
        let (most_typical, most_unusual) = extremes(&done.scores, &done.paths, &done.paths);
        let record = done.record;
        let inputs = Inputs {
            used: done.paths.len(),
            skipped: read_skipped(&self.reference)?,
            left_out: reference.manifest.left_out.clone(),
        };
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
            copies: record.copies,
            intrinsic_dimension: record.intrinsic_dimension,
            predictor: record.predictor,
            ..Summary::default()
        }
        .with_inputs(Some(&inputs));
        terminal.print(&if self.run.json { summary.json()? } else { summary.text() })
    }
}
