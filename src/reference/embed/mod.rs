//! From images to features: of a set in memory, or kept as a reference directory, which a later run brings up to date.

mod chunks;
mod known;
mod times;

use super::files;
use super::manifest::{EMBED, Manifest};
use super::store::{Reference, unfinish};
use crate::copies::{Descriptor, Measures};
use crate::error::{Error, Result};
use crate::extract::{Identity, LoadedExtractor};
use crate::formats::atomic::remove_directory;
use crate::images::{ImageSet, Inputs, Skipped, load};
use crate::progress::{Progress, check_stop};
use crate::remedy::Remedy;
use crate::runs::{Opened, Partial, Record as RunRecord, RunDir, RunIdentity, remove_parts};
pub use chunks::Describe;
use chunks::for_each_chunk;
pub(in crate::reference) use chunks::{
    Assembled, Embedding, assemble, chunks_of, features_of, finish_chunks, gather, join,
};
pub(crate) use known::Changes;
use known::Known;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;
use times::Times;

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
    /// Length of the file.
    #[serde(default)]
    pub bytes: u64,
    /// SHA-256 of the file, 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: String,
}

/// Features of a set, with what they belong to.
#[derive(Debug, Default)]
pub struct Embedded {
    /// `[N, D]`, one row per image that could be used.
    pub features: Array2<f32>,
    /// `[N]`
    pub images: Vec<ImageRow>,
    /// What became of the inputs.
    pub inputs: Inputs,
    /// What finding copies needs of each picture, `[N]`, where it was asked for.
    pub descriptors: Vec<Descriptor>,
    /// `[N]`, where they were asked for.
    pub(crate) measures: Vec<Measures>,
    /// Features of the same images by other networks, `[N, D]` each, where there are others.
    pub(crate) others: Vec<Array2<f32>>,
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
    embed_described(set, extractor, options, Describe::Nothing, progress)
}

/// As [`embed`], with what else is asked for of the pictures.
///
/// # Errors
/// As [`embed`].
pub fn embed_described(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    describe: Describe,
    progress: &dyn Progress,
) -> Result<Embedded> {
    embed_together(set, (extractor, &[]), options, describe, progress)
}

/// As [`embed`] for several networks, each image read and decoded once; [`Embedded::others`] has the features of all but the first. What
/// transparent pixels are replaced by is settled by the first.
///
/// # Errors
/// As [`embed`]; [`Error::Usage`] if there is no network.
pub(crate) fn embed_in_spaces(
    set: &ImageSet,
    extractors: &[&LoadedExtractor],
    options: EmbedOptions,
    progress: &dyn Progress,
) -> Result<Embedded> {
    let Some((first, others)) = extractors.split_first() else {
        return Err(Error::usage("there is no network to embed images with", ""));
    };
    embed_together(set, (first, others), options, Describe::Nothing, progress)
}

fn embed_together(
    set: &ImageSet,
    (extractor, others): (&LoadedExtractor, &[&LoadedExtractor]),
    options: EmbedOptions,
    describe: Describe,
    progress: &dyn Progress,
) -> Result<Embedded> {
    let mut all = Embedded::default();
    all.inputs.skipped = unlisted(set, options)?;
    all.inputs.left_out = set.left_out().clone();
    let mut parts = Vec::new();
    let mut parts_of_others = vec![Vec::new(); others.len()];
    let chunks: Vec<usize> = (0..chunks_of(set).count()).collect();
    let stop_hint = "nothing is kept; a reference directory keeps features and continues";
    let work = Embedding { set, extractor, others, options, describe, progress, stop_hint };
    for_each_chunk(work, &chunks, None, |_, part| {
        // A chunk of which nothing could be used has no width either.
        if !part.images.is_empty() {
            parts.push(part.features);
            parts_of_others.iter_mut().zip(part.others).for_each(|(all, features)| all.push(features));
        }
        all.descriptors.extend(part.descriptors);
        all.measures.extend(part.measures);
        all.images.extend(part.images);
        all.inputs.skipped.extend(part.inputs.skipped);
        Ok(())
    })?;
    all.features = join(&parts)?;
    all.others = parts_of_others.iter().map(|parts| join(parts)).collect::<Result<_>>()?;
    all.inputs.used = all.images.len();
    if all.images.is_empty() {
        return Err(nothing_usable(&all.inputs.skipped));
    }
    Ok(all)
}

