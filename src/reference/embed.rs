//! From images to features, chunk by chunk: decoding the next batch runs beside the network on the current one.

use super::files;
use super::manifest::{EMBED, Manifest};
use super::store::{write_csv, write_skipped};
use crate::error::{Error, Result};
use crate::extract::{Identity, LoadedExtractor};
use crate::formats::atomic::remove_directory;
use crate::formats::npy::{NpyWriter, read_npy, write_npy};
use crate::formats::table::{Table, Values};
use crate::images::{ImageSet, Prepared, Skipped, load};
use crate::progress::{Progress, check_stop};
use crate::remedy::Remedy;
use crate::runs::{Chunks, Opened, Partial, Record as RunRecord, RunDir, RunIdentity};
use ndarray::{Array2, Axis, concatenate};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// How images are embedded; none of it changes a feature.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// Images per forward pass.
    pub batch: usize,
    /// Stop at the first input that cannot be used.
    pub strict: bool,
}

/// Images per forward pass where nothing else is asked for.
pub(crate) const DEFAULT_BATCH: u16 = 32;

impl Default for EmbedOptions {
    fn default() -> Self {
        Self { batch: DEFAULT_BATCH.into(), strict: false }
    }
}

/// What is known of an image besides its features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// As the set names it.
    pub path: String,
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
    /// What is worth knowing about the file; mostly empty.
    pub note: String,
}

/// Features of a set, with what they belong to.
#[derive(Debug, Default)]
pub struct Embedded {
    /// `[N, D]`, one row per image that could be used.
    pub features: Array2<f32>,
    /// `[N]`
    pub images: Vec<ImageRow>,
    /// The inputs that could not be used.
    pub skipped: Vec<Skipped>,
}

/// The whole set in memory.
///
/// # Errors
/// [`Error::Strict`] as asked; [`Error::Data`] if no image could be used; what the network returns.
pub fn embed(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    progress: &dyn Progress,
) -> Result<Embedded> {
    let mut all = Embedded { skipped: unlisted(set, options)?, ..Embedded::default() };
    let mut parts = Vec::new();
    let chunks: Vec<usize> = (0..chunks_of(set).count()).collect();
    let hint = "nothing is kept; a reference directory keeps features and continues";
    for_each_chunk(set, extractor, &chunks, options, progress, hint, |_, part| {
        parts.push(part.features);
        all.images.extend(part.images);
        all.skipped.extend(part.skipped);
        Ok(())
    })?;
    all.features = join(&parts)?;
    check_some(&all)?;
    Ok(all)
}

/// What identifies a run: chunks and parts of another are not joined with its own.
#[derive(Serialize, Deserialize)]
pub(super) struct EmbedRun {
    /// What features are made with.
    pub identity: Identity,
    /// SHA-256 over names and sizes of the inputs.
    pub input_digest: String,
    /// Their number.
    pub inputs: usize,
    /// What the inputs of a set of archives are; absent for other sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archives: Option<Unit>,
}

/// What a set of archives is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// Chunks, each of images of one archive.
    Images,
    /// Whole archives, of which only those of the shard are looked into.
    Archives,
}

impl EmbedRun {
    pub(super) fn new(set: &ImageSet, extractor: &LoadedExtractor) -> Self {
        let identity = extractor.identity().clone();
        match set.part() {
            Some(part) => Self {
                identity,
                input_digest: part.digest.clone(),
                inputs: part.count,
                archives: Some(Unit::Archives),
            },
            None => Self {
                identity,
                input_digest: set.digest(),
                inputs: set.len(),
                archives: set.sections().map(|_| Unit::Images),
            },
        }
    }
}

/// The chunks of a set.
pub(super) fn chunks_of(set: &ImageSet) -> Chunks {
    Chunks::of_sections(set.sections().unwrap_or(&[set.len()]))
}

/// Into a reference directory. Chunks that an earlier run finished are not computed again; the result is the same.
///
/// # Errors
/// As [`embed`] and [`RunDir::open`]. Finished chunks are kept.
pub(crate) fn embed_into(
    dir: &Path,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let run = EmbedRun::new(set, extractor);
    let _directory = match RunDir::open(dir, &reference_run(&run.identity, &run.input_digest))? {
        Opened::Finished(_) => return finished_manifest(dir),
        Opened::New(directory) | Opened::Continue(directory) => directory,
    };
    let partial = Partial::open(dir.join(files::PARTIAL), &run)?;
    let unlisted = unlisted(set, options)?;
    let chunks = 0..chunks_of(set).count();
    let hint = format!("finished chunks are kept in {}; the same command continues", dir.display());
    finish_chunks(&partial, set, extractor, chunks.clone(), options, progress, &hint)?;
    let (images, skipped) = assemble(dir, &partial, chunks, extractor, unlisted, options)?;
    if images == 0 {
        return Err(nothing_usable(&skipped));
    }
    let manifest = Manifest::new(run.identity, run.input_digest, images, skipped.len());
    manifest.save(dir)?;
    partial.remove()?;
    Ok(manifest)
}

