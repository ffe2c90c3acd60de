//! Images to features, chunk by chunk: decoding the next batch runs beside the network on the current one.
//! A finished chunk records what its images were, so that a later run knows whether it still holds.

use super::known::Known;
use super::{EmbedOptions, Embedded, ImageRow, files};
use crate::copies::{DESCRIPTOR_BYTES, Descriptor, Measures};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::npy::{NpyWriter, read_npy, write_npy};
use crate::formats::table::{Table, Values};
use crate::images::{
    FromImage, ImageSet, Inputs, LeftOut, Loaded, Original, Prepared, RgbImage, Skipped, load_some,
};
use crate::progress::{Progress, check_stop};
use crate::reference::descriptors::{read_rows, rows_of};
use crate::reference::store::{content_digest, write_csv, write_skipped};
use crate::remedy::Remedy;
use crate::runs::{Chunks, Partial};
use ndarray::{Array2, ArrayView1, Axis, concatenate};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The chunks of a set.
pub(in crate::reference) fn chunks_of(set: &ImageSet) -> Chunks {
    Chunks::of_sections(set.sections().unwrap_or(&[set.len()]))
}

/// What is embedded, and how.
#[derive(Clone, Copy)]
pub(in crate::reference) struct Embedding<'a> {
    pub set: &'a ImageSet,
    pub extractor: &'a LoadedExtractor,
    /// Others that see the same pictures; parts of a run keep none of their features.
    pub others: &'a [&'a LoadedExtractor],
    pub options: EmbedOptions,
    /// What else is made of the pictures.
    pub describe: Describe,
    pub progress: &'a dyn Progress,
    /// What is kept if the run is stopped.
    pub stop_hint: &'a str,
}

/// What is made of pictures beside their features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Describe {
    /// Nothing.
    Nothing,
    /// Descriptors.
    Descriptors,
    /// Descriptors, and measures; parts of a run keep no measures.
    Measures,
}

/// A chunk as it is kept while a run is not finished.
#[derive(Serialize, Deserialize)]
struct Record {
    images: Vec<ImageRow>,
    #[serde(with = "skipped_pairs")]
    skipped: Vec<Skipped>,
    /// When each of its inputs was changed last; absent where an earlier version made the chunk.
    #[serde(default)]
    modified: Vec<i64>,
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

/// Where the descriptors of a chunk are kept.
fn descriptors_of(partial: &Partial, chunk: usize) -> PathBuf {
    partial.data_as(chunk, files::DESCRIPTORS)
}

/// Whether a chunk is finished, and its inputs are what they were then.
fn holds(partial: &Partial, chunk: usize, work: &Embedding, range: Range<usize>) -> Result<bool> {
    let set = work.set;
    if !partial.has(chunk) {
        return Ok(false);
    }
    let record: Record = partial.read(chunk)?;
    // An earlier version made chunks without descriptors.
    if work.describe != Describe::Nothing
        && !record.images.is_empty()
        && !descriptors_of(partial, chunk).is_file()
    {
        return Ok(false);
    }
    if record.modified.len() != range.len() || record.images.len() + record.skipped.len() != range.len() {
        return Ok(false);
    }
    let images: HashMap<&str, &ImageRow> = record.images.iter().map(|i| (i.path.as_str(), i)).collect();
    let skipped: HashMap<&str, ()> = record.skipped.iter().map(|s| (s.path.as_str(), ())).collect();
    Ok(range.zip(&record.modified).all(|(i, &modified)| match images.get(set.path(i)) {
        Some(image) => {
            let same_time = modified == set.modified(i) && modified != 0;
            image.bytes == set.size(i)
                && (same_time || set.sha256(i).is_ok_and(|found| found == image.sha256))
        }
        None => skipped.contains_key(set.path(i)) && modified == set.modified(i) && modified != 0,
    }))
}

/// Computes the chunks that are not finished yet, or whose images are no longer what they were, and keeps them.
/// Features of images that are `known` are not computed again.
pub(in crate::reference) fn finish_chunks(
    partial: &Partial,
    work: Embedding,
    chunks: Range<usize>,
    known: Option<&mut Known>,
) -> Result<()> {
    let all = chunks_of(work.set);
    let mut missing = Vec::new();
    for chunk in chunks {
        check_stop(work.progress, || work.stop_hint.to_string())?;
        if !holds(partial, chunk, &work, all.range(chunk))? {
            missing.push(chunk);
        }
    }
    for_each_chunk(work, &missing, known, |chunk, part| {
        if !part.images.is_empty() {
            write_npy(partial.data(chunk), &part.features)?;
            if work.describe != Describe::Nothing {
                write_npy(descriptors_of(partial, chunk), &rows_of(&part.descriptors))?;
            }
        }
        let modified = all.range(chunk).map(|i| work.set.modified(i)).collect();
        partial.finish(chunk, &Record { images: part.images, skipped: part.inputs.skipped, modified })
    })
}

/// What is made of a picture beside what the network takes.
struct Also {
    descriptor: Option<Descriptor>,
    measures: Option<Measures>,
    /// What the other networks take.
    prepared: Vec<Prepared>,
}

/// How it is made.
struct AlsoMade<'a> {
    describe: Describe,
    others: &'a [&'a LoadedExtractor],
}

