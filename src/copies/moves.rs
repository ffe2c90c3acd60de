//! Moving files aside, with a journal from which they are put back. Nothing is ever written over.

use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::formats::resolved::resolved;
use crate::formats::scratch::{remove_leftovers, scratch_file};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

/// The journal, in the directory that files are moved to.
pub(crate) const JOURNAL: &str = "moved.jsonl";

/// One file that was moved: a line of the journal, written before the file is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moved {
    /// The directory it was in.
    root: PathBuf,
    /// Its path below that, and below the directory of the journal.
    path: PathBuf,
}

/// What putting back came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Files that are back where they were.
    pub(crate) files: usize,
    /// Files that are not, each with the reason.
    pub(crate) left: Vec<(PathBuf, String)>,
}

/// Checks that the files `paths` of the directory `root` can be moved to `to`.
///
/// # Errors
/// [`Error::Usage`] if `to` lies in `root` or holds a file of the same name, or a path is not one below `root`.
pub(crate) fn check_moves(root: &Path, paths: &[String], to: &Path) -> Result<()> {
    let root = root.canonicalize().map_err(Error::io("open", root))?;
    if resolved(to)?.starts_with(&root) {
        return Err(Error::usage(
            format!(
                "{} lies in {}, where its files would be taken for pictures again",
                to.display(),
                root.display()
            ),
            "choose a directory outside",
        ));
    }
    let known = Journal::read(to)?.moved;
    for path in paths {
        if !is_below(Path::new(path)) || fs::symlink_metadata(root.join(path)).is_err() {
            return Err(Error::usage(
                format!("{path} cannot be moved: its name is no plain text"),
                "rename it first",
            ));
        }
        let begun = || known.iter().any(|moved| moved.root == root && moved.path == Path::new(path));
        let moved = to.join(path);
        if fs::symlink_metadata(&moved).is_ok() && !(begun() && same_content(&root.join(path), &moved)) {
            return Err(Error::usage(
                format!("{} exists already", to.join(path).display()),
                "choose another directory, or put back what was moved there",
            ));
        }
    }
    Ok(())
}

/// Moves the files `paths` of the directory `root` to the same paths below `to`. What is moved when an error or a power cut comes can be
/// put back.
///
/// # Errors
/// As [`check_moves`]; [`Error::Io`].
pub(crate) fn move_files(root: &Path, paths: &[String], to: &Path) -> Result<()> {
    check_moves(root, paths, to)?;
    let root = root.canonicalize().map_err(Error::io("open", root))?;
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    let Journal { moved: known, bytes, lacks_end } = Journal::read(to)?;
    let journal = to.join(JOURNAL);
    let mut file =
        OpenOptions::new().create(true).append(true).open(&journal).map_err(Error::io("write", &journal))?;
    // A line that was cut off is of a file that was not moved.
    file.set_len(bytes)
        .and_then(|()| if lacks_end { file.write_all(b"\n") } else { Ok(()) })
        .map_err(Error::io("write", &journal))?;
    for path in paths {
        let moved = Moved { root: root.clone(), path: path.into() };
        if !known.contains(&moved) {
            let line = serde_json::to_string(&moved).map_err(|e| Error::data(e.to_string(), ""))?;
            let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
            written.map_err(Error::io("write", &journal))?;
        }
        relocate(&root.join(path), &to.join(path))?;
    }
    Ok(())
}

/// What the journal of a directory says.
#[derive(Default)]
struct Journal {
    moved: Vec<Moved>,
    /// Bytes of its whole lines: the last one may have been cut off when the machine stopped.
    bytes: u64,
    /// Whether the last one lacks its line break.
    lacks_end: bool,
}

