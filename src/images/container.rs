//! What a container of images (directory, archive, several archives) gives the set that is made of it.

use super::inputs::LeftOut;
use super::skipped::Skipped;
use crate::formats::digest::hex;
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::ops::Range;
use std::time::UNIX_EPOCH;

/// One image file of a set.
#[derive(Debug)]
pub(super) struct Entry {
    /// The text of its relative path.
    pub path: String,
    /// Bytes, as listed.
    pub size: u64,
    /// Its number in the container.
    pub slot: usize,
    /// When it, or the archive that it lies in, was changed last: see [`modified`].
    pub modified: i64,
}

/// A directory or archive that holds image files. It gives each a number when it lists them, and reads them by that number from
/// any thread.
pub(super) trait Container: Send + Sync {
    /// All bytes of the entry.
    ///
    /// # Errors
    /// A reason without the path.
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String>;
}

/// An image file as its container found it.
pub(super) struct Found {
    /// Relative path with `/` between its parts, in the bytes of the file system or archive.
    pub name: Vec<u8>,
    /// Bytes, as listed.
    pub size: u64,
    /// Its number in the container.
    pub slot: usize,
    /// As [`Entry::modified`].
    pub modified: i64,
}

/// When a file was changed last, in nanoseconds since 1970; 0 where the system does not say.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// What a container lists, in any order. Of several entries of one name the last counts.
pub(super) struct Listing {
    pub container: Box<dyn Container>,
    pub found: Vec<Found>,
    pub unreadable: Vec<Skipped>,
    pub left_out: LeftOut,
    /// Given for a set of several archives.
    pub archives: Option<Archives>,
}

/// The archives of a set, in the order of their entries.
pub(super) struct Archives {
    /// The first slot of each archive that was listed.
    pub firsts: Vec<usize>,
    /// Which archives of the whole set these are, if a shard has left others out.
    pub part: Option<ArchiveRange>,
}

/// The archives that one shard lists, among all archives of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRange {
    /// Places of the shard's archives among all.
    pub own: Range<usize>,
    /// How many there are in all.
    pub count: usize,
    /// SHA-256 (hex) over name and size of every archive file.
    pub digest: String,
}

impl Archives {
    /// Where the entries of each archive end; `entries` are all of them in order, those of an archive side by side.
    pub(super) fn ends(&self, entries: &[Entry]) -> Vec<usize> {
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

/// SHA-256 over the path and size of every image in order: the same for the same input, without reading it.
#[derive(Default)]
pub(crate) struct InputDigest(Sha256);

impl InputDigest {
    /// Adds the next image.
    pub(crate) fn add(&mut self, path: &str, size: u64) {
        self.0.update((path.len() as u64).to_le_bytes());
        self.0.update(path.as_bytes());
        self.0.update(size.to_le_bytes());
    }

    /// In lower-case hexadecimal.
    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}
