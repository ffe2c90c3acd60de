//! Images of a zip archive: StyleGAN's dataset archives and any other.
//! The central directory is read once; entries are then read in parallel, each with its own position in the file.
//! Entries whose names lead out of the archive are skipped, although names only label results.

use super::container::{Container, Entry, Found, Listing, Skipped};
use super::names::{is_image, relative, shown};
use super::read_at::{FileAt, read_bounded};
use crate::error::{Error, Result};
use crate::formats::element::expansion_limit;
use crate::formats::zip::open_zip;
use crate::progress::Progress;
use std::fs::File;
use std::path::Path;
use zip::ZipArchive;

struct Zip(ZipArchive<FileAt>);

impl Container for Zip {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let mut archive = self.0.clone();
        let file = archive.by_index(entry.slot).map_err(|e| e.to_string())?;
        let size = file.size();
        if size > expansion_limit(file.compressed_size()) {
            return Err(format!("declares {size} bytes, far more than the archive holds of it"));
        }
        let bytes = read_bounded(file, size)?;
        if bytes.len() as u64 != size {
            return Err(format!("{} bytes where the archive declares {size}", bytes.len()));
        }
        Ok(bytes)
    }
}

/// The images of the archive `file`, which `path` names in messages.
pub(super) fn list(path: &Path, file: File, progress: &dyn Progress) -> Result<Listing> {
    let hint = "it may be incomplete: copy or download it again, or unpack it and name the directory";
    let archive = FileAt::new(file).map_err(Error::io("read", path)).and_then(|file| {
        open_zip(file).map_err(|e| Error::malformed(path, format!("not a readable zip archive: {e}"), hint))
    })?;
    let mut found = Vec::new();
    let mut unreadable = Vec::new();
    for slot in 0..archive.len() {
        let Ok(entry) = archive.by_index_data(slot) else { continue };
        let raw = entry.name_raw();
        if entry.is_dir() || !is_image(raw) {
            continue;
        }
        let usable = if entry.encrypted() {
            Err("the entry is encrypted")
        } else if entry.is_symlink() {
            Err("the entry is a symbolic link")
        } else {
            relative(raw)
        };
        match usable {
            Ok(name) => {
                found.push(Found { name, size: entry.size(), slot });
                progress.advance(1);
            }
            Err(reason) => unreadable.push(Skipped::new(shown(raw.to_vec()), reason)),
        }
    }
    if archive.has_duplicate_names() {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        unreadable
            .push(Skipped::new(shown(name), "holds several entries of one name: of each, the last is used"));
    }
    Ok(Listing { container: Box::new(Zip(archive)), found, unreadable, archives: None })
}
