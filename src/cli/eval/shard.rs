//! `pd eval --shard I/N`: features of all sets in parts; the comparison itself is the merge.

use super::args::Eval;
use super::real_statistics::{RealStatistics, is_of_reference_files};
use super::report_inputs;
use super::text::{json_of, warn_if_no_fid};
use crate::cli::terminal::Terminal;
use crate::cli::{input, shard};
use crate::error::{Error, Result};
use crate::extract::{Identity, LoadedExtractor};
use crate::formats::atomic::write_atomic;
use crate::formats::is_features_file;
use crate::formats::table::write_table;
use crate::images::ImageSet;
use crate::metrics::{EvaluationOptions, EvaluationSet, SetContent, check_same, evaluate};
use crate::reference::sharded_sets::{MergedSet, SetInput, identify, inputs, read_set, sets_shard};
use crate::reference::{Reference, is_reference};
use crate::runs::{Merged, Part, Run, ShardRequest, check_whole, options_of, remove_parts};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;

/// The command whose parts these are.
pub(crate) const EVAL: &str = "eval";
/// What the merge writes: the whole summary, and a row for each generated set.
pub(super) const RESULTS: [&str; 2] = ["eval.json", "eval.csv"];

/// The sets of a run, and what is computed of them.
#[derive(Serialize, Deserialize)]
struct Plan {
    /// Names of the sets: the real one, then the generated ones.
    names: Vec<String>,
    /// Metrics that were asked for; in the parts they stand beside the other options, not among them.
    metrics: Vec<String>,
    how: EvaluationOptions,
}

impl Plan {
    fn new(args: &Eval, device: &Device) -> Self {
        let names = args.paths().map(|path| path.display().to_string()).collect();
        let mut how = args.options(device);
        Plan { names, metrics: std::mem::take(&mut how.metrics), how }
    }
}

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

/// Makes one shard of the features, in `out`.
pub(super) fn run_shard(args: &Eval, shard: ShardRequest, out: &Path, terminal: &Terminal) -> Result<()> {
    let plan = Plan::new(args, terminal.device());
    let shard = shard::resolve(shard)?;
    let reference = is_reference(&args.real).then(|| Reference::open(&args.real)).transpose()?;
    let request = args.extractor.request(terminal.device());
    let extractor = match &reference {
        Some(reference) => LoadedExtractor::for_identity(&reference.manifest.identity, &request)?,
        None => LoadedExtractor::load(&request)?,
    };
    let mut identity = Some(extractor.identity().clone());
    let mut sets = Vec::new();
    for (path, name) in args.paths().zip(&plan.names) {
        let set = if args.statistics(path)?.is_some() {
            SetInput::File(path.to_path_buf())
        } else if is_features_file(path) || is_reference(path) {
            let ready = input::read(path, &args.extractor, reference.as_ref(), terminal);
            let ready = ready.map_err(|error| error.about(name))?;
            check_same(&mut identity, name, Some(&ready.identity))?;
            SetInput::Features(ready.features, ready.paths)
        } else {
            refuse_both(path, extractor.identity())?;
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
    let options = args.extractor.embed_options();
    let part = sets_shard(out, &sets, &extractor, options, (&run, shard), terminal)?;
    shard::report(out, &part, terminal, args.run.json)
}

/// # Errors
/// [`Error::Usage`] for a file whose mean and covariance would be used beside its pixels: parts keep one of both.
fn refuse_both(path: &Path, identity: &Identity) -> Result<()> {
    let both = is_of_reference_files(identity) && RealStatistics::beside_pixels(path)?.is_some();
    match both {
        true => Err(Error::usage(
            format!(
                "{} holds mean and covariance beside pixels, and --shard takes one of both",
                path.display()
            ),
            "leave --shard out",
        )),
        false => Ok(()),
    }
}

/// Compares the sets whose features are in the parts, and writes what a run with `-o` writes: `eval.json` and `eval.csv`.
pub(crate) fn merge_eval(out: &Path, parts: &[Part], terminal: &Terminal) -> Result<Merged> {
    let run: EvalRun = options_of(parts)?;
    let merged = check_whole(out, parts, run.inputs)?;
    let Plan { names, metrics, how } = run.plan;
    let mut options = EvaluationOptions { metrics, ..how };
    options.parameters.device = terminal.device().clone();
    let identity = &run.identity;
    let mut counts = Map::new();
    let mut sets = names.into_iter().enumerate().map(|(set, name)| {
        let (found, inputs) = read_set(parts, set, identity.dimension)?;
        if let Some(inputs) = inputs {
            report_inputs(&name, &inputs, &mut counts, terminal);
        }
        let content = match found {
            MergedSet::Features(features, paths) => {
                SetContent::Features { features: features.into_shared(), paths, identity: identity.clone() }
            }
            MergedSet::File(path) => {
                match RealStatistics::load(&path)?.and_then(|found| found.of(&identity.extractor).cloned()) {
                    Some(statistics) => SetContent::Statistics(statistics),
                    None => return Err(Error::malformed(&path, "holds no statistics", "run shard 0 again")),
                }
            }
        };
        Ok(EvaluationSet::new(name, content))
    });
    let real = sets.next().ok_or_else(|| Error::data("there is no set to compare with", ""))??;
    let evaluation = evaluate(real, &mut sets, &options, terminal)?;
    drop(sets);
    warn_if_no_fid(&evaluation, terminal);
    let [json_path, csv] = RESULTS.map(|name| out.join(name));
    write_table(csv, &evaluation.table()?)?;
    write_atomic(json_path, |out| out.write_all(json_of(evaluation.json(), counts).as_bytes()))?;
    remove_parts(out)?;
    Ok(merged)
}
