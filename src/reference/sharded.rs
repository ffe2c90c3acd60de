//! Features and scores made in parts, by any number of processes on any number of machines, and their merge.
//! A part is made of whole chunks, so that the merged result is that of one run to the byte. Of a set of archives that are
//! split whole, no process knows all images: each part lists its own, and the merge makes of that what one run knows from the start.

use super::copies::of_real;
use super::embed::{
    Assembled, Describe, EmbedOptions, EmbedRun, Embedded, Embedding, Unit, assemble, chunks_of,
    finish_chunks, finished, gather, nothing_usable, reference_run, unlisted,
};
use super::files;
pub(crate) use super::manifest::EMBED;
use super::manifest::Manifest;
use super::store::{content_digest, read_skipped, write_skipped};
use super::{Reference, Scorer};
use crate::copies::DESCRIPTOR_BYTES;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::atomic::write_json;
use crate::formats::npy::{NpyWriter, RowElement};
use crate::formats::table::{Columns, Table, Values, concat_csv, write_table};
use crate::images::{ImageSet, InputDigest, LeftOut, Skipped};
use crate::progress::Progress;
use crate::runs::{self, Merged, Part, Partial, Run, Shard, check_whole, files_of, options_of};
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The command whose parts are scores against a reference.
pub(crate) const SCORE: &str = "score";
/// What was skipped, beside merged scores.
pub(crate) const SCORES_SKIPPED: &str = "scores.skipped.csv";
/// Where in a part of whole archives stands what could not even be listed: one run has all of that before all else.
const UNLISTED: &str = "unlisted";
/// The inputs of a part of whole archives.
const LISTING: &str = "inputs.csv";

/// What identifies a run of scores in parts.
#[derive(Serialize, Deserialize)]
struct ScoreRun {
    #[serde(flatten)]
    embed: EmbedRun,
    /// [`Reference::digest`].
    reference: String,
}

/// Features of one shard of `set`, as a part of `out`. Finished chunks of an earlier attempt are not computed again.
///
/// # Errors
/// As [`super::embed::embed_into`]; [`Error::Malformed`] if `out` or this part is of another run.
pub(crate) fn embed_shard(
    out: &Path,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    shard: Shard,
    progress: &dyn Progress,
) -> Result<Part> {
    let own = EmbedRun::new(set, extractor);
    let merged = match own.archives {
        // Which images the reference was made of cannot be told from one part.
        Some(Unit::Archives) => out.join(files::MANIFEST).exists(),
        _ => finished(out, &reference_run(&own.identity, Some(&own.input_digest)))?.is_some(),
    };
    if merged {
        return Err(Error::malformed(out, "is finished: its parts are merged", "nothing is left to do"));
    }
    let run = Run::new(EMBED, &own)?;
    make(Work { out, set, extractor, options, shard, run }, progress, |dir, partial, chunks, unlisted| {
        let Assembled { images, skipped, .. } = assemble(dir, partial, chunks, extractor, unlisted, options)?;
        if set.part().is_some() {
            write_listing(dir, set)?;
        }
        Ok((images, skipped.len()))
    })
}

/// Scores of one shard of `set` against `reference`, as a part of `out`. Exact search multiplies matrices on the extractor's device.
///
/// # Errors
/// As [`embed_shard`]; [`Error::Malformed`] if the reference is damaged or not indexed.
pub(crate) fn score_shard(
    out: &Path,
    set: &ImageSet,
    extractor: &LoadedExtractor,
    options: EmbedOptions,
    reference: &Reference,
    shard: Shard,
    progress: &dyn Progress,
) -> Result<Part> {
    let own = ScoreRun { embed: EmbedRun::new(set, extractor), reference: reference.digest()? };
    let run = Run::new(SCORE, &own)?;
    make(Work { out, set, extractor, options, shard, run }, progress, |dir, partial, chunks, unlisted| {
        let Embedded { features, images, inputs, descriptors, .. } =
            gather(partial, chunks, extractor, unlisted, options)?;
        let paths: Vec<String> = images.into_iter().map(|image| image.path).collect();
        let scorer = Scorer::open(reference, extractor.device(), progress)?;
        let mut scores = scorer.score_images(features.view(), &paths, progress)?;
        if let Some(mut real) = reference.descriptors()? {
            let found = of_real(&scorer, &mut real, &descriptors, features.view(), &paths, progress)?;
            scores.copy_of = Some(found);
        }
        write_table(dir.join(files::SCORES), &scores.table(&paths, scorer.paths())?)?;
        write_skipped(dir, &inputs.skipped)?;
        Ok((paths.len(), inputs.skipped.len()))
    })
}

