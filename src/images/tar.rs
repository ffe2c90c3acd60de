//! Images of a tar archive, WebDataset shards among them.
//! Headers are read once for the offsets; entries are then read in parallel at their offset.
//! Of an archive that is cut short, the entries before the cut are used.

use super::container::Found;
use super::inputs::LeftOut;
use super::names::{relative, shown};
use super::read_at::{FileAt, head_of, read_bounded};
use super::skipped::Skipped;
use super::sorting::{Place, place_of};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Buffer in bytes while headers are read; small, because the data between two headers are skipped.
const HEADER_BUFFER: usize = 4096;
/// Bytes of a block: every header, and every file, fills whole blocks.
const BLOCK: u64 = 512;
/// Zero bytes at the end of an archive that some programs write; more of them are what an interrupted download leaves.
const MOST_ZEROS: u64 = 1 << 20;

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

/// What one archive holds.
#[derive(Default)]
pub(super) struct Walked {
    /// Its images; slots count from 0.
    pub found: Vec<Found>,
    /// Where each slot lies: the offset of its data in a tar archive, its number in a zip archive.
    pub positions: Vec<u64>,
    pub unreadable: Vec<Skipped>,
    pub left_out: LeftOut,
}

impl Walked {
    /// Puts an entry where it belongs. `usable` gives the relative name of an image, or the reason why it cannot be used.
    pub(super) fn sort(
        &mut self,
        raw: &[u8],
        place: Place,
        size: u64,
        position: u64,
        usable: impl FnOnce() -> Result<Vec<u8>, &'static str>,
    ) {
        match place {
            Place::Image => match usable() {
                Ok(name) => {
                    self.found.push(Found { name, size, slot: self.positions.len(), modified: 0 });
                    self.positions.push(position);
                }
                Err(reason) => self.unreadable.push(Skipped::new(shown(raw.to_vec()), reason)),
            },
            Place::Unread(kind) => self.left_out.add_image(shown(raw.to_vec()), kind),
            Place::Archive(kind) => self.left_out.add_archive(shown(raw.to_vec()), kind),
            Place::System => self.left_out.system += 1,
            Place::Other => self.left_out.other += 1,
        }
    }
}

/// Walks over the headers of the archive `file`, which `path` names in messages.
///
/// # Errors
/// [`Error::Malformed`] if it is no tar archive, [`Error::Io`], [`Error::Interrupted`].
pub(super) fn walk(path: &Path, file: &FileAt, progress: &dyn Progress) -> Result<Walked> {
    let mut archive = ::tar::Archive::new(BufReader::with_capacity(HEADER_BUFFER, file.clone()));
    let mut walked = Walked::default();
    let mut end = Some(0);
    let mut damage = None;
    for (before, entry) in archive.entries_with_seek().map_err(Error::io("read", path))?.enumerate() {
        check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) if before == 0 => {
                return Err(Error::malformed(
                    path,
                    format!("not a readable tar archive: {}", printable(&e)),
                    "",
                ));
            }
            Err(e) => {
                damage = Some(format!("damaged after {before} entries: {}", printable(&e)));
                break;
            }
        };
        let raw = entry.path_bytes();
        let kind = entry.header().entry_type();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        // Sparse files take less room in the archive than they are long.
        end = if kind.is_gnu_sparse() { None } else { offset.checked_add(size) };
        if kind.is_dir() {
            continue;
        }
        let is_file = kind.is_file() || kind.is_contiguous();
        let head = || {
            let mut at = file.clone();
            at.seek(SeekFrom::Start(offset)).ok()?;
            head_of(at.take(size)).ok().filter(|_| is_file)
        };
        let before = walked.found.len();
        walked.sort(&raw, place_of(&raw, head), size, offset, || {
            if kind.is_hard_link() || kind.is_symlink() {
                Err("the entry is a link")
            } else if !is_file {
                Err("the entry is not a regular file")
            } else if offset.checked_add(size).is_none_or(|end| end > file.len()) {
                Err("the archive is cut short inside this entry")
            } else {
                relative(&raw)
            }
        });
        progress.advance((walked.found.len() - before) as u64);
    }
    if let Some(reason) = damage.or_else(|| end.and_then(|end| wrong_end(file, end))) {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        walked.unreadable.push(Skipped::new(shown(name), reason));
    }
    Ok(walked)
}

/// What is wrong with the end of an archive whose last entry ends at `end`.
fn wrong_end(file: &FileAt, end: u64) -> Option<String> {
    let blocks = end.checked_next_multiple_of(BLOCK)?;
    let after = file.len().saturating_sub(blocks);
    if end == 0 && file.len() > 0 {
        Some("holds no entries, only zero bytes".into())
    } else if after < BLOCK {
        Some("the archive is cut short: its end mark is missing, and with it whatever came after the last entry".into())
    } else if after > MOST_ZEROS {
        Some(format!("{after} bytes after its end mark are not read: it may not have been copied whole"))
    } else {
        None
    }
}

/// An error of the decoder, which quotes bytes of the file, as text that a terminal can show.
fn printable(error: &std::io::Error) -> String {
    let text: String = error.to_string().chars().filter(|c| !c.is_control() && *c != '\u{FFFD}').collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
