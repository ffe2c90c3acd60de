//! A set of image files, wherever they lie: what is in it, in which order, and how to read one.
//! Each kind of place (directory, zip, tar, one file) is a file of its own that lists and reads.
//! Rows of every later result are positions in this set.

use super::names::{looked_for, shown};
use super::{dir, tar, tars, zip};
use crate::error::{Error, Result};
use crate::formats::digest::hex;
use crate::progress::Progress;
use crate::shards::Shard;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// An input that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The input, as it is named in results.
    pub path: String,
    /// Why it could not be used.
    pub reason: String,
}

impl Skipped {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Skipped {
        Skipped { path: path.into(), reason: reason.into() }
    }
}

/// One image file of a set.
#[derive(Debug)]
pub(super) struct Entry {
    /// The text of its relative path.
    pub path: String,
    /// Bytes, as listed.
    pub size: u64,
    /// What its container calls it.
    pub slot: usize,
}

/// A place that image files lie in. It numbers what it lists and reads by that number, from any thread.
pub(super) trait Container: Send + Sync {
    /// All bytes of the entry, or why not (without the path).
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String>;
}

/// An image file as its container found it.
pub(super) struct Found {
    /// Relative path with `/` between its parts, in the bytes of the file system or archive.
    pub name: Vec<u8>,
    pub size: u64,
    pub slot: usize,
}

/// What a container lists, in any order. Of several entries of one name the last counts.
pub(super) struct Listing {
    pub container: Box<dyn Container>,
    pub found: Vec<Found>,
    pub unreadable: Vec<Skipped>,
    /// Of a set of several archives.
    pub archives: Option<Archives>,
}

/// The archives of a set, in the order of their entries.
pub(super) struct Archives {
    /// The first slot of each that was looked into.
    pub firsts: Vec<usize>,
    /// What these are of all, where there are others.
    pub part: Option<ArchiveRange>,
}

/// The archives that one shard looks into, of all archives of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRange {
    /// Those of the shard, by their place among all.
    pub own: Range<usize>,
    /// How many there are in all.
    pub count: usize,
    /// SHA-256 (hex) over name and size of every archive file.
    pub digest: String,
}

impl Archives {
    /// Where the entries of each archive end, of all entries in order: each archive's are side by side.
    fn ends(&self, entries: &[Entry]) -> Vec<usize> {
        let archive = |entry: &Entry| self.firsts.partition_point(|&first| first <= entry.slot);
        let mut ends: Vec<usize> = Vec::new();
        let mut end = 0;
        for archive in entries.chunk_by(|a, b| archive(a) == archive(b)) {
            end += archive.len();
            ends.push(end);
        }
        ends
    }
}

/// Image files in a fixed order: by relative path, bytewise, with `/` between its parts.
pub struct ImageSet {
    container: Box<dyn Container>,
    entries: Vec<Entry>,
    unreadable: Vec<Skipped>,
    /// Where each archive ends, if the set is one of archives.
    sections: Option<Vec<usize>>,
    part: Option<ArchiveRange>,
}

/// SHA-256 over the path and size of every image in order: the same for the same input, without reading it.
#[derive(Default)]
pub struct InputDigest(Sha256);

impl InputDigest {
    /// Takes the next image in.
    pub fn add(&mut self, path: &str, size: u64) {
        self.0.update((path.len() as u64).to_le_bytes());
        self.0.update(path.as_bytes());
        self.0.update(size.to_le_bytes());
    }

