//! Numbers as they lie in files: element types, byte order, and the bounds on what a file may make us allocate.

use crate::error::{Error, Result};
use half::{bf16, f16};
use std::io::Read;
use std::path::Path;

/// Bytes decoded at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// A compressed file may unfold to this many times its own size; weights and features barely compress.
const MAX_EXPANSION: u64 = 64;

/// A small file may unfold to this many bytes, whatever its size.
const FREE_EXPANSION: u64 = 64 << 20;

/// How many bytes a file of `stored` bytes may unfold to before it is taken for a decompression bomb.
pub(crate) fn expansion_limit(stored: u64) -> u64 {
    stored.saturating_mul(MAX_EXPANSION).max(FREE_EXPANSION)
}

/// Type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Element {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

/// Order of the bytes of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

macro_rules! decode {
    ($kind:ty, $bytes:expr, $order:expr, $out:expr, $cast:expr) => {{
        let chunks = $bytes.as_chunks::<{ size_of::<$kind>() }>().0.iter();
        match $order {
            ByteOrder::Little => $out.extend(chunks.map(|c| $cast(<$kind>::from_le_bytes(*c)))),
            ByteOrder::Big => $out.extend(chunks.map(|c| $cast(<$kind>::from_be_bytes(*c)))),
        }
    }};
}

impl Element {
    /// Whether values are 0 to 255.
    pub(crate) fn is_byte(self) -> bool {
        self == Self::U8
    }

    /// Bytes per element.
    pub(crate) fn size(self) -> usize {
        match self {
            Element::I8 | Element::U8 | Element::Bool => 1,
            Element::F16 | Element::BF16 | Element::I16 | Element::U16 => 2,
            Element::F32 | Element::I32 | Element::U32 => 4,
            Element::F64 | Element::I64 | Element::U64 => 8,
        }
    }

    /// Whether the elements are floating-point numbers.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Element::F16 | Element::BF16 | Element::F32 | Element::F64)
    }

    /// Appends the elements in `bytes`, converted to the nearest float32. A part of an element at the end is left out.
    pub(crate) fn extend_f32(self, bytes: &[u8], order: ByteOrder, out: &mut Vec<f32>) {
        match self {
            Element::F16 => decode!(f16, bytes, order, out, f16::to_f32),
            Element::BF16 => decode!(bf16, bytes, order, out, bf16::to_f32),
            Element::F32 => decode!(f32, bytes, order, out, |v| v),
            Element::F64 => decode!(f64, bytes, order, out, |v| v as f32),
            Element::I8 => decode!(i8, bytes, order, out, |v| v as f32),
            Element::I16 => decode!(i16, bytes, order, out, |v| v as f32),
            Element::I32 => decode!(i32, bytes, order, out, |v| v as f32),
            Element::I64 => decode!(i64, bytes, order, out, |v| v as f32),
            Element::U8 | Element::Bool => decode!(u8, bytes, order, out, |v| v as f32),
            Element::U16 => decode!(u16, bytes, order, out, |v| v as f32),
            Element::U32 => decode!(u32, bytes, order, out, |v| v as f32),
            Element::U64 => decode!(u64, bytes, order, out, |v| v as f32),
        }
    }

    /// Appends the elements in `bytes` as integers: those of an integer type exactly (above `i64::MAX` the nearest),
    /// floating-point numbers towards zero. A part of an element at the end is left out.
    pub(crate) fn extend_i64(self, bytes: &[u8], order: ByteOrder, out: &mut Vec<i64>) {
        match self {
            Element::I8 => decode!(i8, bytes, order, out, i64::from),
            Element::I16 => decode!(i16, bytes, order, out, i64::from),
            Element::I32 => decode!(i32, bytes, order, out, i64::from),
            Element::I64 => decode!(i64, bytes, order, out, |v| v),
            Element::U8 | Element::Bool => decode!(u8, bytes, order, out, i64::from),
            Element::U16 => decode!(u16, bytes, order, out, i64::from),
            Element::U32 => decode!(u32, bytes, order, out, i64::from),
            Element::U64 => decode!(u64, bytes, order, out, |v| i64::try_from(v).unwrap_or(i64::MAX)),
            Element::F16 => decode!(f16, bytes, order, out, |v: f16| v.to_f32() as i64),
            Element::BF16 => decode!(bf16, bytes, order, out, |v: bf16| v.to_f32() as i64),
            Element::F32 => decode!(f32, bytes, order, out, |v| v as i64),
            Element::F64 => decode!(f64, bytes, order, out, |v| v as i64),
        }
    }

    /// Appends the elements in `bytes` as float64: every type but integers beyond 2^53 exactly. A part of an element at the end is
    /// left out.
    pub(crate) fn extend_f64(self, bytes: &[u8], order: ByteOrder, out: &mut Vec<f64>) {
        match self {
            Element::F64 => decode!(f64, bytes, order, out, |v| v),
            Element::I64 => decode!(i64, bytes, order, out, |v| v as f64),
            Element::U64 => decode!(u64, bytes, order, out, |v| v as f64),
            Element::I32 => decode!(i32, bytes, order, out, f64::from),
            Element::U32 => decode!(u32, bytes, order, out, f64::from),
            _ => {
                let mut narrow = Vec::with_capacity(bytes.len() / self.size());
                self.extend_f32(bytes, order, &mut narrow);
                out.extend(narrow.into_iter().map(f64::from));
            }
        }
    }

    /// [`Element::read_f32`] for float64.
    ///
    /// # Errors
    /// As [`Element::read_f32`].
    pub(crate) fn read_f64(
        self,
        source: &mut impl Read,
        order: ByteOrder,
        count: usize,
        path: &Path,
    ) -> Result<Vec<f64>> {
        let mut out = allocate(count, path)?;
        self.read_chunks(source, count, path, |bytes| self.extend_f64(bytes, order, &mut out))?;
        Ok(out)
    }

    /// Reads `count` elements as float32, straight into their final place.
    /// The caller has checked `count` against what the source can hold; a shorter source ends in an error all the same.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the source ends early or the memory is not to be had, [`Error::Io`] if it cannot be read.
    pub(crate) fn read_f32(
        self,
        source: &mut impl Read,
        order: ByteOrder,
        count: usize,
        path: &Path,
    ) -> Result<Vec<f32>> {
        let mut out = allocate(count, path)?;
        self.read_chunks(source, count, path, |bytes| self.extend_f32(bytes, order, &mut out))?;
        Ok(out)
    }

    /// [`Element::read_f32`] for integers.
    ///
    /// # Errors
    /// As [`Element::read_f32`].
    pub(crate) fn read_i64(
        self,
        source: &mut impl Read,
        order: ByteOrder,
        count: usize,
        path: &Path,
    ) -> Result<Vec<i64>> {
        let mut out = allocate(count, path)?;
        self.read_chunks(source, count, path, |bytes| self.extend_i64(bytes, order, &mut out))?;
        Ok(out)
    }

    fn read_chunks(
        self,
        source: &mut impl Read,
        count: usize,
        path: &Path,
        mut decode: impl FnMut(&[u8]),
    ) -> Result<()> {
        let mut left = count;
        let mut chunk = vec![0; CHUNK_BYTES.min(count.saturating_mul(self.size()))];
        while left > 0 {
            let now = left.min(CHUNK_BYTES / self.size());
            let bytes = &mut chunk[..now * self.size()];
            read_exact(source, bytes, path)?;
            decode(bytes);
            left -= now;
        }
        Ok(())
    }
}

