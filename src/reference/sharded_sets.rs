//! Features of several sets in one run of parts, for commands that compare sets when all are there.
//! The images of all sets are one list of chunks; what holds features already goes into the first part as it is.

use super::embed::{
    Describe, EmbedOptions, EmbedRun, Embedding, assemble, chunks_of, finish_chunks, unlisted,
};
use super::files;
use super::sharded::left_out;
use super::store::read_skipped;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::atomic::{remove_directory_in_use, write_atomic, write_json};
use crate::formats::npy::{NpyRows, NpyWriter};
use crate::formats::table::{Columns, Table, Values, write_table};
use crate::images::{ImageSet, Inputs};
use crate::progress::Progress;
use crate::runs::{self, Chunks, Part, Partial, Run, Shard, files_of};
use ndarray::{Array2, s};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One of the sets.
pub(crate) enum SetInput {
    /// Images, to be turned into features.
    Images(ImageSet),
    /// Features `[N, D]` that exist, and what their rows are called.
    Features(Array2<f32>, Vec<String>),
    /// A file that stands for the set.
    File(PathBuf),
}

/// A set as it comes out of the parts.
pub(crate) enum MergedSet {
    /// Features `[N, D]`, and what their rows are called.
    Features(Array2<f32>, Vec<String>),
    /// The file that stands for the set.
    File(PathBuf),
}

/// Name of a file that stands for a set, in the part: statistics are told by their extension.
const FILE: &str = "set.npz";

/// What identifies the images of a set, for the record of a run.
pub(crate) fn identify(set: &SetInput, extractor: &LoadedExtractor) -> Result<serde_json::Value> {
    let value = match set {
        SetInput::Images(images) => serde_json::to_value(EmbedRun::new(images, extractor)),
        SetInput::Features(features, paths) => {
            let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
            serde_json::to_value((crate::formats::digest::sha256(&bytes), paths.len()))
        }
        SetInput::File(path) => serde_json::to_value(crate::formats::digest::sha256_of_file(path)?),
    };
    value.map_err(|e| Error::data(e.to_string(), ""))
}

fn folder(set: usize) -> String {
    format!("set-{set}")
}

/// Images of all sets.
pub(crate) fn inputs(sets: &[SetInput]) -> usize {
    sets.iter().map(images).sum()
}

fn images(set: &SetInput) -> usize {
    match set {
        SetInput::Images(images) => images.len(),
        _ => 0,
    }
}

/// The chunks of the images of a set.
fn chunks(set: &SetInput) -> Chunks {
    match set {
        SetInput::Images(images) => chunks_of(images),
        _ => Chunks::of_sections(&[]),
    }
}

/// Images before a chunk of the chunks of all sets.
fn images_before(sets: &[SetInput], chunk: usize) -> usize {
    let (mut before, mut left) = (0, chunk);
    for chunks in sets.iter().map(chunks) {
        before += chunks.range(left).start;
        left = left.saturating_sub(chunks.count());
    }
    before
}