    /// In lower-case hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Extensions of compressed archives, for a hint.
const COMPRESSED: [&str; 8] = ["gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "lz4"];

impl ImageSet {
    /// Lists the images of a directory (with all below it), a `.zip`, a `.tar`, or one image file. A range of archives,
    /// `{00000..00099}.tar`, is one set, and so are the `.tar` files of a directory that holds no image itself.
    ///
    /// Entries are images by their extension ([`EXTENSIONS`](super::EXTENSIONS)); others are passed over without a word.
    /// A single file named directly is taken whatever it is called. Nothing is decoded here.
    /// Progress is reported with a total of 0, as the number of images is not known before.
    ///
    /// # Errors
    /// If `path` cannot be opened, is a damaged archive, or holds no image; [`Error::Interrupted`] on request.
    pub fn open(path: &Path, progress: &dyn Progress) -> Result<ImageSet> {
        ImageSet::look_into(path, None, progress)
    }

    /// As [`ImageSet::open`], for a process that does one shard of the work. Of a set of archives, if there are as many as shards,
    /// only those of the shard are looked into, and the set is of their images alone, maybe none: [`ImageSet::part`] says so.
    ///
    /// # Errors
    /// As [`ImageSet::open`].
    pub fn open_shard(path: &Path, shard: Shard, progress: &dyn Progress) -> Result<ImageSet> {
        ImageSet::look_into(path, Some(shard), progress)
    }

    fn look_into(path: &Path, shard: Option<Shard>, progress: &dyn Progress) -> Result<ImageSet> {
        let range = if path.exists() { None } else { tars::of_range(path)? };
        if let Some(archives) = range {
            return ImageSet::of(path, progress, |progress| tars::list(archives, shard, progress));
        }
        let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        ImageSet::of(path, progress, |progress| {
            if metadata.is_dir() {
                let listing = dir::list(path, progress)?;
                let archives = if listing.found.is_empty() { tars::of_folder(path)? } else { Vec::new() };
                if archives.is_empty() { Ok(listing) } else { tars::list(archives, shard, progress) }
            } else if !metadata.is_file() {
                Err(Error::malformed(
                    path,
                    "neither a directory nor a regular file",
                    "name a directory, a .zip, a .tar or an image",
                ))
            } else if extension == "zip" {
                zip::list(path, File::open(path).map_err(Error::io("open", path))?, progress)
            } else if extension == "tar" {
                tar::list(path, File::open(path).map_err(Error::io("open", path))?, progress)
            } else if COMPRESSED.contains(&extension.as_str()) {
                Err(Error::malformed(
                    path,
                    "compressed archives of this kind are not read",
                    "unpack it, or make a .zip or .tar of it",
                ))
            } else {
                dir::single(path, metadata.len())
            }
        })
    }

    fn of(
        path: &Path,
        progress: &dyn Progress,
        list: impl FnOnce(&dyn Progress) -> Result<Listing>,
    ) -> Result<ImageSet> {
        progress.start("finding images", 0, "images");
        let listing = list(progress);
        progress.finish();
        let set = ImageSet::from_listing(listing?, progress);
        if set.is_empty() && set.part.is_none() {
            let reason = match set.unreadable.len() {
                0 => "no image in it".to_string(),
                n => format!(
                    "no image in it that can be read, {n} left out (the first: {}: {})",
                    set.unreadable[0].path, set.unreadable[0].reason
                ),
            };
            return Err(Error::malformed(
                path,
                reason,
                format!("looked for {} in any letter case", looked_for()),
            ));
        }
        Ok(set)
    }

    /// Whether `path` names something that [`ImageSet::open`] would look into: a file, a directory, or a range of archives.
    pub fn is_named_by(path: &Path) -> bool {
        path.exists() || matches!(tars::of_range(path), Ok(Some(_)))
    }

    fn from_listing(listing: Listing, progress: &dyn Progress) -> ImageSet {
        let Listing { container, mut found, mut unreadable, archives } = listing;
        found.sort_by(|a, b| a.name.cmp(&b.name).then(a.slot.cmp(&b.slot)));
        let mut entries: Vec<Entry> = Vec::with_capacity(found.len());
        let mut not_utf8 = 0u64;
        let mut found = found.into_iter().peekable();
        while let Some(Found { name, size, slot }) = found.next() {
            let superseded = found.peek().is_some_and(|next| next.name == name);
            not_utf8 += u64::from(std::str::from_utf8(&name).is_err());
            let path = shown(name);
            if superseded {
                unreadable.push(Skipped::new(path, "a later entry of the archive has the same name"));
            } else {
                entries.push(Entry { path, size, slot });
            }
        }
        if not_utf8 > 0 {
            progress.warn(&format!("{not_utf8} names are not UTF-8: their other bytes are shown as \\xNN"));
        }
        unreadable.sort();
        let sections = archives.as_ref().map(|archives| archives.ends(&entries));
        ImageSet {
            container,
            entries,
            unreadable,
            sections,
            part: archives.and_then(|archives| archives.part),
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where each archive of a set of archives ends, in images; `None` for any other set.
    pub fn sections(&self) -> Option<&[usize]> {
        self.sections.as_deref()
    }

    /// Which archives the set is of, where [`ImageSet::open_shard`] has looked into no others.
    pub fn part(&self) -> Option<&ArchiveRange> {
        self.part.as_ref()
    }

    /// Whether there is none; [`ImageSet::open`] never returns such a set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The text that names image `i` in results: its relative path, or its file name if it is the only one.
    ///
    /// Bytes that are not UTF-8 are shown as `\xNN`; no two images share a text.
    ///
    /// # Panics
    /// If `i` is not below [`ImageSet::len`].
    pub fn path(&self, i: usize) -> &str {
        &self.entries[i].path
    }

    /// Bytes of image `i`, as listed.
    ///
    /// # Panics
    /// If `i` is not below [`ImageSet::len`].
    pub fn size(&self, i: usize) -> u64 {
        self.entries[i].size
    }

    /// The whole file of image `i`, from any number of threads at once.
    ///
    /// # Errors
    /// In words, without the path. Nothing larger than [`MAX_FILE_BYTES`](super::MAX_FILE_BYTES) is read.
    ///
    /// # Panics
    /// If `i` is not below [`ImageSet::len`].
    pub fn read(&self, i: usize) -> Result<Vec<u8>, String> {
        self.container.read(&self.entries[i])
    }

    /// What could not even be listed: directories without permission, link loops, dangling links, unusable archive entries.
    pub fn unreadable(&self) -> &[Skipped] {
        &self.unreadable
    }

    /// The [`InputDigest`] of all images.
    pub fn digest(&self) -> String {
        let mut digest = InputDigest::default();
        self.entries.iter().for_each(|entry| digest.add(&entry.path, entry.size));
        digest.finish()
    }
}
