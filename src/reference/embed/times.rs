//! When the images of a reference were changed last, so that a later run need not read what was not touched since.
//! Times are no part of a result: they are kept in the user's cache, and where they are missing the content is compared.

use super::files;
use crate::extract::weights::Cache;
use crate::formats::atomic::write_atomic;
use crate::formats::digest::sha256_of_file;
use crate::formats::table::{is_safe, sha256_as_written};
use crate::images::ImageSet;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Folder of the cache.
const FOLDER: &str = "times";

/// The time of each row of a reference, in nanoseconds since 1970.
pub(super) struct Times(Vec<i64>);

impl Times {
    /// Those of the reference in `dir`, if they are known.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let bytes = fs::read(place(dir)?).ok()?;
        Some(Self(bytes.as_chunks().0.iter().map(|time| i64::from_le_bytes(*time)).collect()))
    }

    /// The time of a row.
    pub(super) fn of_row(&self, row: usize) -> Option<i64> {
        self.0.get(row).copied()
    }

    /// Keeps the times of the images with these paths, the rows of the reference in `dir`. A cache that cannot be written costs time
    /// later, and nothing else.
    pub(super) fn keep(dir: &Path, set: &ImageSet, paths: &[String]) {
        let times: HashMap<&str, i64> = (0..set.len()).map(|i| (set.path(i), set.modified(i))).collect();
        let Some(place) = place(dir) else { return };
        let Some(folder) = place.parent() else { return };
        if fs::create_dir_all(folder).is_err() {
            return;
        }
        let time = |path: &String| times.get(path.as_str()).copied().unwrap_or(0);
        let bytes: Vec<u8> = paths.iter().flat_map(|path| time(path).to_le_bytes()).collect();
        let _ = write_atomic(place, |out| out.write_all(&bytes));
    }

    /// Forgets those of the reference in `dir`, which is about to change.
    pub(super) fn forget(dir: &Path) {
        if let Some(place) = place(dir) {
            let _ = fs::remove_file(place);
        }
    }
}

/// Where they are kept: by the digest of the table of images, so that a copied or moved reference has them too.
fn place(dir: &Path) -> Option<PathBuf> {
    let table = dir.join(files::IMAGES);
    let digest =
        if is_safe(&table).ok()? { sha256_as_written(&table) } else { sha256_of_file(table) }.ok()?;
    Some(Cache::from_env().ok()?.root().join(FOLDER).join(digest))
}
