//! Files that appear whole: written under a temporary name beside the target, brought to the disk, then renamed over it.

use super::scratch::{REMOVED, scratch_file};
use crate::error::{Error, Result};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Size of the write buffer in bytes.
const BUFFER_BYTES: usize = 1 << 18;

/// A file being written. [`AtomicFile::commit`] gives it its name; dropped before that, it leaves nothing behind.
///
/// A target that exists and is not a regular file (a pipe, `/dev/stdout`) is written directly.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    writer: BufWriter<File>,
    temporary: Option<NamedTempFile>,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts writing what will become `path`. An existing file stays as it is until [`AtomicFile::commit`].
    ///
    /// # Errors
    /// [`Error::Io`] if nothing can be created in the directory of `path`.
    pub(crate) fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if fs::metadata(&target).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            let file = OpenOptions::new().write(true).open(&target).map_err(Error::io("write", path))?;
            let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
            return Ok(AtomicFile { writer, temporary: None, target });
        }
        let name = target
            .file_name()
            .filter(|_| !target.is_dir())
            .ok_or_else(|| Error::usage(format!("{} is a directory, not a file", path.display()), ""))?;
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = scratch_file(directory, name).map_err(Error::io("create", path))?;
        let file = temporary.as_file().try_clone().map_err(Error::io("create", path))?;
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(AtomicFile { writer, temporary: Some(temporary), target })
    }

    /// The name the file will have.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The buffered writer behind it.
    pub(crate) fn writer(&mut self) -> &mut BufWriter<File> {
        &mut self.writer
    }

    /// Writes out what is buffered, waits until it is on the disk, and gives the file its name, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Io`]; the target is then as it was before.
    pub(crate) fn commit(self) -> Result<()> {
        let AtomicFile { mut writer, temporary, target } = self;
        writer.flush().map_err(Error::io("write", &target))?;
        match temporary {
            Some(temporary) => {
                writer.get_ref().sync_data().map_err(Error::io("write", &target))?;
                drop(writer);
                temporary.persist(&target).map_err(|e| Error::io("write", &target)(e.error)).map(drop)
            }
            None => Ok(()),
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.seek(position)
    }
}

/// Writes a file, and the directories it is in, unless it is there with these bytes.
///
/// # Errors
/// As [`write_atomic`].
pub(crate) fn write_unless_there(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    write_atomic(path, |out| out.write_all(bytes))
}

/// Writes `path` with `write`; the file appears when `write` returned without an error, else nothing changes.
///
/// # Errors
/// [`Error::Io`] with `path`, from creating, from `write` or from renaming.
pub(crate) fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    write(file.writer()).map_err(Error::io("write", path))?;
    file.commit()
}

/// Writes `value` as indented JSON that ends with a line break, as [`write_atomic`] does.
///
/// # Errors
/// [`Error::Data`] if it cannot be written as JSON; [`Error::Io`].
pub(crate) fn write_json(path: impl AsRef<Path>, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::data(e.to_string(), ""))?;
    write_atomic(path, |out| writeln!(out, "{text}"))
}

/// Gives a file another name too, or copies it where the file system does not allow that. What has the name already is replaced.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    match fs::remove_file(to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", to)(e)),
        _ => {}
    }
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    write_atomic(to, |out| io::copy(&mut source, out).map(drop))
}

/// Makes `target` a symbolic link to a file, or another name of it where the system has no such links for everybody. What has the name
/// already stays.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn link_to(source: &Path, target: &Path) -> Result<()> {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(source, target);
    #[cfg(not(unix))]
    let linked = fs::hard_link(source, target);
    match linked {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(Error::io("link", target)),
    }
}

/// Removes a directory that may not be there.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes a directory that may not be there, and that other processes may be writing into: it loses its name at once, so that
/// nothing new appears in it while its files are removed.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove_directory_in_use(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nameless = path.with_file_name(format!(".{name}{REMOVED}"));
    remove_directory(&nameless)?;
    match fs::rename(path, &nameless) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path)(e)),
        Ok(()) => remove_directory(&nameless),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(directory.path()), ["a.txt"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("disk on fire"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["a.txt"]);
    }

    #[test]
    fn a_directory_in_use_goes_with_what_an_earlier_attempt_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("parts");
        for _ in 0..2 {
            fs::create_dir_all(path.join("below")).unwrap();
            fs::create_dir_all(directory.path().join(".parts.removed.pd.tmp/below")).unwrap();
            remove_directory_in_use(&path).unwrap();
            remove_directory_in_use(&path).unwrap();
            assert!(names(directory.path()).is_empty());
        }
    }

    #[test]
    fn a_missing_directory_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/a.txt");
        let error = write_atomic(&path, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("missing/a.txt"), "{error}");
        assert!(matches!(AtomicFile::create(directory.path()).unwrap_err(), Error::Usage { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_follow_the_umask_and_links_are_written_through() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (plain, real, link) =
            (directory.path().join("plain"), directory.path().join("real"), directory.path().join("link"));
        fs::write(&plain, "").unwrap();
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomic(&link, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&real));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        write_atomic("/dev/null", |w| w.write_all(b"gone")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
