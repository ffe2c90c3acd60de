//! `pd sample --shard I/N`: candidates in parts; which are kept is decided when they are merged.

use super::Sample;
use super::writer::Ending;
use crate::cli::common::device;
use crate::cli::shard;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::sampling::draw::{Stock as _, draw};
use crate::sampling::sharded::{Parts, SAMPLE, SampleRun, sample_shard};
use crate::sampling::{DrawRecord, Judgement, ReferenceStats, Source};
use crate::shards::{Merged, Part, Run, ShardRequest, check_whole, options_of, remove_parts};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// What identifies a run.
#[derive(Serialize, Deserialize)]
struct Record {
    drawing: SampleRun,
    ending: Ending,
}

impl Sample {
    pub(super) fn run_shard(
        &self,
        shard: ShardRequest,
        work: (&Source, Option<&Judgement>, usize),
        (reference, paths): (Option<&ReferenceStats>, &[String]),
        (run, record, ending): (Value, DrawRecord, Ending),
        terminal: &Terminal,
    ) -> Result<()> {
        let shard = shard::resolve(shard)?;
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
        let (source, ..) = work;
        let candidates = options.limit(source.len());
        let latent = match candidates {
            0 => return Err(Error::usage("there are no candidates", "give --seeds")),
            _ => source.latents(0..1)?.dims().get(1..).unwrap_or_default().to_vec(),
        };
        let reference = reference.cloned();
        let drawing = SampleRun { run, options: record, reference, candidates, latent };
        let run = Run::new(SAMPLE, &Record { drawing, ending })?;
        let part = sample_shard(&self.output, work, paths, (&run, candidates, shard), terminal)?;
        shard::report(&self.output, &part, terminal, self.run.json)
    }
}

/// Decides on the candidates in the parts, and writes what one run writes. Too few accepted images are an error, as they are there.
pub fn merge_sample(out: &Path, parts: &[Part], terminal: &Terminal) -> Result<Merged> {
    let Record { drawing, ending } = options_of(parts)?;
    let merged = check_whole(out, parts, drawing.candidates)?;
    let stock = Parts::new(parts, &drawing);
    let options = drawing.options.options()?;
    let drawn = draw(&stock, drawing.reference.as_ref(), &options, &device(), out, terminal)?;
    ending.write(out, &stock, &drawn, &stock.nearest())?;
    ending.finish(out, &drawn, &drawing.run)?;
    remove_parts(out)?;
    ending.check_complete(&drawn, stock.len(), out)?;
    Ok(Merged { rows: drawn.kept().count(), ..merged })
}
