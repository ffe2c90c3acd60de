//! Which names are images, and how a name that is not UTF-8 is shown.
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

/// Prefix of files in which macOS keeps metadata on foreign disks and in zip archives, under the extension of the image.
const APPLE_DOUBLE: &[u8] = b"._";

/// The format of a name's extension (`jpeg`, `png`, …), letter case ignored; `None` if it is not that of an image.
pub(super) fn promised_format(name: &[u8]) -> Option<&'static str> {
    let file = name.rsplit(|&b| b == b'/').next()?;
    let dot = file.iter().rposition(|&b| b == b'.')?;
    let extension = file.get(dot + 1..)?;
    EXTENSIONS
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(extension))
        .map(|&(_, format)| format)
}

/// Whether an entry of this name counts as an image when a directory or archive is listed.
pub(super) fn is_image(name: &[u8]) -> bool {
    let file = name.rsplit(|&b| b == b'/').next().unwrap_or(name);
    !file.starts_with(APPLE_DOUBLE) && promised_format(name).is_some()
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
    fn extensions_count_in_any_letter_case_and_only_at_the_end() {
        for name in ["a.JPG", "d/b.jpe", "c.Tiff", "x.y.pbm"] {
            assert!(is_image(name.as_bytes()), "{name}");
        }
        for name in ["jpg", "a.jpg.txt", "a.png/readme", "dataset.json", "d/._a.jpg", "a."] {
            assert!(!is_image(name.as_bytes()), "{name}");
        }
    }
}
