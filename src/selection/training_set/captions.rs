//! Captions: a text file beside the image, with its name.

use crate::error::Error;
use crate::formats::digest::sha256;
use crate::formats::regular::open_regular;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// The extension of captions.
pub(super) const EXTENSION: &str = "txt";
/// Most bytes of a caption.
const MOST_BYTES: u64 = 1 << 20;

/// How many images have which caption.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct CaptionCounts {
    /// Images with a caption that goes along.
    pub with: usize,
    /// Images without one.
    pub without: usize,
    /// Images whose caption the trainer would not read: these count as without one.
    pub unusable: usize,
}

/// The caption beside an image.
pub(super) enum Caption {
    /// There is none.
    None,
    /// Its bytes.
    Text(Vec<u8>),
    /// Why it cannot be used.
    Unusable(String),
}

/// What tells the captions of images `paths` of a directory from others.
pub(crate) fn captions_digest(place: &Path, paths: &[String]) -> String {
    let of_image = |path: &String| match beside(&place.join(path)) {
        Caption::None => String::new(),
        Caption::Text(text) => sha256(&text),
        Caption::Unusable(reason) => reason,
    };
    sha256(paths.iter().map(of_image).collect::<Vec<_>>().join("\n").as_bytes())
}

/// The caption of an image file.
pub(super) fn beside(image: &Path) -> Caption {
    let path = image.with_extension(EXTENSION);
    // A missing file is most often no caption at all.
    if !path.exists() {
        return Caption::None;
    }
    let mut text = Vec::new();
    let read = open_regular(&path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(Error::io("read", &path)));
    let unusable = |reason: &str| Caption::Unusable(reason.into());
    match read {
        Err(Error::Malformed { reason, .. }) => unusable(&reason),
        Err(error) => unusable(&error.to_string()),
        Ok(0) => unusable("is empty"),
        Ok(read) if read as u64 > MOST_BYTES => unusable("is longer than 1 MiB"),
        Ok(_) if std::str::from_utf8(&text).is_err() => unusable("is not UTF-8"),
        Ok(_) => Caption::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn captions_that_a_trainer_stops_at_are_left_out_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, text: Option<&[u8]>| {
            let image = dir.path().join(name).with_extension("jpg");
            if let Some(text) = text {
                fs::write(image.with_extension("txt"), text).unwrap();
            }
            match beside(&image) {
                Caption::None => "none".to_owned(),
                Caption::Text(text) => String::from_utf8(text).unwrap(),
                Caption::Unusable(reason) => format!("unusable: {reason}"),
            }
        };
        assert_eq!(of("a", Some(b"a red shoe\n")), "a red shoe\n");
        assert_eq!(of("b", None), "none");
        assert_eq!(of("c", Some(b"")), "unusable: is empty");
        assert_eq!(of("d", Some(b"\xff\xfe")), "unusable: is not UTF-8");
        assert!(of("e", Some(&vec![b'a'; (1 << 20) + 1])).contains("longer"));
        fs::create_dir(dir.path().join("f.txt")).unwrap();
        assert!(of("f", None).contains("is a directory"));
    }
}
