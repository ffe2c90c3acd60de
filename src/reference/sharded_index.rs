//! `pd index` in parts: each part has the exact neighbours of some of the rows, and reads the whole reference block after block.
//! The merge reads the neighbours of one part after the other and continues as one run does: densities, quantiles, predictor. It
//! reads features as they are needed; only the predictor takes all at once.
//! With graphs each part has the neighbours of all rows among its own (`sharded_graphs`).

use super::index::{IndexOptions, Indexed, keep};
use super::score::{ScoreOptions, SetScores, check_enough};
use super::score_builder::ScoreBuilder;
use super::sharded_graphs::{fill, join_graphs, make_graph};
use super::sharded_neighbors::{TOGETHER, append, file, groups, read, without_neighbors, write};
use super::store::Reference;
use crate::error::{Error, Result};
use crate::formats::FeatureRows;
use crate::formats::atomic::remove_directory_in_use;
use crate::formats::scratch::scratch_directory;
use crate::neighbors::{
    Builder, IndexRecord, Measured, Neighbors, Search, blocks_of, place_graphs, remove_graphs,
    search_in_blocks,
};
use crate::progress::{Progress, check_stop};
use crate::runs::{self, CHUNK, Merged, Part, Partial, Run, Shard, check_whole, options_of};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The command whose parts are neighbours.
pub(crate) const INDEX: &str = "index";
/// Where in a reference its parts are: `parts/` itself may hold features.
const PLACE: &str = "indexing";
/// The file of a part that holds the neighbours of its rows.
const NEIGHBORS: &str = "neighbors.npz";
/// What identifies a run.
#[derive(Serialize, Deserialize)]
struct IndexRun {
    /// [`Reference::digest_of_features`].
    reference: String,
    options: IndexOptions,
}

/// Where the parts of a reference's index are.
pub(crate) fn place(reference: &Path) -> PathBuf {
    reference.join(PLACE)
}

