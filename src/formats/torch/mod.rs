//! Checkpoints of `torch.save`: the zip format, and the one of before torch 1.6 (many published files still are that).
//! The pickle inside names tensors as views of storages; it is read as a record, and nothing in it is run.
//! Pickles of whole networks as NVIDIA's programs write them are read in the same way (`modules`).
//! If a file holds more than a state dict, `find` searches for it.

mod find;
mod legacy;
mod modules;
mod parts;
mod storage;
mod tensor;
mod write;
mod zip;

pub(crate) use modules::{ModuleDescription, is_pickle};
pub use modules::{describe_module, module_names, read_module};
pub use write::write_torch;
pub(crate) use zip::refuse_programs;

use super::pickle::PickleError;
use super::state_dict::{StateDict, Wanted};
use crate::error::{Error, Result};
use std::io::{Read, Seek};
use std::path::Path;
use storage::is_legacy;

/// All tensors of a file together may take this many times the file's own bytes, as shared storages are repeated.
const MAX_VIEW_EXPANSION: u64 = 8;

/// A small file may exceed [`MAX_VIEW_EXPANSION`] up to this many bytes.
const FREE_VIEW_EXPANSION: u64 = 16 << 20;

/// Whether these first bytes of a file are those of a checkpoint in either format.
pub(crate) fn is_checkpoint(start: &[u8]) -> bool {
    start.starts_with(ZIP) || is_legacy(start)
}

/// First bytes of a zip file.
const ZIP: &[u8] = b"PK\x03\x04";

/// Reads the state dict of the wanted network of a checkpoint whose first bytes are `start`; `path` is for messages.
///
/// # Errors
/// [`Error::Malformed`] if it is damaged, holds no state dict, or something in it that would have to be run.
pub(crate) fn read(source: impl Read + Seek, start: &[u8], path: &Path, wanted: Wanted) -> Result<StateDict> {
    if is_legacy(start) { legacy::read(source, path, wanted) } else { zip::read(source, path, wanted) }
}

fn pickle_error(path: &Path) -> impl Fn(PickleError) -> Error {
    move |e| Error::malformed(path, e.to_string(), "copy or download it again; pickles are read, never run")
}

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod tests;
