//! Graphs on disk: a file of plain arrays for each, `index.0.safetensors`. What earlier versions wrote is read too.
//! The features are not in the files. The same index writes the same bytes, also after it was read.

use super::builder::Builder;
use super::index::GraphIndex;
use super::shares::{shares, shares_of_shards};
use crate::error::Result;
use crate::neighbors::exact::groups::{Content, RowGroups};
use crate::neighbors::graph::Earlier;
use crate::neighbors::hnsw::{HnswParameters, old_dump};
use crate::neighbors::index_files::{HashedFile, earlier_graph, name, unusable, verified};
use crate::neighbors::record::IndexRecord;
use crate::neighbors::walk::{Graph, graph_file, prepared};
use crate::progress::{Progress, check_stop};
use crate::runs::Shard;
use ndarray::ArcArray2;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The last part of the name of a graph's file.
const SUFFIX: &str = "safetensors";
/// Those of the two files in which earlier versions wrote a graph: its points and its links.
const OLD_SUFFIXES: [&str; 2] = ["hnsw.data", "hnsw.graph"];

impl GraphIndex {
    /// Writes the graphs into `dir`, replacing files of the same names, each at once; gives the SHA-256 of each file by its name.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<BTreeMap<String, String>> {
        let mut digests = BTreeMap::new();
        let contents = contents_beside(self.builder, self.graphs.len(), &self.groups);
        for (part, graph) in self.graphs.iter().enumerate() {
            digests.extend([write_graph(dir, part, graph, &contents)?]);
        }
        Ok(digests)
    }

    /// Opens the index that [`GraphIndex::save`] wrote into `dir` for the same `features` `[N, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if the record lacks the parameters or files of graphs, or if a file is missing, is not the one that was
    /// written, or names other rows than `features` has; [`crate::Error::Data`] and [`crate::Error::Usage`] as [`GraphIndex::build`].
    pub fn open(
        dir: &Path,
        record: &IndexRecord,
        features: ArcArray2<f32>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (Some(builder), Some(files)) = (record.parameters, &record.files) else {
            return Err(unusable(dir, "the record of the graphs lacks their parameters or files"));
        };
        if builder.kind() != record.kind {
            return Err(unusable(dir, "the record of the graphs holds the parameters of another kind"));
        }
        builder.check()?;
        let (space, groups) = prepared(features)?;
        let shares = match record.shards {
            None => shares(&groups, builder.parts()),
            Some(count) => {
                Shard::new(0, count).map_err(|error| unusable(dir, error.to_string()))?;
                shares_of_shards(&groups, count, space.features.nrows())
            }
        };
        let parts = shares.len();
        let old = files.keys().any(|name| OLD_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)));
        if files.len() != parts * if old { OLD_SUFFIXES.len() } else { 1 } {
            return Err(unusable(dir, format!("{} files are recorded for {parts} graphs", files.len())));
        }
        progress.start("reading the neighbour graph", parts as u64, "graphs");
        let mut graphs = Vec::with_capacity(parts);
        for (part, rows) in shares.into_iter().enumerate() {
            check_stop(progress, String::new)?;
            graphs.push(read_graph(dir, part, rows, builder, files)?);
            progress.advance(1);
        }
        progress.finish();
        Ok(GraphIndex::of_parts(space, groups, builder, graphs))
    }
}

/// The contents that are written beside each of `graphs`: beside a single one that a later graph can begin with, and beside no others.
pub(super) fn contents_beside(builder: Builder, graphs: usize, groups: &RowGroups) -> Vec<Content> {
    match (builder, graphs) {
        (Builder::Descent(_), 1) => groups.contents(),
        _ => Vec::new(),
    }
}

/// The graph of earlier rows in `dir`, where there is one that can be read: without it a graph is built anew.
pub(in crate::neighbors) fn read_earlier(dir: &Path) -> Option<Earlier> {
    let path = earlier_graph(dir);
    let (graph, contents) = graph_file::read_any(BufReader::new(File::open(&path).ok()?), &path).ok()?;
    Some(Earlier { graph, contents })
}

/// Writes the graph `part`, with the contents of its rows where there are any; gives the name of its file and its SHA-256.
///
/// # Errors
/// [`crate::Error::Io`].
pub(super) fn write_graph(
    dir: &Path,
    part: usize,
    graph: &Graph,
    contents: &[Content],
) -> Result<(String, String)> {
    let name = name(part, SUFFIX);
    let mut file = HashedFile::create(dir.join(&name))?;
    graph_file::write(graph, contents, &mut file)?;
    Ok((name, file.persist()?))
}

/// The graph `part` of `rows` from the file or the two files among `files` that hold it.
///
/// # Errors
/// As [`GraphIndex::open`].
pub(super) fn read_graph(
    dir: &Path,
    part: usize,
    rows: Vec<u32>,
    builder: Builder,
    files: &BTreeMap<String, String>,
) -> Result<Graph> {
    let old = OLD_SUFFIXES.map(|suffix| name(part, suffix));
    if let Builder::Hnsw(HnswParameters { m, .. }) = builder
        && old.iter().all(|name| files.contains_key(name))
    {
        let [points, links] = old.map(|name| verified(dir, &name, files).map(|file| (name, file)));
        let ((_, mut points), (name, mut links)) = (points?, links?);
        return old_dump::read(rows, m, &mut links, &mut points)
            .map_err(|reason| unusable(&dir.join(name), reason));
    }
    let name = name(part, SUFFIX);
    graph_file::read(rows, verified(dir, &name, files)?, &dir.join(name))
}
