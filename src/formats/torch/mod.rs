//! Checkpoints of `torch.save`: the zip format, and the one of before torch 1.6 (many published files still are that).
//! The pickle inside names tensors as views of storages; it is read as a record, and nothing in it is run.
//! Pickles of whole networks as NVIDIA's programs write them are read in the same way: see `modules`.
//! Where the file holds more than a state dict, the state dict is looked for: see `find`.

mod find;
mod legacy;
mod modules;
mod tensor;
mod write;
mod zip;

pub use legacy::{is_legacy, read as read_legacy};
pub use modules::{ModuleDescription, describe_module, is_pickle, module_names, read_module};
pub use write::write_torch;
pub use zip::read as read_zip;

use super::pickle::PickleError;
use crate::error::Error;
use std::path::Path;

/// All tensors of a file together may take this many times the file's own bytes: shared storages are repeated …
const MAX_VIEW_EXPANSION: u64 = 8;

/// … or this many bytes, whichever is more.
const FREE_VIEW_EXPANSION: u64 = 16 << 20;

fn pickle_error(path: &Path) -> impl Fn(PickleError) -> Error {
    move |e| Error::malformed(path, e.to_string(), "copy or download it again; pickles are read, never run")
}

#[cfg(test)]
mod tests;
