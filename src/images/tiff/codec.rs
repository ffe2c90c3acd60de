//! The bytes of one chunk, unpacked. Nothing unpacks to more than its chunk has room for.

use super::fax;
use super::layout::{Compression, Layout};
use crate::images::jpeg::{self, ForcedColours};
use std::io::Read;
use weezl::BitOrder;

/// A chunk as it was unpacked: rows of samples.
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    /// Bytes of a row.
    pub row: usize,
    /// Whether its samples are red, green and blue, whatever the file says: decoders of images give these.
    pub is_rgb: bool,
}

/// Unpacks a chunk of `rows` rows, whose rows take `row` bytes.
///
/// # Errors
/// A reason: damaged or cut short.
pub(super) fn unpack(
    layout: &Layout,
    data: &[u8],
    tables: Option<&[u8]>,
    (row, rows): (usize, usize),
) -> Result<Chunk, String> {
    let expected = row.checked_mul(rows).ok_or("a chunk is too large")?;
    let plain = |bytes: Vec<u8>| Ok(Chunk { bytes, row, is_rgb: false });
    let turned: Vec<u8>;
    let data = if layout.reversed_bits && is_of_bits(layout) {
        turned = data.iter().map(|byte| byte.reverse_bits()).collect();
        &turned
    } else {
        data
    };
    match layout.compression {
        Compression::None => {
            let bytes = data.get(..expected).ok_or("its pixel data are cut short")?;
            plain(bytes.to_vec())
        }
        Compression::FaxRows | Compression::Fax3 { .. } | Compression::Fax4 => {
            if layout.bits != 1 || layout.chunk_samples() != 1 {
                return Err("fax compression of more than one bit to a pixel".into());
            }
            plain(fax::decode(data, layout.compression, (layout.chunk.0, rows))?)
        }
        Compression::Lzw => plain(lzw(data, expected)?),
        Compression::Deflate => plain(all_of(flate2::read::ZlibDecoder::new(data), expected)?),
        Compression::PackBits => plain(pack_bits(data, expected)?),
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(data).map_err(|e| e.to_string())?;
            plain(all_of(decoder, expected)?)
        }
        Compression::Jpeg | Compression::OldJpeg => {
            let colours = match layout.colours {
                super::layout::Colours::YCbCr => ForcedColours::YCbCr,
                _ => ForcedColours::AsStored,
            };
            let samples = jpeg::decode_samples(&with_tables(data, tables), colours)?;
            if samples.channels != layout.chunk_samples() {
                return Err(format!("its JPEG data have {} samples to a pixel", samples.channels));
            }
            let row = samples.width as usize * samples.channels;
            Ok(Chunk { bytes: samples.values, row, is_rgb: samples.channels == 3 })
        }
    }
}

/// Whether the order of bits in a byte means something: not where a compression writes bytes.
fn is_of_bits(layout: &Layout) -> bool {
    !matches!(layout.compression, Compression::Jpeg | Compression::OldJpeg)
}

/// The first `expected` bytes of a stream.
fn all_of(reader: impl Read, expected: usize) -> Result<Vec<u8>, String> {
    /// Reserved before anything is unpacked.
    const TRUSTED: usize = 16 << 20;
    let mut bytes = Vec::with_capacity(expected.min(TRUSTED));
    reader
        .take(expected as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("its pixel data are damaged: {e}"))?;
    if bytes.len() < expected { Err("its pixel data are cut short".into()) } else { Ok(bytes) }
}

fn lzw(data: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    // Files of before 1989 have their codes the other way round.
    let is_old = matches!(data, [0, second, ..] if second & 1 == 1);
    let mut decoder = if is_old {
        weezl::decode::Decoder::new(BitOrder::Lsb, 8)
    } else {
        weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8)
    };
    let mut out = vec![0; expected];
    let (mut read, mut written) = (0, 0);
    while written < expected {
        let (input, output) =
            (data.get(read..).unwrap_or_default(), out.get_mut(written..).unwrap_or_default());
        let step = decoder.decode_bytes(input, output);
        read += step.consumed_in;
        written += step.consumed_out;
        match step.status {
            Ok(weezl::LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(_) => break,
            Err(e) => return Err(format!("its pixel data are damaged: {e}")),
        }
    }
    if written < expected { Err("its pixel data are cut short".into()) } else { Ok(out) }
}

fn pack_bits(data: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut data = data.iter();
    while out.len() < expected {
        let count = *data.next().ok_or("its pixel data are cut short")? as i8;
        if count >= 0 {
            let copied = data.as_slice().get(..=count as usize).ok_or("its pixel data are cut short")?;
            out.extend_from_slice(copied);
            data.nth(count as usize);
        } else if count != i8::MIN {
            let value = *data.next().ok_or("its pixel data are cut short")?;
            out.extend(std::iter::repeat_n(value, (1 - isize::from(count)) as usize));
        }
    }
    out.truncate(expected);
    Ok(out)
}

/// A JPEG file of a chunk, whose tables may stand apart.
fn with_tables(data: &[u8], tables: Option<&[u8]>) -> Vec<u8> {
    const START: &[u8] = &[0xFF, 0xD8];
    const END: &[u8] = &[0xFF, 0xD9];
    let Some(tables) = tables.and_then(|tables| tables.strip_prefix(START)) else { return data.to_vec() };
    let tables = tables.strip_suffix(END).unwrap_or(tables);
    [START, tables, data.strip_prefix(START).unwrap_or(data)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_copies_of_bytes_are_unpacked() {
        // The example of Apple's description of PackBits.
        let packed =
            [0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7, 0xAA];
        let mut expected =
            vec![0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0x22];
        expected.extend([0xAA; 10]);
        assert_eq!(pack_bits(&packed, 24).unwrap(), expected);
        assert!(pack_bits(&packed, 25).is_err() && pack_bits(&packed[..7], 24).is_err());
    }
}
