//! What a file is by its first bytes: an image that is read, an image that is not, an archive, or something else.

/// Bytes from which [`kind_of`] tells a file: the mark of a tar archive is the farthest.
pub(super) const HEAD_BYTES: usize = 512;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image that is read.
    Image(Format),
    /// An image of a kind that is not read, by the usual extension of that kind.
    UnreadImage(&'static str),
    /// An archive.
    Archive(Archive),
    /// Anything else.
    Other,
}

/// A format of images that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Pnm,
}

impl Format {
    /// Its name in notes and messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "jpeg",
            Format::Png => "png",
            Format::WebP => "webp",
            Format::Gif => "gif",
            Format::Bmp => "bmp",
            Format::Tiff => "tiff",
            Format::Pnm => "pnm",
        }
    }
}

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    Zip,
    Tar,
    /// A gzip file, which mostly holds a tar archive.
    Gzip,
    /// A Zstandard file, likewise.
    Zstd,
    /// One that is not read, by its usual extension.
    Unread(&'static str),
}

impl Archive {
    /// Whether archives of this kind are read.
    pub(super) fn is_read(self) -> bool {
        !matches!(self, Archive::Unread(_))
    }
}

/// File types of ISO media files (`ftyp` boxes), with the usual extension of images of that type.
const BRANDS: [(&[u8; 4], &str); 12] = [
    (b"avif", "avif"),
    (b"avis", "avif"),
    (b"heic", "heic"),
    (b"heix", "heic"),
    (b"heim", "heic"),
    (b"heis", "heic"),
    (b"hevc", "heic"),
    (b"hevx", "heic"),
    (b"mif1", "heic"),
    (b"msf1", "heic"),
    (b"crx ", "cr3"),
    (b"jxl ", "jxl"),
];

/// Beginnings of files of images that are not read.
const UNREAD_IMAGES: [(&[u8], &str); 22] = [
    (b"\xFF\x0A", "jxl"),
    (b"\0\0\0\x0CJXL \r\n", "jxl"),
    (b"\0\0\0\x0CjP  ", "jp2"),
    (b"\xFF\x4F\xFF\x51", "jp2"),
    (b"8BPS", "psd"),
    (b"gimp xcf", "xcf"),
    (b"qoif", "qoi"),
    (b"DDS ", "dds"),
    (b"\x76\x2F\x31\x01", "exr"),
    (b"#?RADIANCE", "hdr"),
    (b"#?RGBE", "hdr"),
    (b"farbfeld", "ff"),
    (b"icns", "icns"),
    (b"\x01\xDA\x00", "sgi"),
    (b"\x01\xDA\x01", "sgi"),
    (b"AT&TFORM", "djvu"),
    (b"SIMPLE  =", "fits"),
    (b"FUJIFILMCCD-RAW", "raf"),
    (b"IIU\0", "rw2"),
    (b"IIRO", "orf"),
    (b"IIRS", "orf"),
    (b"MMOR", "orf"),
];

/// Archives that are not read, and how they begin.
const UNREAD_ARCHIVES: [(&[u8], &str); 4] =
    [(b"7z\xBC\xAF\x27\x1C", "7z"), (b"Rar!\x1A\x07", "rar"), (b"\xFD7zXZ\0", "xz"), (b"BZh", "bz2")];

/// Lengths in bytes of the second header of BMP files, which tell them from other files that begin with `BM`.
const BMP_HEADERS: [u32; 8] = [12, 16, 40, 52, 56, 64, 108, 124];

/// What a file with these first bytes is; at most [`HEAD_BYTES`] of them are looked at.
pub(super) fn kind_of(head: &[u8]) -> Kind {
    if let Some(format) = format_of(head) {
        return Kind::Image(format);
    }
    if let Some(kind) = media_type(head).or_else(|| named(head, &UNREAD_IMAGES)) {
        return Kind::UnreadImage(kind);
    }
    if let Some(archive) = archive_of(head) {
        return Kind::Archive(archive);
    }
    Kind::Other
}

