//! What every merge has in common: the options that all parts were made with, whether parts are whole, and their files in order.

use super::part::{PARTS, Part};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A merged run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Rows of the result.
    pub rows: usize,
    /// Inputs that could not be used.
    pub skipped: usize,
    /// The parts that it is made of.
    pub parts: usize,
}

/// What all parts of a run were made with.
///
/// # Errors
/// [`Error::Malformed`] if it is not what this command writes; [`Error::Data`] without parts.
pub(crate) fn options_of<T: for<'de> Deserialize<'de>>(parts: &[Part]) -> Result<T> {
    let first = parts.first().ok_or_else(|| Error::data("there are no parts", ""))?;
    serde_json::from_value(first.record.run.options.clone())
        .map_err(|e| Error::malformed(&first.dir, e.to_string(), "run its shard again with this version"))
}

/// Whether the files of parts are as they were written, and all of `inputs` are covered.
///
/// # Errors
/// [`Error::Malformed`] naming what is not; [`Error::Io`].
pub(crate) fn check_whole(out: &Path, parts: &[Part], inputs: usize) -> Result<Merged> {
    let merged = Merged {
        rows: parts.iter().map(|part| part.record.rows).sum(),
        skipped: parts.iter().map(|part| part.record.skipped).sum(),
        parts: parts.len(),
    };
    let covered = parts.last().map_or(0, |part| part.record.inputs.end);
    if covered != inputs {
        let reason = format!("the parts cover {covered} of {inputs} inputs");
        return Err(Error::malformed(out.join(PARTS), reason, "remove them and run the shards again"));
    }
    parts.iter().try_for_each(Part::verify)?;
    Ok(merged)
}

/// The files of a name, of the parts that have one.
pub(crate) fn files_of(parts: &[Part], name: &str) -> Vec<PathBuf> {
    parts.iter().filter_map(|part| part.file(name)).collect()
}
