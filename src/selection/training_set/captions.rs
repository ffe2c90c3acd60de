//! What people have written of their photographs: a caption in a text file beside the image, with its name, or a row of a metadata file.

use super::metadata::{BYTE_ORDER_MARK, MOST_BYTES, Metadata, Row};
use crate::error::{Error, Result};
use crate::formats::digest::sha256;
use crate::formats::regular::open_regular;
use crate::progress::Progress;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The extension of captions.
pub(super) const EXTENSION: &str = "txt";

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
    Text(String),
    /// Why it cannot be used.
    Unusable(String),
}

/// All that is written of the images of a directory.
pub(crate) struct Captions {
    place: Option<PathBuf>,
    metadata: Metadata,
}

impl Captions {
    /// Where nothing is written, or nothing can be read: in an archive.
    pub(crate) fn none() -> Self {
        Self { place: None, metadata: Metadata::default() }
    }

    /// Of the images `paths` of a directory.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged metadata file; [`Error::Io`].
    pub(crate) fn open(place: &Path, paths: &[String], progress: &dyn Progress) -> Result<Self> {
        Ok(Self { place: Some(place.into()), metadata: Metadata::open(place, paths, progress)? })
    }

    /// What tells them from others; `None` where nothing is written of any image.
    pub(crate) fn digest(&self, paths: &[String]) -> Option<String> {
        if !self.are_there(paths) {
            return None;
        }
        let of_image = |path: &String| {
            let beside = match self.beside(path) {
                Caption::None => String::new(),
                Caption::Text(text) => sha256(text.as_bytes()),
                Caption::Unusable(reason) => reason,
            };
            let row = self.row(path).map(|row| serde_json::to_string(row).unwrap_or_default());
            format!("{beside} {}", row.unwrap_or_default())
        };
        Some(sha256(paths.iter().map(of_image).collect::<Vec<_>>().join("\n").as_bytes()))
    }

    /// Whether anything is written of any of these images.
    pub(super) fn are_there(&self, paths: &[String]) -> bool {
        !self.metadata.is_empty() || self.has_files(paths)
    }

    /// Whether there is a text file beside any of these images.
    pub(super) fn has_files(&self, paths: &[String]) -> bool {
        paths.iter().any(|path| self.file(path).is_some_and(|file| file.exists()))
    }

    /// The rows of metadata files.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The row of an image in a metadata file.
    pub(super) fn row(&self, path: &str) -> Option<&Row> {
        self.metadata.row(path)
    }

    /// The file of an image's caption, whether it is there or not.
    pub(super) fn file(&self, path: &str) -> Option<PathBuf> {
        Some(self.place.as_ref()?.join(path).with_extension(EXTENSION))
    }

    /// The caption in the file beside an image.
    pub(super) fn beside(&self, path: &str) -> Caption {
        // A missing file is most often no caption at all.
        let Some(file) = self.file(path).filter(|file| file.exists()) else { return Caption::None };
        let mut bytes = Vec::new();
        let read = open_regular(&file).and_then(|opened| {
            opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", &file))
        });
        let unusable = |reason: &str| Caption::Unusable(reason.into());
        match (read, String::from_utf8(bytes)) {
            (Err(Error::Malformed { reason, .. }), _) => unusable(&reason),
            (Err(error), _) => unusable(&error.to_string()),
            (Ok(0), _) => unusable("is empty"),
            (Ok(read), _) if read as u64 > MOST_BYTES => unusable("is longer than 1 MiB"),
            (Ok(_), Err(_)) => unusable("is not UTF-8"),
            (Ok(_), Ok(text)) => match text.strip_prefix(BYTE_ORDER_MARK) {
                None => Caption::Text(text),
                Some("") => unusable("is empty"),
                Some(text) => Caption::Text(text.into()),
            },
        }
    }

    /// The caption of an image for a trainer that reads the file beside it: that, else the one of its row.
    pub(super) fn of(&self, path: &str) -> Caption {
        let of_row = self.metadata.caption(path).filter(|caption| !caption.trim().is_empty());
        match (self.beside(path), of_row) {
            (Caption::None, Some(caption)) => Caption::Text(caption.into()),
            (beside, _) => beside,
        }
    }
}