/// One shard of the neighbours of the rows of `reference`, as a part. What an earlier attempt found is not searched again.
/// Exact search multiplies matrices on `device`.
///
/// # Errors
/// As [`super::index()`] and [`runs::finished_or`].
pub(crate) fn index_shard(
    reference: &Reference,
    options: IndexOptions,
    shard: Shard,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Part> {
    let (rows, width) = (reference.manifest.rows, reference.manifest.identity.dimension);
    check_enough(rows, options.score.k)?;
    let graphs = graphs_of(options.score, rows, width);
    let run = Run::new(INDEX, &IndexRun { reference: reference.digest_of_features()?, options })?;
    let out = place(&reference.dir);
    let (chunks, own) = runs::of_shard(shard, rows);
    runs::finished_or(&out, shard, &run, || {
        let partial = Partial::open(runs::chunks_of(&out, shard, &run), &run)?;
        let k = options.score.k;
        match graphs {
            Some(graphs) => make_graph(reference, graphs, own.clone(), &partial, device, progress)?,
            None => find(reference, k, &groups(chunks.clone(), rows), &partial, device, progress)?,
        }
        let part = runs::publish(&out, shard, &run, own.clone(), |dir| {
            if graphs.is_some() {
                fill(dir, &partial, rows)?;
                return Ok((own.len(), 0));
            }
            let mut all = Neighbors { k, rows: Vec::new(), distances: Vec::new() };
            for group in groups(chunks, rows) {
                append(&mut all, &file(&partial, &group), group.len(), rows)?;
            }
            write(&dir.join(NEIGHBORS), &all)?;
            Ok((own.len(), 0))
        })?;
        partial.remove()?;
        Ok(part)
    })
}

/// How the graph of each shard is built, where neighbours are found by graphs, and what its recall is measured by.
fn graphs_of(options: ScoreOptions, rows: usize, width: usize) -> Option<(Builder, Measured)> {
    let builder = Builder::of(options.index.resolve(rows, width), options.k)?;
    Some((builder, Measured { k: options.k, seed: options.seed }))
}

/// Finds the neighbours of groups of rows that have none yet.
fn find(
    reference: &Reference,
    k: usize,
    groups: &[Range<usize>],
    partial: &Partial,
    device: &Device,
    progress: &dyn Progress,
) -> Result<()> {
    let missing: Vec<&Range<usize>> = groups.iter().filter(|g| !partial.has(g.start / CHUNK)).collect();
    let total: usize = missing.iter().map(|group| group.len()).sum();
    let mut features = reference.feature_files()?;
    progress.start("nearest neighbours", (total * blocks_of(features.dim().0)) as u64, "rows of a block");
    for group in missing {
        check_stop(progress, || "what was found is kept; the same command continues".into())?;
        let own = Vec::from_iter(group.clone());
        let found = search_in_blocks(&mut features, &own, Search { k, skip_zero: false }, device, progress)?;
        write(&file(partial, group), &found)?;
        partial.finish(group.start / CHUNK, &group.len())?;
    }
    progress.finish();
    Ok(())
}

/// Joins the parts of `pd index` and completes the reference: the bytes of one run, where neighbours are exact. Memory is for some
/// numbers and the path of each row, and for all features only where a predictor is trained.
///
/// # Errors
/// [`Error::Malformed`] if a file is not the one that its part was made with, or the features are no longer those that were
/// searched.
pub(crate) fn merge_indexed(
    dir: &Path,
    parts: &[Part],
    device: &Device,
    progress: &dyn Progress,
) -> Result<(Merged, Indexed)> {
    let IndexRun { reference: searched, options } = options_of(parts)?;
    let mut reference = Reference::open(dir)?;
    let out = place(dir);
    if reference.digest_of_features()? != searched {
        return Err(Error::malformed(
            &out,
            "has neighbours among other features than the reference holds now",
            "remove it and run the shards again",
        ));
    }
    let rows = reference.manifest.rows;
    let merged = check_whole(&out, parts, rows)?;
    let mut features = reference.feature_files()?;
    let graphs = graphs_of(options.score, rows, reference.manifest.identity.dimension);
    let indexed = if let Some((builder, _)) = graphs {
        // Beside the parts, so that an attempt that is cut off leaves nothing in the reference.
        let graphs = scratch_directory(&out)?;
        let found =
            join_graphs(&mut features, parts, graphs.path(), options.score, builder, device, progress)?;
        let place = |dir: &Path, record: &mut IndexRecord| place_graphs(graphs.path(), dir, record);
        keep(&mut reference, &mut features, found, place, options, progress)?
    } else {
        let found = join_exact(&mut features, parts, options.score, device, progress)?;
        keep(&mut reference, &mut features, found, |dir, _| remove_graphs(dir), options, progress)?
    };
    remove_directory_in_use(&out)?;
    Ok((merged, indexed))
}

/// Scores by the neighbours that the parts have found.
fn join_exact(
    features: &mut dyn FeatureRows,
    parts: &[Part],
    options: ScoreOptions,
    device: &Device,
    progress: &dyn Progress,
) -> Result<SetScores> {
    let rows = features.dim().0;
    let mut builder = ScoreBuilder::new(options);
    progress.start("merging neighbours", rows as u64, "rows");
    for part in parts {
        check_stop(progress, String::new)?;
        let path = part.file(NEIGHBORS).ok_or_else(|| without_neighbors(part))?;
        let count = part.record.inputs.len();
        builder.add(&read(&path, (count, options.k), 0..rows)?);
        progress.advance(count as u64);
    }
    progress.finish();
    builder
        .finish(IndexRecord::exact(), |rows, search| search_again(features, rows, search, device, progress))
}

/// The mean distances `[n]` of some rows of a set to their neighbours (d_K), in groups.
fn search_again(
    features: &mut dyn FeatureRows,
    rows: &[usize],
    search: Search,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let mut means = Vec::with_capacity(rows.len());
    progress.start(
        "neighbours that are no copies",
        (rows.len() * blocks_of(features.dim().0)) as u64,
        "rows of a block",
    );
    for rows in rows.chunks(TOGETHER * CHUNK) {
        check_stop(progress, String::new)?;
        means.extend(search_in_blocks(features, rows, search, device, progress)?.mean_distances());
    }
    progress.finish();
    Ok(means)
}

#[cfg(test)]
mod tests {
    use super::super::index::index;
    use super::super::sharded_graphs::tests::imported;
    use super::*;
    use crate::progress::Silent;
    use ndarray::{ArcArray2, Array2};

    /// Features of which no ranges may be read, only single rows.
    struct Singles(ArcArray2<f32>);

    impl FeatureRows for Singles {
        fn dim(&self) -> (usize, usize) {
            self.0.dim()
        }

        fn read(&mut self, range: Range<usize>) -> Result<Array2<f32>> {
            panic!("{range:?} are read");
        }

        fn select(&mut self, rows: &[usize]) -> Result<Array2<f32>> {
            self.0.select(rows)
        }
    }

    #[test]
    fn joining_exact_neighbours_reads_no_features_but_a_sample() {
        let (_dir, mut reference, features) = imported(2_500);
        let options = IndexOptions { predictor: false, ..IndexOptions::default() };
        let parts: Vec<Part> = (0..4)
            .map(|index| {
                let shard = Shard { index, count: 4 };
                index_shard(&reference, options, shard, &Device::Cpu, &Silent).unwrap()
            })
            .collect();
        let mut singles = Singles(features.into_shared());
        let found = join_exact(&mut singles, &parts, options.score, &Device::Cpu, &Silent).unwrap();
        let whole = index(&mut reference, options, &Device::Cpu, &Silent).unwrap();
        assert_eq!(found.scores, whole.scores);
        assert_eq!(found.exact_duplicates, whole.record.exact_duplicates);
        assert!(found.near.len() == 3 * 2_500);
    }
}