/// Computes the chunks that are not finished yet and keeps them.
pub(super) fn finish_chunks(
    partial: &Partial,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    chunks: Range<usize>,
    options: EmbedOptions,
    progress: &dyn Progress,
    stop_hint: &str,
) -> Result<()> {
    let missing: Vec<usize> = chunks.filter(|&chunk| !partial.has(chunk)).collect();
    for_each_chunk(set, extractor, &missing, options, progress, stop_hint, |chunk, part| {
        if !part.images.is_empty() {
            write_npy(partial.data(chunk), &part.features)?;
        }
        partial.finish(chunk, &Record { images: part.images, skipped: part.skipped })
    })
}

/// Puts finished chunks together in `dir`: features, and tables of the images and of what was skipped (first `unlisted`).
/// Returns the number of images, and the skipped.
pub(super) fn assemble(
    dir: &Path,
    partial: &Partial,
    chunks: Range<usize>,
    extractor: &LoadedExtractor,
    unlisted: Vec<Skipped>,
    options: EmbedOptions,
) -> Result<(usize, Vec<Skipped>)> {
    let mut features = NpyWriter::create(dir.join(files::FEATURES), extractor.identity().dimension)?;
    let (images, skipped) =
        each_finished(partial, chunks, unlisted, options, |rows| features.write_rows(rows.view()))?;
    features.finish()?;
    write_images(dir, &images)?;
    write_skipped(dir, &skipped)?;
    Ok((images.len(), skipped))
}

/// Finished chunks in memory.
pub(super) fn gather(
    partial: &Partial,
    chunks: Range<usize>,
    extractor: &LoadedExtractor,
    unlisted: Vec<Skipped>,
    options: EmbedOptions,
) -> Result<Embedded> {
    let mut parts = vec![Array2::zeros((0, extractor.identity().dimension))];
    let (images, skipped) = each_finished(partial, chunks, unlisted, options, |rows| {
        parts.push(rows);
        Ok(())
    })?;
    Ok(Embedded { features: join(&parts)?, images, skipped })
}

/// Gives the features of each finished chunk to `sink`; returns the images, and the skipped (first `unlisted`).
fn each_finished(
    partial: &Partial,
    chunks: Range<usize>,
    unlisted: Vec<Skipped>,
    options: EmbedOptions,
    mut sink: impl FnMut(Array2<f32>) -> Result<()>,
) -> Result<(Vec<ImageRow>, Vec<Skipped>)> {
    let (mut images, mut skipped) = (Vec::new(), unlisted);
    for chunk in chunks {
        let record: Record = partial.read(chunk)?;
        if !record.images.is_empty() {
            sink(read_npy(partial.data(chunk))?)?;
        }
        if options.strict
            && let Some(first) = record.skipped.first()
        {
            return Err(Error::Strict { path: first.path.clone(), reason: first.reason.clone() });
        }
        images.extend(record.images);
        skipped.extend(record.skipped);
    }
    Ok((images, skipped))
}

/// What tells the reference of these features of these images from others.
pub(super) fn reference_run(identity: &Identity, input_digest: &str) -> RunIdentity {
    let settings = serde_json::json!({
        "extractor": identity.extractor,
        "dimension": identity.dimension,
        "weights_sha256": identity.weights_sha256,
        "preprocessing": identity.preprocessing,
        "normalize": identity.normalize,
        "onnx": identity.onnx,
        "precision": identity.precision.filter(|&precision| precision != Default::default()),
        "input_digest": input_digest,
    });
    RunIdentity::new(EMBED, RunRecord::Manifest, settings)
}

/// The manifest of `dir` where it already holds this very result.
pub(super) fn finished(dir: &Path, run: &RunIdentity) -> Result<Option<Manifest>> {
    RunDir::finished(dir, run)?.map(|_| finished_manifest(dir)).transpose()
}

/// The manifest of a finished reference, of which an attempt that was cut off at its very end may have left the chunks.
pub(super) fn finished_manifest(dir: &Path) -> Result<Manifest> {
    remove_directory(&dir.join(files::PARTIAL))?;
    Manifest::load(dir)
}

#[derive(Serialize, Deserialize)]
struct Record {
    images: Vec<ImageRow>,
    #[serde(with = "skipped_pairs")]
    skipped: Vec<Skipped>,
}

mod skipped_pairs {
    use crate::images::Skipped;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(skipped: &[Skipped], to: S) -> Result<S::Ok, S::Error> {
        skipped.iter().map(|s| (&s.path, &s.reason)).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Skipped>, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(from)?;
        Ok(pairs.into_iter().map(|(path, reason)| Skipped { path, reason }).collect())
    }
}

