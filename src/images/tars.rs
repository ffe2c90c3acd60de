//! Several tar archives as one set: WebDataset shards named as a range, `{00000..00099}.tar`, and the archives of a folder, as
//! img2dataset leaves them beside tables of captions. An image is named by its archive and its name in there.

use super::container::{ArchiveRange, Archives, Container, Entry, Found, InputDigest, Listing, Skipped};
use super::read_at::FileAt;
use super::tar::{Walked, read_entry, walk};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::runs::Shard;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Most archives of one set.
const MOST: usize = 1_000_000;

/// An archive, and the name that the names of its images begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    path: PathBuf,
    name: Vec<u8>,
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
        Named { name: text.as_bytes()[common..].to_vec(), path: text.into() }
    });
    Ok(Some(named.collect()))
}

/// The `.tar` files of a folder, by name.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn of_folder(dir: &Path) -> Result<Vec<Named>> {
    let mut named = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let is_tar = Path::new(&entry.file_name()).extension().is_some_and(|e| e.eq_ignore_ascii_case("tar"));
        if is_tar {
            named.push(Named { name: entry.file_name().as_encoded_bytes().to_vec(), path: entry.path() });
        }
    }
    named.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(named)
}

/// An archive with the offset of each of its slots.
struct Archive {
    path: PathBuf,
    /// The slot of its first image in the set.
    first: usize,
    offsets: Vec<u64>,
}

struct Tars {
    archives: Vec<Archive>,
    /// The archive that was read last. Images are read in order, so one open file suffices where there are thousands.
    open: Mutex<Option<(usize, FileAt)>>,
}

impl Tars {
    fn file(&self, at: usize, path: &Path) -> Result<FileAt, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.as_ref().filter(|(known, _)| *known == at) {
            return Ok(file.clone());
        }
        let file = File::open(path).and_then(FileAt::new).map_err(|e| e.to_string())?;
        *open = Some((at, file.clone()));
        Ok(file)
    }
}

impl Container for Tars {
    fn read(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let at = self.archives.partition_point(|archive| archive.first <= entry.slot).saturating_sub(1);
        let archive = self.archives.get(at).ok_or("no such entry")?;
        let offset = archive.offsets.get(entry.slot - archive.first).ok_or("no such entry")?;
        read_entry(&self.file(at, &archive.path)?, *offset, entry.size)
    }
}

/// Reduces `named` to the archives of a shard if there are at least as many archives as shards.
fn of_shard(named: &mut Vec<Named>, shard: Option<Shard>) -> Result<Option<ArchiveRange>> {
    let Some(shard) = shard.filter(|shard| shard.count <= named.len()) else { return Ok(None) };
    let mut digest = InputDigest::default();
    for Named { path, name } in named.iter() {
        let size = fs::metadata(path).map_err(Error::io("open", path))?.len();
        digest.add(&String::from_utf8_lossy(name), size);
    }
    let (own, count) = (shard.range(named.len()), named.len());
    *named = named.drain(own.clone()).collect();
    Ok(Some(ArchiveRange { own, count, digest: digest.finish() }))
}

/// The images of all archives, or of the archives of a shard.
///
/// # Errors
/// [`Error::Io`] if one cannot be opened; [`Error::Malformed`] if one is no archive.
pub(super) fn list(mut named: Vec<Named>, shard: Option<Shard>, progress: &dyn Progress) -> Result<Listing> {
    // A slash follows the name of an archive in the names of its images, which decide the order.
    let entry = |archive: &Named| [&archive.name[..], b"/"].concat();
    named.sort_by_cached_key(entry);
    let part = of_shard(&mut named, shard)?;
    let mut archives: Vec<Archive> = Vec::new();
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let mut first = 0;
    for Named { path, name } in named {
        let file = File::open(&path).and_then(FileAt::new).map_err(Error::io("open", &path))?;
        let walked: Walked = walk(&path, &file, progress)?;
        let within = |inner: &[u8]| [&name[..], b"/", inner].concat();
        found.extend(walked.found.into_iter().map(|image| Found {
            name: within(&image.name),
            size: image.size,
            slot: first + image.slot,
        }));
        let archive_name = String::from_utf8_lossy(&name).into_owned();
        unreadable.extend(walked.unreadable.into_iter().map(|skipped| {
            // A message about the archive itself already begins with its name.
            match archive_name.ends_with(&skipped.path) {
                true => Skipped { path: archive_name.clone(), ..skipped },
                false => Skipped { path: format!("{archive_name}/{}", skipped.path), ..skipped },
            }
        }));
        let slots = walked.offsets.len();
        archives.push(Archive { path, first, offsets: walked.offsets });
        first += slots;
    }
    // An archive without images shares its first slot with the next one.
    archives.retain(|archive| !archive.offsets.is_empty());
    let of = Archives { firsts: archives.iter().map(|archive| archive.first).collect(), part };
    Ok(Listing {
        container: Box::new(Tars { archives, open: Mutex::default() }),
        found,
        unreadable,
        archives: Some(of),
    })
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
            assert_eq!(of_range(Path::new(wrong)).unwrap_err().exit_code(), 2, "{wrong}");
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
        assert!(ImageSet::open_shard(&path, Shard { index: 2, count: 4 }, &Silent).is_err());
    }
}
