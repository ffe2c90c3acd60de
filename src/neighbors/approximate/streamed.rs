//! The graphs of all shards, searched one after the other: only one of them is in memory, with the features of its rows.
//! The answers, and the files that are written, are those of an [`GraphIndex`](super::GraphIndex) of all of them.

use super::builder::Builder;
use super::files::{contents_beside, read_graph, write_graph};
use super::index::Measured;
use super::shares::ranges;
use crate::error::Result;
use crate::formats::FeatureRows;
use crate::neighbors::exact::frame::Extent;
use crate::neighbors::exact::groups::{Contents, RowGroups};
use crate::neighbors::in_blocks::{blocks_of, search_in_blocks};
use crate::neighbors::recall::{RECALL_SAMPLE, sampled, share_found, warn_of_recall};
use crate::neighbors::record::IndexRecord;
use crate::neighbors::search::{Neighbors, Search, check_search};
use crate::neighbors::walk::{Graph, SearchResults, Space, Walk, check_rows, scale};
use crate::progress::{Progress, check_stop};
use candle_core::Device;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Rows that are read together.
const READ: usize = 8 * Extent::UNIT;
/// Queries that all graphs answer before the next are begun.
const TURN: usize = 1 << 19;

/// Digests of the files of a graph, by name.
type Files = BTreeMap<String, String>;

/// The graphs of the shards of a set of features `[N, D]`.
pub(crate) struct StreamedGraphs<'a> {
    /// Shards that there are, with or without rows.
    count: usize,
    /// How each of their graphs was built.
    builder: Builder,
    /// The rows of each shard that has any, and where [`GraphShard::save`](super::GraphShard::save) left its graph.
    shards: Vec<(Range<u32>, &'a Path, &'a Files)>,
    groups: RowGroups,
    scale: f32,
    /// Where exact search multiplies matrices.
    device: Device,
}

impl<'a> StreamedGraphs<'a> {
    /// For `features` in `count` shards: `parts` are the directories and files of those that have rows, in order. All rows are read
    /// once, and 28 bytes of each are kept. Exact search multiplies matrices on `device`. The graphs were built by `builder`.
    ///
    /// # Errors
    /// What reading returns; [`crate::Error::Data`] if there are too many rows; [`crate::Error::Interrupted`].
    pub(crate) fn open(
        features: &mut dyn FeatureRows,
        count: usize,
        parts: &[(&'a Path, &'a Files)],
        builder: Builder,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (rows, width) = features.dim();
        check_rows(rows)?;
        let (mut extent, mut contents) = (Extent::new(width), Contents::default());
        for first in (0..rows).step_by(READ) {
            check_stop(progress, String::new)?;
            let block = features.read(first..(first + READ).min(rows))?;
            extent.add(block.view());
            contents.add(block.view());
        }
        let shards =
            ranges(count, rows).zip(parts).map(|(range, &(dir, files))| (range, dir, files)).collect();
        let scale = scale(&extent.frame());
        Ok(Self {
            count,
            builder: builder.of_shard(),
            shards,
            groups: contents.grouped(),
            scale,
            device: device.clone(),
        })
    }

    /// Writes the graphs into `dir` as those of one index, and measures their recall,
    /// as [`crate::neighbors::build`] does. Gives the record of the index.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if a file is not the one that its shard wrote; as [`crate::neighbors::build`]; [`crate::Error::Io`].
    pub(crate) fn join(
        &self,
        features: &mut dyn FeatureRows,
        dir: &Path,
        measured: Measured,
        progress: &dyn Progress,
    ) -> Result<IndexRecord> {
        let search = Search { k: measured.k, skip_zero: false };
        check_search(search)?;
        let sampled = sampled(features.dim().0, RECALL_SAMPLE, measured.seed)?;
        let mut results: Vec<SearchResults> = sampled.iter().map(|_| SearchResults::new(search)).collect();
        let mut files = Files::new();
        let contents = contents_beside(self.builder, self.shards.len(), &self.groups);
        self.each(features, progress, |number, graph, features| {
            files.extend([write_graph(dir, number, graph.0, &contents)?]);
            self.walk(features, graph, &sampled, true, &mut results, progress)
        })?;
        let found = self.answers(features, &sampled, results, search, progress)?;
        let exact = self.exactly(features, &sampled, search, progress)?;
        let recall = share_found(&found, &exact);
        warn_of_recall(recall, progress);
        Ok(IndexRecord::of_graphs(self.builder, Some(self.count), Some(recall), Some(files)))
    }

