//! The neighbours of `pd index` by graphs, in parts: each part has the graph of its own rows, and the neighbours of all rows in it.
//! The merge takes for each row the nearest of all parts, by (distance, row); the graphs of all parts are the index.
//! A part keeps the features of its own rows in memory, and the merge those of one part at a time; others are read in groups.

use super::score::{ScoreOptions, SetScores};
use super::score_builder::ScoreBuilder;
use super::sharded_neighbors::{file, groups, read, without_neighbors, write};
use super::store::Reference;
use crate::error::{Error, Result};
use crate::formats::FeatureRows;
use crate::formats::atomic::link_or_copy;
use crate::neighbors::{Builder, GraphShard, Measured, Merging, Neighbors, Search, StreamedGraphs};
use crate::progress::{Progress, check_stop};
use crate::runs::{self, CHUNK, Part, Partial};
use candle_core::Device;
use ndarray::ArcArray2;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Rows that are read and looked for together.
const READ: usize = 8 * CHUNK;

/// Digests of the files of a graph, by name.
type Files = BTreeMap<String, String>;

/// The file of a part that holds the neighbours of a group of rows in its graph.
fn name(group: &Range<usize>) -> String {
    format!("neighbors-{:06}.npz", group.start / CHUNK)
}

/// The number under which the graph is kept among unfinished work: that of a chunk after the last.
fn graph_number(rows: usize) -> usize {
    runs::count(rows)
}

/// All rows of a set, in groups.
fn all_groups(rows: usize) -> Vec<Range<usize>> {
    groups(0..runs::count(rows), rows)
}

/// Builds the graph of the rows `own` and finds the nearest of all rows in it, as far as an earlier attempt has not. A shard
/// without rows has nothing to find. Exact search multiplies matrices on `device`.
pub(super) fn make_graph(
    reference: &Reference,
    (builder, measured): (Builder, Measured),
    own: Range<usize>,
    partial: &Partial,
    device: &Device,
    progress: &dyn Progress,
) -> Result<()> {
    if own.is_empty() {
        return Ok(());
    }
    let rows = reference.manifest.rows;
    let mut features = reference.feature_files()?;
    let content = features.read(own.clone())?.into_shared();
    let k = measured.k;
    let found_in = GraphShard::answered(&own, k);
    let graph = match kept_graph(partial, rows, content.clone(), own.clone(), builder, device, progress)? {
        Some(graph) => graph,
        None => {
            let graph = GraphShard::build(content, own, builder, measured, device, progress)?;
            partial.finish(graph_number(rows), &graph.save(&partial.path(""))?)?;
            graph
        }
    };
    let missing: Vec<Range<usize>> =
        all_groups(rows).into_iter().filter(|group| !partial.has(group.start / CHUNK)).collect();
    progress.start("nearest neighbours", missing.iter().map(|group| group.len() as u64).sum(), "rows");
    for group in missing {
        let mut found = Neighbors { k: found_in, rows: Vec::new(), distances: Vec::new() };
        for first in group.clone().step_by(READ) {
            check_stop(progress, || "what was found is kept; the same command continues".into())?;
            let queried = first..(first + READ).min(group.end);
            let near = graph.search(features.read(queried.clone())?.view(), queried.clone(), k, progress)?;
            found.rows.extend(near.rows);
            found.distances.extend(near.distances);
            progress.advance(queried.len() as u64);
        }
        write(&file(partial, &group), &found)?;
        partial.finish(group.start / CHUNK, &group.len())?;
    }
    progress.finish();
    Ok(())
}

