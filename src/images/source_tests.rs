//! Directories, archives and hostile archives: what is listed, in which order, and what is read.

use super::ImageSet;
use super::read_at::MAX_FILE_BYTES;
use crate::error::Error;
use crate::progress::Silent;
use crate::progress::test_support::Warnings;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::path::Path;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn open(path: &Path) -> ImageSet {
    ImageSet::open(path, &Silent).unwrap_or_else(|e| panic!("{e}"))
}

fn paths(set: &ImageSet) -> Vec<&str> {
    (0..set.len()).map(|i| set.path(i)).collect()
}

fn reasons(set: &ImageSet) -> Vec<(&str, &str)> {
    set.unreadable().iter().map(|s| (s.path.as_str(), s.reason.as_str())).collect()
}

/// A zip with `(name, content)` entries, stored and deflated in turn.
fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (i, (name, content)) in entries.iter().enumerate() {
        let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][i % 2];
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A tar with `(name, content)` entries; names go into the header as they are.
fn tar_of(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn saved(name: &str, bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn a_directory_is_listed_with_all_below_it_bytewise() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["b.png", "a/z.JPG", "a-b.gif", "a/c/d.webp", "a.tif", "Z.bmp", "a/notes.txt", "é.ppm", ".hidden.png"]
    {
        write(&dir, name, name.as_bytes());
    }
    let set = open(dir.path());
    assert_eq!(
        paths(&set),
        [".hidden.png", "Z.bmp", "a-b.gif", "a.tif", "a/c/d.webp", "a/z.JPG", "b.png", "é.ppm"]
    );
    for i in 0..set.len() {
        assert_eq!(set.read(i).unwrap(), set.path(i).as_bytes());
    }
    assert!(set.unreadable().is_empty());
}

#[test]
fn the_same_files_have_the_same_order_and_digest_in_every_kind_of_place() {
    let entries: [(&str, &[u8]); 4] =
        [("b/x.png", b"1"), ("a.jpg", b"22"), ("b.gif", b"333"), ("readme.md", b"")];
    let dir = tempfile::tempdir().unwrap();
    entries.iter().for_each(|(name, content)| write(&dir, name, content));
    let (_zip, zip) = saved("set.ZIP", &zip_of(&entries));
    let (_tar, tar) = saved("set.tar", &tar_of(&entries.map(|(n, c)| (n.as_bytes(), c))));
    let sets = [open(dir.path()), open(&zip), open(&tar)];
    for set in &sets {
        assert_eq!(paths(set), ["a.jpg", "b.gif", "b/x.png"]);
        assert_eq!(set.digest(), sets[0].digest());
        assert_eq!((0..3).map(|i| set.read(i).unwrap().len()).collect::<Vec<_>>(), [2, 3, 1]);
    }
    write(&dir, "a.jpg", b"longer");
    assert_ne!(open(dir.path()).digest(), sets[0].digest(), "a changed size changes the digest");
}

#[test]
fn a_single_file_is_taken_whatever_it_is_called() {
    let (_dir, path) = saved("photo", b"bytes");
    let set = open(&path);
    assert_eq!((paths(&set), set.read(0).unwrap()), (vec!["photo"], b"bytes".to_vec()));
}

#[test]
fn a_place_without_images_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "notes.txt", b"");
    let error = ImageSet::open(dir.path(), &Silent).err().unwrap();
    assert!(error.to_string().contains("no image"), "{error}");
    assert!(error.hint().unwrap().contains("*.jpg") && error.hint().unwrap().contains("*.webp"));
    let missing = ImageSet::open(&dir.path().join("missing"), &Silent).err().unwrap();
    assert!(matches!(missing, Error::Io { .. }));
    write(&dir, "set.tar.gz", b"");
    let compressed = ImageSet::open(&dir.path().join("set.tar.gz"), &Silent).err().unwrap();
    assert!(compressed.to_string().contains("set.tar.gz"), "{compressed}");
    write(&dir, "set.7z", b"7z\xBC\xAF\x27\x1C");
    let unread = ImageSet::open(&dir.path().join("set.7z"), &Silent).err().unwrap();
    assert!(unread.hint().unwrap().contains("unpack"), "{unread}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_and_dangling_links_are_reported() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    write(&dir, "d/a.png", b"a");
    write(&elsewhere, "b.png", b"b");
    symlink(elsewhere.path(), dir.path().join("linked")).unwrap();
    symlink(dir.path(), dir.path().join("d/up")).unwrap();
    symlink("nothing.png", dir.path().join("dangling.png")).unwrap();
    symlink("self.png", dir.path().join("self.png")).unwrap();
    let set = open(dir.path());
    assert_eq!(paths(&set), ["d/a.png", "linked/b.png"]);
    assert_eq!(set.read(1).unwrap(), b"b");
    let reasons = reasons(&set);
    assert_eq!(reasons.iter().map(|r| r.0).collect::<Vec<_>>(), ["d/up", "dangling.png", "self.png"]);
    assert!(reasons[0].1.contains("leads back") && reasons[1].1.contains("link to nothing"));
}