impl FromImage for AlsoMade<'_> {
    type Made = Also;

    fn least_size(&self, size: (u32, u32)) -> (u64, u64) {
        let described = match self.describe {
            Describe::Nothing => (1, 1),
            Describe::Descriptors => Descriptor::least_size(size),
            // Blur is seen in the picture as it is.
            Describe::Measures => (size.0.into(), size.1.into()),
        };
        let others = self.others.iter().map(|other| other.preprocessing().least_size(size));
        others.fold(described, |a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    fn make(&self, image: &RgbImage, original: &Original) -> std::result::Result<Also, String> {
        let descriptor = || match (image.width, image.height) == original.size {
            true => Descriptor::of(image),
            false => Descriptor::of_reduced(image, original.size, original.file),
        };
        let descriptor = (self.describe != Describe::Nothing).then(descriptor).transpose()?;
        let measures = (self.describe == Describe::Measures).then(|| Measures::of(image));
        let prepared = self.others.iter().map(|other| Prepared::of_image(image, other.preprocessing()));
        Ok(Also { descriptor, measures, prepared: prepared.collect() })
    }
}

/// A picture of a batch; `None` where it is known.
type Fetched = Option<std::result::Result<Loaded<Also>, Skipped>>;

/// What another network takes of a picture that could be used.
fn prepared_for(image: &Fetched, other: usize) -> Option<&Prepared> {
    image.as_ref()?.as_ref().ok()?.also.prepared.get(other)
}

/// Batches of the given chunks in order; `sink` gets each chunk as it is finished.
pub(super) fn for_each_chunk(
    work: Embedding,
    chunks: &[usize],
    mut known: Option<&mut Known>,
    mut sink: impl FnMut(usize, Embedded) -> Result<()>,
) -> Result<()> {
    let Embedding { set, extractor, others, options, describe, progress, stop_hint } = work;
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
    // Rows of images whose features are there already.
    let same: Vec<Option<usize>> = match &known {
        Some(known) => known.same().to_vec(),
        None => vec![None; set.len()],
    };
    let wanted = |i: usize| same[i].is_none();
    progress.start("embedding", inputs as u64, "images");
    let fetch = |at: usize| {
        let (_, range, _) = batches.get(at)?;
        Some(load_some(set, range.clone(), wanted, extractor.preprocessing(), &AlsoMade { describe, others }))
    };
    let mut next = fetch(0);
    let mut part = Embedded::default();
    let mut features = Vec::new();
    let mut of_others = vec![Vec::new(); others.len()];
    for (at, (chunk, range, last)) in batches.iter().enumerate() {
        check_stop(progress, || stop_hint.to_string())?;
        let images = next.take().unwrap_or_default();
        let places: Vec<Option<&Prepared>> =
            images.iter().map(|image| Some(&image.as_ref()?.as_ref().ok()?.image)).collect();
        let in_others = || -> Result<Vec<_>> {
            let in_other = |(i, other): (usize, &&LoadedExtractor)| {
                let places: Vec<_> = images.iter().map(|image| prepared_for(image, i)).collect();
                features_of(other, &places)
            };
            others.iter().enumerate().map(in_other).collect()
        };
        let (computed, prefetched) = rayon::join(
            || Ok::<_, Error>((features_of(extractor, &places)?, in_others()?)),
            || fetch(at + 1),
        );
        next = prefetched;
        let (computed, in_others) = computed?;
        for (all, features) in of_others.iter_mut().zip(in_others) {
            all.extend(features);
        }
        let first = part.images.len();
        let mut rows: Vec<Option<usize>> = Vec::new();
        for (i, image) in range.clone().zip(images) {
            match (image, same[i]) {
                (Some(Ok(Loaded { image: Prepared { width, height, note, .. }, sha256, also })), _) => {
                    let (path, bytes) = (set.path(i).to_string(), set.size(i));
                    part.images.push(ImageRow { path, width, height, note, bytes, sha256 });
                    part.descriptors.extend(also.descriptor);
                    part.measures.extend(also.measures);
                    rows.push(None);
                }
                (Some(Err(Skipped { path, reason })), _) if options.strict => {
                    return Err(Error::Strict { path, reason });
                }
                (Some(Err(skipped)), _) => part.inputs.skipped.push(skipped),
                (None, row) => {
                    if let (Some(known), Some(row)) = (&mut known, row) {
                        part.images.push(known.image(row).clone());
                        part.descriptors.push(known.descriptor(row)?);
                        rows.push(Some(row));
                    }
                }
            }
        }
        if part.images.len() > first {
            let known = known.as_deref_mut().filter(|_| rows.iter().any(Option::is_some));
            features.push(match known {
                Some(known) => known.fill(&rows, computed.as_ref())?,
                None => computed.unwrap_or_default(),
            });
        }
        progress.advance(range.len() as u64);
        if *last {
            part.features = join(&std::mem::take(&mut features))?;
            part.others =
                of_others.iter_mut().map(|of_one| join(&std::mem::take(of_one))).collect::<Result<_>>()?;
            sink(*chunk, std::mem::take(&mut part))?;
        }
    }
    progress.finish();
    Ok(())
}

/// Features of the images of a batch that could be used; `None` if there are none.
pub(in crate::reference) fn features_of(
    extractor: &LoadedExtractor,
    places: &[Option<&Prepared>],
) -> Result<Option<Array2<f32>>> {
    let rows: Vec<usize> = (0..places.len()).filter(|&i| places[i].is_some()).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let features = extractor.features(places)?;
    let finite = |row: ArrayView1<f32>| row.iter().all(|v| v.is_finite());
    if !rows.iter().all(|&row| finite(features.row(row))) {
        return Err(Error::data(
            format!("{} gave features that are not finite", extractor.identity().extractor),
            Remedy::ListWeights,
        ));
    }
    Ok(Some(if rows.len() == places.len() { features } else { features.select(Axis(0), &rows) }))
}

/// What chunks were put together to.
pub(in crate::reference) struct Assembled {
    /// Images that were used.
    pub images: usize,
    /// What was skipped.
    pub skipped: Vec<Skipped>,
    /// [`content_digest`] of the images.
    pub content: String,
}

/// Puts finished chunks together in `dir`: features, descriptors where the chunks have them, and tables of the images and of what was
/// skipped (first `unlisted`).
pub(in crate::reference) fn assemble(
    dir: &Path,
    partial: &Partial,
    chunks: Range<usize>,
    extractor: &LoadedExtractor,
    unlisted: Vec<Skipped>,
    options: EmbedOptions,
) -> Result<Assembled> {
    let mut features = NpyWriter::create(dir.join(files::FEATURES), extractor.identity().dimension)?;
    let mut descriptors = NpyWriter::<u8>::create(dir.join(files::DESCRIPTORS), DESCRIPTOR_BYTES)?;
    let (images, skipped) = each_finished(partial, chunks, unlisted, options, |chunk, rows| {
        features.write_rows(rows.view())?;
        let described = descriptors_of(partial, chunk);
        if described.is_file() { descriptors.write_rows_of(described) } else { Ok(()) }
    })?;
    features.finish()?;
    if descriptors.rows() == images.len() {
        descriptors.finish()?;
    }
    write_images(dir, &images)?;
    write_skipped(dir, &skipped)?;
    let content = content_digest(images.iter().map(|image| image.sha256.as_str()));
    Ok(Assembled { images: images.len(), skipped, content })
}

/// Finished chunks in memory, with descriptors where they have them, of a set of which `left_out` was left out.
pub(in crate::reference) fn gather(
    partial: &Partial,
    chunks: Range<usize>,
    extractor: &LoadedExtractor,
    unlisted: Vec<Skipped>,
    options: EmbedOptions,
) -> Result<Embedded> {
    let mut parts = vec![Array2::zeros((0, extractor.identity().dimension))];
    let mut descriptors = Vec::new();
    let (images, skipped) = each_finished(partial, chunks, unlisted, options, |chunk, rows| {
        parts.push(rows);
        let described = descriptors_of(partial, chunk);
        if described.is_file() {
            descriptors.extend(read_rows(&described)?);
        }
        Ok(())
    })?;
    let inputs = Inputs { used: images.len(), skipped, left_out: LeftOut::default() };
    Ok(Embedded { features: join(&parts)?, images, inputs, descriptors, ..Embedded::default() })
}

/// Gives the number and the features of each finished chunk to `sink`; returns the images, and the skipped (first `unlisted`).
fn each_finished(
    partial: &Partial,
    chunks: Range<usize>,
    unlisted: Vec<Skipped>,
    options: EmbedOptions,
    mut sink: impl FnMut(usize, Array2<f32>) -> Result<()>,
) -> Result<(Vec<ImageRow>, Vec<Skipped>)> {
    let (mut images, mut skipped) = (Vec::new(), unlisted);
    for chunk in chunks {
        let record: Record = partial.read(chunk)?;
        if !record.images.is_empty() {
            sink(chunk, read_npy(partial.data(chunk))?)?;
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

pub(in crate::reference) fn join(parts: &[Array2<f32>]) -> Result<Array2<f32>> {
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
    table.push("bytes", Values::Int(images.iter().map(|i| i.bytes as i64).collect()))?;
    table.push("sha256", Values::Text(images.iter().map(|i| i.sha256.clone()).collect()))?;
    write_csv(&dir.join(files::IMAGES), &table)
}
