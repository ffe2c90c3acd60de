//! What a name says of a file, and how a name that is not UTF-8 is shown.
//! One table of extensions serves both the search and the note on misnamed files.
//! The escape is lossless: a name can be read back from what is shown.

use std::fmt::Write;

/// File name extensions of images, in lower case, each with its format.
pub(super) const EXTENSIONS: [(&str, &str); 13] = [
    ("jpg", "jpeg"),
    ("jpeg", "jpeg"),
    ("jpe", "jpeg"),
    ("png", "png"),
    ("webp", "webp"),
    ("gif", "gif"),
    ("bmp", "bmp"),
    ("tif", "tiff"),
    ("tiff", "tiff"),
    ("ppm", "pnm"),
    ("pgm", "pnm"),
    ("pbm", "pnm"),
    ("pnm", "pnm"),
];

/// Extensions of raw camera images. Many begin as TIFF files do, but hold a small preview where a TIFF file has its image.
const RAW: [&str; 16] = [
    "3fr", "arw", "cr2", "cr3", "dcr", "dng", "erf", "mrw", "nef", "nrw", "orf", "pef", "raf", "rw2", "sr2",
    "srw",
];

/// Extensions of images that are not read and that no beginning of a file tells reliably.
const UNREAD: [&str; 12] =
    ["tga", "pcx", "ico", "cur", "svg", "eps", "ai", "pcd", "xpm", "xbm", "ras", "pfm"];

/// Prefix of files in which macOS keeps metadata on foreign disks and in zip archives, under the extension of the image.
const APPLE_DOUBLE: &[u8] = b"._";

/// Prefix of the folders of deleted files on Linux and macOS (`.Trash-1000`).
const TRASH: &[u8] = b".Trash";

/// Files and folders that operating systems, storage boxes and programs leave among the files of people.
const LEFTOVERS: [&[u8]; 18] = [
    b"__MACOSX",
    b".AppleDouble",
    b".DS_Store",
    b".Spotlight-V100",
    b".TemporaryItems",
    b".fseventsd",
    b"$RECYCLE.BIN",
    b"System Volume Information",
    b"Thumbs.db",
    b"desktop.ini",
    b"@eaDir",
    b"#recycle",
    b"lost+found",
    b".directory",
    b".thumbnails",
    b".ipynb_checkpoints",
    b".git",
    b".svn",
];

/// Files that hold more than images although they are zip archives by their content: documents, programs, weights.
const ZIP_BASED: [&str; 16] = [
    "apk", "ckpt", "docx", "epub", "jar", "kmz", "npz", "odp", "ods", "odt", "pkl", "pptx", "pt", "pth",
    "whl", "xlsx",
];

/// What the name of an entry of a folder or archive says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is, or lies in, what a system leaves behind.
    System,
    /// An image of a format that is read.
    Image,
    /// A raw camera image, by its extension.
    Raw(&'static str),
    /// A file of a program, although its content is an archive.
    NoArchive,
    /// Nothing: its content has to be looked at.
    Nothing,
}

/// What a name says, with `/` between its parts.
pub(super) fn claim(name: &[u8]) -> Claim {
    if name.split(|&b| b == b'/').any(is_leftover) {
        return Claim::System;
    }
    if promised_format(name).is_some() {
        return Claim::Image;
    }
    let Some(extension) = extension_of(name) else { return Claim::Nothing };
    let among = |known: &[&'static str]| {
        known.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(extension)).copied()
    };
    match among(&RAW) {
        Some(raw) => Claim::Raw(raw),
        None if among(&ZIP_BASED).is_some() => Claim::NoArchive,
        None => Claim::Nothing,
    }
}

/// The kind of an image that is not read, by the extension of its name: for files whose content says nothing.
pub(super) fn unread_by_name(name: &[u8]) -> Option<&'static str> {
    let extension = extension_of(name)?;
    UNREAD.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(extension)).copied()
}

/// Whether a file or folder of this name is what a system leaves behind.
pub(super) fn is_leftover(part: &[u8]) -> bool {
    part.starts_with(APPLE_DOUBLE) || part.starts_with(TRASH) || LEFTOVERS.contains(&part)
}

/// What follows the last dot of the last part of a name.
fn extension_of(name: &[u8]) -> Option<&[u8]> {
    let file = name.rsplit(|&b| b == b'/').next()?;
    file.get(file.iter().rposition(|&b| b == b'.')? + 1..)
}

