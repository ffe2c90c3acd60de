//! Unsigned integers as they lie in files, little-endian, without a conversion to another type.

use safetensors::tensor::Dtype;
use std::io::{self, Write};

/// Bytes encoded at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// An unsigned integer of a file.
pub(crate) trait Integer: Copy {
    /// Its name in safetensors.
    const DTYPE: Dtype;

    /// Appends the integers in `bytes`. A part of an integer at the end is left out.
    fn decode(bytes: &[u8], out: &mut Vec<Self>);

    /// Appends the bytes of the integer.
    fn encode(self, out: &mut Vec<u8>);
}

macro_rules! integer {
    ($type:ty, $dtype:expr) => {
        impl Integer for $type {
            const DTYPE: Dtype = $dtype;

            fn decode(bytes: &[u8], out: &mut Vec<Self>) {
                let integers = bytes.as_chunks::<{ size_of::<Self>() }>().0;
                out.extend(integers.iter().map(|bytes| Self::from_le_bytes(*bytes)));
            }

            fn encode(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    };
}

integer!(u8, Dtype::U8);
integer!(u32, Dtype::U32);
integer!(u64, Dtype::U64);

/// Writes integers one behind the other.
///
/// # Errors
/// What `out` returns.
pub(crate) fn write_integers<T: Integer>(
    out: &mut impl Write,
    values: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES + size_of::<T>());
    for value in values {
        value.encode(&mut buffer);
        if buffer.len() >= BUFFER_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}
