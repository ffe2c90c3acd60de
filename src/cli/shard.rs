//! What every command with `--shard I/N` does around its work.

use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::runs::{Part, Shard, ShardRequest};
use serde_json::json;
use std::path::Path;

/// The shard that was asked for; `auto` is read from the scheduler's environment.
///
/// # Errors
/// If the scheduler names none.
pub(super) fn resolve(request: ShardRequest) -> Result<Shard> {
    request.resolve(|name| std::env::var(name).ok())
}

/// # Errors
/// If a shard of ready-made features is asked for: they are only copied.
pub(super) fn refuse_features(request: Option<ShardRequest>) -> Result<()> {
    match request {
        Some(_) => Err(Error::usage(
            "--shard cuts up images; features of another program are only copied",
            "leave --shard out",
        )),
        None => Ok(()),
    }
}

/// Prints how many images the finished part holds, and the command that joins the parts.
pub(super) fn report(out: &Path, part: &Part, terminal: &Terminal, json: bool) -> Result<()> {
    let record = &part.record;
    if record.skipped > 0 {
        terminal.warn(&format!(
            "{} inputs were skipped: {}",
            record.skipped,
            part.dir.join("skipped.csv").display()
        ));
    }
    if json {
        let object = json!({
            "shard": record.shard, "of": record.of, "images": record.rows, "skipped": record.skipped,
            "part": part.dir.display().to_string(),
        });
        return terminal.print(&format!("{object:#}\n"));
    }
    terminal.print(&format!(
        "shard {} of {}: {} images, {} skipped, in {}\nwhen all are there: pd merge {}\n",
        record.shard,
        record.of,
        record.rows,
        record.skipped,
        part.dir.display(),
        out.display()
    ))
}
