//! A set of image files in a directory or in archives: its images, their order, and their bytes.
//! A module for each kind of container (directory, zip, tar, several tars) lists and reads.
//! Rows of every later result are positions in this set.

use super::container::{ArchiveRange, Container, Entry, Found, InputDigest, Listing, Skipped};
use super::names::{looked_for, shown};
use super::{dir, tar, tars, zip};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::runs::Shard;
use std::fs::File;
use std::path::Path;

/// Image files in a fixed order: by relative path, bytewise, with `/` between its parts.
pub struct ImageSet {
    container: Box<dyn Container>,
    entries: Vec<Entry>,
    unreadable: Vec<Skipped>,
    /// Where the images of each archive end, if the set is made of archives.
    sections: Option<Vec<usize>>,
    /// The archives listed for a shard; `None` if all were.
    part: Option<ArchiveRange>,
}

/// Extensions of compressed archives, for a hint.
const COMPRESSED: [&str; 8] = ["gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "lz4"];

impl ImageSet {
    /// Lists the images of a directory (with all below it), a `.zip`, a `.tar`, or one image file. A range of archives,
    /// `{00000..00099}.tar`, is one set, and so are the `.tar` files of a directory that holds no image itself.
    ///
    /// Entries are images by their extension ([`EXTENSIONS`](super::names::EXTENSIONS)); other entries are ignored.
    /// A single file that `path` names is taken whatever its extension. Nothing is decoded here.
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

    /// Whether [`ImageSet::open`] would list `path`: a file, a directory, or a range of archives.
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

    /// Inputs that could not be listed: directories without permission, link loops, dangling links, unusable archive entries.
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
