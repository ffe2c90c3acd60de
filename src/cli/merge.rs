//! `pd merge`: joins what `--shard I/N` runs left.

use super::common::RunArgs;
use super::eval::{EVAL, merge_eval};
use super::output::Results;
use super::sample::{self, merge_sample};
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::perturb::{PERTURB, merge_perturbed};
use crate::reference::files;
use crate::reference::sharded::{EMBED, SCORE, SCORES_SKIPPED, merge_embedded, merge_scores};
use crate::reference::sharded_index::{self, INDEX, merge_indexed};
use crate::runs::{Merged, PARTS, RunDir, all_parts, remove_parts};
use crate::sampling::sharded::SAMPLE;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Join the parts of `--shard I/N` runs: byte for byte the result of one run
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd merge ref/
  sbatch --dependency=afterok:$ARRAY --wrap 'pd merge ref/'")]
pub(super) struct Merge {
    /// Output directory of the `--shard` runs (it contains parts/)
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Leave the features in their parts, which the manifest then lists
    #[arg(long)]
    in_place: bool,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Tables with names that a merge writes.
const TABLES: [&str; 7] = [
    files::IMAGES,
    files::SKIPPED,
    files::SCORES,
    files::DUPLICATES,
    SCORES_SKIPPED,
    "eval.csv",
    sample::TABLE,
];
/// Files that say a run is complete.
const RESULTS: [&str; 4] = ["manifest.json", "scores.csv", "eval.csv", "summary.json"];

impl Merge {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        self.tables.of_run(&self.out, &TABLES, self.carry_out(results))
    }

    fn carry_out(&self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        // The shards themselves lock nothing: several processes make them at once.
        let _directory = self.out.is_dir().then(|| RunDir::locked(&self.out)).transpose()?;
        let index = sharded_index::place(&self.out);
        if index.exists() {
            self.refuse_in_place(INDEX)?;
            let (merged, _) = merge_indexed(&self.out, &all_parts(&index)?, terminal.device(), &terminal)?;
            return self.say(INDEX, &merged, &terminal);
        }
        if !self.out.join(PARTS).exists() && RESULTS.iter().any(|name| self.out.join(name).is_file()) {
            remove_parts(&self.out)?;
            terminal.say(&format!("{} is merged already", self.out.display()));
            return Ok(());
        }
        let parts = all_parts(&self.out)?;
        let command = parts.first().map_or("", |part| part.record.run.command.as_str());
        self.refuse_in_place(command)?;
        let merged = match command {
            EMBED => merge_embedded(&self.out, &parts, self.in_place)?,
            SCORE => merge_scores(&self.out, &parts)?,
            EVAL => merge_eval(&self.out, &parts, &terminal)?,
            SAMPLE => merge_sample(&self.out, &parts, &terminal)?,
            PERTURB => merge_perturbed(&self.out, &parts)?.0,
            other => {
                let reason = format!("holds parts of `pd {other}`, which this version does not merge");
                return Err(Error::malformed(&self.out, reason, "merge with the version that made them"));
            }
        };
        self.say(command, &merged, &terminal)
    }

    fn refuse_in_place(&self, command: &str) -> Result<()> {
        match self.in_place && command != EMBED {
            true => Err(Error::usage("--in-place is for features", "leave it out")),
            false => Ok(()),
        }
    }

    fn say(&self, command: &str, merged: &Merged, terminal: &Terminal) -> Result<()> {
        if self.run.json {
            let object = json!({
                "command": command, "parts": merged.parts, "images": merged.rows, "skipped": merged.skipped,
            });
            return terminal.print(&format!("{object:#}\n"));
        }
        terminal.print(&format!(
            "{} parts: {} images, {} skipped, in {}\n",
            merged.parts,
            merged.rows,
            merged.skipped,
            self.out.display()
        ))
    }
}
