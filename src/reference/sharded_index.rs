//! `pd index` in parts (`--shard I/N`): each part has the exact neighbours of some of the rows, and streams the whole reference.
//! The merge puts neighbours one below the other and goes on as one run does: densities, quantiles, predictor.

use super::index::{IndexOptions, Indexed, keep};
use super::score::{check_enough, score_found};
use super::store::Reference;
use crate::error::{Error, Result};
use crate::formats::atomic::remove_directory;
use crate::formats::npy::{read_npz_f64, write_npz_f64};
use crate::neighbors::{self, IndexKind, Neighbors, choose, search_in_blocks};
use crate::progress::{Progress, check_stop};
use crate::shards::{self, CHUNK, Merged, Part, Partial, Run, Shard, check_whole, files_of, options_of};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The command whose parts are neighbours.
pub const INDEX: &str = "index";
/// Where in a reference its parts are: `parts/` itself may hold features.
const PLACE: &str = "indexing";
/// The neighbours of a part: `rows` and `distances`, `[n, K]`.
const NEIGHBORS: &str = "neighbors.npz";
/// Names of its arrays.
const ARRAYS: [&str; 2] = ["rows", "distances"];
/// Chunks whose neighbours are searched together, and kept when they are found.
const TOGETHER: usize = 64;
/// Rows of the reference that are read together, at least: more than the most neighbours that can be asked for.
const BLOCK: usize = 1 << 17;

/// What identifies a run.
#[derive(Serialize, Deserialize)]
struct IndexRun {
    /// [`Reference::digest_of_features`].
    reference: String,
    options: IndexOptions,
}

/// Where the parts of a reference's index are.
pub fn place(reference: &Path) -> PathBuf {
    reference.join(PLACE)
}

/// The neighbours of one shard of the rows of `reference`, as a part. Rows whose neighbours an earlier attempt found are not
/// searched again.
///
/// # Errors
/// [`Error::Usage`] where a graph is to find the neighbours; as [`super::index()`] and [`shards::finished_part`].
pub fn index_shard(
    reference: &Reference,
    options: IndexOptions,
    shard: Shard,
    progress: &dyn Progress,
) -> Result<Part> {
    let (rows, width) = (reference.manifest.rows, reference.manifest.identity.dimension);
    check_enough(rows, options.score.k)?;
    refuse_graphs(options.score.index, rows, width)?;
    let run = Run::new(INDEX, &IndexRun { reference: reference.digest_of_features()?, options })?;
    let out = place(&reference.dir);
    let (chunks, own) = shards::of_shard(shard, rows);
    shards::finished_or(&out, shard, &run, || {
        let partial = Partial::open(shards::chunks_of(&out, shard, &run), &run)?;
        let groups: Vec<Range<usize>> = chunks
            .clone()
            .step_by(TOGETHER)
            .map(|chunk| {
                let last = (chunk + TOGETHER).min(chunks.end);
                shards::range(chunk, rows).start..shards::range(last, rows).start
            })
            .collect();
        find(reference, options.score.k, &groups, &partial, progress)?;
        let part = shards::publish(&out, shard, &run, own.clone(), |dir| {
            let mut all = Neighbors { k: options.score.k, rows: Vec::new(), distances: Vec::new() };
            for group in &groups {
                append(&mut all, &file(&partial, group), group.len(), rows)?;
            }
            write(&dir.join(NEIGHBORS), &all)?;
            Ok((own.len(), 0))
        })?;
        partial.remove()?;
        Ok(part)
    })
}

fn refuse_graphs(kind: IndexKind, rows: usize, width: usize) -> Result<()> {
    let why = match kind {
        IndexKind::Hnsw => "--index hnsw was asked for",
        IndexKind::Auto if choose(rows, width) == IndexKind::Hnsw => {
            "a set of this size gets an HNSW index unless told otherwise"
        }
        _ => return Ok(()),
    };
    Err(Error::usage(
        format!("{why}, and graphs are not built in parts"),
        "--index exact, whose neighbours are searched in parts; or `pd index` without --shard",
    ))
}

