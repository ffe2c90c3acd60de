//! A set of image files in a directory or in archives: its images, their order, and their bytes.
//! A module for each kind of container (directory, archives) lists and reads.
//! Rows of every later result are positions in this set.

use super::archives::{self, Named};
use super::container::{ArchiveRange, Container, Entry, Found, InputDigest, Listing};
use super::inputs::LeftOut;
use super::kind::Archive;
use super::names::{looked_for, shown};
use super::read_at::FileAt;
use super::skipped::Skipped;
use super::{dir, pixel_array};
use crate::error::{Error, Result};
use crate::formats::digest::sha256;
use crate::formats::npy::PixelArray;
use crate::progress::Progress;
use crate::runs::Shard;
use std::fs::File;
use std::path::Path;

/// Image files in a fixed order: by relative path, bytewise, with `/` between its parts.
pub struct ImageSet {
    container: Box<dyn Container>,
    entries: Vec<Entry>,
    unreadable: Vec<Skipped>,
    left_out: LeftOut,
    /// Where the images of each archive end, if the set is made of archives.
    sections: Option<Vec<usize>>,
    /// The archives listed for a shard; `None` if all were.
    part: Option<ArchiveRange>,
}

impl ImageSet {
    /// Lists the images of a directory (with all below it), an archive (`.zip`, `.tar`, `.tar.gz`, `.tar.zst`), a `.npz` file of pixels
    /// (an array `arr_0` of uint8 `[N, H, W, 3]`), or one image file. A range of archives, `{00000..00099}.tar`, is one set, and so are the archives of a directory that holds no image itself.
    ///
    /// Entries are images by their extension ([`EXTENSIONS`](super::names::EXTENSIONS)), or else by their content.
    /// Others are counted: [`ImageSet::left_out`]. Nothing is decoded here.
    /// Progress is reported with a total of 0, as the number of images is not known before.
    ///
    /// # Errors
    /// If `path` cannot be opened, is a damaged archive, or holds no image; [`Error::Interrupted`] on request.
    pub fn open(path: &Path, progress: &dyn Progress) -> Result<ImageSet> {
        ImageSet::look_into(path, None, progress)
    }

    /// As [`ImageSet::open`], for a process that does one shard of the work. If the set has at least as many archives as there are
    /// shards, only the archives of this shard are listed, and the set holds their images alone (there may be none):
    /// [`ImageSet::part`] names them.
    ///
    /// # Errors
    /// As [`ImageSet::open`].
    pub fn open_shard(path: &Path, shard: Shard, progress: &dyn Progress) -> Result<ImageSet> {
        ImageSet::look_into(path, Some(shard), progress)
    }

