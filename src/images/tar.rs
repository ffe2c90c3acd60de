//! Images of a tar archive, WebDataset shards among them.
//! Headers are read once for the offsets; entries are then read in parallel at their offset.
//! Of an archive that is cut short, the entries before the cut are used.

use super::container::{Container, Entry, Found, Listing, Skipped};
use super::names::{is_image, relative, shown};
use super::read_at::{FileAt, read_bounded};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Buffer in bytes while headers are read; small, because the data between two headers are skipped.
const HEADER_BUFFER: usize = 4096;

struct Tar {
    file: FileAt,
    /// Offset of each slot's data.
    offsets: Vec<u64>,
}

impl Container for Tar {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let offset = self.offsets.get(entry.slot).ok_or("no such entry")?;
        read_entry(&self.file, *offset, entry.size)
    }
}

/// The `size` bytes at an offset.
pub(super) fn read_entry(file: &FileAt, offset: u64, size: u64) -> Result<Vec<u8>, String> {
    let mut file = file.clone();
    file.seek(SeekFrom::Start(offset)).map_err(|e| e.to_string())?;
    let bytes = read_bounded(file.take(size), size)?;
    if (bytes.len() as u64) < size {
        return Err("the archive is cut short inside this entry".into());
    }
    Ok(bytes)
}

/// What one archive holds: images, the offset of the data of each slot, and what cannot be used.
#[derive(Default)]
pub(super) struct Walked {
    pub found: Vec<Found>,
    pub offsets: Vec<u64>,
    pub unreadable: Vec<Skipped>,
}

/// The images of the archive `file`, which `path` names in messages.
pub(super) fn list(path: &Path, file: File, progress: &dyn Progress) -> Result<Listing> {
    let file = FileAt::new(file).map_err(Error::io("read", path))?;
    let Walked { found, offsets, unreadable } = walk(path, &file, progress)?;
    Ok(Listing { container: Box::new(Tar { file, offsets }), found, unreadable, archives: None })
}

/// Walks over the headers of the archive `file`, which `path` names in messages.
pub(super) fn walk(path: &Path, file: &FileAt, progress: &dyn Progress) -> Result<Walked> {
    let mut archive = ::tar::Archive::new(BufReader::with_capacity(HEADER_BUFFER, file.clone()));
    let mut found: Vec<Found> = Vec::new();
    let mut offsets = Vec::new();
    let mut unreadable = Vec::new();
    for (before, entry) in archive.entries_with_seek().map_err(Error::io("read", path))?.enumerate() {
        check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) if before == 0 => {
                let hint = "a compressed archive has to be unpacked first";
                return Err(Error::malformed(path, format!("not a readable tar archive: {e}"), hint));
            }
            Err(e) => {
                let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
                unreadable.push(Skipped::new(shown(name), format!("damaged after {before} entries: {e}")));
                break;
            }
        };
        let raw = entry.path_bytes();
        let kind = entry.header().entry_type();
        if kind.is_dir() || !is_image(&raw) {
            continue;
        }
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let usable = if kind.is_hard_link() || kind.is_symlink() {
            Err("the entry is a link")
        } else if !(kind.is_file() || kind.is_contiguous()) {
            Err("the entry is not a regular file")
        } else if offset.checked_add(size).is_none_or(|end| end > file.len()) {
            Err("the archive is cut short inside this entry")
        } else {
            relative(&raw)
        };
        match usable {
            Ok(name) => {
                found.push(Found { name, size, slot: offsets.len() });
                offsets.push(offset);
                progress.advance(1);
            }
            Err(reason) => unreadable.push(Skipped::new(shown(raw.to_vec()), reason)),
        }
    }
    Ok(Walked { found, offsets, unreadable })
}
