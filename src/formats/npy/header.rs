//! The header of a .npy file.

use crate::error::{Error, Result};
use crate::formats::element::{ByteOrder, Element, read_exact};
use std::io::Read;
use std::path::Path;

/// The first bytes of every .npy file.
pub(crate) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest header that is believed, in bytes; NumPy itself refuses more than 10 000.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Most dimensions that NumPy's arrays have.
const MAX_DIMENSIONS: usize = 64;

/// What a .npy file says of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Type of the elements.
    pub element: Element,
    /// Order of the bytes of an element.
    pub order: ByteOrder,
    /// Whether the first index runs fastest.
    pub fortran_order: bool,
    /// Lengths of the dimensions; empty for a single number.
    pub shape: Vec<usize>,
}

/// Reads the header; afterwards `source` stands at the first element. Also gives the number of bytes read.
///
/// # Errors
/// [`Error::Malformed`] if this is no .npy file, or one whose elements are not numbers.
pub(crate) fn read_header(source: &mut impl Read, path: &Path) -> Result<(Header, u64)> {
    let mut start = [0; 8];
    read_exact(source, &mut start, path)?;
    if start[..6] != MAGIC[..] {
        return Err(Error::malformed(path, "is not a .npy file", "write it with numpy.save"));
    }
    let length_bytes = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => {
            return Err(Error::malformed(path, format!("version {version} of .npy is not known"), ""));
        }
    };
    let mut length = [0; 4];
    read_exact(source, &mut length[..length_bytes], path)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER_BYTES {
        return Err(Error::malformed(path, format!("declares a header of {length} bytes"), ""));
    }
    let mut text = vec![0; length];
    read_exact(source, &mut text, path)?;
    let header = parse(&text).map_err(|reason| Error::malformed(path, reason, ""))?;
    Ok((header, (start.len() + length_bytes + length) as u64))
}

/// The values that occur in a header.
enum Literal {
    Text(String),
    Truth(bool),
    Numbers(Vec<usize>),
    /// A list: the description of a structured type.
    Structure,
}

fn parse(text: &[u8]) -> Result<Header, String> {
    let mut parser = Parser { text, at: 0 };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    parser.expect(b'{')?;
    while !parser.take(b'}') {
        let key = parser.string()?;
        parser.expect(b':')?;
        match (key.as_str(), parser.literal()?) {
            ("descr", Literal::Text(value)) => descr = Some(value),
            ("descr", Literal::Structure) => {
                return Err("holds records of several fields; one plain array of numbers is wanted".into());
            }
            ("fortran_order", Literal::Truth(value)) => fortran_order = Some(value),
            ("shape", Literal::Numbers(value)) => shape = Some(value),
            (key, _) => return Err(format!("its header has an unexpected entry `{key}`")),
        }
        if !parser.take(b',') {
            parser.expect(b'}')?;
            break;
        }
    }
    let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
        return Err("its header lacks `descr`, `fortran_order` or `shape`".into());
    };
    let (element, order) = element_of(&descr)?;
    Ok(Header { element, order, fortran_order, shape })
}

fn element_of(descr: &str) -> Result<(Element, ByteOrder), String> {
    let (order, name) = match descr.split_at_checked(1) {
        Some(("<" | "|", name)) => (ByteOrder::Little, name),
        Some((">", name)) => (ByteOrder::Big, name),
        Some(("=", name)) if cfg!(target_endian = "little") => (ByteOrder::Little, name),
        Some(("=", name)) => (ByteOrder::Big, name),
        _ => (ByteOrder::Little, descr),
    };
    let element = match name {
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        "i1" => Element::I8,
        "i2" => Element::I16,
        "i4" => Element::I32,
        "i8" => Element::I64,
        "u1" => Element::U8,
        "u2" => Element::U16,
        "u4" => Element::U32,
        "u8" => Element::U64,
        "b1" => Element::Bool,
        "O" => return Err("holds Python objects, not numbers".into()),
        _ => return Err(format!("holds elements of type `{descr}`; float and integer types are read")),
    };
    Ok((element, order))
}

/// A reader of the Python literal that a header is.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) { Ok(()) } else { Err(self.damaged()) }
    }

    fn damaged(&self) -> String {
        format!("its header is damaged at byte {}", self.at)
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.peek().filter(|q| matches!(q, b'\'' | b'"')).ok_or_else(|| self.damaged())?;
        self.at += 1;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&b| b == quote).ok_or_else(|| self.damaged())?;
        let value = std::str::from_utf8(&rest[..end]).map_err(|_| self.damaged())?.to_owned();
        self.at += end + 1;
        Ok(value)
    }

    fn literal(&mut self) -> Result<Literal, String> {
        match self.peek() {
            Some(b'\'' | b'"') => Ok(Literal::Text(self.string()?)),
            Some(b'[') => Ok(Literal::Structure),
            Some(b'(') => {
                self.at += 1;
                let mut numbers = Vec::new();
                while !self.take(b')') {
                    if numbers.len() == MAX_DIMENSIONS {
                        return Err(format!("its shape has more than {MAX_DIMENSIONS} dimensions"));
                    }
                    numbers.push(self.number()?);
                    if !self.take(b',') {
                        self.expect(b')')?;
                        break;
                    }
                }
                Ok(Literal::Numbers(numbers))
            }
            _ => {
                for (word, value) in [("True", true), ("False", false)] {
                    if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
                        self.at += word.len();
                        return Ok(Literal::Truth(value));
                    }
                }
                Err(self.damaged())
            }
        }
    }

    fn number(&mut self) -> Result<usize, String> {
        self.peek();
        let start = self.at;
        let mut value = 0usize;
        while let Some(digit) = self.text.get(self.at).filter(|b| b.is_ascii_digit()) {
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(usize::from(digit - b'0')))
                .ok_or("its shape is beyond any file")?;
            self.at += 1;
        }
        if self.at == start {
            return Err(self.damaged());
        }
        // Python 2 wrote long integers as `3L`.
        self.take(b'L');
        Ok(value)
    }
}