/// Captions as they are met, one after the other.
pub(super) struct Tally {
    counts: CaptionCounts,
    is_strict: bool,
    first_unusable: Option<String>,
}

impl Tally {
    /// Before the first. With `is_strict` one that cannot be used is an error.
    pub(super) fn new(is_strict: bool) -> Self {
        Self { counts: CaptionCounts::default(), is_strict, first_unusable: None }
    }

    /// Counts the caption of an image, and returns its text.
    ///
    /// # Errors
    /// [`Error::Strict`] where that was asked for.
    pub(super) fn text(&mut self, path: &str, caption: Caption) -> Result<Option<String>> {
        match caption {
            Caption::None => self.counts.without += 1,
            Caption::Text(text) => {
                self.counts.with += 1;
                return Ok(Some(text));
            }
            Caption::Unusable(reason) => {
                let path = Path::new(path).with_extension(EXTENSION).display().to_string();
                if self.is_strict {
                    return Err(Error::Strict { path, reason });
                }
                self.counts.unusable += 1;
                self.first_unusable.get_or_insert(format!("{path} {reason}"));
            }
        }
        Ok(None)
    }

    /// The counts, behind the last; what could not be used is said.
    pub(super) fn counts(self, progress: &dyn Progress) -> CaptionCounts {
        if let Some(first) = self.first_unusable {
            let unusable = self.counts.unusable;
            progress
                .warn(&format!("{unusable} captions cannot be used and are left out, the first: {first}"));
        }
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::fs;

    #[test]
    fn captions_that_a_trainer_stops_at_are_left_out_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let captions = Captions::open(dir.path(), &[], &Silent).unwrap();
        let of = |name: &str, text: Option<&[u8]>| {
            let image = format!("{name}.jpg");
            if let Some(text) = text {
                fs::write(dir.path().join(&image).with_extension("txt"), text).unwrap();
            }
            match captions.beside(&image) {
                Caption::None => "none".to_owned(),
                Caption::Text(text) => text,
                Caption::Unusable(reason) => format!("unusable: {reason}"),
            }
        };
        assert_eq!(of("a", Some(b"a red shoe\n")), "a red shoe\n");
        assert_eq!(of("b", None), "none");
        assert_eq!(of("mark", Some("\u{feff}a hat".as_bytes())), "a hat");
        assert_eq!(of("mark-alone", Some("\u{feff}".as_bytes())), "unusable: is empty");
        assert_eq!(of("c", Some(b"")), "unusable: is empty");
        assert_eq!(of("d", Some(b"\xff\xfe")), "unusable: is not UTF-8");
        assert!(of("e", Some(&vec![b'a'; (1 << 20) + 1])).contains("longer"));
        fs::create_dir(dir.path().join("f.txt")).unwrap();
        assert!(of("f", None).contains("is a directory"));
    }

    #[test]
    fn a_file_beside_an_image_comes_before_its_row_and_changes_what_tells_captions_apart() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.jpg".to_owned(), "b.jpg".to_owned()];
        let opened = || Captions::open(dir.path(), &paths, &Silent).unwrap();
        assert_eq!(opened().digest(&paths), None);
        let rows = r#"{"file_name": "a.jpg", "text": "row"}"#;
        fs::write(dir.path().join("metadata.jsonl"), rows).unwrap();
        let of_rows = opened().digest(&paths).unwrap();
        let text = |path| match opened().of(path) {
            Caption::Text(text) => text,
            _ => "none".into(),
        };
        assert_eq!((text("a.jpg"), text("b.jpg")), ("row".into(), "none".into()));
        fs::write(dir.path().join("a.txt"), "file").unwrap();
        assert_eq!(text("a.jpg"), "file");
        // The scripts stop at a file that is empty.
        fs::write(dir.path().join("metadata.jsonl"), r#"{"file_name": "b.jpg", "text": " "}"#).unwrap();
        assert_eq!(text("b.jpg"), "none");
        assert_ne!(opened().digest(&paths).unwrap(), of_rows);
        assert!(Captions::none().digest(&paths).is_none());
    }
}
