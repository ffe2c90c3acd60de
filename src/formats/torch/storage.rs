//! Storages, the memory that tensors are views of. The pickle names them by key, or holds them as files of the legacy format.

use crate::formats::element::Element;
use crate::formats::pickle::{self, Pickle, Ref, Value};
use std::cell::RefCell;
use std::collections::HashMap;

/// A storage as the pickle names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    /// `None` for an untyped storage.
    pub(super) element: Option<Element>,
    /// Elements, or bytes of an untyped storage.
    pub(super) length: usize,
    /// First element of the underlying storage that belongs to it (views of the legacy format).
    pub(super) start: usize,
    /// Where its bytes are, if they lie in the pickle itself as a file of the legacy format.
    pub(super) embedded: Option<Ref>,
}

impl Storage {
    /// Bytes of one element; 1 for an untyped storage.
    pub(super) fn element_bytes(&self) -> usize {
        self.element.map_or(1, Element::size)
    }
}

/// torch's magic number, little-endian as the pickle holds it: 0x1950a86a20f9469cfc6c.
pub(super) const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The one version of the format.
pub(super) const PROTOCOL: i64 = 1001;

/// Bytes of the length before each storage.
pub(super) const LENGTH_BYTES: usize = 8;

/// Whether these first bytes of a file are those of the legacy format: a pickle of the magic number.
pub(super) fn is_legacy(start: &[u8]) -> bool {
    // PROTO, its number, LONG1, ten bytes.
    matches!(start, [0x80, _, 0x8a, 10, rest @ ..] if rest.starts_with(&MAGIC))
}

/// Whether the third pickle of the legacy format says that a big-endian machine wrote it.
pub(super) fn is_big_endian(system: &Pickle) -> bool {
    system.lookup(system.root(), "little_endian").and_then(|r| system.int(r)) == Some(0)
}

/// The number of elements that stands before a storage.
pub(super) fn length_of(word: &[u8]) -> u64 {
    word.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The storages of a pickle, each read once however many tensors lie in it.
pub(super) struct Storages<'p> {
    pickle: &'p Pickle<'p>,
    embedded: RefCell<HashMap<Ref, Result<Storage, String>>>,
}

impl<'p> Storages<'p> {
    pub(super) fn of(pickle: &'p Pickle<'p>) -> Self {
        Self { pickle, embedded: RefCell::default() }
    }

    /// The pickle.
    pub(super) fn pickle(&self) -> &'p Pickle<'p> {
        self.pickle
    }

    /// The storage that a value stands for: one in the pickle itself, or one that it names.
    pub(super) fn get(&self, value: Ref) -> Result<Storage, String> {
        let Some(bytes) = embedded_bytes(self.pickle, value) else {
            return storage_of(self.pickle, value);
        };
        if let Some(known) = self.embedded.borrow().get(&bytes) {
            return known.clone();
        }
        let storage = self.embedded_in(bytes);
        self.embedded.borrow_mut().insert(bytes, storage.clone());
        storage
    }

    fn embedded_in(&self, bytes: Ref) -> Result<Storage, String> {
        let held = self.pickle.bytes(bytes).ok_or("has something else than bytes for its storage")?;
        self.pickle.spend(held.len()).ok_or("lies in too large a storage")?;
        let (storage, _) = embedded(&held).map_err(|reason| format!("lies in a storage that {reason}"))?;
        // The key inside is a memory address of the program that wrote it, and not unique.
        Ok(Storage { key: format!("{bytes:?}"), embedded: Some(bytes), ..storage })
    }
}

/// The storage behind a persistent identity `('storage', class, key, device, length[, view])`; the device is ignored.
pub(super) fn storage_of(pickle: &Pickle, value: Ref) -> Result<Storage, String> {
    let Value::Persistent(id) = *pickle.get(value) else {
        return Err(format!("has {} for its storage", pickle.describe(value)));
    };
    let parts = pickle.sequence(id).unwrap_or_default();
    let [tag, class, key, _device, length, rest @ ..] = parts else {
        return Err("has a storage without class, key, device and length".into());
    };
    if pickle.str(*tag) != Some("storage") {
        return Err("has a persistent object for its storage that is none".into());
    }
    let (module, name) = pickle.class(*class).ok_or("has a storage without a class")?;
    let element = match element_of_storage(module, name) {
        Some(element) => element,
        None => return Err(format!("lies in a storage of class {module}.{name}, which is not read")),
    };
    let text =
        |r: Ref| pickle.str(r).map(str::to_owned).or_else(|| pickle.int(r).map(|number| number.to_string()));
    let mut storage = Storage {
        key: text(*key).ok_or("has a storage without a key")?,
        element,
        length: natural(pickle, *length, "storage length")?,
        start: 0,
        embedded: None,
    };
    if let Some(&view) = rest.first()
        && let Some(parts) = pickle.sequence(view)
    {
        let [_key, start, length] = *parts else {
            return Err("has a damaged view of a storage".into());
        };
        storage.start = natural(pickle, start, "view offset")?;
        storage.length = natural(pickle, length, "view length")?;
    }
    Ok(storage)
}

/// The bytes behind `torch.storage._load_from_bytes`.
fn embedded_bytes(pickle: &Pickle, value: Ref) -> Option<Ref> {
    let object = pickle.object(value)?;
    match pickle.class(object.class)? {
        ("torch.storage", "_load_from_bytes") => pickle.sequence(object.args)?.first().copied(),
        _ => None,
    }
}

/// The only storage of a file of the legacy format, as `torch.storage._load_from_bytes` takes them: what it is, and its elements.
pub(super) fn embedded(bytes: &[u8]) -> Result<(Storage, &[u8]), String> {
    let mut at = 0;
    let mut next = || -> Result<Pickle, String> {
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
    if is_big_endian(&system) {
        return Err("was written on a big-endian machine".into());
    }
    if !matches!(root.get(root.root()), Value::Persistent(_)) {
        return Err(format!("is {}", root.describe(root.root())));
    }
    let storage = storage_of(&root, root.root())?;
    let (word, data) = bytes[at..].split_at_checked(LENGTH_BYTES).ok_or("is cut short")?;
    let size = storage.element_bytes();
    let size =
        usize::try_from(length_of(word)).ok().and_then(|n| n.checked_mul(size)).ok_or("is cut short")?;
    Ok((storage, data.get(..size).ok_or("is cut short")?))
}

/// A count that the pickle holds; `what` names it in the message.
pub(super) fn natural(pickle: &Pickle, value: Ref, what: &str) -> Result<usize, String> {
    let number = pickle.int(value).ok_or_else(|| format!("has {} for its {what}", pickle.describe(value)))?;
    usize::try_from(number).map_err(|_| format!("has a negative {what} ({number})"))
}

/// `Some(None)` for an untyped storage.
fn element_of_storage(module: &str, name: &str) -> Option<Option<Element>> {
    if !matches!(module, "torch" | "torch.cuda" | "torch.storage") {
        return None;
    }
    Some(Some(match name {
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::BF16,
        "DoubleStorage" => Element::F64,
        "LongStorage" => Element::I64,
        "IntStorage" => Element::I32,
        "ShortStorage" => Element::I16,
        "CharStorage" => Element::I8,
        "ByteStorage" => Element::U8,
        "BoolStorage" => Element::Bool,
        "UntypedStorage" | "_UntypedStorage" => return Some(None),
        _ => return None,
    }))
}
