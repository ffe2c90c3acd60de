//! HNSW graphs on disk, in the dump format of `hnsw_rs`: two files for each graph, `index.0.hnsw.graph` and `index.0.hnsw.data`.
//! The features are not in them: a dump names rows. The same index writes the same bytes, also after it was read.

use super::graph::Graph;
use super::index::HnswIndex;
use super::old_dump;
use super::parameters::HnswParameters;
use super::shares::{shares, shares_of_shards};
use super::space::{Space, prepared};
use crate::error::{Error, Result};
use crate::neighbors::index_files::{HashedFile, name, unusable, verified};
use crate::neighbors::kind::IndexRecord;
use crate::progress::{Progress, check_stop};
use crate::shards::Shard;
use ndarray::ArcArray2;
use std::collections::BTreeMap;
use std::path::Path;

/// What `hnsw_rs` appends to a base name.
const SUFFIXES: [&str; 2] = ["hnsw.data", "hnsw.graph"];

fn names(part: usize) -> [String; 2] {
    SUFFIXES.map(|suffix| name(part, suffix))
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

    /// Opens the index that [`HnswIndex::save`] wrote into `dir` for the same `features` `[N, D]`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the record lacks the parameters or files of graphs, or if a file is missing, is not the one that was
    /// written, or names other rows than `features` has; [`Error::Data`] and [`Error::Usage`] as [`HnswIndex::build`].
    pub fn open(
        dir: &Path,
        record: &IndexRecord,
        features: ArcArray2<f32>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (Some(parameters), Some(files)) = (record.parameters, &record.files) else {
            return Err(unusable(dir, "the record of the HNSW index lacks its parameters or files"));
        };
        parameters.check()?;
        let (space, groups) = prepared(features)?;
        let shares = match record.shards {
            None => shares(&groups, parameters.parts),
            Some(count) => {
                Shard::new(0, count).map_err(|error| unusable(dir, error.to_string()))?;
                shares_of_shards(&groups, count, space.features.nrows())
            }
        };
        let parts = shares.len();
        if files.len() != parts * SUFFIXES.len() {
            return Err(unusable(dir, format!("{} files are recorded for {parts} graphs", files.len())));
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
    let mut data = HashedFile::create(dir.join(&data_name))?;
    let mut links = HashedFile::create(dir.join(&links_name))?;
    old_dump::write(graph, parameters.m, parameters.ef_construction, space, &mut links, &mut data)
        .map_err(Error::io("write", &links.path))?;
    Ok([(data_name, data.persist()?), (links_name, links.persist()?)])
}

/// The graph `part` of `rows`, with `m` connections, from its two files.
///
/// # Errors
/// As [`HnswIndex::open`].
pub(super) fn read_graph(
    dir: &Path,
    part: usize,
    rows: Vec<u32>,
    m: usize,
    files: &BTreeMap<String, String>,
) -> Result<Graph> {
    let [data, links] = names(part).map(|name| verified(dir, &name, files));
    let (mut data, mut links) = (data?, links?);
    old_dump::read(rows, m, &mut links, &mut data)
        .map_err(|reason| unusable(&dir.join(&names(part)[1]), reason))
}
