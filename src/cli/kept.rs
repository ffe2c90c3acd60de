//! What is computed of a set of images and kept in the cache, by the content of the images: where, under which name, and how much of it.

use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::extract::weights::Cache;
use crate::formats::atomic::remove_directory;
use crate::formats::digest::sha256;
use crate::images::ImageSet;
use crate::progress::{Progress as _, check_stop};
use rayon::prelude::*;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The part of a folder that one set may take, so that it does not push out all others: one over this.
const PARTS: u64 = 2;
/// Images whose content is read between two looks at whether to stop.
const READ_TOGETHER: usize = 256;
/// Characters of a digest that tell two sets apart.
const DIGEST_LENGTH: usize = 32;

/// A folder of the cache, with a directory for each set.
pub(super) struct Folder {
    /// Its name.
    pub name: &'static str,
    /// The file of each directory that is written last, and changed whenever the directory is used.
    pub mark: &'static str,
    /// Most bytes of all directories together; help says so.
    pub most_bytes: u64,
}

impl Folder {
    /// The place of what takes so many `bytes`; `None` if it is not to be kept: too much, or there is no cache.
    pub(super) fn root(&self, bytes: u64) -> Option<PathBuf> {
        let root = Cache::from_env().ok()?.root().join(self.name);
        (bytes <= self.most_bytes / PARTS && fs::create_dir_all(&root).is_ok()).then_some(root)
    }

    /// Notes that a directory was used: the oldest are removed first. Where that cannot be noted, it matters little.
    pub(super) fn touch(&self, dir: &Path) {
        let _ = File::options()
            .append(true)
            .open(dir.join(self.mark))
            .and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Removes what was not used for longest, until `bytes` more fit. `own` stays: an interrupted run continues in it.
    pub(super) fn make_room(&self, root: &Path, bytes: u64, own: &Path) -> Result<()> {
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
            let path = entry.map_err(Error::io("read", root))?.path();
            let mark = fs::metadata(path.join(self.mark)).or_else(|_| fs::metadata(&path));
            let used = mark.and_then(|mark| mark.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            kept.push((used, bytes_in(&path), path));
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, of_one, path) in kept.iter().filter(|(_, _, path)| path != own) {
            if total + bytes <= self.most_bytes {
                break;
            }
            remove_directory(path)?;
            total -= of_one;
        }
        Ok(())
    }
}

/// Digests of the names and bytes of the images of a set. `doing` says so meanwhile.
pub(super) fn content_of(set: &ImageSet, doing: &str, terminal: &Terminal) -> Result<String> {
    let mut digests = String::new();
    terminal.start(doing, set.len() as u64, "images");
    let numbers: Vec<usize> = (0..set.len()).collect();
    for numbers in numbers.chunks(READ_TOGETHER) {
        check_stop(terminal, || "the same command continues".into())?;
        let digest = |&i: &usize| match set.sha256(i) {
            Ok(content) => sha256(format!("{} {content}", set.path(i)).as_bytes()),
            Err(reason) => sha256(format!("{}: {reason}", set.path(i)).as_bytes()),
        };
        digests.extend(numbers.par_iter().map(digest).collect::<Vec<_>>());
        terminal.advance(numbers.len() as u64);
    }
    terminal.finish();
    let unlisted = set.unreadable().iter().map(|s| format!("{}: {}", s.path, s.reason));
    unlisted.for_each(|line| digests.push_str(&sha256(line.as_bytes())));
    Ok(digests)
}

/// The name of what is made of images of this [`content_of`] with `identity`.
pub(super) fn name_of(content: &str, identity: &Identity) -> Result<String> {
    let made = serde_json::to_string(identity).map_err(|e| Error::data(e.to_string(), ""))?;
    let digest = sha256(format!("{}{content}", sha256(made.as_bytes())).as_bytes());
    Ok(digest.get(..DIGEST_LENGTH).unwrap_or(&digest).to_owned())
}

/// Bytes of the files directly in a directory.
fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_makes_room() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        const MARK: &str = "manifest.json";
        const MOST_BYTES: u64 = 1 << 20;
        let folder = Folder { name: "pools", mark: MARK, most_bytes: MOST_BYTES };
        for (name, age) in [("old", 300), ("new", 100), ("own", 500)] {
            fs::create_dir(root.join(name)).unwrap();
            let file = File::create(root.join(name).join(MARK)).unwrap();
            file.set_len(MOST_BYTES / 4).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        let left = || ["old", "new", "own"].map(|name| root.join(name).is_dir());
        folder.make_room(root, MOST_BYTES / 4, &root.join("own")).unwrap();
        assert_eq!(left(), [true, true, true]);
        folder.make_room(root, MOST_BYTES / 2, &root.join("own")).unwrap();
        assert_eq!(left(), [false, true, true]);
        folder.make_room(root, MOST_BYTES, &root.join("own")).unwrap();
        assert_eq!(left(), [false, false, true]);
    }
}
