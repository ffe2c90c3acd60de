//! Archives as one set: one archive, WebDataset shards named as a range, `{00000..00099}.tar`, or all archives of a folder, as
//! img2dataset leaves them beside tables of captions. An image is named by its archive, if there are several, and its name in there.

use super::container::{ArchiveRange, Archives, Container, Entry, InputDigest, Listing, modified};
use super::inputs::LeftOut;
use super::kind::{Archive, Kind, kind_of};
use super::names::shown;
use super::read_at::{FileAt, head_of};
use super::skipped::Skipped;
use super::sorting::archive_by_name;
use super::tar::Walked;
use super::unpack::Unpacked;
use super::{tar, zip};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::runs::Shard;
use ::zip::ZipArchive;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Most archives of one set.
const MOST: usize = 1_000_000;

/// An archive, and the name that the names of its images begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub path: PathBuf,
    pub name: Vec<u8>,
    /// What it is, where its content was looked at.
    pub kind: Option<Archive>,
}

/// The kind of the archive `file`: by its content; where that says nothing (it may be damaged), by the extension of `path`.
pub(super) fn kind_of_file(path: &Path, file: &FileAt) -> Option<Archive> {
    if let Kind::Archive(kind) = head_of(file.clone()).map_or(Kind::Other, |head| kind_of(&head)) {
        return Some(kind);
    }
    // A single file may be called `photos.gz`.
    let is_gzip = || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    archive_by_name(path.as_os_str().as_encoded_bytes()).or_else(|| is_gzip().then_some(Archive::Gzip))
}

/// The archives of a range such as `{00000..00099}`, as shells and WebDataset write it; `None` if `path` holds no range.
///
/// # Errors
/// [`Error::Usage`] for braces that hold no valid range.
pub(super) fn of_range(path: &Path) -> Result<Option<Vec<Named>>> {
    let Some(text) = path.to_str() else { return Ok(None) };
    let Some((before, rest)) = text.split_once('{') else { return Ok(None) };
    let Some((range, after)) = rest.split_once('}') else { return Ok(None) };
    let Some((first, last)) = range.split_once("..") else { return Ok(None) };
    let wrong = || {
        Error::usage(
            format!("{{{range}}} is no range of archives"),
            format!("{{00000..00099}}: two numbers, the lower one first, at most {MOST} archives"),
        )
    };
    let digits =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().ok()).flatten();
    let (Some(from), Some(to)) = (digits(first), digits(last)) else { return Err(wrong()) };
    if from > to || to - from >= MOST {
        return Err(wrong());
    }
    let places = if first.starts_with('0') { first.len() } else { 1 };
    // The folder that the archives share is no part of the names of images.
    let common = before.rfind('/').map_or(0, |at| at + 1);
    let named = (from..=to).map(|number| {
        let text = format!("{before}{number:0places$}{after}");
        Named { name: text.as_bytes()[common..].to_vec(), path: text.into(), kind: None }
    });
    Ok(Some(named.collect()))
}

/// Where the entries of an archive are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    /// At their offset in the file.
    Tar,
    /// By their number.
    Zip,
    /// At their offset in what was unpacked.
    Unpacked,
}

/// An archive with the position of each of its slots.
struct Part {
    path: PathBuf,
    packing: Packing,
    /// The slot of its first image in the set.
    first: usize,
    positions: Vec<u64>,
}

/// An archive that is open.
#[derive(Clone)]
enum Opened {
    Tar(FileAt),
    Zip(ZipArchive<FileAt>),
}

struct Many {
    parts: Vec<Part>,
    /// The archive that was read last. Images are read in order, so one open file suffices where there are thousands.
    open: Mutex<Option<(usize, Opened)>>,
    unpacked: Unpacked,
}