/// Runs a test of this file again as a user who may not read everything, and asserts that it ran and passed.
#[cfg(unix)]
fn again_as_nobody(test: &str) {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    // By this link the program is found even below a directory that is closed to that user.
    let mut command = std::process::Command::new("/proc/self/exe");
    let (_, module) = module_path!().split_once("::").unwrap();
    command.args(["--exact", &format!("{module}::{test}")]).uid(NOBODY).gid(NOBODY);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_closed_directory_and_a_closed_file_do_not_end_the_listing() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    if std::fs::metadata(dir.path()).unwrap().uid() == 0 {
        return again_as_nobody("a_closed_directory_and_a_closed_file_do_not_end_the_listing");
    }
    write(&dir, "open.png", b"o");
    write(&dir, "closed.png", b"c");
    write(&dir, "shut/inside.png", b"i");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("closed.png", 0);
    mode("shut", 0);
    let set = open(dir.path());
    mode("shut", 0o755);
    assert_eq!(paths(&set), ["closed.png", "open.png"]);
    assert!(set.read(0).unwrap_err().to_lowercase().contains("denied"));
    assert_eq!(set.read(1).unwrap(), b"o");
    assert_eq!(reasons(&set).len(), 1);
    assert_eq!(reasons(&set)[0].0, "shut");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_read_shown_uniquely_and_warned_of() {
    use std::os::unix::ffi::OsStrExt;
    let names: [&[u8]; 3] = [b"caf\xE9.png", br"caf\xE9.png", b"caf\xEA.png"];
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let entries: Vec<(&[u8], &[u8])> = names.iter().map(|n| (*n, *n)).collect();
    let (_tar, tar) = saved("set.tar", &tar_of(&entries));
    for place in [dir.path(), &tar] {
        let warnings = Warnings::default();
        let set = ImageSet::open(place, &warnings).unwrap();
        assert_eq!(paths(&set), [r"caf\x5CxE9.png", r"caf\xE9.png", r"caf\xEA.png"]);
        assert_eq!(set.read(0).unwrap(), names[1]);
        assert_eq!(set.read(1).unwrap(), names[0]);
        assert_eq!(warnings.so_far().len(), 1);
        assert!(warnings.so_far()[0].contains("2 names are not UTF-8"));
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_with_an_image_name_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "a.png", b"a");
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("pipe.png")).status();
    assert!(made.unwrap().success());
    assert_eq!(reasons(&open(dir.path())), [("pipe.png", "not a regular file")]);
}

#[test]
fn archive_names_that_lead_out_are_left_out_and_absolute_ones_made_relative() {
    let entries: [(&str, &[u8]); 5] = [
        ("ok.png", b"1"),
        ("../../etc/x.png", b"2"),
        ("/abs/y.png", b"3"),
        ("./z.png", b"4"),
        ("__MACOSX/._ok.png", b"5"),
    ];
    let (_zip, zip) = saved("s.zip", &zip_of(&entries));
    let (_tar, tar) = saved("s.tar", &tar_of(&entries.map(|(n, c)| (n.as_bytes(), c))));
    for path in [zip, tar] {
        let set = open(&path);
        assert_eq!(paths(&set), ["abs/y.png", "ok.png", "z.png"]);
        assert_eq!(set.read(0).unwrap(), b"3");
        assert_eq!(reasons(&set), [("../../etc/x.png", "the name leads out of the archive")]);
    }
}

#[test]
fn of_entries_with_one_name_the_last_counts_and_the_others_are_reported() {
    let mut zip = zip_of(&[("a.png", b"first"), ("b.png", b"second")]);
    while let Some(at) = zip.windows(5).position(|w| w == b"b.png") {
        zip[at] = b'a';
    }
    let (_zip, zip) = saved("s.zip", &zip);
    let (_tar, tar) = saved("s.tar", &tar_of(&[(b"a.png", b"first"), (b"./a.png", b"second")]));
    for path in [zip, tar] {
        let set = open(&path);
        assert_eq!((paths(&set), set.read(0).unwrap()), (vec!["a.png"], b"second".to_vec()));
        assert_eq!(set.unreadable().len(), 1);
        assert!(set.unreadable()[0].reason.contains("name"));
    }
}

