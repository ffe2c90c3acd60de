//! `pd sample --shard I/N`: candidates in parts; which are kept is decided when they are merged.

use super::writer::SampleWriter;
use crate::candidates::{CandidateSource, DensityScorer, SecondLook};
use crate::cli::shard;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::runs::{
    self, Merged, Part, Run, RunIdentity, ShardRequest, check_whole, options_of, remove_parts,
};
use crate::sampling::draw::CandidateBlocks as _;
use crate::sampling::sharded::{SAMPLE, SampleRun, ShardedCandidates, sample_shard};
use crate::sampling::{DrawRecord, ReferenceStats};
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

/// One shard of a run.
pub(super) struct SampleShard<'a> {
    /// Which shard.
    pub shard: ShardRequest,
    /// Directory that the parts are in.
    pub out: &'a Path,
    /// Where candidates come from.
    pub source: &'a dyn CandidateSource,
    /// Candidates of each group that is drawn from by itself.
    pub groups: Option<Vec<usize>>,
    /// Whether the candidates are listed, so that their number is known.
    pub is_listed: bool,
    /// What finds their densities.
    pub scorer: Option<&'a DensityScorer>,
    /// What looks at pictures, where copies are refused.
    pub look: Option<&'a SecondLook<'a>>,
    /// What is known of the reference.
    pub reference: Option<&'a ReferenceStats>,
    /// What tells the run from others.
    pub run: Value,
    /// What is drawn.
    pub record: DrawRecord,
    /// What the merge needs beside.
    pub writer: SampleWriter,
    /// Whether the report is printed as JSON.
    pub json: bool,
}

impl SampleShard<'_> {
    /// Makes and scores the candidates of the shard.
    pub(super) fn run(self, terminal: &Terminal) -> Result<()> {
        let shard = shard::resolve(self.shard)?;
        if !self.is_listed {
            return Err(Error::usage(
                "--shard cuts up candidates, and how many there are is not known before the last is kept",
                "list them: --seeds 0-99999 (-n says how many of them are kept)",
            ));
        }
        let options = self.record.options()?;
        if let Some(reference) = self.reference {
            options.check(reference)?;
        }
        // What may be drawn of each group is settled already.
        let candidates = match &self.groups {
            Some(groups) => groups.iter().sum(),
            None => options.limit(self.source.len()),
        };
        let latent = match candidates {
            0 => return Err(Error::usage("there are no candidates", "give --seeds")),
            _ => self.source.latents(0..1)?.map(|latents| latents.shape()[1..].to_vec()),
        };
        let reference = self.reference.cloned();
        let (run, options, groups) = (self.run, self.record, self.groups);
        let drawing = SampleRun { run, options, reference, candidates, groups, latent };
        let run = Run::new(SAMPLE, &Record { drawing, writer: self.writer })?;
        let work = (self.source, self.scorer, self.look);
        let part = sample_shard(self.out, work, (&run, candidates, shard), terminal)?;
        shard::report(self.out, &part, terminal, self.json)
    }
}

/// Decides on the candidates in the parts, and writes what one run writes. Too few accepted images are an error, as they are there.
pub(crate) fn merge_sample(out: &Path, parts: &[Part], terminal: &Terminal) -> Result<Merged> {
    let Record { drawing, writer } = options_of(parts)?;
    let merged = check_whole(out, parts, drawing.candidates)?;
    let candidates = ShardedCandidates::new(parts, &drawing);
    let options = drawing.options.options()?;
    let identity = RunIdentity::new(SAMPLE, runs::Record::Summary, drawing.run.clone());
    let draws = (drawing.reference.as_ref(), &options);
    let (drawn, _) =
        writer.draw((&candidates, drawing.groups.as_deref()), draws, (out, &identity), terminal)?;
    remove_parts(out)?;
    writer.check_complete(&drawn, candidates.len(), out, false, terminal)?;
    Ok(Merged { rows: drawn.kept().count(), ..merged })
}
