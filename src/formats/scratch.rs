//! Files and directories under temporary names, and what a process that was killed left of them.
//! A temporary file is locked as long as its process lives, so that others can tell whose work goes on.

use crate::error::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};
use walkdir::WalkDir;

/// End of every temporary name: no other program uses it.
const SUFFIX: &str = ".pd.tmp";
/// End of the name of a directory that is being removed.
pub(super) const REMOVED: &str = ".removed.pd.tmp";
/// Characters of a file's name that its temporary name repeats: names have an end.
const REPEATED: usize = 64;

/// Mode of a new file before the user's umask, as `File::create` has it (`tempfile`'s own default is private).
#[cfg(unix)]
const NEW_FILE_MODE: u32 = 0o666;
#[cfg(unix)]
const NEW_DIRECTORY_MODE: u32 = 0o777;

/// A new file in `directory` that will be called `name`.
///
/// # Errors
/// What the system says.
pub(crate) fn scratch_file(directory: &Path, name: &OsStr) -> io::Result<NamedTempFile> {
    let repeated: String = name.to_string_lossy().chars().take(REPEATED).collect();
    let prefix = format!(".{repeated}.");
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(NEW_FILE_MODE));
    }
    loop {
        let file = builder.tempfile_in(directory)?;
        match file.as_file().try_lock() {
            // Another process has taken it for a leftover before it was locked.
            Err(TryLockError::WouldBlock) => {}
            _ if file.path().exists() => return Ok(file),
            _ => {}
        }
    }
}

/// A new directory in `directory`, whose owner has locked it ([`remove_leftovers_of_owner`]).
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn scratch_directory(directory: &Path) -> Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(".").suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(NEW_DIRECTORY_MODE));
    }
    builder.tempdir_in(directory).map_err(Error::io("create", directory))
}

/// Removes the temporary files in a directory whose processes are gone. What cannot be removed stays.
pub(crate) fn remove_leftovers(directory: &Path) {
    for (path, is_directory) in leftovers(directory) {
        if is_directory {
            continue;
        }
        // Where files cannot be locked there is no telling.
        let Ok(file) = File::options().write(true).open(&path) else { continue };
        if file.try_lock().is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// The same for a directory and all below it.
pub(crate) fn remove_leftovers_below(directory: &Path) {
    let below = WalkDir::new(directory).into_iter().flatten();
    below.filter(|entry| entry.file_type().is_dir()).for_each(|entry| remove_leftovers(entry.path()));
}

/// The same for a directory that no other process writes, with the temporary directories in it.
pub(crate) fn remove_leftovers_of_owner(directory: &Path) {
    remove_leftovers(directory);
    for (path, is_directory) in leftovers(directory) {
        if is_directory {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Whether a name is one that is made here.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(SUFFIX.as_bytes())
}

/// Temporary files and directories, and whether they are directories.
fn leftovers(directory: &Path) -> Vec<(std::path::PathBuf, bool)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter(|entry| is_temporary(&entry.file_name()));
    named
        .filter_map(|entry| {
            let kind = entry.file_type().ok()?;
            (kind.is_file() || kind.is_dir()).then(|| (entry.path(), kind.is_dir()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_goes_and_what_a_living_one_writes_stays() {
        let place = tempfile::tempdir().unwrap();
        let alive = scratch_file(place.path(), OsStr::new("a.csv")).unwrap();
        // A process that was killed leaves its file, unlocked.
        let dead = place.path().join(".a.csv.AbCdEf.pd.tmp");
        fs::write(&dead, "half").unwrap();
        let below = place.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let deep = below.join(".c.png.AbCdEf.pd.tmp");
        fs::write(&deep, "half").unwrap();
        let building = place.path().join(".x.pd.tmp");
        fs::create_dir(&building).unwrap();
        for other in ["a.pd.tmp", ".a.tmp", "a.csv"] {
            fs::write(place.path().join(other), "of another program").unwrap();
        }
        remove_leftovers(place.path());
        assert!(alive.path().exists() && !dead.exists() && building.exists() && deep.exists());
        remove_leftovers_below(place.path());
        assert!(alive.path().exists() && !deep.exists() && building.exists());
        remove_leftovers_of_owner(place.path());
        assert!(!building.exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 5);
        alive.persist(place.path().join("b.csv")).unwrap();
        remove_leftovers(&place.path().join("missing"));
    }

    #[test]
    fn a_long_name_has_a_temporary_name_too() {
        let place = tempfile::tempdir().unwrap();
        let name = "é".repeat(125);
        scratch_file(place.path(), OsStr::new(&name)).unwrap().persist(place.path().join(&name)).unwrap();
        assert!(scratch_directory(place.path()).unwrap().path().is_dir());
    }
}