/// What identifies a run of parts: those of another are not joined with its own.
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

/// What a run of `pd embed` found and did.
#[derive(Debug)]
pub(crate) struct EmbedOutcome {
    /// The reference as it is now.
    pub manifest: Manifest,
    /// What became of the inputs.
    pub inputs: Inputs,
    /// How the images differ from those of the reference that was there; `None` where there was none to compare with.
    pub changes: Option<Changes>,
    /// Whether the reference was up to date already.
    pub nothing_to_do: bool,
}

/// Into a reference directory. What an earlier run finished is not computed again: where the directory holds a reference already,
/// images that changed are embedded again, new ones are added, and those that are gone are dropped. The result is that of a new run.
///
/// # Errors
/// As [`embed`] and [`RunDir::open`]; [`Error::Usage`] if `dir` holds a reference of other images. Finished chunks are kept.
pub(crate) fn embed_into(
    dir: &Path,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    progress: &dyn Progress,
) -> Result<EmbedOutcome> {
    let identity = extractor.identity();
    let unlisted = unlisted(set, options)?;
    let (_directory, mut known, changes) = match RunDir::open(dir, &reference_run(identity, None))? {
        Opened::New(directory) | Opened::Continue(directory) => (directory, None, None),
        Opened::Finished(_) => match compared(dir, set, extractor, &unlisted, progress)? {
            Compared::Same(outcome) => {
                if options.strict {
                    outcome.inputs.check_strict()?;
                }
                remove_directory(&dir.join(files::PARTIAL))?;
                return Ok(*outcome);
            }
            Compared::Other(before, known, changes) => {
                let directory = RunDir::locked(dir)?;
                if Manifest::load(dir)? != *before {
                    let reason = format!("another process has changed {} meanwhile", dir.display());
                    return Err(Error::usage(reason, Remedy::WaitOrOtherOutput));
                }
                (directory, known, Some(changes))
            }
        },
    };
    let partial = Partial::open(dir.join(files::PARTIAL), identity)?;
    let chunks = 0..chunks_of(set).count();
    let stop_hint = format!("finished chunks are kept in {}; the same command continues", dir.display());
    let work = Embedding {
        set,
        extractor,
        others: &[],
        options,
        describe: Describe::Descriptors,
        progress,
        stop_hint: &stop_hint,
    };
    finish_chunks(&partial, work, chunks.clone(), known.as_mut())?;
    // From here on the chunks hold all that the old reference has of use.
    Times::forget(dir);
    unfinish(dir)?;
    let Assembled { images, skipped, content } =
        assemble(dir, &partial, chunks, extractor, unlisted, options)?;
    if images == 0 {
        return Err(nothing_usable(&skipped));
    }
    let manifest = Manifest::new(identity.clone(), set.digest(), images, skipped.len())
        .of(content, set.left_out().counts());
    manifest.save(dir)?;
    partial.remove()?;
    remove_parts(dir)?;
    Times::keep(dir, set, &Reference { dir: dir.into(), manifest: manifest.clone() }.paths()?);
    let inputs = Inputs { used: images, skipped, left_out: set.left_out().clone() };
    // Of the inputs that were not there before, only the images that could be used are new.
    let new = |changes: Changes| images.saturating_sub(changes.kept + changes.changed);
    let changes = changes.map(|changes| Changes { new: new(changes), ..changes });
    Ok(EmbedOutcome { manifest, inputs, changes, nothing_to_do: false })
}

enum Compared {
    /// The reference is up to date.
    Same(Box<EmbedOutcome>),
    /// It is not: its manifest, what it holds (absent where it does not say of which files it was made), and what is different.
    Other(Box<Manifest>, Option<Known>, Changes),
}