    /// The mean distance to the neighbours that [`crate::neighbors::NeighborIndex::search`] of the index finds for some rows of the set among
    /// the others.
    ///
    /// # Errors
    /// As [`crate::neighbors::NeighborIndex::search`]; what reading returns.
    pub(crate) fn mean_distances(
        &self,
        features: &mut dyn FeatureRows,
        rows: &[usize],
        search: Search,
        progress: &dyn Progress,
    ) -> Result<Vec<f64>> {
        check_search(search)?;
        let mut means = Vec::with_capacity(rows.len());
        for rows in rows.chunks(TURN) {
            let mut results: Vec<SearchResults> = rows.iter().map(|_| SearchResults::new(search)).collect();
            self.each(features, progress, |_, graph, features| {
                self.walk(features, graph, rows, false, &mut results, progress)
            })?;
            means.extend(self.answers(features, rows, results, search, progress)?.mean_distances());
        }
        Ok(means)
    }

    /// Visits the graphs.
    fn each(
        &self,
        features: &mut dyn FeatureRows,
        progress: &dyn Progress,
        mut visit: impl FnMut(usize, (&Graph, &Space), &mut dyn FeatureRows) -> Result<()>,
    ) -> Result<()> {
        progress.start("neighbour graphs", self.shards.len() as u64, "graphs");
        for (number, (range, dir, files)) in self.shards.iter().enumerate() {
            check_stop(progress, String::new)?;
            // A shard counts its rows from 0.
            let counted = self.groups.firsts_within(range.clone()).map(|row| row - range.start).collect();
            let mut graph = read_graph(dir, 0, counted, self.builder, files)?;
            graph.rows.iter_mut().for_each(|row| *row += range.start);
            let content = features.read(range.start as usize..range.end as usize)?.into_shared();
            let space = Space { features: content, first: range.start, scale: self.scale };
            visit(number, (&graph, &space), features)?;
            progress.advance(1);
        }
        progress.finish();
        Ok(())
    }

    /// Walks over a graph for some rows of the set, from their own node if `from_own` and there is one.
    fn walk(
        &self,
        features: &mut dyn FeatureRows,
        graph: (&Graph, &Space),
        rows: &[usize],
        from_own: bool,
        results: &mut [SearchResults],
        progress: &dyn Progress,
    ) -> Result<()> {
        let ef = self.builder.ef_search();
        for (rows, results) in rows.chunks(READ).zip(results.chunks_mut(READ)) {
            check_stop(progress, String::new)?;
            let queries = features.select(rows)?;
            let queries = queries.as_slice().unwrap_or_default().par_chunks_exact(features.dim().1.max(1));
            results.par_iter_mut().zip(rows).zip(queries).for_each_init(
                Walk::default,
                |walk, ((results, &row), query)| {
                    let own = self.groups.first(row as u32);
                    let start = if from_own { graph.0.node(own) } else { None };
                    results.walk(query, graph, start, ef, walk);
                    results.keep_nearest(&self.groups);
                },
            );
        }
        Ok(())
    }

    /// The answers for the rows; exactly, where the graphs do not know enough.
    fn answers(
        &self,
        features: &mut dyn FeatureRows,
        rows: &[usize],
        results: Vec<SearchResults>,
        search: Search,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        let k = search.k;
        let mut neighbors =
            Neighbors { k, rows: vec![0; rows.len() * k], distances: vec![0.0; rows.len() * k] };
        let mut unanswered = Vec::new();
        for (q, (results, &row)) in results.into_iter().zip(rows).enumerate() {
            let answer = results.answer(&self.groups, Some(row as u32));
            if answer.and_then(|found| neighbors.set(q, &found)).is_none() {
                unanswered.push(q);
            }
        }
        for unanswered in unanswered.chunks(READ) {
            let rows: Vec<usize> = unanswered.iter().map(|&q| rows[q]).collect();
            let found = self.exactly(features, &rows, search, progress)?;
            for (at, &q) in unanswered.iter().enumerate() {
                let (rows, distances) = found.of(at);
                neighbors.rows[q * k..][..k].copy_from_slice(rows);
                neighbors.distances[q * k..][..k].copy_from_slice(distances);
            }
        }
        Ok(neighbors)
    }

