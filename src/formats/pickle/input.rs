//! The bytes of a pickle, taken from the front, never beyond the end.

use super::error::PickleError;
use std::borrow::Cow;

pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Input { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> PickleError {
        PickleError { offset: self.at, reason: reason.into() }
    }

    /// The next bytes, left in place.
    pub(super) fn check(&self, length: usize) -> Result<&'a [u8], PickleError> {
        let left = &self.bytes[self.at..];
        left.get(..length)
            .ok_or_else(|| self.error(format!("{length} bytes are declared where {} are left", left.len())))
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let taken = self.check(length)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, PickleError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, PickleError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, PickleError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn f64_big_endian(&mut self) -> Result<f64, PickleError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// A length of 1, 4 or 8 bytes.
    pub(super) fn length(&mut self, bytes: usize) -> Result<usize, PickleError> {
        let length = match bytes {
            1 => u64::from(self.u8()?),
            4 => u64::from(self.u32()?),
            _ => u64::from_le_bytes(self.array()?),
        };
        usize::try_from(length).map_err(|_| self.error(format!("{length} bytes are declared")))
    }

    /// Bytes behind their length.
    pub(super) fn counted(&mut self, length_bytes: usize) -> Result<&'a [u8], PickleError> {
        let length = self.length(length_bytes)?;
        self.take(length)
    }

    /// Text behind its length in bytes.
    pub(super) fn text(&mut self, length_bytes: usize) -> Result<Cow<'a, str>, PickleError> {
        let bytes = self.counted(length_bytes)?;
        Ok(self.utf8(bytes)?.into())
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<&'a str, PickleError> {
        let left = &self.bytes[self.at..];
        let end = left.iter().position(|&b| b == b'\n').ok_or_else(|| self.error("ends within a line"))?;
        let line = self.utf8(&left[..end])?;
        self.at += end + 1;
        Ok(line.strip_suffix('\r').unwrap_or(line))
    }

    fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str, PickleError> {
        std::str::from_utf8(bytes).map_err(|_| self.error("a text is not UTF-8"))
    }
}

/// The bytes that a Python 2 string literal stands for (`S` opcode), quotes included in `text`.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            other @ (b'\\' | b'\'' | b'"') => other,
            _ => return None,
        });
    }
    Some(out)
}

/// The text that Python's `raw-unicode-escape` encodes (`V` opcode): `\uXXXX` and `\UXXXXXXXX`, all else as it is.
pub(super) fn raw_unicode(line: &str) -> Option<Cow<'_, str>> {
    if !line.contains('\\') {
        return Some(line.into());
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = match rest.as_bytes().get(at + 1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        if digits == 0 {
            out.push('\\');
            rest = &rest[at + 1..];
            continue;
        }
        let code = u32::from_str_radix(rest.get(at + 2..at + 2 + digits)?, 16).ok()?;
        out.push(char::from_u32(code)?);
        rest = &rest[at + 2 + digits..];
    }
    out.push_str(rest);
    Some(out.into())
}