/// Number of elements of a shape, if it can be counted.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n))
}

/// A vector with capacity for exactly `count` elements.
///
/// # Errors
/// [`Error::Malformed`] if the memory is not to be had.
pub(crate) fn allocate<T>(count: usize, path: &Path) -> Result<Vec<T>> {
    let mut out = Vec::new();
    out.try_reserve_exact(count).map_err(|_| {
        Error::malformed(path, format!("no memory for the {count} elements of an array in it"), "")
    })?;
    Ok(out)
}

/// Fills `bytes` from `source`.
///
/// # Errors
/// [`Error::Malformed`] if the source ends early, [`Error::Io`] if it cannot be read.
pub(crate) fn read_exact(source: &mut impl Read, bytes: &mut [u8], path: &Path) -> Result<()> {
    source.read_exact(bytes).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::malformed(path, "ends in the middle of its data", ""),
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Other => {
            Error::malformed(path, e.to_string(), "")
        }
        _ => Error::io("read", path)(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_converts_in_both_byte_orders() {
        use ByteOrder::{Big, Little};
        let check = |element: Element, little: &[u8], expected: f32| {
            let mut big = little.to_vec();
            big.reverse();
            let (mut a, mut b, mut c, mut d) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            element.extend_f32(little, Little, &mut a);
            element.extend_f32(&big, Big, &mut b);
            element.extend_i64(little, Little, &mut c);
            element.extend_f64(&big, Big, &mut d);
            assert_eq!((d.len(), d[0] as f32), (1, expected), "{element:?}");
            assert_eq!((&a[..], &b[..]), (&[expected][..], &[expected][..]), "{element:?}");
            assert_eq!(c, [expected as i64], "{element:?}");
            assert_eq!(little.len(), element.size());
        };
        check(Element::F16, &f16::from_f32(-2.5).to_le_bytes(), -2.5);
        check(Element::BF16, &bf16::from_f32(3.0).to_le_bytes(), 3.0);
        check(Element::F32, &1.5f32.to_le_bytes(), 1.5);
        check(Element::F64, &0.1f64.to_le_bytes(), 0.1);
        check(Element::I8, &(-7i8).to_le_bytes(), -7.0);
        check(Element::I16, &(-300i16).to_le_bytes(), -300.0);
        check(Element::I32, &(-70_000i32).to_le_bytes(), -70_000.0);
        check(Element::I64, &(1i64 << 40).to_le_bytes(), (1u64 << 40) as f32);
        check(Element::U8, &[200], 200.0);
        check(Element::Bool, &[1], 1.0);
        check(Element::U16, &60_000u16.to_le_bytes(), 60_000.0);
        check(Element::U32, &4_000_000_000u32.to_le_bytes(), 4e9);
        check(Element::U64, &(1u64 << 50).to_le_bytes(), (1u64 << 50) as f32);
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        let path = Path::new("x");
        let error = Element::F32.read_f32(&mut &[0u8; 7][..], ByteOrder::Little, 2, path).unwrap_err();
        assert!(error.to_string().contains("ends in the middle"), "{error}");
        assert!(allocate::<f32>(usize::MAX / 8, path).is_err());
    }
}
