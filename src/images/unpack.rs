//! Compressed tar archives and arrays of pixels: unpacked once, into a file without a name, so that their images are read in any order like
//! others.
//! The file vanishes with the process, however that ends.

use super::kind::Archive;
use super::read_at::FileAt;
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes copied between two checks for a request to stop.
const STEP: usize = 1 << 20;
/// How many times its own size an archive may unpack to. Images hardly compress; only what is made to fill disks does.
const MOST_TIMES: u64 = 100;
/// Bytes that any archive may unpack to.
const ALWAYS: u64 = 1 << 30;

/// How many bytes something of `packed` bytes may unpack to.
fn most_bytes(packed: u64) -> u64 {
    ALWAYS.max(packed.saturating_mul(MOST_TIMES))
}

fn new_file() -> Result<Arc<File>> {
    let file = tempfile::tempfile().map_err(Error::io("create a file in", std::env::temp_dir()))?;
    Ok(Arc::new(file))
}

/// The `size` bytes that `packed_bytes` bytes unpack to through `reader`; `path` is for messages.
///
/// # Errors
/// [`Error::Malformed`] if there are more or fewer, or far too many; [`Error::Io`]; [`Error::Interrupted`].
pub(super) fn unpacked(
    path: &Path,
    reader: impl Read,
    packed_bytes: u64,
    size: u64,
    progress: &dyn Progress,
) -> Result<FileAt> {
    if size > most_bytes(packed_bytes) {
        let reason = format!("unpacks to {size} bytes, more than {MOST_TIMES} times its size");
        return Err(Error::malformed(path, reason, "save it without compression if it is to be trusted"));
    }
    let file = new_file()?;
    let write = |bytes: &[u8]| {
        (&*file).write_all(bytes).map_err(Error::io("unpack an archive into", std::env::temp_dir()))
    };
    read_whole(path, reader, size, progress, write)?;
    Ok(FileAt::part(file, 0, size))
}

/// Hands all bytes of `reader` to `take`, which are to be `size`; a reader of an archive checks their sum at the end.
///
/// # Errors
/// As [`unpacked`], and those of `take`.
pub(super) fn read_whole(
    path: &Path,
    mut reader: impl Read,
    size: u64,
    progress: &dyn Progress,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; STEP];
    let mut length = 0;
    loop {
        check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let reason = format!("is damaged or cut short: {e}");
                return Err(Error::malformed(path, reason, "copy or download it again"));
            }
        };
        length += n as u64;
        if length > size {
            break;
        }
        take(buffer.get(..n).unwrap_or_default())?;
    }
    match length == size {
        true => Ok(()),
        false => Err(Error::malformed(path, "is damaged: it unpacks to another length than it declares", "")),
    }
}

/// What was unpacked of all archives of a set.
#[derive(Default)]
pub(super) struct Unpacked {
    file: Option<Arc<File>>,
    len: u64,
}

/// What was unpacked of one archive.
pub(super) struct Part {
    /// The tar archive.
    pub file: FileAt,
    /// Where it begins in the file of all.
    pub base: u64,
    /// Why there is no more of it, if it is damaged.
    pub damage: Option<String>,
}

impl Unpacked {
    /// All of it; `None` if nothing was unpacked.
    pub(super) fn all(&self) -> Option<FileAt> {
        Some(FileAt::part(self.file.clone()?, 0, self.len))
    }

    /// Unpacks the archive `packed`, which `path` names in messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if nothing of it can be unpacked, or far too much; [`Error::Io`]; [`Error::Interrupted`].
    pub(super) fn add(
        &mut self,
        path: &Path,
        packed: FileAt,
        kind: Archive,
        progress: &dyn Progress,
    ) -> Result<Part> {
        let most = most_bytes(packed.len());
        let file = match &self.file {
            Some(file) => file.clone(),
            None => new_file()?,
        };
        self.file = Some(file.clone());
        let packed = BufReader::with_capacity(STEP, packed);
        let unreadable = |e: &dyn std::fmt::Display| {
            Error::malformed(path, format!("cannot be unpacked: {e}"), "copy or download it again")
        };
        let mut reader: Box<dyn Read> = match kind {
            Archive::Zstd => {
                Box::new(ruzstd::decoding::StreamingDecoder::new(packed).map_err(|e| unreadable(&e))?)
            }
            _ => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        };
        let base = self.len;
        let mut buffer = vec![0; STEP];
        let damage = loop {
            check_stop(progress, || "nothing was begun yet; run the same command again".into())?;
            let n = match reader.read(&mut buffer) {
                Ok(0) => break None,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if self.len == base => return Err(unreadable(&e)),
                Err(e) => break Some(format!("the archive is damaged or cut short: {e}")),
            };
            (&*file)
                .write_all(buffer.get(..n).unwrap_or_default())
                .map_err(Error::io("unpack an archive into", std::env::temp_dir()))?;
            self.len += n as u64;
            if self.len - base > most {
                let reason = format!("unpacks to more than {MOST_TIMES} times its size");
                return Err(Error::malformed(path, reason, "unpack it by hand if it is to be trusted"));
            }
        };
        Ok(Part { file: FileAt::part(file, base, self.len - base), base, damage })
    }
}
