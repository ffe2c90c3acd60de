//! PNG files that are read although something is wrong with them, as Pillow reads them, so that published numbers include them: the
//! checksum of pixel data is wrong (Pillow checks that of the header only), or the end of the file is missing after the last pixel.
//! Such a file is decoded a second time, put right. And what texts in a PNG file say of its orientation.

use super::orientation;
use image::metadata::Orientation;
use std::io::Read;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";
/// Bytes of a chunk beside its data: length, name and checksum.
const AROUND: usize = 12;
/// Most bytes of a text that are unpacked: Exif data are smaller than a segment of a JPEG file.
const MOST_TEXT: u64 = 1 << 20;

/// One chunk, and where it begins.
struct Chunk<'a> {
    at: usize,
    name: [u8; 4],
    data: &'a [u8],
    checksum: Option<[u8; 4]>,
}

/// The chunks of a file; the last may be cut short.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut at = if bytes.starts_with(SIGNATURE) { SIGNATURE.len() } else { bytes.len() };
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let name = *rest.get(4..)?.first_chunk()?;
        let data = rest.get(8..)?;
        let whole = data.get(..length);
        let checksum = data.get(length..).and_then(|after| after.first_chunk()).copied();
        let chunk = Chunk { at, name, data: whole.unwrap_or(data), checksum };
        at = at.saturating_add(length).saturating_add(AROUND);
        Some(chunk)
    })
}

/// The file with every `IDAT` checksum computed anew and an end; `None` if nothing was wrong with these, or the file is no PNG.
pub(super) fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    bytes.strip_prefix(SIGNATURE)?;
    let mut repaired = SIGNATURE.to_vec();
    let mut changed = false;
    for chunk in chunks(bytes) {
        if chunk.name == *b"IEND" {
            return changed.then(|| [&repaired[..], &bytes[chunk.at..]].concat());
        }
        let is_data = chunk.name == *b"IDAT";
        let mut crc = flate2::Crc::new();
        crc.update(&chunk.name);
        crc.update(chunk.data);
        let right = crc.sum().to_be_bytes();
        let stored = match chunk.checksum {
            Some(stored) if !is_data => stored,
            // A chunk of something else that is cut short is of no use.
            None if !is_data => break,
            stored => {
                changed |= stored != Some(right);
                right
            }
        };
        repaired.extend((chunk.data.len() as u32).to_be_bytes());
        repaired.extend(chunk.name);
        repaired.extend_from_slice(chunk.data);
        repaired.extend(stored);
    }
    repaired.extend_from_slice(END);
    Some(repaired)
}

/// Whether a file says, before its pixels, that it is animated.
pub(super) fn is_animated(bytes: &[u8]) -> bool {
    chunks(bytes).take_while(|chunk| chunk.name != *b"IDAT").any(|chunk| chunk.name == *b"acTL")
}

/// The orientation in Exif data that ImageMagick wrote as a text, in hexadecimal digits.
pub(super) fn text_orientation(bytes: &[u8]) -> Option<Orientation> {
    const KEYWORD: &[u8] = b"Raw profile type exif\0";
    for chunk in chunks(bytes) {
        let Some(data) = chunk.data.strip_prefix(KEYWORD) else { continue };
        let text = match &chunk.name {
            b"tEXt" => data.to_vec(),
            b"zTXt" => {
                let mut text = Vec::new();
                let packed = data.get(1..)?;
                flate2::read::ZlibDecoder::new(packed).take(MOST_TEXT).read_to_end(&mut text).ok()?;
                text
            }
            _ => continue,
        };
        // A line break, the name of the profile, its length, and lines of digits.
        let digits: Vec<u8> = text
            .split(|&b| b == b'\n')
            .skip(3)
            .flatten()
            .filter_map(|&b| (b as char).to_digit(16).map(|digit| digit as u8))
            .collect();
        let exif: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
        return orientation::of_exif(&exif);
    }
    None
}
