//! Reading a file at an offset, by many threads at once.
//! One open file is shared; no thread moves another's position, and none waits for another.
//! Every read is bounded, whatever size an archive declares.

use super::kind::HEAD_BYTES;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// Largest single image file, in bytes, that is read into memory (1 GiB).
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

/// Most bytes reserved before reading: a file may declare a size that it does not have.
const TRUSTED_BYTES: u64 = 16 << 20;

/// A view of an open file with a position of its own. Cloning is cheap and shares the file.
#[derive(Clone, Debug)]
pub(super) struct FileAt {
    file: Arc<File>,
    /// Where the view begins in the file.
    base: u64,
    len: u64,
    position: u64,
}

impl FileAt {
    pub(super) fn new(file: File) -> io::Result<FileAt> {
        let len = file.metadata()?.len();
        Ok(FileAt::part(Arc::new(file), 0, len))
    }

    /// The `len` bytes from `base` on.
    pub(super) fn part(file: Arc<File>, base: u64, len: u64) -> FileAt {
        FileAt { file, base, len, position: 0 }
    }

    /// Length of the view in bytes: of the file when it was opened.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

impl Read for FileAt {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = left.min(buf.len());
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        let offset = self.base.saturating_add(self.position);
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::read_at(&*self.file, buf, offset)?;
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_read(&*self.file, buf, offset)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for FileAt {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::End(n) => self.len.checked_add_signed(n),
            SeekFrom::Current(n) => self.position.checked_add_signed(n),
        };
        self.position = target
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the offset lies outside the file"))?;
        Ok(self.position)
    }
}

/// The first bytes of a reader, at most [`HEAD_BYTES`].
///
/// # Errors
/// Those of the reader.
pub(super) fn head_of(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// All bytes of `reader`, which declares `size` of them.
///
/// # Errors
/// A reason without the path: larger than [`MAX_FILE_BYTES`] (declared or found), or not readable.
pub(super) fn read_bounded(reader: impl Read, size: u64) -> Result<Vec<u8>, String> {
    let too_large = |n: u64| format!("larger than {MAX_FILE_BYTES} bytes ({n})");
    if size > MAX_FILE_BYTES {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(size.min(TRUSTED_BYTES) as usize + 1);
    let n = reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())? as u64;
    if n > MAX_FILE_BYTES {
        return Err(too_large(n));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_size_above_the_limit_is_refused_before_reading() {
        struct Untouchable;
        impl Read for Untouchable {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("read although the size is refused")
            }
        }
        assert!(read_bounded(Untouchable, MAX_FILE_BYTES + 1).unwrap_err().contains("larger than"));
    }

    #[test]
    fn a_false_declared_size_takes_no_memory() {
        let bytes = read_bounded(&b"abc"[..], MAX_FILE_BYTES).unwrap();
        assert_eq!(bytes, b"abc");
        assert!(bytes.capacity() <= TRUSTED_BYTES as usize + 1);
    }

    #[test]
    fn clones_keep_their_own_position() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"0123456789").unwrap();
        let mut a = FileAt::new(File::open(dir.path().join("f")).unwrap()).unwrap();
        a.seek(SeekFrom::End(-3)).unwrap();
        let mut b = a.clone();
        b.seek(SeekFrom::Current(-5)).unwrap();
        let (mut x, mut y) = (String::new(), [0; 2]);
        a.read_to_string(&mut x).unwrap();
        b.read_exact(&mut y).unwrap();
        assert_eq!((x.as_str(), &y), ("789", b"23"));
        assert!(b.seek(SeekFrom::Current(-50)).is_err());
    }
}