impl Many {
    fn opened(&self, at: usize, part: &Part) -> Result<Opened, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, opened)) = open.as_ref().filter(|(known, _)| *known == at) {
            return Ok(opened.clone());
        }
        let file = File::open(&part.path).and_then(FileAt::new).map_err(|e| e.to_string())?;
        let opened = match part.packing {
            Packing::Zip => Opened::Zip(zip::open(&part.path, file).map_err(|e| e.to_string())?),
            Packing::Tar | Packing::Unpacked => Opened::Tar(file),
        };
        *open = Some((at, opened.clone()));
        Ok(opened)
    }
}

impl Container for Many {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let at = self.parts.partition_point(|part| part.first <= entry.slot).saturating_sub(1);
        let part = self.parts.get(at).ok_or("no such entry")?;
        let position = *part.positions.get(entry.slot - part.first).ok_or("no such entry")?;
        if part.packing == Packing::Unpacked {
            return tar::read_entry(&self.unpacked.all().ok_or("no such entry")?, position, entry.size);
        }
        match self.opened(at, part)? {
            Opened::Tar(file) => tar::read_entry(&file, position, entry.size),
            Opened::Zip(archive) => zip::read_entry(&archive, position),
        }
    }
}

/// Reduces `named` to the archives of a shard if there are at least as many archives as shards.
fn of_shard(named: &mut Vec<Named>, shard: Option<Shard>) -> Result<Option<ArchiveRange>> {
    let Some(shard) = shard.filter(|shard| shard.count <= named.len()) else { return Ok(None) };
    let mut digest = InputDigest::default();
    for Named { path, name, .. } in named.iter() {
        let size = fs::metadata(path).map_err(Error::io("open", path))?.len();
        digest.add(&String::from_utf8_lossy(name), size);
    }
    let (own, count) = (shard.range(named.len()), named.len());
    *named = named.drain(own.clone()).collect();
    Ok(Some(ArchiveRange { own, count, digest: digest.finish() }))
}

/// Lists archive after archive.
struct Lister<'a> {
    many: Many,
    listing: Listing,
    slots: usize,
    progress: &'a dyn Progress,
}

impl<'a> Lister<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        let many = Many { parts: Vec::new(), open: Mutex::default(), unpacked: Unpacked::default() };
        let listing = Listing {
            container: Box::new(Nothing),
            found: Vec::new(),
            unreadable: Vec::new(),
            left_out: LeftOut::default(),
            archives: None,
        };
        Self { many, listing, slots: 0, progress }
    }

    /// Adds the images of an archive, whose names in the set begin with `name`, where it is not empty.
    fn add(&mut self, path: &Path, kind: Option<Archive>, name: &[u8]) -> Result<()> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let changed = file.metadata().map_or(0, |metadata| modified(&metadata));
        let file = FileAt::new(file).map_err(Error::io("open", path))?;
        let kind = kind.or_else(|| kind_of_file(path, &file)).unwrap_or(Archive::Tar);
        let (packing, walked) = match kind {
            Archive::Zip => (Packing::Zip, zip::walk(path, &zip::open(path, file)?, self.progress)?),
            Archive::Tar => (Packing::Tar, tar::walk(path, &file, self.progress)?),
            Archive::Gzip | Archive::Zstd => {
                let part = self.many.unpacked.add(path, file, kind, self.progress)?;
                let mut walked = tar::walk(path, &part.file, self.progress)?;
                if let Some(reason) = part.damage {
                    walked.unreadable = vec![Skipped::new(shown(file_name(path)), reason)];
                }
                walked.positions.iter_mut().for_each(|position| *position += part.base);
                (Packing::Unpacked, walked)
            }
            Archive::Unread(kind) => {
                return Err(Error::malformed(
                    path,
                    format!(".{kind} archives are not read"),
                    "unpack it, or make a .zip or .tar of it",
                ));
            }
        };
        let Walked { found, positions, unreadable, left_out } = walked;
        let listing = &mut self.listing;
        listing.found.extend(found.into_iter().map(|mut image| {
            image.name = within(name, &image.name);
            image.slot += self.slots;
            image.modified = changed;
            image
        }));
        let archive = String::from_utf8_lossy(name).into_owned();
        listing.unreadable.extend(unreadable.into_iter().map(|skipped| match archive.as_str() {
            "" => skipped,
            // A message about the archive itself already begins with its name.
            archive if archive.ends_with(&skipped.path) => Skipped { path: archive.into(), ..skipped },
            archive => Skipped { path: format!("{archive}/{}", skipped.path), ..skipped },
        }));
        listing.left_out.merge(left_out);
        // An archive without images would share its first slot with the next one.
        if !positions.is_empty() {
            let (first, count) = (self.slots, positions.len());
            self.many.parts.push(Part { path: path.into(), packing, first, positions });
            self.slots += count;
        }
        Ok(())
    }

    fn finish(mut self, part: Option<Option<ArchiveRange>>) -> Listing {
        let firsts = self.many.parts.iter().map(|part| part.first).collect();
        self.listing.archives = part.map(|part| Archives { firsts, part });
        self.listing.container = Box::new(self.many);
        self.listing
    }
}