/// Compares a set with the finished reference in `dir`, which was made with the same extractor.
fn compared(
    dir: &Path,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    unlisted: &[Skipped],
    progress: &dyn Progress,
) -> Result<Compared> {
    let reference = Reference { dir: dir.into(), manifest: Manifest::load(dir)? };
    let of_other_images = |count: usize| {
        let reason = format!("{} holds a reference of {count} other images", dir.display());
        Error::usage(reason, Remedy::OtherOutput)
    };
    let Some(mut known) = Known::open(&reference)? else {
        // What an earlier version made lacks descriptors or digests: it is made again.
        let (rows, paths) = (reference.manifest.rows, reference.paths()?);
        let known: HashSet<&str> = paths.iter().map(String::as_str).collect();
        if !(0..set.len()).any(|i| known.contains(set.path(i))) {
            return Err(of_other_images(rows));
        }
        let changes = Changes { new: set.len(), gone: rows, ..Changes::default() };
        return Ok(Compared::Other(Box::new(reference.manifest), None, changes));
    };
    if !known.shares_an_input(set) {
        return Err(of_other_images(known.len()));
    }
    let times = Times::of(dir);
    let changes = known.compare(set, times.as_ref(), progress)?;
    let is_same = changes.changed + changes.gone == 0
        && reference.manifest.input_digest == set.digest()
        && reference.manifest.left_out == set.left_out().counts()
        && skipped_as_before(&known, set, extractor, unlisted, progress)?;
    if !is_same {
        return Ok(Compared::Other(Box::new(reference.manifest), Some(known), changes));
    }
    if times.is_none() {
        Times::keep(dir, set, &reference.paths()?);
    }
    let inputs =
        Inputs { used: known.len(), skipped: known.skipped().to_vec(), left_out: set.left_out().clone() };
    let changes = Some(Changes { new: 0, ..changes });
    let outcome = EmbedOutcome { manifest: reference.manifest, inputs, changes, nothing_to_do: true };
    Ok(Compared::Same(Box::new(outcome)))
}

/// Whether the inputs that the reference does not hold are those that were skipped when it was made, for the same reasons.
fn skipped_as_before(
    known: &Known,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    unlisted: &[Skipped],
    progress: &dyn Progress,
) -> Result<bool> {
    let before = known.skipped();
    let Some(before) = before.strip_prefix(unlisted) else { return Ok(false) };
    let others: Vec<usize> =
        (0..set.len()).zip(known.same()).filter(|(_, row)| row.is_none()).map(|(i, _)| i).collect();
    if others.len() != before.len() {
        return Ok(false);
    }
    for (i, before) in others.into_iter().zip(before) {
        check_stop(progress, || "the reference is as it was".into())?;
        if before.path != set.path(i) {
            return Ok(false);
        }
        match load(set, i..i + 1, extractor.preprocessing()).pop() {
            Some(Err(found)) if found == *before => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// What tells the reference of these features, of any images or of those with this digest, from others.
pub(super) fn reference_run(identity: &Identity, input_digest: Option<&str>) -> RunIdentity {
    let mut settings = serde_json::json!({
        "extractor": identity.extractor,
        "dimension": identity.dimension,
        "weights_sha256": identity.weights_sha256,
        "preprocessing": identity.preprocessing,
        "normalize": identity.normalize,
        "onnx": identity.onnx,
        "precision": identity.precision.filter(|&precision| precision != Default::default()),
    });
    if let Some(digest) = input_digest {
        settings["input_digest"] = digest.into();
    }
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

/// What could not even be listed counts as skipped.
pub(super) fn unlisted(set: &ImageSet, options: EmbedOptions) -> Result<Vec<Skipped>> {
    let skipped = set.unreadable().to_vec();
    let inputs = Inputs { used: set.len(), skipped, left_out: set.left_out().clone() };
    if options.strict {
        inputs.check_strict()?;
    }
    Ok(inputs.skipped)
}

pub(super) fn nothing_usable(skipped: &[Skipped]) -> Error {
    let first = skipped.first().map_or(String::new(), |s| format!("; the first: {}: {}", s.path, s.reason));
    Error::data(format!("none of {} images could be used{first}", skipped.len()), "")
}