impl Journal {
    /// That of the directory `to`, which may have none.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is damaged; [`Error::Io`].
    fn read(to: &Path) -> Result<Self> {
        let path = to.join(JOURNAL);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(Error::io("read", &path))?,
        };
        let mut journal = Self::default();
        for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let is_ended = line.ends_with(b"\n");
            match serde_json::from_slice::<Moved>(line) {
                Ok(moved) if is_below(&moved.path) && moved.root.is_absolute() => {
                    journal.moved.push(moved);
                    journal.bytes += line.len() as u64;
                    journal.lacks_end = !is_ended;
                }
                Err(_) if !is_ended && line.starts_with(b"{") => break,
                _ => {
                    return Err(Error::malformed(
                        &path,
                        format!("line {} says of no file where it was", number + 1),
                        "move the files back by hand",
                    ));
                }
            }
        }
        Ok(journal)
    }
}

/// Puts back what the journal of `from` says was moved there, and removes the journal and the directories that are then empty.
///
/// # Errors
/// [`Error::Malformed`] if the journal is damaged: nothing is moved then; [`Error::Io`] if there is none.
pub(crate) fn restore(from: &Path) -> Result<Restored> {
    let journal = from.join(JOURNAL);
    // All files were back, and only the empty directory was left.
    if !journal.exists() && fs::remove_dir(from).is_ok() {
        return Ok(Restored::default());
    }
    File::open(&journal).map_err(Error::io("open", &journal))?;
    let moved = Journal::read(from)?.moved;
    let mut restored = Restored::default();
    for Moved { root, path } in moved.iter().rev() {
        let (here, there) = (from.join(path), root.join(path));
        // A line without its file: the move did not happen, or was taken back before.
        if fs::symlink_metadata(&here).is_err() {
            remove_empty(from, path);
            continue;
        }
        if fs::symlink_metadata(&there).is_ok() && !same_content(&here, &there) {
            restored.left.push((here, format!("{} exists", there.display())));
            continue;
        }
        match relocate(&here, &there) {
            Ok(()) => restored.files += 1,
            Err(error) => restored.left.push((here, error.to_string())),
        }
        remove_empty(from, path);
    }
    if restored.left.is_empty() {
        fs::remove_file(&journal).map_err(Error::io("remove", &journal))?;
        let _ = fs::remove_dir(from);
    }
    Ok(restored)
}

/// Whether a path stays below the directory that it is joined to.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && !path.as_os_str().is_empty()
}

/// Removes the directories above a path in `from` that nothing is in any more.
fn remove_empty(from: &Path, path: &Path) {
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        // Fails where something is still in it, which is right.
        let _ = fs::remove_dir(from.join(parent));
    }
}

/// Whether two files are there and have the same bytes: one that was copied, and not yet removed where it was.
fn same_content(one: &Path, other: &Path) -> bool {
    sha256_of_file(one).ok().zip(sha256_of_file(other).ok()).is_some_and(|(one, other)| one == other)
}

/// Renames a file, or copies and removes it where the file system is another. What has the name already is the same file.
fn relocate(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    copy_whole(from, parent, to)?;
    fs::remove_file(from).map_err(Error::io("remove", from))
}

