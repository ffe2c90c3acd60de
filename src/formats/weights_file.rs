//! Weights files of any format: the content tells which, not the name.

use super::regular::open_regular;
use super::state_dict::StateDict;
use super::{archive, safetensors, torch};
use crate::error::{Error, Result};
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// Reads the tensors of a file, by what it holds and not by its name: safetensors, a torch checkpoint (zip or legacy
/// format), or an archive (wheel, zip, tar, tar.gz) that holds exactly one such file.
/// A torch checkpoint may hold the state dict somewhere inside: see [`torch`].
///
/// # Errors
/// [`Error::Io`], and [`Error::Malformed`] for anything else than such a file.
pub fn read_state_dict(path: impl AsRef<Path>) -> Result<StateDict> {
    let path = path.as_ref();
    let file = open_regular(path)?;
    let mut source = BufReader::new(file);
    if archive::is_archive(&mut source, path)? {
        let (member, bytes) = archive::read_single_weights(source, path)?;
        return read_from(std::io::Cursor::new(bytes), &path.join(member));
    }
    read_from(source, path)
}

/// Bytes at the start of a file that tell its format.
const MAGIC_BYTES: usize = 16;

fn read_from(mut source: impl Read + Seek, path: &Path) -> Result<StateDict> {
    let start = peek(&mut source, path)?;
    match start {
        _ if torch::is_checkpoint(&start) => torch::read(source, &start, path),
        // The header of safetensors is JSON behind its length.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => safetensors::read(source, path),
        _ => {
            let hint = "give a .safetensors, .pth, .pt, .ckpt or .th file, or a wheel or source archive that holds one";
            Err(Error::malformed(path, "is not a weights file of a known format", hint))
        }
    }
}

fn peek(source: &mut (impl Read + Seek), path: &Path) -> Result<[u8; MAGIC_BYTES]> {
    let mut start = Vec::new();
    source
        .rewind()
        .and_then(|()| source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut start))
        .and_then(|_| source.rewind())
        .map_err(Error::io("read", path))?;
    let mut padded = [0; MAGIC_BYTES];
    padded[..start.len()].copy_from_slice(&start);
    Ok(padded)
}
