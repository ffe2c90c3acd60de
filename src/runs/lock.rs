//! Keeps other processes from writing a directory. The system lets go of the lock when the process ends, however it ends.

use crate::error::{Error, Result};
use crate::remedy::Remedy;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// The file that is locked. It is there only while a process writes the directory, or after one that was killed.
pub(super) const LOCK: &str = ".lock";

/// The lock of a directory, until it is dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: PathBuf,
    /// Absent where the file system has no locks.
    _held: Option<File>,
}

impl DirectoryLock {
    /// Locks a directory.
    ///
    /// # Errors
    /// [`Error::Usage`] if another process has locked it; [`Error::Io`] if nothing can be created in it.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        let file = directory.join(LOCK);
        loop {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
            let opened = opened.map_err(Error::io("create", &file))?;
            match opened.try_lock() {
                // The process that held it before may have removed the file between the two: then the lock keeps nobody out.
                Ok(()) if is_named(&opened, &file) => return Ok(Self { file, _held: Some(opened) }),
                Ok(()) => {}
                Err(TryLockError::Error(_)) => return Ok(Self { file, _held: None }),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::usage(
                        format!("another process is writing {}", directory.display()),
                        Remedy::WaitOrOtherOutput,
                    ));
                }
            }
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Elsewhere a file cannot be removed by name while it is open, and there is no telling whether an open file has a name.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Whether an open file is the one that has this name.
#[cfg(unix)]
fn is_named(file: &File, name: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(name)) {
        (Ok(open), Ok(named)) => place(open) == place(named),
        _ => false,
    }
}

/// The file is never removed here.
#[cfg(not(unix))]
fn is_named(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_locks_a_directory_and_leaves_nothing_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(directory.path()).unwrap();
        let error = DirectoryLock::take(directory.path()).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }));
        assert!(error.to_string().contains("another process is writing"), "{error}");
        assert!(directory.path().join(LOCK).exists());
        drop(first);
        if cfg!(unix) {
            assert!(!directory.path().join(LOCK).exists());
        }
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_file_that_a_killed_process_left_locks_nobody_out() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LOCK), "").unwrap();
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_removed_and_made_again_is_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join(LOCK);
        let opened = File::create(&name).unwrap();
        assert!(is_named(&opened, &name));
        fs::remove_file(&name).unwrap();
        assert!(!is_named(&opened, &name));
        let _other = File::create(&name).unwrap();
        assert!(!is_named(&opened, &name));
    }
}
