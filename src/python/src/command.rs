//! The command line, as the console script runs it.

use pseudo_density::cli;
use pyo3::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

/// Says how the command line is started where it is not what runs: some files are tried in a process of their own first.
pub(crate) fn say_how_it_is_started(py: Python<'_>) -> PyResult<()> {
    let python: OsString = py.import("sys")?.getattr("executable")?.extract()?;
    let package: PathBuf = py.import("pseudo_density")?.getattr("__file__")?.extract()?;
    cli::is_started_by(vec![python, package.with_file_name("__main__.py").into()]);
    Ok(())
}

/// Runs `pd` with the words of a command line, of which the first is the program's name, and returns its exit code.
///
/// `program` are the words that start this program in a process of its own. The handlers of SIGINT and of other signals that end a
/// process are replaced for good: this is for a process that does nothing else.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>, program: Vec<OsString>) -> u8 {
    cli::is_started_by(program);
    py.detach(|| cli::run(arguments))
}