/// One shard of a run.
struct Work<'a> {
    out: &'a Path,
    set: &'a ImageSet,
    extractor: &'a LoadedExtractor,
    options: EmbedOptions,
    shard: Shard,
    run: Run,
}

/// Fills the directory of a part from its finished chunks, with the inputs that could not even be listed; returns how many rows
/// and skipped inputs that are.
trait Fill: Fn(&Path, &Partial, Range<usize>, Vec<Skipped>) -> Result<(usize, usize)> {}

impl<F: Fn(&Path, &Partial, Range<usize>, Vec<Skipped>) -> Result<(usize, usize)>> Fill for F {}

/// Embeds the chunks of a shard and lets `fill` make the part of them.
fn make(work: Work, progress: &dyn Progress, fill: impl Fill) -> Result<Part> {
    runs::finished_or(work.out, work.shard, &work.run, || attempt(&work, progress, fill))
}

fn attempt(work: &Work, progress: &dyn Progress, fill: impl Fill) -> Result<Part> {
    let Work { out, set, extractor, options, shard, run } = work;
    let unlisted = unlisted(set, *options)?;
    let all = chunks_of(set);
    let (chunks, inputs, unlisted, apart) = match set.part() {
        Some(part) => (0..all.count(), part.own.clone(), Vec::new(), Some(unlisted)),
        None => {
            let (chunks, inputs) = all.of_shard(*shard);
            (chunks, inputs, if shard.index == 0 { unlisted } else { Vec::new() }, None)
        }
    };
    let partial = Partial::open(runs::chunks_of(out, *shard, run), run)?;
    let stop_hint = "finished chunks are kept; the same command continues";
    let embedding = Embedding {
        set,
        extractor,
        others: &[],
        options: *options,
        describe: Describe::Descriptors,
        progress,
        stop_hint,
    };
    finish_chunks(&partial, embedding, chunks.clone(), None)?;
    let part = runs::publish(out, *shard, run, inputs, |dir| {
        // What lies among images is counted once: with the archives of each shard, or by the first one.
        if set.part().is_some() || shard.index == 0 {
            write_json(dir.join(files::LEFT_OUT), &set.left_out().counts())?;
        }
        let (rows, mut skipped) = fill(dir, &partial, chunks, unlisted)?;
        if let Some(unlisted) = apart {
            skipped += unlisted.len();
            let place = dir.join(UNLISTED);
            fs::create_dir(&place).map_err(Error::io("create", &place))?;
            write_skipped(&place, &unlisted)?;
        }
        Ok((rows, skipped))
    })?;
    partial.remove()?;
    Ok(part)
}

