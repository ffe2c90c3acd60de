//! `--csv-safe`, for all commands that write tables with names.

use crate::error::{Error, Result};
use crate::formats::table::{is_safe, make_safe};
use crate::runs::RunDir;
use clap::Args;
use std::path::Path;

/// How tables are written.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct TableArgs {
    /// Make .csv tables safe for a spreadsheet: names that it would take for formulas get an apostrophe in front, and the file says that it is UTF-8. Without it names are written as they are
    #[arg(long)]
    csv_safe: bool,
}

impl TableArgs {
    /// # Errors
    /// [`Error::Usage`] if the flag is given where no finished table is written.
    pub(super) fn check(self, shard: bool, has_table: bool) -> Result<()> {
        match (self.csv_safe, shard, has_table) {
            (true, true, _) => Err(Error::usage(
                "--csv-safe is for finished tables, and a shard writes a part of one",
                "give it to `pd merge`",
            )),
            (true, _, false) => Err(Error::usage(
                "--csv-safe is for tables, and none is written",
                "name a file for one: -o FILE.csv",
            )),
            _ => Ok(()),
        }
    }

    /// Makes the table of a file safe, if it is a `.csv` and that was asked for.
    ///
    /// # Errors
    /// As [`make_safe`].
    pub(super) fn of_file(self, path: &Path) -> Result<()> {
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if self.csv_safe && is_csv { make_safe(path) } else { Ok(()) }
    }

    /// What a run has ended with; its `tables` in `dir` are made safe first, if that was asked for and they are there. A run that was
    /// finished before has them made safe too.
    ///
    /// # Errors
    /// The run's own; as [`make_safe`]; if another process writes the directory.
    pub(super) fn of_run(self, dir: &Path, tables: &[&str], outcome: Result<()>) -> Result<()> {
        // What there is has been written where there is less than was wanted.
        let wrote = matches!(outcome, Ok(()) | Err(Error::Incomplete { .. }));
        if self.csv_safe && wrote {
            let mut lock = None;
            for table in tables.iter().map(|name| dir.join(name)).filter(|table| table.is_file()) {
                if !is_safe(&table)? {
                    if lock.is_none() {
                        lock = Some(RunDir::locked(dir)?);
                    }
                    make_safe(&table)?;
                }
            }
        }
        outcome
    }
}
