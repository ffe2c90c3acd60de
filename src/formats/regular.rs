//! Files that have an end.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::path::Path;

/// Opens a file that is to be read as a whole.
///
/// # Errors
/// [`Error::Malformed`] if it is a directory, or something that need not end (a pipe, a device); [`Error::Io`].
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    // Before it is opened: that alone may wait for ever.
    let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_dir() {
        return Err(Error::malformed(path, "is a directory", "name the file in it"));
    }
    if !metadata.is_file() {
        return Err(Error::malformed(path, "is no regular file", "save it as a file first"));
    }
    File::open(path).map_err(Error::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        assert!(matches!(open_regular(&file), Err(Error::Io { .. })));
        fs::write(&file, "a").unwrap();
        open_regular(&file).unwrap();
        assert!(open_regular(directory.path()).unwrap_err().to_string().contains("is a directory"));
        #[cfg(unix)]
        assert!(open_regular(Path::new("/dev/zero")).unwrap_err().to_string().contains("no regular file"));
    }
}