/// What could not even be listed counts as skipped.
pub(super) fn unlisted(set: &ImageSet, options: EmbedOptions) -> Result<Vec<Skipped>> {
    match set.unreadable().first() {
        Some(first) if options.strict => {
            Err(Error::Strict { path: first.path.clone(), reason: first.reason.clone() })
        }
        _ => Ok(set.unreadable().to_vec()),
    }
}

fn check_some(all: &Embedded) -> Result<()> {
    if all.images.is_empty() { Err(nothing_usable(&all.skipped)) } else { Ok(()) }
}

pub(super) fn nothing_usable(skipped: &[Skipped]) -> Error {
    let first = skipped.first().map_or(String::new(), |s| format!("; the first: {}: {}", s.path, s.reason));
    Error::data(format!("none of {} images could be used{first}", skipped.len()), "")
}

fn join(parts: &[Array2<f32>]) -> Result<Array2<f32>> {
    match parts {
        [] => Ok(Array2::default((0, 0))),
        parts => {
            let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
            concatenate(Axis(0), &views)
                .map_err(|e| Error::data(format!("features do not fit each other: {e}"), ""))
        }
    }
}

fn write_images(dir: &Path, images: &[ImageRow]) -> Result<()> {
    let mut table = Table::new();
    table.push("row", Values::Int((0..images.len() as i64).collect()))?;
    table.push("path", Values::Text(images.iter().map(|i| i.path.clone()).collect()))?;
    table.push("width", Values::Int(images.iter().map(|i| i.width.into()).collect()))?;
    table.push("height", Values::Int(images.iter().map(|i| i.height.into()).collect()))?;
    table.push("note", Values::Text(images.iter().map(|i| i.note.clone()).collect()))?;
    write_csv(&dir.join(files::IMAGES), &table)
}

/// Batches of the given chunks in order; `sink` gets each chunk as it is finished.
fn for_each_chunk(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    chunks: &[usize],
    options: EmbedOptions,
    progress: &dyn Progress,
    stop_hint: &str,
    mut sink: impl FnMut(usize, Embedded) -> Result<()>,
) -> Result<()> {
    let step = options.batch.max(1);
    let all = chunks_of(set);
    let inputs: usize = chunks.iter().map(|&chunk| all.range(chunk).len()).sum();
    let batches: Vec<(usize, Range<usize>, bool)> = chunks
        .iter()
        .flat_map(|&chunk| {
            let range = all.range(chunk);
            let end = range.end;
            range.step_by(step).map(move |start| {
                let batch = start..(start + step).min(end);
                let last = batch.end == end;
                (chunk, batch, last)
            })
        })
        .collect();
    progress.start("embedding", inputs as u64, "images");
    let fetch =
        |at: usize| batches.get(at).map(|(_, range, _)| load(set, range.clone(), extractor.preprocessing()));
    let mut next = fetch(0);
    let mut part = Embedded::default();
    let mut features = Vec::new();
    for (at, (chunk, range, last)) in batches.iter().enumerate() {
        check_stop(progress, || stop_hint.to_string())?;
        let images = next.take().unwrap_or_default();
        let (computed, prefetched) = rayon::join(|| features_of(extractor, &images), || fetch(at + 1));
        next = prefetched;
        if let Some(rows) = computed? {
            features.push(rows);
        }
        for (i, image) in range.clone().zip(images) {
            match image {
                Ok(Prepared { width, height, note, .. }) => {
                    part.images.push(ImageRow { path: set.path(i).to_string(), width, height, note });
                }
                Err(Skipped { path, reason }) if options.strict => {
                    return Err(Error::Strict { path, reason });
                }
                Err(skipped) => part.skipped.push(skipped),
            }
        }
        progress.advance(range.len() as u64);
        if *last {
            part.features = join(&std::mem::take(&mut features))?;
            sink(*chunk, std::mem::take(&mut part))?;
        }
    }
    progress.finish();
    Ok(())
}

/// Features of the images of a batch that could be used; `None` if there are none.
fn features_of(
    extractor: &LoadedExtractor,
    images: &[Result<Prepared, Skipped>],
) -> Result<Option<Array2<f32>>> {
    let places: Vec<Option<&Prepared>> = images.iter().map(|image| image.as_ref().ok()).collect();
    let rows: Vec<usize> = (0..places.len()).filter(|&i| places[i].is_some()).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let features = extractor.features(&places)?;
    for (i, image) in places.iter().enumerate() {
        if image.is_some() && !features.row(i).iter().all(|v| v.is_finite()) {
            return Err(Error::data(
                format!("{} gave features that are not finite", extractor.identity().extractor),
                Remedy::ListWeights,
            ));
        }
    }
    Ok(Some(if rows.len() == places.len() { features } else { features.select(Axis(0), &rows) }))
}
