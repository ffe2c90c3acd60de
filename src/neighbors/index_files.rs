//! The files of a saved index in a directory. All are named `index.*`, and the record of the index holds the SHA-256 of each.
//! A file with another digest than the recorded one is refused before it is read.

use crate::error::{Error, Result};
use crate::formats::atomic::link_or_copy;
use crate::formats::digest::hex;
use crate::formats::scratch::scratch_file;
use crate::remedy::Remedy;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The first part of the names of all files of an index.
const BASENAME: &str = "index";
/// The last parts of the names.
const SUFFIXES: [&str; 3] = ["safetensors", "hnsw.data", "hnsw.graph"];
/// A graph of earlier rows, which the next graph begins with.
const EARLIER: &str = "earlier.safetensors";
/// Bytes hashed at a time.
const BUFFER: usize = 1 << 16;

/// The name of a file of the part `part` of an index; `suffix` is one of [`SUFFIXES`].
pub(super) fn name(part: usize, suffix: &str) -> String {
    format!("{BASENAME}.{part}.{suffix}")
}

/// The error of an index that has to be built again.
pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> Error {
    Error::malformed(path, reason, Remedy::IndexReference(None))
}

/// Puts the `files` of an index that was saved into `from` into `to`, where they replace those of an earlier index.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn place_files(from: &Path, to: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    for name in files.keys() {
        link_or_copy(&from.join(name), &to.join(name))?;
    }
    remove_others(to, Some(files))
}

/// The file `name` of `dir`, at its start, after its digest was compared with the one in `files`.
///
/// # Errors
/// [`Error::Malformed`] if it is not recorded, missing, or of another digest; [`Error::Io`].
pub(super) fn verified(dir: &Path, name: &str, files: &BTreeMap<String, String>) -> Result<BufReader<File>> {
    let path = dir.join(name);
    let Some(recorded) = files.get(name) else {
        return Err(unusable(&path, "the file is not among the recorded ones of the index"));
    };
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(unusable(&path, "a file of the index is missing"));
        }
        other => other.map_err(Error::io("open", &path))?,
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", &path)(error)),
        }
    }
    if hex(&hasher.finalize()) != *recorded {
        return Err(unusable(&path, "not the file that was written with the index (SHA-256 differs)"));
    }
    file.rewind().map_err(Error::io("read", &path))?;
    Ok(BufReader::new(file))
}

/// Removes the files of an index from `dir`. The graph of an index that has no more than one is kept as that of earlier rows.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn set_graphs_aside(dir: &Path) -> Result<()> {
    let [graph, next] = [0, 1].map(|part| dir.join(name(part, SUFFIXES[0])));
    if graph.is_file() && !next.exists() {
        fs::rename(&graph, dir.join(EARLIER)).map_err(Error::io("rename", &graph))?;
    }
    remove_where(dir, |name| name != EARLIER)
}

/// Where the graph of earlier rows is kept in `dir`.
pub(super) fn earlier_graph(dir: &Path) -> PathBuf {
    dir.join(EARLIER)
}

/// Removes files of an earlier index from `dir` that are not among `kept`.
pub(super) fn remove_others(dir: &Path, kept: Option<&BTreeMap<String, String>>) -> Result<()> {
    remove_where(dir, |name| !kept.is_some_and(|kept| kept.contains_key(name)))
}

/// Removes those files of an index whose name is `unwanted`.
fn remove_where(dir: &Path, unwanted: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let name = entry.map_err(Error::io("read", dir))?.file_name().to_string_lossy().into_owned();
        if !is_of_an_index(&name) || !unwanted(&name) {
            continue;
        }
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file has a name that [`name`] gives, or is a graph of earlier rows.
fn is_of_an_index(name: &str) -> bool {
    if name == EARLIER {
        return true;
    }
    let mut pieces = name.splitn(3, '.');
    let (base, part, suffix) = (pieces.next(), pieces.next(), pieces.next());
    base == Some(BASENAME)
        && part.is_some_and(|part| part.parse::<usize>().is_ok())
        && suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix))
}

/// A file that is hashed while it is written, and that gets its name when it is complete.
pub(super) struct HashedFile {
    pub path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
    hasher: Sha256,
}

impl HashedFile {
    /// Starts writing what will become `path`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default();
        let file = scratch_file(folder, name).map_err(Error::io("create", &path))?;
        Ok(HashedFile { path, file: BufWriter::new(file), hasher: Sha256::new() })
    }

    /// Gives the file its name, replacing what was there; returns its SHA-256 in lower-case hexadecimal.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn persist(self) -> Result<String> {
        let HashedFile { path, file, hasher } = self;
        let file = file.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        file.as_file().sync_data().map_err(Error::io("write", &path))?;
        file.persist(&path).map_err(|error| Error::io("rename", &path)(error.error))?;
        Ok(hex(&hasher.finalize()))
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
