//! Images of a zip archive: StyleGAN's dataset archives and any other.
//! The central directory is read once; entries are then read in parallel, each with its own position in the file.
//! Entries whose names lead out of the archive are skipped, although names only label results.

use super::names::{Claim, claim, relative, shown};
use super::read_at::{FileAt, head_of, read_bounded};
use super::skipped::Skipped;
use super::sorting::place_of;
use super::tar::Walked;
use crate::error::{Error, Result};
use crate::formats::element::expansion_limit;
use crate::formats::zip::open_zip;
use crate::progress::{Progress, check_stop};
use std::path::Path;
use zip::ZipArchive;

/// Opens the archive `file`, which `path` names in messages.
///
/// # Errors
/// [`Error::Malformed`] if it is no zip archive.
pub(super) fn open(path: &Path, file: FileAt) -> Result<ZipArchive<FileAt>> {
    let hint = "it may be incomplete: copy or download it again, or unpack it and name the directory";
    open_zip(file).map_err(|e| Error::malformed(path, format!("not a readable zip archive: {e}"), hint))
}

/// The entry of a number.
///
/// # Errors
/// A reason without the path.
pub(super) fn read_entry(archive: &ZipArchive<FileAt>, number: u64) -> Result<Vec<u8>, String> {
    let mut archive = archive.clone();
    let number = usize::try_from(number).map_err(|e| e.to_string())?;
    let file = archive.by_index(number).map_err(|e| e.to_string())?;
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

/// The images of an archive, which `path` names in messages.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn walk(path: &Path, archive: &ZipArchive<FileAt>, progress: &dyn Progress) -> Result<Walked> {
    let mut walked = Walked::default();
    // To look into an entry, an archive has to be borrowed for itself.
    let mut looking = archive.clone();
    for number in 0..archive.len() {
        check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        let Ok(entry) = archive.by_index_data(number) else { continue };
        let raw = entry.name_raw();
        if entry.is_dir() {
            continue;
        }
        let (encrypted, link) = (entry.encrypted(), entry.is_symlink());
        let head = || {
            let plain = !encrypted && !link && claim(raw) == Claim::Nothing;
            looking.by_index(number).ok().filter(|_| plain).and_then(|file| head_of(file).ok())
        };
        let before = walked.found.len();
        walked.sort(raw, place_of(raw, head), entry.size(), number as u64, || {
            if encrypted {
                Err("the entry is encrypted")
            } else if link {
                Err("the entry is a symbolic link")
            } else {
                relative(raw)
            }
        });
        progress.advance((walked.found.len() - before) as u64);
    }
    if archive.has_duplicate_names() {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        let reason = "holds several entries of one name: of each, the last is used";
        walked.unreadable.push(Skipped::new(shown(name), reason));
    }
    Ok(walked)
}
