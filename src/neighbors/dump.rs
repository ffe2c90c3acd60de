//! Graphs on disk: the dumps of `hnsw_rs`, two files for each graph, `index.0.hnsw.graph` and `index.0.hnsw.data`.
//! `hnsw_rs` ends the process or panics on a damaged dump, so it sees none whose SHA-256 is not the recorded one.
//! The features are not in them: a dump names rows. The same build writes the same bytes (a loaded graph, saved again, does not:
//! `hnsw_rs` scales a number that only further insertion would use).

use super::hnsw::{Graph, HnswIndex, HnswParameters, RowDistance, check_rows, stored};
use super::{check_finite, groups::RowGroups, standard_layout};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use hnsw_rs::api::AnnT;
use hnsw_rs::hnswio::HnswIo;
use ndarray::ArcArray2;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

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
    /// Writes the graphs into `dir`, replacing files of the same names; gives the SHA-256 of each file by its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<BTreeMap<String, String>> {
        let mut digests = BTreeMap::new();
        for (part, graph) in self.graphs.iter().enumerate() {
            // A file that cannot be opened makes `hnsw_rs` panic.
            for name in names(part) {
                let path = dir.join(name);
                File::create(&path).map_err(Error::io("create", &path))?;
            }
            let path = dir.join(basename(part));
            graph
                .file_dump(dir, &basename(part))
                .map_err(|error| Error::io("write", &path)(io::Error::other(error.to_string())))?;
            for name in names(part) {
                let digest = digest(&dir.join(&name))?;
                digests.insert(name, digest);
            }
        }
        Ok(digests)
    }

    /// Reads the graphs that [`HnswIndex::save`] wrote into `dir` for the same `features` `[N, D]`; `files` holds the digests.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a file is missing, is not the one that was written, or names other rows than `features` has;
    /// [`Error::Data`] and [`Error::Usage`] as [`HnswIndex::build`].
    pub fn load(
        dir: &Path,
        features: ArcArray2<f32>,
        parameters: HnswParameters,
        files: &BTreeMap<String, String>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        parameters.check()?;
        check_finite(features.view())?;
        check_rows(features.nrows())?;
        let features = standard_layout(features);
        let groups = RowGroups::of(features.view());
        let distance = RowDistance::new(features.clone());
        let parts = parameters.parts_for(groups.firsts().count());
        if files.len() != parts * SUFFIXES.len() {
            return Err(broken(dir, format!("{} files are recorded for {parts} graphs", files.len())));
        }
        progress.start("reading the neighbour graph", parts as u64, "graphs");
        let mut graphs = Vec::with_capacity(parts);
        for part in 0..parts {
            check_stop(String::new)?;
            for name in names(part) {
                let path = dir.join(&name);
                let Some(recorded) = files.get(&name) else {
                    return Err(broken(&path, "the file is not among the recorded ones of the index"));
                };
                if !path.exists() {
                    return Err(broken(&path, "a file of the HNSW index is missing"));
                }
                if digest(&path)? != *recorded {
                    return Err(broken(
                        &path,
                        "not the file that was written with the index (SHA-256 differs)",
                    ));
                }
            }
            let graph = read(dir, part, distance.clone())?;
            let rows = groups.firsts().skip(part).step_by(parts);
            if !holds(&graph, rows) {
                let path = dir.join(basename(part));
                return Err(broken(&path, "the graph was built for other features"));
            }
            graphs.push(graph);
            progress.advance(1);
        }
        progress.finish();
        Ok(HnswIndex::of_parts(features, groups, parameters, graphs))
    }
}

/// Hands a dump whose digest was verified to `hnsw_rs`.
fn read(dir: &Path, part: usize, distance: RowDistance) -> Result<Graph> {
    // A loaded graph borrows its reader, because it may map the reader's file; this small one has to live as long as any graph.
    let reader: &'static HnswIo = Box::leak(Box::new(HnswIo::new(dir, &basename(part))));
    reader
        .load_hnsw_with_dist(distance)
        .map_err(|error| broken(&dir.join(basename(part)), format!("not a graph of this program: {error}")))
}

/// Whether `graph` holds exactly `rows` (ascending), each under its own number.
fn holds(graph: &Graph, rows: impl Iterator<Item = u32>) -> bool {
    let points = graph.get_point_indexation();
    let mut held: Vec<u32> = Vec::with_capacity(points.get_nb_point());
    for point in points {
        let Ok(row) = u32::try_from(point.get_origin_id()) else { return false };
        let &[number] = point.get_v() else { return false };
        if number.to_bits() != stored(row)[0].to_bits() {
            return false;
        }
        held.push(row);
    }
    held.sort_unstable();
    held.into_iter().eq(rows)
}

/// SHA-256 of a file in lower-case hexadecimal.
fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes files of an earlier index from `dir` that are not among `kept`.
pub(super) fn remove_others(dir: &Path, kept: Option<&BTreeMap<String, String>>) -> Result<()> {
    for part in 0..HnswParameters::MOST_PARTS {
        for name in names(part).into_iter().filter(|name| !kept.is_some_and(|kept| kept.contains_key(name))) {
            let path = dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