    /// [`search_in_blocks`], with progress.
    fn exactly(
        &self,
        features: &mut dyn FeatureRows,
        rows: &[usize],
        search: Search,
        progress: &dyn Progress,
    ) -> Result<Neighbors> {
        progress.start(
            "nearest neighbours",
            (rows.len() * blocks_of(features.dim().0)) as u64,
            "rows of a block",
        );
        let found = search_in_blocks(features, rows, search, &self.device, progress)?;
        progress.finish();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::clusters;
    use super::super::{GraphIndex, GraphShard};
    use super::*;
    use crate::neighbors::IndexKind;
    use crate::neighbors::{ExactIndex, NeighborIndex, open};
    use crate::progress::Silent;
    use crate::runs::{Shard, of_shard};
    use ndarray::{ArcArray2, Axis};
    use tempfile::TempDir;

    const MEASURED: Measured = Measured { k: 8, seed: 3 };

    fn builders() -> [Builder; 2] {
        [IndexKind::Hnsw, IndexKind::Graph].map(|kind| Builder::of(kind, MEASURED.k).unwrap())
    }

    /// The graphs of `count` shards, those without rows left out.
    fn graphs(features: &ArcArray2<f32>, builder: Builder, count: usize) -> Vec<(TempDir, Files)> {
        let shards = (0..count).map(|index| of_shard(Shard { index, count }, features.nrows()).1);
        let made = shards.filter(|rows| !rows.is_empty()).map(|rows| {
            let dir = tempfile::tempdir().unwrap();
            let content = features.clone().read(rows.clone()).unwrap().into_shared();
            let graph = GraphShard::build(content, rows, builder, MEASURED, &Device::Cpu, &Silent).unwrap();
            let files = graph.save(dir.path()).unwrap();
            (dir, files)
        });
        made.collect()
    }

    /// Of clusters with copies near each other and far apart, of which one is as large as float32 is; one row has more copies than
    /// neighbours are wanted.
    fn features() -> ArcArray2<f32> {
        let mut features = clusters(3_500, 6, 31);
        for row in 0..40 {
            let copied = features.row(row * 3).to_owned();
            features.row_mut(3_400 - row * 20).assign(&copied);
        }
        for row in (5..900).step_by(60) {
            let copied = features.row(2_000).to_owned();
            features.row_mut(row).assign(&copied);
        }
        features.row_mut(17).fill(3e38);
        features.into_shared()
    }

    #[test]
    fn what_is_written_and_found_in_turn_is_that_of_the_whole_index_in_memory() {
        let mut features = features();
        for (builder, count) in builders().into_iter().flat_map(|b| [1, 3, 5].map(|count| (b, count))) {
            let made = graphs(&features, builder, count);
            let parts: Vec<(&Path, &Files)> = made.iter().map(|(dir, files)| (dir.path(), files)).collect();
            let graphs =
                StreamedGraphs::open(&mut features, count, &parts, builder, &Device::Cpu, &Silent).unwrap();
            let (joined, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let record = graphs.join(&mut features, joined.path(), MEASURED, &Silent).unwrap();
            let whole = GraphIndex::open(joined.path(), &record, features.clone(), &Silent).unwrap();
            assert_eq!(Some(whole.save(again.path()).unwrap()), record.files, "{count} shards");
            assert_eq!(whole.recall(MEASURED, RECALL_SAMPLE, &Silent).unwrap(), record.recall.unwrap());
            assert!(open(joined.path(), &record, features.clone(), &Device::Cpu, &Silent).is_ok());

            let rows: Vec<usize> = (0..3_500).step_by(3).chain([3_499]).collect();
            let own: Vec<Option<u32>> = rows.iter().map(|&row| Some(row as u32)).collect();
            let queries = features.view().select(Axis(0), &rows);
            for search in [(8, true), (8, false), (400, true)] {
                let search = Search { k: search.0, skip_zero: search.1 };
                let expected = whole.search(queries.view(), Some(&own), search, &Silent).unwrap();
                let found = graphs.mean_distances(&mut features, &rows, search, &Silent).unwrap();
                assert_eq!(found, expected.mean_distances(), "{count} shards, {search:?}");
            }
        }
    }

    #[test]
    fn rows_of_which_the_graphs_know_too_little_are_answered_exactly() {
        let mut features = features();
        let [builder, _] = builders();
        let made = graphs(&features, builder, 2);
        let parts: Vec<(&Path, &Files)> = made.iter().map(|(dir, files)| (dir.path(), files)).collect();
        let graphs = StreamedGraphs::open(&mut features, 2, &parts, builder, &Device::Cpu, &Silent).unwrap();
        let (rows, search) = ([5, 2_000, 3_400], Search { k: 4, skip_zero: true });
        let results = rows.iter().map(|_| SearchResults::new(search)).collect();
        let found = graphs.answers(&mut features, &rows, results, search, &Silent).unwrap();
        let exact = ExactIndex::new(features).unwrap().search_self(search, &Silent).unwrap();
        for (q, row) in rows.into_iter().enumerate() {
            assert_eq!(found.of(q), exact.of(row));
        }
    }

    #[test]
    fn a_file_that_its_shard_did_not_write_is_refused() {
        let mut features = features();
        let [builder, _] = builders();
        let made = graphs(&features, builder, 2);
        let parts: Vec<(&Path, &Files)> = made.iter().map(|(dir, files)| (dir.path(), files)).collect();
        std::fs::write(made[1].0.path().join("index.0.safetensors"), "").unwrap();
        let graphs = StreamedGraphs::open(&mut features, 2, &parts, builder, &Device::Cpu, &Silent).unwrap();
        let joined = tempfile::tempdir().unwrap();
        let error = graphs.join(&mut features, joined.path(), MEASURED, &Silent).unwrap_err();
        assert!(error.to_string().contains("SHA-256"), "{error}");
    }
}
