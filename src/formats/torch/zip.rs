//! The zip format: `NAME/data.pkl`, and each storage as `NAME/data/KEY`.

use super::find::{self, Found};
use super::pickle_error;
use super::tensor::materialize;
use crate::error::{Error, Result};
use crate::formats::archive::{is_checkpoint_pickle, unfold};
use crate::formats::element::{ByteOrder, expansion_limit};
use crate::formats::pickle;
use crate::formats::state_dict::{StateDict, Wanted};
use crate::formats::zip::open_zip;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Refuses programs that torch writes into zip files, by their kind: their weights have to be saved as a state dict.
///
/// # Errors
/// [`Error::Malformed`] for an archive of TorchScript or `torch.export`; [`Error::Io`].
pub(crate) fn refuse_programs(source: &mut (impl Read + Seek), path: &Path) -> Result<()> {
    let mut start = Vec::new();
    source.rewind().map_err(Error::io("read", path))?;
    source.by_ref().take(super::ZIP.len() as u64).read_to_end(&mut start).map_err(Error::io("read", path))?;
    source.rewind().map_err(Error::io("read", path))?;
    if start != super::ZIP {
        return Ok(());
    }
    let kind = open_zip(&mut *source)
        .ok()
        .and_then(|zip| zip.file_names().flatten().find_map(|name| program(&name)));
    source.rewind().map_err(Error::io("read", path))?;
    match kind {
        None => Ok(()),
        Some((kind, hint)) => {
            Err(Error::malformed(path, format!("is {kind}, a program, and programs are not run"), hint))
        }
    }
}

/// The kind of program that a file in an archive belongs to, and how its weights are got out.
fn program(name: &str) -> Option<(&'static str, &'static str)> {
    const SCRIPT: (&str, &str) = (
        "an archive of TorchScript (torch.jit.save)",
        "save its weights: torch.save(torch.jit.load(FILE).state_dict(), \"weights.pt\")",
    );
    const EXPORT: (&str, &str) = (
        "an archive of torch.export",
        "save its weights: torch.save(torch.export.load(FILE).state_dict, \"weights.pt\")",
    );
    let within = name.split_once('/').map_or(name, |(_, within)| within);
    match within {
        "constants.pkl" => Some(SCRIPT),
        "archive_format" | "models/model.json" => Some(EXPORT),
        _ if name == "serialized_exported_program.json" => Some(EXPORT),
        _ => None,
    }
}

/// Reads the state dict of a checkpoint in the zip format; `path` is for messages.
///
/// # Errors
/// [`Error::Malformed`] if it is damaged, holds no state dict, or something in it that would have to be run.
pub(super) fn read(mut source: impl Read + Seek, path: &Path, wanted: Wanted) -> Result<StateDict> {
    let damaged = |e: zip::result::ZipError| {
        Error::malformed(path, format!("damaged checkpoint: {e}"), "copy or download it again")
    };
    let length = source.seek(SeekFrom::End(0)).map_err(Error::io("read", path))?;
    let limit = expansion_limit(length);
    let mut zip = open_zip(source).map_err(damaged)?;
    let pickle_name = zip.file_names().flatten().find(|name| is_checkpoint_pickle(name)).map(String::from);
    let Some(pickle_name) = pickle_name else {
        return Err(Error::malformed(path, "is a zip file without the `data.pkl` of a checkpoint", ""));
    };
    let folder = pickle_name.strip_suffix("data.pkl").unwrap_or_default().to_owned();

    let mut unfolded = 0;
    let mut entry = |name: &str| -> Result<Vec<u8>> {
        let mut entry = zip.by_name(name).map_err(|e| {
            Error::malformed(
                path,
                format!("its part `{name}` cannot be read: {e}"),
                "copy or download it again",
            )
        })?;
        let size = entry.size();
        let bytes = unfold(&mut entry, size, limit - unfolded, path)?;
        unfolded += size;
        Ok(bytes)
    };
    let order = match entry(&format!("{folder}byteorder")) {
        Ok(bytes) if bytes == b"big" => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    let bytes = entry(&pickle_name)?;
    let (pickle, _) = pickle::parse(&bytes).map_err(pickle_error(path))?;
    let Found { tensors, parts } = find::state_dict(&pickle, path, wanted)?;
    let dict =
        materialize(tensors, order, length, path, |storage| entry(&format!("{folder}data/{}", storage.key)))?;
    Ok(dict.with_parts(parts))
}