#[test]
fn an_encrypted_entry_is_left_out_with_its_reason() {
    let mut zip = zip_of(&[("a.png", b"plain"), ("b.png", b"secret")]);
    let central = zip.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    zip[central + 8] |= 1;
    let (_dir, path) = saved("s.zip", &zip);
    let set = open(&path);
    assert_eq!(paths(&set), ["a.png"]);
    assert_eq!(reasons(&set), [("b.png", "the entry is encrypted")]);
}

#[test]
fn a_damaged_zip_is_an_error_and_a_damaged_entry_a_reason() {
    let whole = zip_of(&[("a.png", &[7; 4000]), ("b.png", &[8; 4000])]);
    let (_dir, path) = saved("s.zip", &whole[..whole.len() - 60]);
    let error = ImageSet::open(&path, &Silent).err().unwrap();
    assert!(error.to_string().contains("not a readable zip archive") && error.hint().is_some(), "{error}");
    let mut flipped = whole;
    flipped[100] ^= 1;
    let (_dir, path) = saved("s.zip", &flipped);
    let set = open(&path);
    assert!(set.read(0).unwrap_err().to_lowercase().contains("checksum"));
    assert_eq!(set.read(1).unwrap(), [8; 4000]);
}

#[test]
fn an_entry_that_declares_too_much_is_refused_and_a_false_size_is_found() {
    let whole = zip_of(&[("b.gif", b""), ("a.png", &[0; 100_000])]);
    let central = whole.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    for (declared, part) in [((MAX_FILE_BYTES + 1) as u32, "far more than"), (99_000, "")] {
        let mut zip = whole.clone();
        zip[central + 24..central + 28].copy_from_slice(&declared.to_le_bytes());
        let (_dir, path) = saved("s.zip", &zip);
        let reason = open(&path).read(0).unwrap_err();
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_tar_that_is_cut_short_gives_what_lies_before_the_cut() {
    let whole = tar_of(&[(b"a.png", &[1; 600]), (b"b.png", &[2; 600])]);
    let (_dir, path) = saved("s.tar", &whole[..512 + 1024 + 512 + 100]);
    let set = open(&path);
    assert_eq!((paths(&set), set.read(0).unwrap()), (vec!["a.png"], vec![1; 600]));
    assert_eq!(reasons(&set)[0], ("b.png", "the archive is cut short inside this entry"));
    let (_dir, path) = saved("t.tar", &whole[..512 + 1024 + 200]);
    assert!(reasons(&open(&path))[0].1.contains("damaged after 1 entries"));
    let (_dir, path) = saved("u.tar", b"this is no tar archive");
    assert!(ImageSet::open(&path, &Silent).err().unwrap().to_string().contains("not a readable tar archive"));
}

#[test]
fn long_names_and_links_in_a_tar_are_understood() {
    let long = format!("{}/x.png", "directory".repeat(30));
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    tar.append_data(&mut header, &long, &b"abc"[..]).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "l.png", "/etc/passwd").unwrap();
    let (_dir, path) = saved("s.tar", &tar.into_inner().unwrap());
    let set = open(&path);
    assert_eq!((paths(&set), set.read(0).unwrap()), (vec![long.as_str()], b"abc".to_vec()));
    assert_eq!(reasons(&set), [("l.png", "the entry is a link")]);
}

#[test]
fn entries_are_read_from_many_threads_at_once() {
    use rayon::prelude::*;
    let contents: Vec<(String, Vec<u8>)> =
        (0..200u32).map(|i| (format!("{i:03}.png"), i.to_le_bytes().repeat(500 + i as usize))).collect();
    let entries: Vec<(&str, &[u8])> = contents.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let (_zip, zip) = saved("s.zip", &zip_of(&entries));
    let (_tar, tar) =
        saved("s.tar", &tar_of(&entries.iter().map(|(n, c)| (n.as_bytes(), *c)).collect::<Vec<_>>()));
    for path in [zip, tar] {
        let set = open(&path);
        (0..set.len()).into_par_iter().for_each(|i| assert_eq!(set.read(i).unwrap(), contents[i].1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_archive_makes_the_listing_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        length in prop::option::of(any::<prop::sample::Index>()),
        is_zip in any::<bool>(),
        keep_checksums in any::<bool>(),
    ) {
        let mut bytes = if is_zip {
            zip_of(&[("a.png", b"some bytes"), ("d/b.jpg", &[3; 700])])
        } else {
            tar_of(&[(b"a.png", b"some bytes"), (b"d/b.jpg", &[3; 700])])
        };
        for (at, value) in changes {
            let at = if is_zip { at.index(bytes.len()) } else { at.index(512) };
            bytes[at] = value;
        }
        if !is_zip && keep_checksums {
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        let (_dir, path) = saved(if is_zip { "s.zip" } else { "s.tar" }, &bytes);
        if let Ok(set) = ImageSet::open(&path, &Silent) {
            for i in 0..set.len() {
                let _ = set.read(i);
            }
        }
    }
}
