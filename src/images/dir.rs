//! Images of a directory and everything below it, and the set of one single file.
//! Symbolic links are followed; loops, dangling links and directories without permission are skipped and reported.
//! The path of an image is made from its text when it is read, so that a million paths are not stored twice.

use super::archives::Named;
use super::container::{Container, Entry, Found, Listing, modified};
use super::inputs::LeftOut;
use super::names::{is_leftover, shown};
use super::read_at::{head_of, read_bounded};
use super::skipped::Skipped;
use super::sorting::{Place, place_of};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The contact sheet that commands write beside their results, and the table that marks a directory of results.
const SHEET: &str = "grid.png";
const RESULTS: &str = "samples.csv";

/// Files listed between two checks for a request to stop.
const LOOK_EVERY: usize = 1024;

struct Directory {
    root: PathBuf,
    /// Paths of slots whose text differs from their name (not UTF-8).
    odd: HashMap<usize, PathBuf>,
}

impl Container for Directory {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let path = match self.odd.get(&entry.slot) {
            Some(relative) => self.root.join(relative),
            None => self.root.join(&entry.path),
        };
        read_file(&path)
    }
}

struct Single(PathBuf);

impl Container for Single {
    fn read(&self, _: &Entry) -> Result<Vec<u8>, String> {
        read_file(&self.0)
    }
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    read_bounded(file, metadata.len())
}

/// The set of the one file `path`.
pub(super) fn single(path: &Path, metadata: &Metadata) -> Listing {
    let name = path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes().to_vec();
    Listing {
        container: Box::new(Single(path.to_path_buf())),
        found: vec![Found { name, size: metadata.len(), slot: 0, modified: modified(metadata) }],
        unreadable: Vec::new(),
        left_out: LeftOut::default(),
        archives: None,
    }
}

/// The images below `root`, and the archives that can be read, which are not looked into.
///
/// # Errors
/// [`Error::Io`] if `root` cannot be listed; [`Error::Interrupted`].
pub(super) fn list(root: &Path, progress: &dyn Progress) -> Result<(Listing, Vec<Named>)> {
    let mut found = Vec::new();
    let mut archives = Vec::new();
    let mut odd = HashMap::new();
    let mut unreadable = Vec::new();
    let mut left_out = LeftOut::default();
    let mut walk = WalkDir::new(root).follow_links(true).into_iter();
    for seen in 0.. {
        if seen % LOOK_EVERY == 0 {
            check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        }
        let item = match walk.next() {
            None => break,
            Some(Ok(item)) => item,
            Some(Err(error)) if error.depth() == 0 => {
                let reason = error.to_string();
                let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other(reason));
                return Err(Error::io("list", root)(source));
            }
            Some(Err(error)) => {
                let path = error.path().map(|p| p.strip_prefix(root).unwrap_or(p));
                unreadable
                    .push(Skipped::new(path.map_or_else(String::new, |p| shown(name_of(p))), why(&error)));
                continue;
            }
        };
        let relative = item.path().strip_prefix(root).unwrap_or(item.path());
        let name = name_of(relative);
        if item.file_type().is_dir() {
            if item.depth() > 0 && is_leftover(item.file_name().as_encoded_bytes()) {
                left_out.system += 1;
                walk.skip_current_dir();
            }
            continue;
        }
        if is_sheet(item.path()) {
            continue;
        }
        let regular = item.file_type().is_file();
        let head = || File::open(item.path()).and_then(head_of).ok().filter(|_| regular);
        match place_of(&name, head) {
            Place::Image if !regular => unreadable.push(Skipped::new(shown(name), "not a regular file")),
            Place::Image => match item.metadata() {
                Ok(metadata) => {
                    let slot = found.len();
                    if shown(name.clone()).as_bytes() != name {
                        odd.insert(slot, relative.to_path_buf());
                    }
                    let (size, modified) = (metadata.len(), modified(&metadata));
                    found.push(Found { name, size, slot, modified });
                    progress.advance(1);
                }
                Err(error) => unreadable.push(Skipped::new(shown(name), why(&error))),
            },
            Place::Archive(kind) if kind.is_read() => {
                archives.push(Named { path: item.path().to_path_buf(), name, kind: Some(kind) });
            }
            Place::Archive(kind) => left_out.add_archive(shown(name), kind),
            Place::Unread(kind) => left_out.add_image(shown(name), kind),
            Place::System => left_out.system += 1,
            Place::Other => left_out.other += 1,
        }
    }
    let container = Box::new(Directory { root: root.to_path_buf(), odd });
    Ok((Listing { container, found, unreadable, left_out, archives: None }, archives))
}

/// Whether a file is a contact sheet, which repeats images of its directory.
fn is_sheet(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == SHEET) && path.with_file_name(RESULTS).is_file()
}

fn name_of(relative: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = relative.components().map(|part| part.as_os_str().as_encoded_bytes()).collect();
    parts.join(&b'/')
}

fn why(error: &walkdir::Error) -> String {
    if error.loop_ancestor().is_some() {
        return "a symbolic link that leads back to a directory above it".into();
    }
    let is_link = error.path().and_then(|p| p.symlink_metadata().ok()).is_some_and(|m| m.is_symlink());
    match error.io_error() {
        Some(e) if is_link && e.kind() == std::io::ErrorKind::NotFound => "a symbolic link to nothing".into(),
        Some(e) => e.to_string(),
        None => error.to_string(),
    }
}