fn file(partial: &Partial, group: &Range<usize>) -> PathBuf {
    partial.data_as(group.start / CHUNK, "npz")
}

/// Finds the neighbours of groups of rows that have none yet.
fn find(
    reference: &Reference,
    k: usize,
    groups: &[Range<usize>],
    partial: &Partial,
    progress: &dyn Progress,
) -> Result<()> {
    let rows = reference.manifest.rows;
    let count = (rows / BLOCK).max(1);
    let blocks: Vec<Range<usize>> = (0..count).map(|index| Shard { index, count }.range(rows)).collect();
    let missing: Vec<&Range<usize>> = groups.iter().filter(|g| !partial.has(g.start / CHUNK)).collect();
    let total: usize = missing.iter().map(|group| group.len() * blocks.len()).sum();
    let mut features = reference.feature_rows()?;
    progress.start("nearest neighbours", total as u64, "rows of a block");
    for group in missing {
        check_stop(|| "what was found is kept; the same command continues".into())?;
        let queries = features.read(group.clone())?;
        let streamed = blocks.iter().map(|block| Ok((block.start, features.read(block.clone())?)));
        let found = search_in_blocks(queries.view(), group.clone(), k, streamed, progress)?;
        write(&file(partial, group), &found)?;
        partial.finish(group.start / CHUNK, &group.len())?;
    }
    progress.finish();
    Ok(())
}

fn write(path: &Path, neighbors: &Neighbors) -> Result<()> {
    let shape = (neighbors.len(), neighbors.k);
    let wrong = |e: ndarray::ShapeError| Error::data(e.to_string(), "");
    // Row numbers below 2^32 are exact in float64.
    let rows = Array2::from_shape_vec(shape, neighbors.rows.iter().map(|&row| f64::from(row)).collect());
    let rows = rows.map_err(wrong)?.into_dyn();
    let distances = ArrayView2::from_shape(shape, &neighbors.distances).map_err(wrong)?.into_dyn();
    write_npz_f64(path, &[(ARRAYS[0], rows.view()), (ARRAYS[1], distances)])
}

/// Appends the `count` neighbour lists in a file; rows are of a set of `total`.
fn append(all: &mut Neighbors, path: &Path, count: usize, total: usize) -> Result<()> {
    let wrong = |reason: &str| Error::malformed(path, reason, "remove its part and run that shard again");
    let arrays = read_npz_f64(path, &ARRAYS)?.ok_or_else(|| wrong("holds no neighbours"))?;
    if arrays.iter().any(|array| array.shape() != [count, all.k]) {
        return Err(wrong("holds the neighbours of other rows"));
    }
    for &row in &arrays[0] {
        if !(row >= 0.0 && row < total as f64) {
            return Err(wrong("names a row that the reference does not have"));
        }
        all.rows.push(row as u32);
    }
    if arrays[1].iter().any(|distance| !(*distance >= 0.0 && distance.is_finite())) {
        return Err(wrong("holds a distance that is none"));
    }
    all.distances.extend(&arrays[1]);
    Ok(())
}

/// Joins the parts of `pd index` and completes the reference: the bytes of one run. Memory is that of one run.
///
/// # Errors
/// [`Error::Malformed`] if a file is not the one that its part was made with, or the features are no longer those that were
/// searched.
pub fn merge_indexed(dir: &Path, parts: &[Part], progress: &dyn Progress) -> Result<(Merged, Indexed)> {
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
    let mut all = Neighbors { k: options.score.k, rows: Vec::new(), distances: Vec::new() };
    for (part, path) in parts.iter().zip(files_of(parts, NEIGHBORS)) {
        append(&mut all, &path, part.record.inputs.len(), rows)?;
    }
    if all.len() != rows {
        return Err(Error::malformed(&out, "a part has no neighbours", "remove it and run its shard again"));
    }
    let features = reference.features()?.into_shared();
    let score = options.score;
    let index = neighbors::build(IndexKind::Exact, features.clone(), score.k, score.seed, progress)?;
    let found = score_found(&features, all, index, score, progress)?;
    let indexed = keep(&mut reference, &features, found, options, progress)?;
    remove_directory(&out)?;
    Ok((merged, indexed))
}