/// One shard of the features of `sets`, as a part of `out`. Finished chunks of an earlier attempt are not computed again.
///
/// # Errors
/// As [`super::embed::embed_into`] and [`runs::finished_or`].
pub(crate) fn sets_shard(
    out: &Path,
    sets: &[SetInput],
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    (run, shard): (&Run, Shard),
    progress: &dyn Progress,
) -> Result<Part> {
    runs::finished_or(out, shard, run, || {
        let kept = runs::chunks_of(out, shard, run);
        let total: usize = sets.iter().map(|set| chunks(set).count()).sum();
        let own = shard.range(total);
        let mut work: Vec<(usize, &ImageSet, Range<usize>, Partial)> = Vec::new();
        // All places are made before the work begins: what is merged meanwhile, by others, is not begun anew.
        let mut first = 0;
        for (at, set) in sets.iter().enumerate() {
            let count = chunks(set).count();
            let of_set = |chunk: usize| chunk.saturating_sub(first).min(count);
            let chunks = of_set(own.start)..of_set(own.end);
            if let SetInput::Images(images) = set {
                work.push((at, images, chunks, Partial::open(kept.join(folder(at)), run)?));
            }
            first += count;
        }
        for (_, images, chunks, partial) in &work {
            let stop_hint = "finished chunks are kept; the same command continues";
            let work = Embedding {
                set: images,
                extractor,
                others: &[],
                options,
                describe: Describe::Nothing,
                progress,
                stop_hint,
            };
            finish_chunks(partial, work, chunks.clone(), None)?;
        }
        let covered = images_before(sets, own.start)..images_before(sets, own.end);
        let part = runs::publish(out, shard, run, covered, |dir| {
            let (mut rows, mut skipped) = (0, 0);
            for (at, set, chunks, partial) in &work {
                let to = create(dir, *at)?;
                let unlisted = unlisted(set, options)?;
                let unlisted = if shard.index == 0 { unlisted } else { Vec::new() };
                let found = assemble(&to, partial, chunks.clone(), extractor, unlisted, options)?;
                (rows, skipped) = (rows + found.images, skipped + found.skipped.len());
                if shard.index == 0 {
                    write_json(to.join(files::LEFT_OUT), &set.left_out().counts())?;
                }
            }
            if shard.index == 0 {
                for (at, set) in sets.iter().enumerate() {
                    copy(set, at, dir)?;
                }
            }
            Ok((rows, skipped))
        })?;
        remove_directory_in_use(&kept)?;
        Ok(part)
    })
}

fn create(dir: &Path, set: usize) -> Result<PathBuf> {
    let to = dir.join(folder(set));
    fs::create_dir_all(&to).map_err(Error::io("create", &to))?;
    Ok(to)
}

/// Puts into a part what needs no network.
fn copy(set: &SetInput, at: usize, dir: &Path) -> Result<()> {
    match set {
        SetInput::Images(_) => Ok(()),
        SetInput::Features(features, paths) => {
            let to = create(dir, at)?;
            let mut writer = NpyWriter::create(to.join(files::FEATURES), features.ncols())?;
            writer.write_rows(features.view())?;
            writer.finish()?;
            let mut table = Table::new();
            table.push("path", Values::Text(paths.clone()))?;
            write_table(to.join(files::IMAGES), &table)
        }
        SetInput::File(path) => {
            let bytes = fs::read(path).map_err(Error::io("read", path))?;
            write_atomic(create(dir, at)?.join(FILE), |out| std::io::Write::write_all(out, &bytes))
        }
    }
}

/// A set of merged parts, its features `dimension` wide, with what became of its inputs if it is images.
///
/// # Errors
/// [`Error::Malformed`] if a file is damaged; [`Error::Data`] if no part has the set.
pub(crate) fn read_set(parts: &[Part], set: usize, dimension: usize) -> Result<(MergedSet, Option<Inputs>)> {
    let name = |file: &str| format!("{}/{file}", folder(set));
    if let Some(file) = files_of(parts, &name(FILE)).into_iter().next() {
        return Ok((MergedSet::File(file), None));
    }
    let mut files = Vec::new();
    for path in files_of(parts, &name(files::FEATURES)) {
        files.push(NpyRows::open(path, dimension)?);
    }
    let mut features = Array2::zeros((files.iter().map(NpyRows::rows).sum(), dimension));
    let mut first = 0;
    for file in &mut files {
        let rows = file.rows();
        features.slice_mut(s![first..first + rows, ..]).assign(&file.read(0..rows)?);
        first += rows;
    }
    let (mut paths, mut skipped) = (Vec::new(), Vec::new());
    for path in files_of(parts, &name(files::IMAGES)) {
        paths.extend_from_slice(Columns::read(&path)?.text("path")?);
    }
    for path in files_of(parts, &name(files::SKIPPED)) {
        skipped.extend(read_skipped(path.parent().unwrap_or(&path))?);
    }
    if paths.len() != features.nrows() {
        let reason = format!("set {set} has {} features and {} names", features.nrows(), paths.len());
        return Err(Error::data(reason, "run its shards again"));
    }
    let of_images = !files_of(parts, &name(files::LEFT_OUT)).is_empty();
    let left_out = left_out(parts, &name(""))?;
    let inputs = of_images.then_some(Inputs { used: paths.len(), skipped, left_out });
    Ok((MergedSet::Features(features, paths), inputs))
}
