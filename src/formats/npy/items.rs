//! The types of elements that are written, and of which rows are read.

use crate::error::Result;
use crate::formats::element::{ByteOrder, Element, read_exact};
use std::io::{self, Read, Write};
use std::path::Path;

/// Types of elements that are written, little-endian.
pub trait NpyElement: Copy {
    /// NumPy's name of the type.
    const DESCR: &'static str;
    /// Writes one element.
    ///
    /// # Errors
    /// Whatever `out` returns.
    fn write(self, out: &mut impl Write) -> io::Result<()>;
}

impl NpyElement for u8 {
    const DESCR: &'static str = "|u1";
    fn write(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&[self])
    }
}

impl NpyElement for f32 {
    const DESCR: &'static str = "<f4";
    fn write(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.to_le_bytes())
    }
}

impl NpyElement for f64 {
    const DESCR: &'static str = "<f8";
    fn write(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.to_le_bytes())
    }
}

/// Types of elements whose rows are read as they are wanted.
pub(crate) trait RowElement: NpyElement {
    /// How a header calls the type.
    const ELEMENT: Element;

    /// Reads `count` elements.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if there are fewer; [`crate::Error::Io`].
    fn read(source: &mut impl Read, count: usize, path: &Path) -> Result<Vec<Self>>;
}

impl RowElement for f32 {
    const ELEMENT: Element = Element::F32;
    fn read(source: &mut impl Read, count: usize, path: &Path) -> Result<Vec<Self>> {
        Element::F32.read_f32(source, ByteOrder::Little, count, path)
    }
}

impl RowElement for u8 {
    const ELEMENT: Element = Element::U8;
    fn read(source: &mut impl Read, count: usize, path: &Path) -> Result<Vec<Self>> {
        let mut bytes = vec![0; count];
        read_exact(source, &mut bytes, path)?;
        Ok(bytes)
    }
}