    fn look_into(path: &Path, shard: Option<Shard>, progress: &dyn Progress) -> Result<ImageSet> {
        let range = if path.exists() { None } else { archives::of_range(path)? };
        if let Some(archives) = range {
            return ImageSet::of(path, progress, |progress| archives::list(archives, shard, progress));
        }
        let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
        ImageSet::of(path, progress, |progress| {
            if metadata.is_dir() {
                return of_directory(path, shard, progress);
            }
            if !metadata.is_file() {
                return Err(Error::malformed(
                    path,
                    "neither a directory nor a regular file",
                    "name a directory, an archive or an image",
                ));
            }
            let file = File::open(path).and_then(FileAt::new).map_err(Error::io("open", path))?;
            if let Some(array) = PixelArray::of(path) {
                return pixel_array::list(path, file, &metadata, &array, progress);
            }
            match archives::kind_of_file(path, &file) {
                Some(kind) => archives::list_one(path, kind, progress),
                None => Ok(dir::single(path, &metadata)),
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
            return Err(set.nothing_in(path));
        }
        Ok(set)
    }

    fn nothing_in(&self, path: &Path) -> Error {
        let first = self.unreadable.first().or(self.left_out.first_unread());
        let mut reason = match first {
            None => "no image in it".to_string(),
            Some(first) => format!("no image in it that can be read; {}: {}", first.path, first.reason),
        };
        if !self.left_out.is_empty() {
            reason += &format!(" (in it: {})", self.left_out.describe());
        }
        Error::malformed(path, reason, format!("looked for {} in any letter case", looked_for()))
    }

    /// Whether [`ImageSet::open`] would list `path`: a file, a directory, or a range of archives.
    pub fn is_named_by(path: &Path) -> bool {
        path.exists() || matches!(archives::of_range(path), Ok(Some(_)))
    }

    fn from_listing(listing: Listing, progress: &dyn Progress) -> ImageSet {
        let Listing { container, mut found, mut unreadable, left_out, archives } = listing;
        found.sort_by(|a, b| a.name.cmp(&b.name).then(a.slot.cmp(&b.slot)));
        let mut entries: Vec<Entry> = Vec::with_capacity(found.len());
        let mut not_utf8 = 0u64;
        let mut found = found.into_iter().peekable();
        while let Some(Found { name, size, slot, modified }) = found.next() {
            let superseded = found.peek().is_some_and(|next| next.name == name);
            not_utf8 += u64::from(std::str::from_utf8(&name).is_err());
            let path = shown(name);
            if superseded {
                unreadable.push(Skipped::new(path, "a later entry of the archive has the same name"));
            } else {
                entries.push(Entry { path, size, slot, modified });
            }
        }
        if not_utf8 > 0 {
            progress.warn(&format!("{not_utf8} names are not UTF-8: their other bytes are shown as \\xNN"));
        }
        unreadable.sort();
        let found = Vec::new();
        ImageSet::in_order(Listing { container, found, unreadable, left_out, archives }, entries)
    }

    /// The set of these entries, in this order; of the listing all but what it found.
    pub(super) fn in_order(listing: Listing, entries: Vec<Entry>) -> ImageSet {
        let Listing { container, unreadable, left_out, archives, .. } = listing;
        let sections = archives.as_ref().map(|archives| archives.ends(&entries));
        ImageSet {
            container,
            entries,
            unreadable,
            left_out,
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

    /// The archives that [`ImageSet::open_shard`] listed for its shard; `None` if the set is complete.
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

    /// When image `i`, or the archive that it lies in, was changed last, in nanoseconds since 1970; 0 where the system does not say.
    ///
    /// # Panics
    /// If `i` is not below [`ImageSet::len`].
    pub(crate) fn modified(&self, i: usize) -> i64 {
        self.entries[i].modified
    }

    /// The whole file of image `i`, from any number of threads at once.
    ///
    /// # Errors
    /// A reason without the path. Nothing larger than [`MAX_FILE_BYTES`](super::read_at::MAX_FILE_BYTES) is read.
    ///
    /// # Panics
    /// If `i` is not below [`ImageSet::len`].
    pub fn read(&self, i: usize) -> Result<Vec<u8>, String> {
        self.container.read(&self.entries[i])
    }

    /// SHA-256 of the file of image `i`, 64 hexadecimal digits.
    ///
    /// # Errors
    /// As [`ImageSet::read`].
    ///
    /// # Panics
    /// If `i` is not below [`ImageSet::len`].
    pub(crate) fn sha256(&self, i: usize) -> Result<String, String> {
        self.read(i).map(|bytes| sha256(&bytes))
    }

    /// Inputs that could not be listed: directories without permission, link loops, dangling links, unusable archive entries.
    pub fn unreadable(&self) -> &[Skipped] {
        &self.unreadable
    }

    /// What lies among the images and was not looked into, by kind.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The [`InputDigest`] of all images.
    pub fn digest(&self) -> String {
        let mut digest = InputDigest::default();
        self.entries.iter().for_each(|entry| digest.add(&entry.path, entry.size));
        digest.finish()
    }
}

/// The images of a directory; if it has none, those of the archives in it.
fn of_directory(path: &Path, shard: Option<Shard>, progress: &dyn Progress) -> Result<Listing> {
    let (mut listing, found) = dir::list(path, progress)?;
    if found.is_empty() || !listing.found.is_empty() {
        for Named { name, kind, .. } in found {
            listing.left_out.add_archive(shown(name), kind.unwrap_or(Archive::Tar));
        }
        return Ok(listing);
    }
    let mut of_archives = archives::list(found, shard, progress)?;
    let is_part = of_archives.archives.as_ref().is_some_and(|archives| archives.part.is_some());
    // What lies beside the archives is counted once by all shards.
    if !is_part || shard.is_none_or(|shard| shard.index == 0) {
        of_archives.left_out.merge(listing.left_out);
        of_archives.unreadable.extend(listing.unreadable);
    }
    Ok(of_archives)
}
