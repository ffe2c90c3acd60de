//! What goes to stdout, and tables that go to files.

use super::escape::lines;
use super::tables::TableArgs;
use crate::error::{Error, Result};
use crate::formats::resolved::resolved;
use crate::formats::scratch::remove_leftovers;
use crate::formats::table::{Table, Values, format_of, write_table};
use crate::images::Skipped;
use crate::remedy::Remedy;
use serde::Serialize;
use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the results of a command go: to stdout, or to the command that runs it.
#[derive(Clone, Default)]
pub(super) struct Results {
    collected: Option<Arc<Mutex<String>>>,
}

impl Results {
    /// Runs a command within another one: what it prints is returned instead.
    pub(super) fn collect(run: impl FnOnce(&Results) -> Result<()>) -> Result<String> {
        let collected = Arc::default();
        run(&Results { collected: Some(Arc::clone(&collected)) })?;
        Ok(std::mem::take(&mut *collected.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Whether another command collects them.
    pub(super) fn are_collected(&self) -> bool {
        self.collected.is_some()
    }

    /// Prints a result, with nothing in it that a terminal would obey. A reader that has seen enough (`| head`) is no error.
    pub(super) fn print(&self, text: &str) -> Result<()> {
        if let Some(collected) = &self.collected {
            collected.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(lines(text).as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", "standard output")(e)),
            _ => Ok(()),
        }
    }
}

/// A result as JSON, a line for each field, as `--json` prints it.
///
/// # Errors
/// If it cannot be written as JSON.
pub(super) fn json_text(result: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(result).map(|text| text + "\n").map_err(not_json)
}

/// For `map_err` on what turns a result into JSON.
pub(super) fn not_json(error: serde_json::Error) -> Error {
    Error::data(format!("a result cannot be written as JSON: {error}"), "")
}

/// Checks before the work that a table can be written there.
pub(super) fn check_table_path(path: &Path) -> Result<()> {
    format_of(path)?;
    check_file_path(path)
}

/// Checks before the work that a file can be written there, and removes what a process that was killed has left of one.
pub(super) fn check_file_path(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Error::usage(
            format!("the directory of {} does not exist", path.display()),
            format!("make it first: mkdir -p {}", parent.display()),
        ));
    }
    check_writable(parent)?;
    remove_leftovers(parent);
    Ok(())
}

/// Refuses, before the work, to write a file that is read too, and to write one twice.
pub(super) fn check_distinct(written: &[&Path], read: &[&Path]) -> Result<()> {
    let read = read.iter().map(|path| resolved(path)).collect::<Result<HashSet<_>>>()?;
    let mut seen = HashSet::new();
    for path in written {
        let place = resolved(path)?;
        let what = if read.contains(&place) {
            "read too"
        } else if !seen.insert(place) {
            "to be written twice"
        } else {
            continue;
        };
        return Err(Error::usage(format!("{} is {what}", path.display()), Remedy::OtherOutputFile));
    }
    Ok(())
}

/// Checks before the work that a directory can be made, or written into.
pub(super) fn check_directory_path(path: &Path) -> Result<()> {
    let places = path.ancestors().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    match places.into_iter().find(|place| place.exists()) {
        Some(existing) if existing.is_dir() => check_writable(existing),
        Some(file) => Err(Error::usage(format!("{} is no directory", file.display()), Remedy::OtherOutput)),
        None => Ok(()),
    }
}

fn check_writable(dir: &Path) -> Result<()> {
    tempfile::tempfile_in(dir).map(drop).map_err(Error::io("write into", dir))
}

/// Writes a table, as the arguments say.
pub(super) fn write_table_for_user(path: &Path, table: &Table, args: TableArgs) -> Result<()> {
    write_table(path, table)?;
    args.of_file(path)
}

/// Writes what was skipped beside a table: `scores.csv` gets `scores.skipped.csv`. `None` if nothing was; what an earlier run wrote
/// there is then removed.
pub(super) fn write_skipped_beside(
    path: &Path,
    skipped: &[Skipped],
    args: TableArgs,
) -> Result<Option<PathBuf>> {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(".skipped.csv");
    let beside = path.with_file_name(name);
    if skipped.is_empty() {
        return match std::fs::remove_file(&beside) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &beside)(e)),
            _ => Ok(None),
        };
    }
    let mut table = Table::new();
    table.push("path", Values::Text(skipped.iter().map(|s| s.path.clone()).collect()))?;
    table.push("reason", Values::Text(skipped.iter().map(|s| s.reason.clone()).collect()))?;
    write_table_for_user(&beside, &table, args)?;
    Ok(Some(beside))
}
