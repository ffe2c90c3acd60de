//! The format of before torch 1.6: five pickles (magic number, protocol, byte order and sizes, the object, the keys
//! of its storages), then each storage as its length and its little-endian elements.

use super::tensor::{Storage, materialize};
use super::{find, pickle_error};
use crate::error::{Error, Result};
use crate::formats::element::{ByteOrder, Element};
use crate::formats::pickle::{self, Pickle, Ref, Value};
use crate::formats::state_dict::StateDict;
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::path::Path;

/// torch's magic number, little-endian as the pickle holds it: 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The one version of the format.
const PROTOCOL: i64 = 1001;

/// Bytes of the length before each storage.
const LENGTH_BYTES: usize = 8;

/// Whether these first bytes of a file are those of the legacy format: a pickle of the magic number.
pub fn is_legacy(start: &[u8]) -> bool {
    // PROTO, its number, LONG1, ten bytes.
    matches!(start, [0x80, _, 0x8a, 10, rest @ ..] if rest.starts_with(&MAGIC))
}

/// Reads the state dict of a checkpoint in the legacy format; `path` is for messages.
///
/// # Errors
/// As [`super::read_zip`].
pub fn read(mut source: impl Read + Seek, path: &Path) -> Result<StateDict> {
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
    let little = system.lookup(system.root(), "little_endian").and_then(|r| system.int(r));
    if little == Some(0) {
        return Err(Error::malformed(
            path,
            "was written on a big-endian machine",
            "save it again with torch",
        ));
    }
    let checkpoint = next()?;
    let keys = next()?;
    let keys = storage_keys(&keys).ok_or_else(|| damaged("its list of storages is damaged"))?;

    let tensors = find::state_dict(&checkpoint, path)?;
    let elements = storage_elements(&checkpoint);
    let mut storages: HashMap<String, &[u8]> = HashMap::new();
    for key in keys {
        let cut_short = || damaged("is cut short: a storage is missing");
        let (word, rest) = bytes[at..].split_at_checked(LENGTH_BYTES).ok_or_else(cut_short)?;
        let length = word.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        // The length counts elements, whose size only the tensors tell.
        let size = *elements.get(&key).ok_or_else(|| damaged("has a storage of a class that is not read"))?;
        let size = usize::try_from(length).ok().and_then(|n| n.checked_mul(size)).ok_or_else(cut_short)?;
        storages.insert(key, rest.get(..size).ok_or_else(cut_short)?);
        at += LENGTH_BYTES + size;
    }
    materialize(tensors, ByteOrder::Little, bytes.len() as u64, path, |storage| {
        storages.get(&storage.key).copied().ok_or_else(|| damaged("is cut short: a storage is missing"))
    })
}

/// The one storage in bytes of the legacy format, as `torch.storage._load_from_bytes` takes them: what it is, and its elements.
pub(super) fn embedded(bytes: &[u8]) -> std::result::Result<(Storage, &[u8]), String> {
    let mut at = 0;
    let mut next = || -> std::result::Result<Pickle, String> {
        let (pickle, length) = pickle::parse(&bytes[at..]).map_err(|e| format!("is damaged: {e}"))?;
        at += length;
        Ok(pickle)
    };
    if !is_legacy(bytes) {
        return Err("is not in torch's legacy format".into());
    }
    let (_magic, protocol, system, root, _keys) = (next()?, next()?, next()?, next()?, next()?);
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err("is of an unknown version of the checkpoint format".into());
    }
    if system.lookup(system.root(), "little_endian").and_then(|r| system.int(r)) == Some(0) {
        return Err("was written on a big-endian machine".into());
    }
    if !matches!(root.get(root.root()), Value::Persistent(_)) {
        return Err(format!("is {}", root.describe(root.root())));
    }
    let storage = super::tensor::storage_of(&root, root.root())?;
    let (word, data) = bytes[at..].split_at_checked(LENGTH_BYTES).ok_or("is cut short")?;
    let length = word.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    let size = storage.element.map_or(1, Element::size);
    let size = usize::try_from(length).ok().and_then(|n| n.checked_mul(size)).ok_or("is cut short")?;
    Ok((storage, data.get(..size).ok_or("is cut short")?))
}

fn storage_keys(pickle: &Pickle) -> Option<Vec<String>> {
    let text = |&r: &Ref| {
        pickle.str(r).map(str::to_owned).or_else(|| pickle.int(r).map(|number| number.to_string()))
    };
    pickle.sequence(pickle.root())?.iter().map(text).collect()
}

/// Bytes per element of every storage that the pickle names, also of those outside the state dict.
fn storage_elements(pickle: &Pickle) -> HashMap<String, usize> {
    let storages = pickle.persistent().filter_map(|r| super::tensor::storage_of(pickle, r).ok());
    storages.map(|storage| (storage.key, storage.element.map_or(1, Element::size))).collect()
}
