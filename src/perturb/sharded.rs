//! `pd perturb` in parts (`--shard I/N`): each moves some of the latents. What comes of one depends on no other.
//! The sheet, which shows the first of them, is made with the first part.

pub(crate) use super::output::PERTURB;
use super::output::{GRID, LATENTS, Output, SAMPLES, perturb_run};
use super::report::{Report, read_rows};
use super::run::{Models, RunOptions, run_and_show};
use crate::error::{Error, Result};
use crate::formats::atomic::link_or_copy;
use crate::formats::npy::{read_npy_array, write_npy};
use crate::formats::table::concat_csv;
use crate::progress::Progress;
use crate::runs::{self, Merged, Part, Run, Shard, check_whole, files_of, options_of, remove_parts};
use ndarray::{Axis, concatenate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What identifies a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PerturbRun {
    /// What its directory says of it.
    pub record: Value,
    /// How latents are moved.
    pub options: RunOptions,
    /// Latents in all.
    pub latents: usize,
}

/// One shard of the latents, as a part of `out`.
///
/// # Errors
/// As [`super::run()`] and [`runs::finished_or`].
pub(crate) fn perturb_shard(
    out: &Path,
    models: &Models,
    of: &PerturbRun,
    shard: Shard,
    progress: &dyn Progress,
) -> Result<Part> {
    let run = Run::new(PERTURB, of)?;
    let own = shard.range(of.latents);
    runs::finished_or(out, shard, &run, || {
        runs::publish(out, shard, &run, own.clone(), |dir| {
            let grid = if shard.index == 0 { of.options.grid.min(of.latents) } else { 0 };
            let options = RunOptions { grid, ..of.options.clone() };
            let shown = own.end..grid.max(own.end);
            run_and_show(models, &options, (own.clone(), shown), &Output::at(dir), progress)?;
            Ok((own.len() * of.options.epsilons.len(), 0))
        })
    })
}

/// Joins parts to the files of one run but its summary, which goes with the report: `summarise` makes it.
///
/// # Errors
/// [`Error::Malformed`] if a file is not the one that its part was made with.
pub(crate) fn merge_perturbed(
    out: &Path,
    parts: &[Part],
    summarise: impl Fn(&Report, Value) -> Result<Value>,
) -> Result<Merged> {
    let PerturbRun { record, options, latents } = options_of(parts)?;
    let merged = check_whole(out, parts, latents)?;
    let output = Output::at(out);
    let identity = perturb_run(record.clone());
    identity.write_options(out)?;
    for part in parts {
        for name in part.record.files.keys().filter(|name| name.contains('/') || *name == GRID) {
            let to = output.path(name);
            let folder = to.parent().unwrap_or(out);
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            link_or_copy(&part.dir.join(name), &to)?;
        }
    }
    // A part without rows has a table without some of the columns.
    let filled: Vec<Part> = parts.iter().filter(|part| part.record.rows > 0).cloned().collect();
    let samples = output.path(SAMPLES);
    concat_csv(&samples, &files_of(&filled, SAMPLES), None)?;
    let arrays: Vec<_> = files_of(&filled, LATENTS).iter().map(read_npy_array).collect::<Result<_>>()?;
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    let all = concatenate(Axis(0), &views).map_err(|e| Error::malformed(out, e.to_string(), ""))?;
    write_npy(output.path(LATENTS), &all)?;
    let report = Report::new(&read_rows(&samples)?, options.bias, &options.epsilons);
    identity.write_summary(out, &summarise(&report, record)?)?;
    remove_parts(out)?;
    Ok(Merged { rows: latents, ..merged })
}
