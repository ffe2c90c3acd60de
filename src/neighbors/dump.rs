//! Graphs on disk: dumps in the format of `hnsw_rs`, two files for each graph, `index.0.hnsw.graph` and `index.0.hnsw.data`.
//! A file whose SHA-256 is not the recorded one is not read further, and what is read is checked all the same.
//! The features are not in them: a dump names rows. The same index writes the same bytes, also after it was loaded.

use super::graph::{Graph, Space};
use super::graph_dump;
use super::hnsw::{HnswIndex, HnswParameters, prepared, shares};
use super::hnsw_shards::shares_of_shards;
use crate::error::{Error, Result};
use crate::formats::atomic::link_or_copy;
use crate::formats::digest::hex;
use crate::progress::{Progress, check_stop};
use crate::shards::Shard;
use ndarray::ArcArray2;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// What the names of all files of an index begin with.
const BASENAME: &str = "index";
/// What `hnsw_rs` appends to a base name.
const SUFFIXES: [&str; 2] = ["hnsw.data", "hnsw.graph"];
/// Bytes hashed at a time.
const BUFFER: usize = 1 << 16;

fn basename(part: usize) -> String {
    format!("{BASENAME}.{part}")
}

fn names(part: usize) -> [String; 2] {
    SUFFIXES.map(|suffix| format!("{}.{suffix}", basename(part)))
}

/// The error of an index that has to be built again.
pub(super) fn broken(path: &Path, reason: impl Into<String>) -> Error {
    Error::malformed(path, reason, "Run `pd index` on the reference again.")
}

impl HnswIndex {
    /// Writes the graphs into `dir`, replacing files of the same names, each at once; gives the SHA-256 of each file by its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<BTreeMap<String, String>> {
        let mut digests = BTreeMap::new();
        for (part, graph) in self.graphs.iter().enumerate() {
            digests.extend(write_graph(dir, part, graph, &self.parameters, &self.space)?);
        }
        Ok(digests)
    }

    /// Reads the graphs that [`HnswIndex::save`] wrote into `dir` for the same `features` `[N, D]`; `files` holds the digests.
    /// `shards` is the number of shards that the graphs were built in, where they were.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a file is missing, is not the one that was written, or names other rows than `features` has;
    /// [`Error::Data`] and [`Error::Usage`] as [`HnswIndex::build`].
    pub fn load(
        dir: &Path,
        features: ArcArray2<f32>,
        (parameters, shards): (HnswParameters, Option<usize>),
        files: &BTreeMap<String, String>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        parameters.check()?;
        let (space, groups) = prepared(features)?;
        let shares = match shards {
            None => shares(&groups, parameters.parts),
            Some(count) => {
                Shard::new(0, count).map_err(|error| broken(dir, error.to_string()))?;
                shares_of_shards(&groups, count, space.features.nrows())
            }
        };
        let parts = shares.len();
        if files.len() != parts * SUFFIXES.len() {
            return Err(broken(dir, format!("{} files are recorded for {parts} graphs", files.len())));
        }
        progress.start("reading the neighbour graph", parts as u64, "graphs");
        let mut graphs = Vec::with_capacity(parts);
        for (part, rows) in shares.into_iter().enumerate() {
            check_stop(String::new)?;
            graphs.push(read_graph(dir, part, rows, parameters.m, files)?);
            progress.advance(1);
        }
        progress.finish();
        Ok(HnswIndex::of_parts(space, groups, parameters, graphs))
    }
}

/// Writes the graph `part`; gives the SHA-256 of its two files by their names.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write_graph(
    dir: &Path,
    part: usize,
    graph: &Graph,
    parameters: &HnswParameters,
    space: &Space,
) -> Result<[(String, String); 2]> {
    let [data_name, links_name] = names(part);
    let mut data = Output::create(dir.join(&data_name))?;
    let mut links = Output::create(dir.join(&links_name))?;
    graph_dump::write(graph, parameters.m, parameters.ef_construction, space, &mut links, &mut data)
        .map_err(Error::io("write", &links.path))?;
    Ok([(data_name, data.persist()?), (links_name, links.persist()?)])
}

/// Puts the files of an index that was saved into `from` into `to`, for those that are there.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn place_files(from: &Path, to: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    for name in files.keys() {
        link_or_copy(&from.join(name), &to.join(name))?;
    }
    remove_others(to, Some(files))
}

/// The graph `part` of `rows`, with `m` connections, from its two files.
///
/// # Errors
/// As [`HnswIndex::load`].
pub(super) fn read_graph(
    dir: &Path,
    part: usize,
    rows: Vec<u32>,
    m: usize,
    files: &BTreeMap<String, String>,
) -> Result<Graph> {
    let [data, links] = names(part).map(|name| verified(dir, &name, files));
    let (mut data, mut links) = (data?, links?);
    graph_dump::read(rows, m, &mut links, &mut data)
        .map_err(|reason| broken(&dir.join(basename(part)), reason))
}

/// The recorded file `name`, from its start, after its digest was compared.
fn verified(dir: &Path, name: &str, files: &BTreeMap<String, String>) -> Result<BufReader<File>> {
    let path = dir.join(name);
    let Some(recorded) = files.get(name) else {
        return Err(broken(&path, "the file is not among the recorded ones of the index"));
    };
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(broken(&path, "a file of the HNSW index is missing"));
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
        return Err(broken(&path, "not the file that was written with the index (SHA-256 differs)"));
    }
    file.rewind().map_err(Error::io("read", &path))?;
    Ok(BufReader::new(file))
}

/// Removes files of an earlier index from `dir` that are not among `kept`.
pub(super) fn remove_others(dir: &Path, kept: Option<&BTreeMap<String, String>>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let name = entry.map_err(Error::io("read", dir))?.file_name().to_string_lossy().into_owned();
        if !is_of_an_index(&name) || kept.is_some_and(|kept| kept.contains_key(&name)) {
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

/// Whether a file has a name that [`HnswIndex::save`] gives.
pub(super) fn is_of_an_index(name: &str) -> bool {
    let mut pieces = name.splitn(3, '.');
    let (base, part, suffix) = (pieces.next(), pieces.next(), pieces.next());
    base == Some(BASENAME)
        && part.is_some_and(|part| part.parse::<usize>().is_ok())
        && suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix))
}

/// A file that is hashed while it is written and gets its name when it is whole.
struct Output {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
    hasher: Sha256,
}

impl Output {
    fn create(path: PathBuf) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("create", &path))?;
        Ok(Output { path, file: BufWriter::new(file), hasher: Sha256::new() })
    }

    fn persist(self) -> Result<String> {
        let Output { path, file, hasher } = self;
        let file = file.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        make_readable(file.as_file()).map_err(Error::io("write", &path))?;
        file.persist(&path).map_err(|error| Error::io("rename", &path)(error.error))?;
        Ok(hex(&hasher.finalize()))
    }
}

/// A temporary file is private to its owner; what it becomes is not.
#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const READABLE_BY_ALL: u32 = 0o644;
    file.set_permissions(std::fs::Permissions::from_mode(READABLE_BY_ALL))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