/// Joins the parts of `pd embed` to a reference directory in `out`: the bytes of one run. `in_place` leaves the features in the
/// parts, and the manifest lists them. Densities that were found since an earlier merge in place stay.
///
/// # Errors
/// [`Error::Malformed`] if a file is not the one that its part was made with, or `out` holds another reference; [`Error::Data`] if
/// no image could be used.
pub(crate) fn merge_embedded(out: &Path, parts: &[Part], in_place: bool) -> Result<Merged> {
    let run: EmbedRun = options_of(parts)?;
    let merged = check_whole(out, parts, run.inputs)?;
    let unlisted = join_skipped(parts, &out.join(files::SKIPPED))?;
    if merged.rows == 0 {
        return Err(nothing_usable(&read_skipped(out)?));
    }
    concat_csv(&out.join(files::IMAGES), &files_of(parts, files::IMAGES), Some("row"))?;
    let input_digest = match run.archives {
        Some(Unit::Archives) => digest_of_listings(parts, merged.rows + merged.skipped - unlisted)?,
        _ => run.input_digest,
    };
    // What was merged in place before may have been indexed since: the rows are the same ones.
    let before = finished(out, &reference_run(&run.identity, Some(&input_digest)))?;
    let content =
        content_digest(Columns::read(&out.join(files::IMAGES))?.text("sha256")?.iter().map(String::as_str));
    let mut manifest = Manifest::new(run.identity, input_digest, merged.rows, merged.skipped)
        .of(content, left_out(parts, "")?);
    let is_same =
        |before: &Manifest| before.rows == merged.rows && before.content_digest == manifest.content_digest;
    manifest.density = before.filter(is_same).and_then(|before| before.density);
    let (features, descriptors) = (files_of(parts, files::FEATURES), files_of(parts, files::DESCRIPTORS));
    if in_place {
        let of = |path: &PathBuf| {
            path.strip_prefix(out).map(|p| p.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")).ok()
        };
        manifest.features = features.iter().filter_map(of).collect();
        manifest.descriptors = descriptors.iter().filter_map(of).collect();
        manifest.save(out)?;
        return Ok(merged);
    }
    join_rows::<f32>(&out.join(files::FEATURES), manifest.identity.dimension, features)?;
    join_rows::<u8>(&out.join(files::DESCRIPTORS), DESCRIPTOR_BYTES, descriptors)?;
    manifest.save(out)?;
    runs::remove_parts(out)?;
    Ok(merged)
}

/// Writes the rows of several matrices of this width as one.
fn join_rows<T: RowElement>(to: &Path, width: usize, parts: Vec<PathBuf>) -> Result<()> {
    let mut writer = NpyWriter::<T>::create(to, width)?;
    parts.into_iter().try_for_each(|path| writer.write_rows_of(path))?;
    writer.finish()
}

/// Joins the parts of `pd score` to `scores.csv` in `out`, the bytes of one run, and what was skipped to `scores.skipped.csv`.
///
/// # Errors
/// As [`merge_embedded`].
pub(crate) fn merge_scores(out: &Path, parts: &[Part]) -> Result<Merged> {
    let run: ScoreRun = options_of(parts)?;
    let merged = check_whole(out, parts, run.embed.inputs)?;
    if merged.skipped > 0 {
        join_skipped(parts, &out.join(SCORES_SKIPPED))?;
    }
    concat_csv(&out.join(files::SCORES), &files_of(parts, files::SCORES), None)?;
    runs::remove_parts(out)?;
    Ok(merged)
}

/// What was left out of the set in this folder of the parts.
pub(super) fn left_out(parts: &[Part], folder: &str) -> Result<LeftOut> {
    let mut all = LeftOut::default();
    for path in files_of(parts, &format!("{folder}{}", files::LEFT_OUT)) {
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let hint = "remove the part and run its shard again";
        all.merge(serde_json::from_slice(&text).map_err(|e| Error::malformed(&path, e.to_string(), hint))?);
    }
    Ok(all)
}

/// Writes path and size of every input of a part.
fn write_listing(dir: &Path, set: &ImageSet) -> Result<()> {
    let mut table = Table::new();
    table.push("path", Values::Text((0..set.len()).map(|i| set.path(i).to_owned()).collect()))?;
    table.push("size", Values::Int((0..set.len()).map(|i| set.size(i) as i64).collect()))?;
    write_table(dir.join(LISTING), &table)
}

/// What [`ImageSet::digest`] is for the set of which the parts list their `inputs`.
fn digest_of_listings(parts: &[Part], inputs: usize) -> Result<String> {
    let mut digest = InputDigest::default();
    let mut listed = 0;
    for part in parts {
        let path = part.dir.join(LISTING);
        let hint = format!("remove {} and run that shard again", part.dir.display());
        let wrong = |reason: String| Error::malformed(&path, reason, &hint);
        let mut reader = csv::Reader::from_path(&path).map_err(|e| wrong(e.to_string()))?;
        for record in reader.records() {
            let record = record.map_err(|e| wrong(e.to_string()))?;
            let size = record.get(1).and_then(|size| size.parse().ok());
            let (Some(path), Some(size)) = (record.get(0), size) else {
                return Err(wrong("has a row without a path and a size".into()));
            };
            digest.add(path, size);
            listed += 1;
        }
    }
    if listed != inputs {
        let reason = format!("the parts list {listed} inputs, and used or skipped {inputs}");
        let dir = parts.first().map_or(Path::new(LISTING), |part| &part.dir);
        return Err(Error::malformed(dir, reason, "remove the parts and run the shards again"));
    }
    Ok(digest.finish())
}

/// Joins what the parts have skipped, as one run writes it: first what could not even be listed, in order. Returns how many these
/// are, where parts of whole archives tell them apart.
fn join_skipped(parts: &[Part], to: &Path) -> Result<usize> {
    let mut unlisted: Vec<Skipped> = Vec::new();
    for table in files_of(parts, &format!("{UNLISTED}/{}", files::SKIPPED)) {
        unlisted.extend(read_skipped(table.parent().unwrap_or(&table))?);
    }
    unlisted.sort();
    let first = tempfile::tempdir().map_err(Error::io("create", to))?;
    write_skipped(first.path(), &unlisted)?;
    let mut tables = vec![first.path().join(files::SKIPPED)];
    tables.extend(files_of(parts, files::SKIPPED));
    concat_csv(to, &tables, None)?;
    Ok(unlisted.len())
}
