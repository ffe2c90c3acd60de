//! The values of a pickle.

use std::borrow::Cow;
use std::cell::Cell;

/// A value of a [`Pickle`], by its place in the table. Values may be shared and may contain themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref(pub(super) u32);

/// One value; strings and bytes are borrowed from the file where they stand there as they are.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian two's complement.
    Long(Cow<'a, [u8]>),
    Float(f64),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Set(Vec<Ref>),
    /// Pairs in the order they were set; of equal keys the last one counts.
    Dict(Vec<(Ref, Ref)>),
    /// A class or function, by name only: two texts.
    Class {
        module: Ref,
        name: Ref,
    },
    /// What calling a class or function would have made.
    Object(Box<Object>),
    /// An object that the program which wrote the pickle keeps elsewhere: its identity.
    Persistent(Ref),
}

/// The record of a call: nothing was called.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What was called: a [`Value::Class`], or whatever stood in its place.
    pub class: Ref,
    /// Its arguments: a [`Value::Tuple`].
    pub args: Ref,
    /// Its keyword arguments: a [`Value::Dict`].
    pub kwargs: Option<Ref>,
    /// The state that was to be set on it.
    pub state: Option<Ref>,
    /// Elements that were appended to it (a subclass of `list` or `set`).
    pub items: Vec<Ref>,
    /// Pairs that were set in it (a subclass of `dict`, such as `OrderedDict`).
    pub pairs: Vec<(Ref, Ref)>,
}

/// Values that may be looked at in a pickle of no length. The largest checkpoints take some millions.
const FREE_WORK: u64 = 1 << 26;
/// Values that may be looked at besides, for each byte of the pickle.
const WORK_PER_BYTE: u64 = 4;

/// A pickle that has been read: a flat table, so that depth costs nothing.
///
/// As values may be shared, a few kilobytes can describe more of them than there is time to look at. What looks at many spends from a
/// budget; once that is gone nothing more is found, and [`Pickle::is_exhausted`] says so.
#[derive(Debug)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Ref,
    work_left: Cell<u64>,
}

impl<'a> Pickle<'a> {
    /// What a pickle of this many bytes holds.
    pub(super) fn new(values: Vec<Value<'a>>, root: Ref, bytes: usize) -> Self {
        let work = FREE_WORK.saturating_add(WORK_PER_BYTE.saturating_mul(bytes as u64));
        Self { values, root, work_left: Cell::new(work) }
    }

    /// Whether so much was looked at that the rest was not: whatever was found is not to be relied upon.
    pub fn is_exhausted(&self) -> bool {
        self.work_left.get() == 0
    }

    /// Accounts for looking at `count` values or bytes; `None` if there is no budget for it.
    pub fn spend(&self, count: usize) -> Option<()> {
        let left = self.work_left.get().saturating_sub(count as u64);
        self.work_left.set(left);
        (left > 0).then_some(())
    }

    /// The value that was pickled.
    pub fn root(&self) -> Ref {
        self.root
    }

    /// The value at `r`, which comes from this pickle.
    pub fn get(&self, r: Ref) -> &Value<'a> {
        &self.values[r.0 as usize]
    }

    /// Every value that stands for a persistent object.
    pub fn persistent(&self) -> impl Iterator<Item = Ref> {
        let values = self.values.iter().enumerate();
        values.filter(|(_, value)| matches!(value, Value::Persistent(_))).map(|(place, _)| Ref(place as u32))
    }

    /// Text.
    pub fn str(&self, r: Ref) -> Option<&str> {
        match self.get(r) {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes; before protocol 3 they are written as a call of `_codecs.encode` with text in Latin-1.
    pub fn bytes(&self, r: Ref) -> Option<Cow<'_, [u8]>> {
        match self.get(r) {
            Value::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Value::Object(object) if self.class(object.class) == Some(("_codecs", "encode")) => {
                let &[text, encoding] = self.sequence(object.args)? else { return None };
                let ("latin1" | "latin-1") = self.str(encoding)? else { return None };
                let text = self.str(text)?;
                self.spend(text.len())?;
                text.chars().map(|c| u8::try_from(c).ok()).collect()
            }
            _ => None,
        }
    }

    /// A whole number, `True` and `False` included.
    pub fn int(&self, r: Ref) -> Option<i64> {
        match self.get(r) {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub fn sequence(&self, r: Ref) -> Option<&[Ref]> {
        match self.get(r) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name of a class.
    pub fn class(&self, r: Ref) -> Option<(&str, &str)> {
        match self.get(r) {
            Value::Class { module, name } => Some((self.str(*module)?, self.str(*name)?)),
            _ => None,
        }
    }

    fn class_name(&self, r: Ref) -> String {
        match self.class(r) {
            Some((module, name)) => format!("{module}.{name}"),
            None => "without a name".into(),
        }
    }

    /// The record of a call.
    pub fn object(&self, r: Ref) -> Option<&Object> {
        match self.get(r) {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The pairs of a dict, or of an object that pairs were set in (an `OrderedDict`, empty or not).
    pub fn pairs(&self, r: Ref) -> Option<&[(Ref, Ref)]> {
        match self.get(r) {
            Value::Dict(pairs) => Some(pairs),
            Value::Object(object)
                if !object.pairs.is_empty()
                    || self.class(object.class) == Some(("collections", "OrderedDict")) =>
            {
                Some(&object.pairs)
            }
            _ => None,
        }
    }

    /// The value under a text key of a dict or dict-like object.
    pub fn lookup(&self, r: Ref, key: &str) -> Option<Ref> {
        let pairs = self.pairs(r)?;
        self.spend(pairs.len())?;
        pairs.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// What a value is, in a few words for a message: `an object of class posix.system`, `a list`.
    pub fn describe(&self, r: Ref) -> String {
        match self.get(r) {
            Value::None => "None".into(),
            Value::Bool(_) => "a truth value".into(),
            Value::Int(_) | Value::Long(_) | Value::Float(_) => "a number".into(),
            Value::Str(_) => "a string".into(),
            Value::Bytes(_) => "bytes".into(),
            Value::List(_) => "a list".into(),
            Value::Tuple(_) => "a tuple".into(),
            Value::Set(_) => "a set".into(),
            Value::Dict(_) => "a dict".into(),
            Value::Class { .. } => format!("the class {}", self.class_name(r)),
            Value::Object(object) => format!("an object of class {}", self.class_name(object.class)),
            Value::Persistent(_) => "a persistent object".into(),
        }
    }
}