/// Copies a file into the directory `parent`, where it appears when it is whole.
fn copy_whole(from: &Path, parent: &Path, to: &Path) -> Result<()> {
    remove_leftovers(parent);
    let copied = scratch_file(parent, to.file_name().unwrap_or_default()).map_err(Error::io("write", to))?;
    fs::copy(from, copied.path()).map_err(Error::io("write", to))?;
    copied.as_file().sync_all().map_err(Error::io("write", to))?;
    copied.persist(to).map(drop).map_err(|e| Error::io("write", to)(e.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    /// A directory `in` with two files, and what holds it.
    fn files() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("in");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/x.png"), "x").unwrap();
        fs::write(root.join("y.png"), "y").unwrap();
        (dir, root)
    }

    #[test]
    fn what_was_moved_is_put_back_and_leaves_no_trace() {
        let (dir, root) = files();
        let to = dir.path().join("out");
        move_files(&root, &["a/x.png".into(), "y.png".into()], &to).unwrap();
        assert_eq!((text(&to.join("a/x.png")), text(&to.join("y.png"))), ("x".into(), "y".into()));
        assert!(!root.join("y.png").exists());
        assert_eq!(restore(&to).unwrap(), Restored { files: 2, left: Vec::new() });
        assert_eq!((text(&root.join("a/x.png")), text(&root.join("y.png"))), ("x".into(), "y".into()));
        assert!(!to.exists());
    }

    #[test]
    fn nothing_is_written_over() {
        let (dir, root) = files();
        let to = dir.path().join("out");
        move_files(&root, &["y.png".into()], &to).unwrap();
        fs::write(root.join("y.png"), "new").unwrap();
        assert!(move_files(&root, &["y.png".into()], &to).is_err());
        let restored = restore(&to).unwrap();
        assert_eq!((restored.files, restored.left.len()), (0, 1));
        assert_eq!((text(&root.join("y.png")), text(&to.join("y.png"))), ("new".into(), "y".into()));
        fs::remove_file(root.join("y.png")).unwrap();
        assert_eq!(restore(&to).unwrap().files, 1);
    }

    #[test]
    fn a_move_that_was_cut_off_can_be_put_back() {
        let (dir, root) = files();
        let to = dir.path().join("out");
        move_files(&root, &["y.png".into()], &to).unwrap();
        // The line of a file that did not move any more.
        let line =
            serde_json::to_string(&Moved { root: root.canonicalize().unwrap(), path: "a/x.png".into() })
                .unwrap();
        let journal = text(&to.join(JOURNAL)) + &line + "\n";
        fs::write(to.join(JOURNAL), journal).unwrap();
        assert_eq!(restore(&to).unwrap().files, 1);
        assert!(root.join("y.png").exists() && root.join("a/x.png").exists());
    }

    #[test]
    fn a_move_that_was_cut_off_is_continued_to_the_same_journal() {
        let (dir, root) = files();
        let to = dir.path().join("out");
        let paths = ["a/x.png".into(), "y.png".into()];
        move_files(&root, &paths, &to).unwrap();
        let journal = text(&to.join(JOURNAL));
        for cut in 0..=journal.len() {
            restore(&to).unwrap();
            fs::create_dir_all(&to).unwrap();
            fs::write(to.join(JOURNAL), &journal[..cut]).unwrap();
            let whole = journal[..cut].matches('\n').count();
            // To another file system a file is copied before it is removed.
            if whole > 0 {
                copy_whole(&root.join("a/x.png"), &to, &to.join("copied")).unwrap();
                fs::create_dir_all(to.join("a")).unwrap();
                fs::rename(to.join("copied"), to.join("a/x.png")).unwrap();
            }
            move_files(&root, &paths, &to).unwrap();
            assert_eq!(text(&to.join(JOURNAL)), journal, "{cut}");
            assert!(!root.join("y.png").exists() && !root.join("a/x.png").exists());
        }
        // Putting back was cut off before its last step.
        restore(&to).unwrap();
        fs::create_dir(&to).unwrap();
        assert_eq!(restore(&to).unwrap(), Restored::default());
        assert!(!to.exists() && restore(&to).is_err());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let (dir, root) = files();
        assert!(check_moves(&root, &["y.png".into()], &root.join("a")).is_err());
        assert!(check_moves(&root, &["../in/y.png".into()], &dir.path().join("out")).is_err());
        assert!(check_moves(&root, &["/etc/passwd".into()], &dir.path().join("out")).is_err());
        let to = dir.path().join("out");
        fs::create_dir(&to).unwrap();
        for line in
            ["{\"root\": \"/tmp\", \"path\": \"../x\"}", "{\"root\": \"x\", \"path\": \"y\"}", "nonsense"]
        {
            fs::write(to.join(JOURNAL), line).unwrap();
            assert!(restore(&to).is_err(), "{line}");
        }
    }
}
