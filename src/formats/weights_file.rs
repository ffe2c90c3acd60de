//! Weights files of any format: the content tells which, not the name.

use super::json::read_json;
use super::regular::open_regular;
use super::state_dict::{StateDict, Wanted};
use super::{archive, safetensors, torch};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufReader, Read, Seek};
use std::path::{Component, Path};

/// Reads the tensors of a file, by what it holds and not by its name: safetensors, a torch checkpoint (zip or legacy
/// format), or an archive (wheel, zip, tar, tar.gz) that holds exactly one such file.
/// A torch checkpoint may hold the state dict somewhere inside: see [`torch`]. Of a generator and a discriminator in one file the
/// generator is read.
///
/// # Errors
/// [`Error::Io`], and [`Error::Malformed`] for anything else than such a file.
pub fn read_state_dict(path: impl AsRef<Path>) -> Result<StateDict> {
    read_network(path, Wanted::default())
}

/// [`read_state_dict`] of the wanted network.
///
/// # Errors
/// As [`read_state_dict`].
pub(crate) fn read_network(path: impl AsRef<Path>, wanted: Wanted) -> Result<StateDict> {
    let path = path.as_ref();
    let file = open_regular(path)?;
    let mut source = BufReader::new(file);
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return read_sharded(path);
    }
    torch::refuse_programs(&mut source, path)?;
    if archive::is_archive(&mut source, path)? {
        let (member, bytes) = archive::read_single_weights(source, path)?;
        return read_from(std::io::Cursor::new(bytes), &path.join(member), wanted);
    }
    read_from(source, path, wanted)
}

/// Reads weights that lie in several files, from the index that says which tensor is in which (`weight_map`): `*.index.json`, as the
/// libraries of Hugging Face write it. The files lie beside the index.
///
/// # Errors
/// [`Error::Malformed`] if it is no such index, names a file outside its directory, or a tensor is not where it says; as
/// [`read_state_dict`].
pub(crate) fn read_sharded(index: &Path) -> Result<StateDict> {
    let value = read_json(index)?;
    let wrong =
        |reason: String| Error::malformed(index, reason, "copy or download the whole directory again");
    let index_of: ShardIndex =
        ShardIndex::deserialize(value).map_err(|e| wrong(format!("is no index of weights files: {e}")))?;
    let files: BTreeSet<&String> = index_of.weight_map.values().collect();
    let mut parts: HashMap<&String, StateDict> = HashMap::new();
    for file in files {
        let is_plain = Path::new(file).components().eq([Component::Normal(file.as_ref())]);
        if !is_plain || file.contains(['/', '\\']) || file.ends_with(".json") {
            return Err(wrong(format!("names {file:?}, which is no weights file beside it")));
        }
        parts.insert(file, read_state_dict(index.with_file_name(file))?);
    }
    let mut all = StateDict::new(index);
    for (name, file) in &index_of.weight_map {
        let tensor = parts.get(file).and_then(|part| part.get(name));
        let tensor =
            tensor.ok_or_else(|| wrong(format!("says that `{name}` is in {file}, and it is not")))?;
        all.insert(name.clone(), tensor.clone());
    }
    Ok(all)
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Bytes at the start of a file that tell its format.
const MAGIC_BYTES: usize = 16;

fn read_from(mut source: impl Read + Seek, path: &Path, wanted: Wanted) -> Result<StateDict> {
    let start = peek(&mut source, path)?;
    match start {
        _ if torch::is_checkpoint(&start) => torch::read(source, &start, path, wanted),
        // The header of safetensors is JSON behind its length.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => safetensors::read(source, path),
        _ => {
            if let Some((reason, hint)) = mistaken(&start) {
                return Err(Error::malformed(path, reason, hint));
            }
            let hint = "give a .safetensors, .pth, .pt, .ckpt or .th file, or a wheel or source archive that holds one";
            Err(Error::malformed(path, "is not a weights file of a known format", hint))
        }
    }
}

/// What a file is that stands where a weights file should, and what to do.
fn mistaken(start: &[u8]) -> Option<(&'static str, &'static str)> {
    const KNOWN: [(&[u8], &str, &str); 3] = [
        (
            b"version https://",
            "is a pointer of Git LFS, which stands for a file that was not fetched",
            "fetch the file: `git lfs pull` in its repository, or download it from the web page",
        ),
        (
            b"<!DOCTYPE",
            "is a web page",
            "the download gave a page instead of the file: get it with a browser",
        ),
        (b"<html", "is a web page", "the download gave a page instead of the file: get it with a browser"),
    ];
    match start.iter().all(|byte| *byte == 0) {
        true => Some(("is empty, or begins with nothing but zeros", "copy or download it again")),
        false => KNOWN.into_iter().find_map(|(magic, reason, hint)| {
            start.get(..magic.len())?.eq_ignore_ascii_case(magic).then_some((reason, hint))
        }),
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
