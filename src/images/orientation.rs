//! Which way up an image is, as cameras and programs note it: in Exif data, or else in XMP.

use super::tiff::ifd::{Directory, Form};
use image::metadata::Orientation;

/// What Exif data begin with in JPEG files, and in files of programs that copied them from there.
const PREFIX: &[u8] = b"Exif\0\0";
const ORIENTATION: u16 = 274;

/// The orientation of an Exif number, 1 to 8; upright for any other.
pub(super) fn of_number(number: u8) -> Orientation {
    Orientation::from_exif(number).unwrap_or(Orientation::NoTransforms)
}

/// The orientation in Exif data, with or without their prefix.
pub(super) fn of_exif(data: &[u8]) -> Option<Orientation> {
    let data = data.strip_prefix(PREFIX).unwrap_or(data);
    let (form, first) = Form::of(data)?;
    let number = Directory::read(data, form, first)?.first(ORIENTATION)?;
    Orientation::from_exif(u8::try_from(number).ok()?)
}

/// The orientation in an XMP packet: `tiff:Orientation="6"`, or as an element.
pub(super) fn of_xmp(packet: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = packet.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let digit = match packet.get(at..)? {
        [b'=', b'"' | b'\'', digit, ..] | [b'>', digit, ..] => digit,
        _ => return None,
    };
    Orientation::from_exif(digit.checked_sub(b'0')?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Exif data with one entry: the orientation, as a number of this type.
    pub(in crate::images) fn exif(kind: u16, orientation: u8, big_endian: bool) -> Vec<u8> {
        let bytes = |n: u32, size: usize| match big_endian {
            true => n.to_be_bytes()[4 - size..].to_vec(),
            false => n.to_le_bytes()[..size].to_vec(),
        };
        let value = bytes(orientation.into(), if kind == 3 { 2 } else { 4 });
        let mut out = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        for part in [bytes(8, 4), bytes(1, 2), bytes(274, 2), bytes(kind.into(), 2), bytes(1, 4), value] {
            out.extend(part);
        }
        out.resize(8 + 2 + 12, 0);
        out.extend([0; 4]);
        out
    }

    #[test]
    fn an_orientation_is_found_with_a_prefix_and_as_a_long_number() {
        for big_endian in [false, true] {
            for kind in [3, 4] {
                let data = exif(kind, 6, big_endian);
                assert_eq!(of_exif(&data), Some(Orientation::Rotate90), "type {kind}");
                assert_eq!(of_exif(&[PREFIX, &data].concat()), Some(Orientation::Rotate90));
                for length in 0..data.len() {
                    let _ = of_exif(&data[..length]);
                }
            }
        }
        assert_eq!(of_exif(&exif(3, 0, false)), None);
        assert_eq!(of_exif(&exif(3, 9, false)), None);
    }

    #[test]
    fn an_orientation_is_found_in_xmp() {
        assert_eq!(of_xmp(b"<rdf tiff:Orientation=\"3\"/>"), Some(Orientation::Rotate180));
        assert_eq!(of_xmp(b"<tiff:Orientation>8</tiff:Orientation>"), Some(Orientation::Rotate270));
        assert_eq!(of_xmp(b"tiff:Orientation"), None);
        assert_eq!(of_xmp(b"tiff:Orientation=\"x\""), None);
    }
}
