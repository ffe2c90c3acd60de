//! `pd sample --shard I/N`: candidates in parts; which are kept is decided when they are merged.

use super::Sample;
use super::writer::Ending;
use crate::cli::shard;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::sampling::draw::{DrawOptions, Stock as _, Terms, draw};
use crate::sampling::sharded::{Known, Parts, SAMPLE, SampleRun, sample_shard};
use crate::sampling::{Judgement, Source};
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
        (known, paths): (Option<(&Terms, usize)>, &[String]),
        (run, mut options, ending): (Value, DrawOptions, Ending),
        terminal: &Terminal,
    ) -> Result<()> {
        let shard = shard::resolve(shard)?;
        if !self.candidates.lists_candidates() {
            return Err(Error::usage(
                "--shard cuts up candidates, and how many there are is not known before the last is kept",
                "list them: --seeds 0-99999 (-n says how many of them are kept)",
            ));
        }
        if let Some((terms, _)) = known {
            options.weights.check(&terms.distribution)?;
        }
        let (source, ..) = work;
        let candidates = options.limit(source.len());
        let reference = known.map(|(terms, width)| Known::new(terms, width, &mut options));
        let latent = match candidates {
            0 => return Err(Error::usage("there are no candidates", "give --seeds")),
            _ => source.latents(0..1)?.dims().get(1..).unwrap_or_default().to_vec(),
        };
        let drawing = SampleRun { run, options, reference, candidates, latent };
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
    let drawn = draw(&stock, drawing.terms()?.as_ref(), &drawing.options, out, terminal)?;
    ending.write(out, &stock, &drawn, &stock.nearest())?;
    ending.finish(out, &drawn, &drawing.run)?;
    remove_parts(out)?;
    ending.check_complete(&drawn, stock.len(), out)?;
    Ok(Merged { rows: drawn.kept().count(), ..merged })
}
