//! `pd sample --shard I/N`: candidates in parts; which are kept is decided when they are merged.

use super::common::device;
use super::merge;
use super::sample::Sample;
use super::sample_writer::SampleWriter;
use super::terminal::Terminal;
use crate::candidates::{CandidateSource, DensityScorer};
use crate::error::{Error, Result};
use crate::sampling::draw::{CandidateBlocks as _, draw};
use crate::sampling::sharded::{SAMPLE, SampleRun, ShardedCandidates, sample_shard};
use crate::sampling::{DrawRecord, ReferenceStats};
use crate::shards::{Merged, Part, Run, ShardRequest, check_whole, options_of, remove_parts};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// What identifies a run.
#[derive(Serialize, Deserialize)]
struct Record {
    drawing: SampleRun,
    #[serde(rename = "ending")]
    writer: SampleWriter,
}

/// What is drawn, and how it is written when the parts are merged.
pub(super) struct ShardedDrawing {
    /// What tells this run from others, as its summary has it.
    pub run: Value,
    pub record: DrawRecord,
    pub writer: SampleWriter,
}

impl Sample {
    pub(super) fn run_shard(
        &self,
        shard: ShardRequest,
        (source, scorer): (&dyn CandidateSource, Option<&DensityScorer>),
        reference: Option<&ReferenceStats>,
        ShardedDrawing { run, record, writer }: ShardedDrawing,
        terminal: &Terminal,
    ) -> Result<()> {
        let shard = merge::resolve(shard)?;
        if !self.candidates.lists_candidates() {
            return Err(Error::usage(
                "--shard cuts up candidates, and how many there are is not known before the last is kept",
                "list them: --seeds 0-99999 (-n says how many of them are kept)",
            ));
        }
        let options = record.options()?;
        if let Some(reference) = reference {
            options.check(reference)?;
        }
        let candidates = options.limit(source.len());
        let latent = match candidates {
            0 => return Err(Error::usage("there are no candidates", "give --seeds")),
            _ => source.latents(0..1)?.map(|latents| latents.shape()[1..].to_vec()),
        };
        let reference = reference.cloned();
        let drawing = SampleRun { run, options: record, reference, candidates, latent };
        let run = Run::new(SAMPLE, &Record { drawing, writer })?;
        let paths = scorer.map_or(&[][..], |scorer| scorer.density.scorer().paths());
        let part = sample_shard(&self.output, (source, scorer), paths, (&run, candidates, shard), terminal)?;
        merge::report(&self.output, &part, terminal, self.run.json)
    }
}

/// Decides on the candidates in the parts, and writes what one run writes. Too few accepted images are an error, as they are there.
pub fn merge_sample(out: &Path, parts: &[Part], terminal: &Terminal) -> Result<Merged> {
    let Record { drawing, writer } = options_of(parts)?;
    let merged = check_whole(out, parts, drawing.candidates)?;
    let candidates = ShardedCandidates::new(parts, &drawing);
    let options = drawing.options.options()?;
    let drawn = draw(&candidates, drawing.reference.as_ref(), &options, &device(), out, terminal)?;
    writer.write(out, &candidates, &drawn, &candidates.nearest())?;
    writer.finish(out, &drawn, &drawing.run)?;
    remove_parts(out)?;
    writer.check_complete(&drawn, candidates.len(), out)?;
    Ok(Merged { rows: drawn.kept().count(), ..merged })
}