fn format_of(head: &[u8]) -> Option<Format> {
    Some(match head {
        [0xFF, 0xD8, 0xFF, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Format::Png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::WebP,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        // Canon's raw files are TIFF files of a preview.
        [b'I', b'I', b'*', 0, _, _, _, _, b'C', b'R', ..] => return None,
        [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Format::Tiff,
        [b'B', b'M', ..] => {
            let second = head.get(14..).and_then(|rest| rest.first_chunk::<4>())?;
            BMP_HEADERS.contains(&u32::from_le_bytes(*second)).then_some(Format::Bmp)?
        }
        [b'P', b'7', b'\n', ..] => Format::Pnm,
        [b'P', b'1'..=b'6', space, next, ..] if space.is_ascii_whitespace() => {
            (next.is_ascii_digit() || next.is_ascii_whitespace() || *next == b'#').then_some(Format::Pnm)?
        }
        _ => return None,
    })
}

/// The image of an ISO media file by its main type, or by one that it is compatible with: an AVIF file may name `mif1` first.
fn media_type(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"II*\0") && head.get(8..10) == Some(b"CR") {
        return Some("cr2");
    }
    if head.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let length = u32::from_be_bytes(*head.first_chunk::<4>()?) as usize;
    let brands = head.get(8..length.clamp(12, head.len().max(12)))?;
    let known = |brand: &[u8]| BRANDS.iter().find(|(known, _)| *known == brand).map(|&(_, kind)| kind);
    let main = known(brands.get(..4)?)?;
    let others = || brands.as_chunks::<4>().0.iter().skip(2);
    let is_avif = main == "heic" && others().any(|brand| brand == b"avif");
    Some(if is_avif && !others().any(|brand| brand == b"heic") { "avif" } else { main })
}

fn archive_of(head: &[u8]) -> Option<Archive> {
    const TAR_MARK: usize = 257;
    Some(match head {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Archive::Zip,
        [0x1F, 0x8B, 8, ..] => Archive::Gzip,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Archive::Zstd,
        _ if head.get(TAR_MARK..TAR_MARK + 5) == Some(b"ustar") => Archive::Tar,
        _ => Archive::Unread(named(head, &UNREAD_ARCHIVES)?),
    })
}

fn named(head: &[u8], known: &[(&'static [u8], &'static str)]) -> Option<&'static str> {
    known.iter().find(|(beginning, _)| head.starts_with(beginning)).map(|&(_, kind)| kind)
}

/// Why an image of a kind that is not read is not read, and what turns it into one that is.
pub(super) fn unread(kind: &str) -> String {
    match kind {
        "heic" | "avif" | "jxl" | "jp2" | "psd" => format!(
            "{} images are not read: convert them first, for example with `magick mogrify -auto-orient -format png *.{kind}`",
            kind.to_uppercase()
        ),
        "cr2" | "cr3" | "raf" | "rw2" | "orf" => {
            "raw camera images are not read: export them as TIFF, PNG or JPEG first".into()
        }
        _ => format!("{} images are not read: convert them to PNG or TIFF first", kind.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let cases: [(&[u8], Kind); 24] = [
            (b"\xFF\xD8\xFF\xE0", Kind::Image(Format::Jpeg)),
            (b"\x89PNG\r\n\x1a\n", Kind::Image(Format::Png)),
            (b"RIFF\0\0\0\0WEBPVP8 ", Kind::Image(Format::WebP)),
            (b"GIF89a", Kind::Image(Format::Gif)),
            (b"MM\0*\0\0\0\x08", Kind::Image(Format::Tiff)),
            (b"II+\0\x08\0\0\0", Kind::Image(Format::Tiff)),
            (b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0", Kind::Image(Format::Bmp)),
            (b"BMI: body mass index", Kind::Other),
            (b"P6\n2 2\n255\n", Kind::Image(Format::Pnm)),
            (b"P6 is a file", Kind::Other),
            (b"P1", Kind::Other),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Kind::UnreadImage("heic")),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0avifmiafmif1", Kind::UnreadImage("avif")),
            (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", Kind::Other),
            (b"II*\0\x10\0\0\0CR\x02\0", Kind::UnreadImage("cr2")),
            (b"\0\0\0\x0CJXL \r\n\x87\n", Kind::UnreadImage("jxl")),
            (b"8BPS\0\x01", Kind::UnreadImage("psd")),
            (b"PK\x03\x04", Kind::Archive(Archive::Zip)),
            (b"\x1F\x8B\x08\0", Kind::Archive(Archive::Gzip)),
            (b"\x28\xB5\x2F\xFD", Kind::Archive(Archive::Zstd)),
            (b"7z\xBC\xAF\x27\x1C", Kind::Archive(Archive::Unread("7z"))),
            (b"\0\0\0\x08ftyp", Kind::Other),
            (b"\0\0\0\0ftypheic", Kind::UnreadImage("heic")),
            (b"", Kind::Other),
        ];
        for (head, kind) in cases {
            assert_eq!(kind_of(head), kind, "{:?}", String::from_utf8_lossy(head));
        }
        let mut tar = [0; HEAD_BYTES];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(kind_of(&tar), Kind::Archive(Archive::Tar));
    }

    #[test]
    fn no_beginning_of_a_file_makes_it_panic() {
        let samples: [&[u8]; 4] = [b"\xFF\xFF\xFF\xFFftypmif1", b"\0\0\0\x0Dftypmif1\0", b"II*\0", b"BM\0"];
        for sample in samples {
            for length in 0..=sample.len() {
                let _ = kind_of(&sample[..length]);
            }
        }
    }
}