/// Stands for the container while it is being filled.
struct Nothing;

impl Container for Nothing {
    fn read(&self, _: &Entry) -> Result<Vec<u8>, String> {
        Err("no such entry".into())
    }
}

fn file_name(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or_default().as_encoded_bytes().to_vec()
}

fn within(archive: &[u8], inner: &[u8]) -> Vec<u8> {
    if archive.is_empty() { inner.to_vec() } else { [archive, b"/", inner].concat() }
}

/// The images of one archive.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened; [`Error::Malformed`] if it is damaged from its beginning on.
pub(super) fn list_one(path: &Path, kind: Archive, progress: &dyn Progress) -> Result<Listing> {
    let mut lister = Lister::new(progress);
    lister.add(path, Some(kind), b"")?;
    Ok(lister.finish(None))
}

/// The images of all archives, or of the archives of a shard. One that is damaged is left out and reported.
///
/// # Errors
/// [`Error::Io`] if one cannot be opened; [`Error::Interrupted`].
pub(super) fn list(mut named: Vec<Named>, shard: Option<Shard>, progress: &dyn Progress) -> Result<Listing> {
    // A slash follows the name of an archive in the names of its images, which decide the order.
    let entry = |archive: &Named| [&archive.name[..], b"/"].concat();
    named.sort_by_cached_key(entry);
    let part = of_shard(&mut named, shard)?;
    let mut lister = Lister::new(progress);
    for Named { path, name, kind } in named {
        match lister.add(&path, kind, &name) {
            Ok(()) => {}
            Err(Error::Malformed { reason, .. }) => {
                lister.listing.unreadable.push(Skipped::new(shown(name), reason));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(lister.finish(Some(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImageSet;
    use crate::progress::Silent;

    fn names(path: &str) -> Vec<String> {
        let named = of_range(Path::new(path)).unwrap().unwrap();
        named.iter().map(|n| format!("{}|{}", n.path.display(), String::from_utf8_lossy(&n.name))).collect()
    }

    #[test]
    fn a_range_counts_with_the_places_of_its_first_number() {
        assert_eq!(
            names("a/{008..010}.tar"),
            ["a/008.tar|008.tar", "a/009.tar|009.tar", "a/010.tar|010.tar"]
        );
        assert_eq!(names("{9..10}/x.tar"), ["9/x.tar|9/x.tar", "10/x.tar|10/x.tar"]);
        for none in ["a.tar", "{a}.tar", "{1.tar", "}1..2{"] {
            assert_eq!(of_range(Path::new(none)).unwrap(), None, "{none}");
        }
        for wrong in [
            "{3..1}.tar",
            "{a..b}.tar",
            "{..}.tar",
            "{0..99999999}.tar",
            "{-1..2}.tar",
            "{1..99999999999999999999}",
        ] {
            assert!(matches!(of_range(Path::new(wrong)).unwrap_err(), Error::Usage { .. }), "{wrong}");
        }
    }

    fn archive(path: &Path, entries: &[(&str, &[u8])]) {
        let mut builder = ::tar::Builder::new(File::create(path).unwrap());
        for (name, content) in entries {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            if name.starts_with("link") {
                header.set_entry_type(::tar::EntryType::Symlink);
                header.set_link_name("elsewhere.png").unwrap();
            }
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.finish().unwrap();
    }

    #[test]
    fn archives_of_a_range_or_a_folder_are_one_set() {
        let dir = tempfile::tempdir().unwrap();
        archive(&dir.path().join("00001.tar"), &[("b.jpg", b"3"), ("b.json", b"{}"), ("a.png", b"2")]);
        archive(&dir.path().join("00000.tar"), &[("z.jpg", b"1")]);
        archive(&dir.path().join("00002.tar"), &[("only.txt", b"no image")]);
        archive(&dir.path().join("00003.tar"), &[("a.png", b"4"), ("link.png", b"")]);
        std::fs::write(dir.path().join("00000.parquet"), "PAR1").unwrap();
        std::fs::write(dir.path().join("00000_stats.json"), "{}").unwrap();
        let read = |path: &Path| {
            let set = ImageSet::open(path, &Silent).unwrap();
            let images: Vec<(String, Vec<u8>)> =
                (0..set.len()).map(|i| (set.path(i).to_owned(), set.read(i).unwrap())).collect();
            (images, set.unreadable().to_vec(), set.digest())
        };
        let (images, unreadable, digest) = read(dir.path());
        let image = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
        let expected = [
            image("00000.tar/z.jpg", b"1"),
            image("00001.tar/a.png", b"2"),
            image("00001.tar/b.jpg", b"3"),
            image("00003.tar/a.png", b"4"),
        ];
        assert_eq!(images, expected);
        assert_eq!(unreadable.len(), 1);
        assert!(unreadable[0].path.starts_with("00003.tar/"), "{}", unreadable[0].path);
        let range = dir.path().join("{00000..00003}.tar");
        assert_eq!(read(&range), (images, unreadable, digest));
        let missing = ImageSet::open(&dir.path().join("{00003..00004}.tar"), &Silent).err().unwrap();
        assert!(missing.to_string().contains("00004.tar"), "{missing}");
        assert_eq!(ImageSet::open(&range, &Silent).unwrap().sections(), Some(&[1, 3, 4][..]));
    }

    #[test]
    fn a_shard_looks_into_its_own_archives_alone() {
        let dir = tempfile::tempdir().unwrap();
        for i in 8..12 {
            let image = format!("{i}.png");
            archive(&dir.path().join(format!("{i}.tar")), &[(&image, b"x"), ("b.png", b"y")]);
        }
        let path = dir.path().join("{8..11}.tar");
        let whole = ImageSet::open(&path, &Silent).unwrap();
        assert!(whole.part().is_none());
        let shard = |index, count| ImageSet::open_shard(&path, Shard { index, count }, &Silent).unwrap();
        let mut names = Vec::new();
        for index in 0..3 {
            let set = shard(index, 3);
            assert_eq!(set.part().unwrap().own, Shard { index, count: 3 }.range(4));
            assert_eq!(set.part().unwrap().digest, shard(0, 4).part().unwrap().digest);
            names.extend((0..set.len()).map(|i| set.path(i).to_owned()));
        }
        // In the order of their entries: 10, 11, 8, 9.
        assert_eq!(names, (0..whole.len()).map(|i| whole.path(i).to_owned()).collect::<Vec<_>>());
        assert!(names[0].starts_with("10.tar/"));
        // More shards than archives: all are looked into.
        assert!(shard(4, 5).part().is_none() && shard(4, 5).len() == 8);
        // Not even an archive that is damaged keeps the others from their work.
        let size = fs::metadata(dir.path().join("8.tar")).unwrap().len() as usize;
        fs::write(dir.path().join("8.tar"), vec![b'x'; size]).unwrap();
        assert_eq!(shard(0, 3).len(), 2);
        let damaged = shard(2, 4);
        assert_eq!((damaged.len(), damaged.unreadable()[0].path.as_str()), (0, "8.tar"));
    }
}