/// The graph that an earlier attempt has left, if it is complete: after a power cut the file may be shorter than it was written.
fn kept_graph(
    partial: &Partial,
    rows: usize,
    content: ArcArray2<f32>,
    own: Range<usize>,
    builder: Builder,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Option<GraphShard>> {
    if !partial.has(graph_number(rows)) {
        return Ok(None);
    }
    let files: Files = partial.read(graph_number(rows))?;
    match GraphShard::load(&partial.path(""), content, own, builder, &files, device, progress) {
        Err(Error::Malformed { .. }) => Ok(None),
        graph => graph.map(Some),
    }
}

/// Fills the directory of a part with what [`make_graph`] has left in `partial`.
pub(super) fn fill(dir: &Path, partial: &Partial, rows: usize) -> Result<()> {
    if !partial.has(graph_number(rows)) {
        return Ok(());
    }
    let files: Files = partial.read(graph_number(rows))?;
    for name in files.keys() {
        link_or_copy(&partial.path(name), &dir.join(name))?;
    }
    for group in all_groups(rows) {
        link_or_copy(&file(partial, &group), &dir.join(name(&group)))?;
    }
    Ok(())
}

/// The parts whose shard has rows.
fn with_rows(parts: &[Part]) -> impl Iterator<Item = &Part> {
    parts.iter().filter(|part| !part.record.inputs.is_empty())
}

/// Gives the neighbours of each row out of what all parts found, one group of rows after the other.
fn merge_found(
    parts: &[Part],
    k: usize,
    rows: usize,
    progress: &dyn Progress,
    mut found: impl FnMut(&Neighbors),
) -> Result<()> {
    progress.start("merging neighbours", rows as u64, "rows");
    for group in all_groups(rows) {
        check_stop(progress, String::new)?;
        let mut merging = Merging::new(group.len(), Search { k, skip_zero: false });
        for part in with_rows(parts) {
            let path = part.file(&name(&group)).ok_or_else(|| without_neighbors(part))?;
            let inside = part.record.inputs.clone();
            let found = read(&path, (group.len(), GraphShard::answered(&inside, k)), inside)?;
            for (q, own) in group.clone().enumerate() {
                let (rows, distances) = found.of(q);
                let others = rows.iter().copied().zip(distances.iter().copied());
                merging.offer(q, others.filter(|&(row, _)| row as usize != own));
            }
        }
        found(&merging.finish()?);
        progress.advance(group.len() as u64);
    }
    progress.finish();
    Ok(())
}

/// Scores by the nearest of what all parts found. The graphs of all parts are written into `dir` as one index, with its recall.
pub(super) fn join_graphs(
    features: &mut dyn FeatureRows,
    parts: &[Part],
    dir: &Path,
    options: ScoreOptions,
    builder: Builder,
    device: &Device,
    progress: &dyn Progress,
) -> Result<SetScores> {
    let mut scores = ScoreBuilder::new(options);
    merge_found(parts, options.k, features.dim().0, progress, |found| scores.add(found))?;
    let graphs: Vec<(&Path, &Files)> =
        with_rows(parts).map(|part| (part.dir.as_path(), &part.record.files)).collect();
    let graphs = StreamedGraphs::open(features, parts.len(), &graphs, builder, device, progress)?;
    let measured = Measured { k: options.k, seed: options.seed };
    let record = graphs.join(features, dir, measured, progress)?;
    scores.finish(record, |rows, search| graphs.mean_distances(features, rows, search, progress))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::import;
    use super::*;
    use crate::formats::npy::write_npy;
    use crate::neighbors::IndexKind;
    use ndarray::Array2;
    use std::fs;
    use std::sync::Mutex;
    use tempfile::TempDir;

    /// What was begun.
    #[derive(Default)]
    struct Begun(Mutex<Vec<String>>);

    impl Progress for Begun {
        fn start(&self, what: &str, _: u64, _: &'static str) {
            self.0.lock().unwrap().push(what.into());
        }
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn warn(&self, _: &str) {}
        fn stop_requested(&self) -> bool {
            false
        }
    }

    /// A reference of so many rows, some of them copies, in a directory of its own; and its features.
    pub(crate) fn imported(rows: usize) -> (TempDir, Reference, Array2<f32>) {
        let dir = tempfile::tempdir().unwrap();
        let features = Array2::from_shape_fn((rows, 3), |(i, j)| ((i * (7 + j * 5)) % 997) as f32);
        let file = dir.path().join("features.npy");
        write_npy(&file, &features).unwrap();
        let place = dir.path().join("ref");
        import(&place, &file, &features, false).unwrap();
        (dir, Reference::open(&place).unwrap(), features)
    }

    #[test]
    fn a_part_that_goes_on_keeps_its_graph_and_what_was_found() {
        const ROWS: usize = 1_500;
        let (dir, reference, _) = imported(ROWS);
        let partial = Partial::open(dir.path().join("partial"), &"run").unwrap();
        let hnsw = (Builder::of(IndexKind::Hnsw, 4).unwrap(), Measured { k: 4, seed: 0 });
        let made = |own: &Range<usize>| {
            let begun = Begun::default();
            make_graph(&reference, hnsw, own.clone(), &partial, &Device::Cpu, &begun).unwrap();
            let out = tempfile::tempdir_in(dir.path()).unwrap();
            fill(out.path(), &partial, ROWS).unwrap();
            let names = ["index.0.safetensors", "neighbors-000000.npz"];
            let files = names.map(|name| fs::read(out.path().join(name)).unwrap());
            (files, begun.0.into_inner().unwrap())
        };
        let own = 1_024..ROWS;
        let (files, begun) = made(&own);
        assert_eq!(begun, ["neighbour graph", "nearest neighbours"]);
        // Broken off between the graph and the neighbours.
        fs::remove_file(partial.data_as(0, "json")).unwrap();
        let (again, begun) = made(&own);
        assert_eq!(begun, ["reading the neighbour graph", "nearest neighbours"]);
        assert_eq!(again, files);
        // A graph that is not whole is built again.
        fs::write(partial.path("index.0.safetensors"), "").unwrap();
        let (again, begun) = made(&own);
        assert!(begun.contains(&"neighbour graph".to_owned()), "{begun:?}");
        assert_eq!(again, files);
    }
}
