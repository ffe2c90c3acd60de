//! The format of before torch 1.6: five pickles (magic number, protocol, byte order and sizes, the object, the keys
//! of its storages), then each storage as its length and its little-endian elements.

use super::find::{self, Found};
use super::pickle_error;
use super::storage::{LENGTH_BYTES, MAGIC, PROTOCOL, is_big_endian, length_of, storage_of};
use super::tensor::materialize;
use crate::error::{Error, Result};
use crate::formats::element::ByteOrder;
use crate::formats::pickle::{self, Pickle, Ref, Value};
use crate::formats::state_dict::{StateDict, Wanted};
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::path::Path;

/// Reads the state dict of a checkpoint in the legacy format; `path` is for messages.
///
/// # Errors
/// As [`super::read`].
pub(super) fn read(mut source: impl Read + Seek, path: &Path, wanted: Wanted) -> Result<StateDict> {
    let damaged = |reason: &str| Error::malformed(path, reason, "copy or download it again");
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let mut at = 0;
    let mut next = || -> Result<Pickle> {
        let rest = &bytes[at..];
        let (pickle, length) = pickle::parse(rest).map_err(|mut e| {
            e.offset += at;
            pickle_error(path)(e)
        })?;
        at += length;
        Ok(pickle)
    };
    let magic = next()?;
    if !matches!(magic.get(magic.root()), Value::Long(long) if **long == MAGIC) {
        return Err(damaged("lacks the magic number of a checkpoint"));
    }
    let protocol = next()?;
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err(damaged("is of an unknown version of the checkpoint format"));
    }
    let system = next()?;
    if is_big_endian(&system) {
        return Err(Error::malformed(
            path,
            "was written on a big-endian machine",
            "save it again with torch",
        ));
    }
    let checkpoint = next()?;
    let keys = next()?;
    let keys = storage_keys(&keys).ok_or_else(|| damaged("its list of storages is damaged"))?;

    let Found { tensors, parts } = find::state_dict(&checkpoint, path, wanted)?;
    let elements = storage_elements(&checkpoint);
    let mut storages: HashMap<String, &[u8]> = HashMap::new();
    for key in keys {
        let cut_short = || damaged("is cut short: a storage is missing");
        let (word, rest) = bytes[at..].split_at_checked(LENGTH_BYTES).ok_or_else(cut_short)?;
        let length = length_of(word);
        // The length counts elements, whose size only the tensors tell.
        let size = *elements.get(&key).ok_or_else(|| damaged("has a storage of a class that is not read"))?;
        let size = usize::try_from(length).ok().and_then(|n| n.checked_mul(size)).ok_or_else(cut_short)?;
        storages.insert(key, rest.get(..size).ok_or_else(cut_short)?);
        at += LENGTH_BYTES + size;
    }
    let dict = materialize(tensors, ByteOrder::Little, bytes.len() as u64, path, |storage| {
        storages.get(&storage.key).copied().ok_or_else(|| damaged("is cut short: a storage is missing"))
    })?;
    Ok(dict.with_parts(parts))
}

fn storage_keys(pickle: &Pickle) -> Option<Vec<String>> {
    let text = |&r: &Ref| {
        pickle.str(r).map(str::to_owned).or_else(|| pickle.int(r).map(|number| number.to_string()))
    };
    pickle.sequence(pickle.root())?.iter().map(text).collect()
}

/// Bytes per element of every storage that the pickle names, also of those outside the state dict.
fn storage_elements(pickle: &Pickle) -> HashMap<String, usize> {
    let storages = pickle.persistent().filter_map(|r| storage_of(pickle, r).ok());
    storages
        .map(|storage| {
            let bytes = storage.element_bytes();
            (storage.key, bytes)
        })
        .collect()
}