/// The format of a name's extension (`jpeg`, `png`, …), letter case ignored; `None` if it is not that of an image.
pub(crate) fn promised_format(name: &[u8]) -> Option<&'static str> {
    let extension = extension_of(name)?;
    EXTENSIONS
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(extension))
        .map(|&(_, format)| format)
}

/// `*.jpg *.jpeg …`: the patterns of image names, for messages.
pub(super) fn looked_for() -> String {
    EXTENSIONS.map(|(extension, _)| format!("*.{extension}")).join(" ")
}

/// The text of a name: itself if it is UTF-8, otherwise with `\xNN` for each byte that is not.
///
/// No two names share a text: a backslash that would read as the beginning of such an escape is written `\x5C`.
pub(super) fn shown(name: Vec<u8>) -> String {
    let name = match String::from_utf8(name) {
        Ok(text) if !has_escape(text.as_bytes()) => return text,
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    };
    let mut out = String::with_capacity(name.len() + 8);
    let mut at = 0;
    for chunk in name.utf8_chunks() {
        for (i, c) in chunk.valid().char_indices() {
            if c == '\\' && is_escape(name.get(at + i..).unwrap_or_default()) {
                out.push_str("\\x5C");
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
        at += chunk.valid().len() + chunk.invalid().len();
    }
    out
}

fn has_escape(name: &[u8]) -> bool {
    (0..name.len()).any(|i| name.get(i..).is_some_and(is_escape))
}

fn is_escape(text: &[u8]) -> bool {
    matches!(text, [b'\\', b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// An archive entry's name as a relative path: without leading `/` and `.` parts, as `tar` and `unzip` extract it.
///
/// # Errors
/// For a name that leads out of the archive (`..`) or names nothing.
pub(super) fn relative(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(name.len());
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("the name leads out of the archive"),
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    if out.is_empty() { Err("the entry has no name") } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unshown(text: &str) -> Vec<u8> {
        let (bytes, mut out, mut i) = (text.as_bytes(), Vec::new(), 0);
        while i < bytes.len() {
            if is_escape(&bytes[i..]) {
                out.push(u8::from_str_radix(&text[i + 2..i + 4], 16).unwrap());
                i += 4;
            } else {
                out.push(bytes[i]);
                i += 1;
            }
        }
        out
    }

    #[test]
    fn utf8_names_are_shown_as_they_are() {
        for name in ["a/b.png", "naïve/ü.jpg", "back\\slash.png", "日本.webp"] {
            assert_eq!(shown(name.as_bytes().to_vec()), name);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_become_escapes() {
        assert_eq!(shown(b"caf\xE9.png".to_vec()), "caf\\xE9.png");
        assert_eq!(shown(br"caf\xE9.png".to_vec()), r"caf\x5CxE9.png");
    }

    proptest! {
        #[test]
        fn every_name_can_be_read_back(name in proptest::collection::vec(
            prop_oneof![Just(b'\\'), Just(b'x'), Just(b'5'), Just(b'C'), any::<u8>()], 0..24)) {
            prop_assert_eq!(unshown(&shown(name.clone())), name);
        }

        #[test]
        fn relative_names_stay_inside(name in "[./a]{0,12}") {
            if let Ok(path) = relative(name.as_bytes()) {
                prop_assert!(!path.starts_with(b"/") && !path.is_empty());
                prop_assert!(path.split(|&b| b == b'/').all(|p| !matches!(p, b"" | b"." | b"..")));
            }
        }
    }

    #[test]
    fn a_name_claims_by_its_extension_unless_a_system_left_it() {
        for name in ["a.JPG", "d/b.jpe", "c.Tiff", "x.y.pbm"] {
            assert_eq!(claim(name.as_bytes()), Claim::Image, "{name}");
        }
        for name in ["jpg", "a.jpg.txt", "a.png/readme", "dataset.json", "a.", "a.jfif", "a.HEIC"] {
            assert_eq!(claim(name.as_bytes()), Claim::Nothing, "{name}");
        }
        for name in [
            "d/._a.jpg",
            "__MACOSX/a.png",
            "x/@eaDir/a.jpg",
            ".Trash-1000/files/a.png",
            "n/.ipynb_checkpoints/a-checkpoint.png",
            "Thumbs.db",
        ] {
            assert_eq!(claim(name.as_bytes()), Claim::System, "{name}");
        }
        assert_eq!(claim(b"DSC_1.NEF"), Claim::Raw("nef"));
        assert_eq!(claim(b"model.npz"), Claim::NoArchive);
    }
}
