//! The command line, as the console script runs it.

use pseudo_density::cli;
use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs `pd` with the words of a command line, of which the first is the program's name, and returns its exit code.
///
/// `program` are the words that start this program in a process of its own. The handlers of SIGINT and of other signals that end a
/// process are replaced for good: this is for a process that does nothing else.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>, program: Vec<OsString>) -> u8 {
    cli::is_started_by(program);
    py.detach(|| cli::run(arguments))
}
