//! `pd eval --shard I/N`: features of all sets in parts; the comparison itself is the merge.

use super::Eval;
use super::compare::{Plan, Side, about, check_same};
use crate::cli::terminal::Terminal;
use crate::cli::{input, shard};
use crate::error::{Error, Result};
use crate::extract::{Identity, LoadedExtractor};
use crate::formats::atomic::write_atomic;
use crate::formats::is_features_file;
use crate::formats::table::write_table;
use crate::images::ImageSet;
use crate::metrics::Statistics;
use crate::reference::sharded_sets::{MergedSet, SetInput, identify, inputs, read_set, sets_shard};
use crate::reference::{Reference, is_reference};
use crate::shards::{Merged, Part, Run, ShardRequest, check_whole, options_of, remove_parts};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Write;
use std::path::Path;

/// The command whose parts these are.
pub const EVAL: &str = "eval";
/// What the merge writes: the whole summary, and a row for each generated set.
pub const RESULTS: [&str; 2] = ["eval.json", "eval.csv"];

/// What identifies a run.
#[derive(Serialize, Deserialize)]
struct EvalRun {
    plan: Plan,
    identity: Identity,
    /// What is in each set.
    sets: Vec<Value>,
    /// Images in all.
    inputs: usize,
}

impl Eval {
    pub(super) fn run_shard(
        &self,
        plan: Plan,
        shard: ShardRequest,
        out: &Path,
        terminal: &Terminal,
    ) -> Result<()> {
        let shard = shard::resolve(shard)?;
        let reference = is_reference(&self.real).then(|| Reference::open(&self.real)).transpose()?;
        let request = self.extractor.request();
        let extractor = match &reference {
            Some(reference) => LoadedExtractor::for_identity(&reference.manifest.identity, &request)?,
            None => LoadedExtractor::load(&request)?,
        };
        let mut identity = Some(extractor.identity().clone());
        let mut sets = Vec::new();
        for (path, name) in self.paths().zip(&plan.names) {
            let set = if self.may_be_statistics(path) && Statistics::load(path)?.is_some() {
                SetInput::File(path.to_path_buf())
            } else if is_features_file(path) || is_reference(path) {
                let ready = input::read(path, &self.extractor, reference.as_ref(), terminal);
                let ready = ready.map_err(|e| about(name, e))?;
                check_same(&mut identity, name, Some(&ready.identity))?;
                SetInput::Features(ready.features, ready.paths)
            } else {
                SetInput::Images(ImageSet::open(path, terminal)?)
            };
            sets.push(set);
        }
        if inputs(&sets) == 0 {
            return Err(Error::usage(
                "--shard cuts up images, and every set here is features already",
                "leave --shard out",
            ));
        }
        let run = EvalRun {
            plan,
            identity: extractor.identity().clone(),
            sets: sets.iter().map(|set| identify(set, &extractor)).collect::<Result<_>>()?,
            inputs: inputs(&sets),
        };
        let run = Run::new(EVAL, &run)?;
        let options = self.extractor.embed_options();
        let part = sets_shard(out, &sets, &extractor, options, (&run, shard), terminal)?;
        shard::report(out, &part, terminal, self.run.json)
    }
}

/// Compares the sets whose features are in the parts, and writes what a run with `-o` writes: `eval.json` and `eval.csv`.
pub fn merge_eval(out: &Path, parts: &[Part], terminal: &Terminal) -> Result<Merged> {
    let run: EvalRun = options_of(parts)?;
    let merged = check_whole(out, parts, run.inputs)?;
    let read = |set: usize| {
        let (found, skipped) = read_set(parts, set, run.identity.dimension)?;
        terminal.report_skipped(&skipped);
        match found {
            MergedSet::Features(features, paths) => {
                Ok(Side::Features { features: features.into_shared(), paths, identity: run.identity.clone() })
            }
            MergedSet::File(path) => match Statistics::load(&path)? {
                Some(statistics) => Ok(Side::Statistics(statistics)),
                None => Err(Error::malformed(&path, "holds no statistics", "run shard 0 again")),
            },
        }
    };
    let summary = run.plan.compare(read, None, None, terminal)?;
    let [json, csv] = RESULTS.map(|name| out.join(name));
    write_table(csv, &summary.table()?)?;
    write_atomic(json, |out| out.write_all(summary.json().as_bytes()))?;
    remove_parts(out)?;
    Ok(merged)
}
