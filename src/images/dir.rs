//! Images of a directory and everything below it, and the set of one single file.
//! Symbolic links are followed; loops, dangling links and directories without permission are skipped and reported.
//! The path of an image is made from its text when it is read, so that a million paths are not stored twice.

use super::container::{Container, Entry, Found, Listing, Skipped};
use super::names::{is_image, shown};
use super::read_at::read_bounded;
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use std::collections::HashMap;
use std::fs::File;
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

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    read_bounded(file, metadata.len())
}

/// The set of the one file `path`, `size` bytes long.
pub(super) fn single(path: &Path, size: u64) -> Result<Listing> {
    let name = path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes().to_vec();
    Ok(Listing {
        container: Box::new(Single(path.to_path_buf())),
        found: vec![Found { name, size, slot: 0 }],
        unreadable: Vec::new(),
        archives: None,
    })
}

/// The images below `root`.
pub(super) fn list(root: &Path, progress: &dyn Progress) -> Result<Listing> {
    let mut found = Vec::new();
    let mut odd = HashMap::new();
    let mut unreadable = Vec::new();
    for (seen, item) in WalkDir::new(root).follow_links(true).into_iter().enumerate() {
        if seen % LOOK_EVERY == 0 {
            check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        }
        let item = match item {
            Ok(item) => item,
            Err(error) if error.depth() == 0 => {
                let reason = error.to_string();
                let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other(reason));
                return Err(Error::io("list", root)(source));
            }
            Err(error) => {
                let path = error.path().map(|p| p.strip_prefix(root).unwrap_or(p));
                unreadable
                    .push(Skipped::new(path.map_or_else(String::new, |p| shown(name_of(p))), why(&error)));
                continue;
            }
        };
        let relative = item.path().strip_prefix(root).unwrap_or(item.path());
        let name = name_of(relative);
        if item.file_type().is_dir() || !is_image(&name) || is_sheet(item.path()) {
            continue;
        }
        if !item.file_type().is_file() {
            unreadable.push(Skipped::new(shown(name), "not a regular file"));
            continue;
        }
        match item.metadata() {
            Ok(metadata) => {
                let slot = found.len();
                if shown(name.clone()).as_bytes() != name {
                    odd.insert(slot, relative.to_path_buf());
                }
                found.push(Found { name, size: metadata.len(), slot });
                progress.advance(1);
            }
            Err(error) => unreadable.push(Skipped::new(shown(name), why(&error))),
        }
    }
    Ok(Listing {
        container: Box::new(Directory { root: root.to_path_buf(), odd }),
        found,
        unreadable,
        archives: None,
    })
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
