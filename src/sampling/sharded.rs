//! `pd sample` in parts: each part has the images, features, scores and latents of some of the candidates.
//! Pilot, weights, acceptance and distances between the kept need all candidates in order: the merge decides, as one run does.

use super::draw::{BLOCK, CandidateBlocks};
use super::generated::GeneratedCandidates;
use super::record::DrawRecord;
use super::reference_stats::ReferenceStats;
use crate::candidates::{
    CandidateRecord, CandidateScores, CandidateSource, CopyOf, DensityScorer, Looked, SecondLook,
    candidate_table, read_candidate_table,
};
use crate::copies::{DESCRIPTOR_BYTES, Descriptor};
use crate::error::{Error, Result};
use crate::formats::atomic::link_or_copy;
use crate::formats::npy::{NpyRows, NpyWriter, RowElement};
use crate::formats::table::{Columns, Table, Values, write_table};
use crate::progress::Progress;
use crate::runs::{self, Part, Partial, Run, Shard};
use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The command whose parts these are.
pub(crate) const SAMPLE: &str = "sample";
/// A row per candidate: name, seed, key and scores.
const TABLE: &str = "candidates.csv";
const FEATURES: &str = "features.npy";
/// What the second look needs and says, a row per candidate: features of mirrored pictures, descriptors, and real images that they are
/// copies of.
const MIRRORED: &str = "mirrored.npy";
const DESCRIPTORS: &str = "descriptors.npy";
const COPIES: &str = "copies.csv";
/// One row per candidate, whatever the shape of a latent.
const LATENTS: &str = "latents.npy";
/// Where in a part its images are.
const IMAGES: &str = "images";

/// What identifies a run, and everything that the merge decides by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SampleRun {
    /// What tells this run from others, as its summary has it.
    pub run: Value,
    /// What is drawn; a threshold is a density here.
    pub options: DrawRecord,
    /// What the reference says; `None` where everything is kept.
    pub reference: Option<ReferenceStats>,
    /// Candidates in all.
    pub candidates: usize,
    /// Candidates of each group that is drawn from by itself; absent where all are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<usize>>,
    /// Shape of one latent; `None` for candidates that have none.
    pub latent: Option<Vec<usize>>,
}

/// The candidates of one shard, as a part of `out`. Finished blocks of an earlier attempt are not made again.
///
/// # Errors
/// What making images and features returns; as [`runs::finished_or`].
pub(crate) fn sample_shard(
    out: &Path,
    (source, scorer, look): (&dyn CandidateSource, Option<&DensityScorer>, Option<&SecondLook>),
    (run, candidates, shard): (&Run, usize, Shard),
    progress: &dyn Progress,
) -> Result<Part> {
    runs::finished_or(out, shard, run, || {
        let partial = Partial::open(runs::chunks_of(out, shard, run), run)?;
        let generated = GeneratedCandidates::new(source, scorer, partial, progress).looking(look);
        let blocks: Vec<Range<usize>> = shard
            .range(candidates.div_ceil(BLOCK))
            .map(|block| block * BLOCK..((block + 1) * BLOCK).min(candidates))
            .collect();
        let own = match (blocks.first(), blocks.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => {
                let at = (shard.range(candidates.div_ceil(BLOCK)).start * BLOCK).min(candidates);
                at..at
            }
        };
        progress.start("generating", own.len() as u64, "images");
        for block in &blocks {
            generated.images(block.clone())?;
            if look.is_some() {
                looked_at(&generated, block.clone())?;
            }
            progress.advance(block.len() as u64);
        }
        progress.finish();
        let part = runs::publish(out, shard, run, own.clone(), |dir| {
            fill(dir, &generated, (&blocks, scorer.is_some()))?;
            Ok((own.len(), 0))
        })?;
        generated.finish()?;
        Ok(part)
    })
}

/// The second look at all candidates of a block.
fn looked_at(generated: &GeneratedCandidates<'_>, block: Range<usize>) -> Result<Vec<Looked>> {
    let (features, _) = generated.block(block.clone())?;
    generated.look(&block.collect::<Vec<_>>(), features.view())
}

/// Puts finished blocks together.
fn fill(
    dir: &Path,
    generated: &GeneratedCandidates<'_>,
    (blocks, scored): (&[Range<usize>], bool),
) -> Result<()> {
    let images = dir.join(IMAGES);
    fs::create_dir(&images).map_err(Error::io("create", &images))?;
    let (mut features, mut latents): (Option<NpyWriter>, Option<NpyWriter>) = (None, None);
    let (mut mirrored, mut descriptors) = (None, None);
    let mut copies: Vec<Option<CopyOf>> = Vec::new();
    let mut records = Vec::new();
    let mut all_scores: Option<CandidateScores> = None;
    for block in blocks {
        let own = generated.records(block.clone())?;
        for CandidateRecord { name, .. } in &own {
            generated.link_image(name, &images.join(name))?;
        }
        records.extend(own);
        if let Some(rows) = generated.latents(block.clone())? {
            append(&mut latents, &dir.join(LATENTS), &flat(rows)?)?;
        }
        if scored {
            let (rows, scores) = generated.block(block.clone())?;
            append(&mut features, &dir.join(FEATURES), &rows)?;
            match &mut all_scores {
                Some(all) => all.extend(scores),
                None => all_scores = Some(scores),
            }
        }
        if generated.looks() {
            for looked in looked_at(generated, block.clone())? {
                append(&mut mirrored, &dir.join(MIRRORED), &row(looked.mirrored))?;
                append(&mut descriptors, &dir.join(DESCRIPTORS), &row(looked.descriptor.to_row().to_vec()))?;
                copies.push(looked.real);
            }
        }
    }
    features.into_iter().chain(latents).chain(mirrored).try_for_each(NpyWriter::finish)?;
    descriptors.into_iter().try_for_each(NpyWriter::<u8>::finish)?;
    let real_names = generated.real_names();
    if generated.looks() {
        write_table(dir.join(COPIES), &copies_table(&copies, &real_names)?)?;
    }
    write_table(dir.join(TABLE), &candidate_table(records, all_scores, &real_names)?)
}

/// One row.
fn row<T: Clone>(values: Vec<T>) -> Array2<T> {
    Array1::from_vec(values).insert_axis(Axis(0))
}

/// The name of the real image that each candidate is a copy of, and the score.
fn copies_table(copies: &[Option<CopyOf>], reference_paths: &[String]) -> Result<Table> {
    let name = |copy: &Option<CopyOf>| copy.and_then(|copy| reference_paths.get(copy.row).cloned());
    let score = |copy: &Option<CopyOf>| copy.map_or(0.0, |copy| copy.score);
    let mut table = Table::new();
    table.push("copy_of", Values::OptionalText(copies.iter().map(name).collect()))?;
    table.push("score", Values::Float(copies.iter().map(score).collect()))?;
    Ok(table)
}

fn append<T: RowElement>(writer: &mut Option<NpyWriter<T>>, path: &Path, rows: &Array2<T>) -> Result<()> {
    let writer = match writer {
        Some(writer) => writer,
        None => writer.insert(NpyWriter::create(path, rows.ncols())?),
    };
    writer.write_rows(rows.view())
}

/// A row for each latent, whatever its shape.
fn flat(latents: ArrayD<f32>) -> Result<Array2<f32>> {
    let rows = latents.shape().first().copied().unwrap_or_default();
    let width = latents.len() / rows.max(1);
    latents
        .into_shape_with_order((rows, width))
        .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
}

/// Candidates in the parts of several machines.
pub(crate) struct ShardedCandidates<'a> {
    parts: &'a [Part],
    run: &'a SampleRun,
    open: RefCell<Option<Open>>,
    nearest: RefCell<Names>,
}

/// Names of real images, each once.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.all.len() as u32;
        self.all.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// The part that candidates are read from now.
struct Open {
    at: usize,
    records: Vec<CandidateRecord>,
    scores: Option<CandidateScores>,
    features: Option<NpyRows>,
    latents: Option<NpyRows>,
    mirrored: Option<NpyRows>,
    descriptors: Option<NpyRows<u8>>,
    /// The real image that each candidate is a copy of.
    copies: Vec<Option<CopyOf>>,
}

impl<'a> ShardedCandidates<'a> {
    /// Of the parts of a run, which are whole.
    pub(crate) fn new(parts: &'a [Part], run: &'a SampleRun) -> Self {
        Self { parts, run, open: RefCell::default(), nearest: RefCell::default() }
    }

    /// Gives the part with `range`, and where in it that is, to `read`.
    fn within<T>(
        &self,
        range: &Range<usize>,
        read: impl FnOnce(&mut Open, Range<usize>) -> Result<T>,
    ) -> Result<T> {
        let holds =
            |part: &Part| part.record.inputs.start <= range.start && range.end <= part.record.inputs.end;
        let at = self.parts.partition_point(|part| part.record.inputs.end <= range.start);
        let part = self.parts.get(at).filter(|part| holds(part)).ok_or_else(|| {
            Error::data(format!("no part has the candidates {range:?}"), "run the shards again")
        })?;
        let mut open = self.open.borrow_mut();
        let open = match &mut *open {
            Some(open) if open.at == at => open,
            open => open.insert(self.open(at, part)?),
        };
        let first = part.record.inputs.start;
        read(open, range.start - first..range.end - first)
    }

    fn open(&self, at: usize, part: &Part) -> Result<Open> {
        let path = part.dir.join(TABLE);
        let mut names = self.nearest.borrow_mut();
        let scored = self.run.reference.is_some();
        let (records, scores) = read_candidate_table(&path, scored, &mut |name| names.number(name))?;
        if records.len() != part.record.inputs.len() {
            let reason = format!("has {} rows", records.len());
            return Err(Error::malformed(&path, reason, "remove the part and run its shard again"));
        }
        let file = |name: &str, width: Option<usize>| match (part.file(name), width) {
            (Some(path), Some(width)) => NpyRows::open(path, width).map(Some),
            _ => Ok(None),
        };
        let width = self.run.reference.as_ref().map(|reference| reference.width);
        let descriptors = part.file(DESCRIPTORS).map(|path| NpyRows::open(path, DESCRIPTOR_BYTES));
        let copies = match part.file(COPIES) {
            Some(path) => read_copies(&path, &mut |name| names.number(name))?,
            None => Vec::new(),
        };
        Ok(Open {
            at,
            records,
            scores,
            features: file(FEATURES, width)?,
            latents: file(LATENTS, self.run.latent.as_ref().map(|shape| shape.iter().product()))?,
            mirrored: file(MIRRORED, width)?,
            descriptors: descriptors.transpose()?,
            copies,
        })
    }

    fn rows<T: RowElement>(file: &mut Option<NpyRows<T>>, range: Range<usize>) -> Result<Array2<T>> {
        match file {
            Some(file) => file.read(range),
            None => Err(Error::data("a part lacks a file of its candidates", "run its shard again")),
        }
    }
}

/// Reads what [`copies_table`] holds; `number` gives a name its number.
fn read_copies(path: &Path, number: &mut dyn FnMut(&str) -> u32) -> Result<Vec<Option<CopyOf>>> {
    let table = Columns::read(path)?;
    let copies = table.text("copy_of")?.iter().zip(table.numbers("score")?);
    let copy = |(name, score): (&String, f64)| {
        (!name.is_empty()).then(|| CopyOf { row: number(name) as usize, score })
    };
    Ok(copies.map(copy).collect())
}

impl CandidateBlocks for ShardedCandidates<'_> {
    fn len(&self) -> u64 {
        self.run.candidates as u64
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        // What is decided on together may come from several parts.
        let mut all = Vec::with_capacity(range.len());
        for start in range.clone().step_by(BLOCK) {
            self.within(&(start..(start + BLOCK).min(range.end)), |open, own| {
                all.extend_from_slice(&open.records[own]);
                Ok(())
            })?;
        }
        Ok(all)
    }

    fn images(&self, _: Range<usize>) -> Result<()> {
        Ok(())
    }

    fn block(&self, range: Range<usize>) -> Result<(Array2<f32>, CandidateScores)> {
        self.within(&range, |open, own| {
            let features = Self::rows(&mut open.features, own.clone())?;
            match &open.scores {
                Some(scores) => Ok((features, scores.part(own))),
                None => Err(Error::data("a part lacks its scores", "run its shard again")),
            }
        })
    }

    fn look(&self, rows: &[usize], _: ArrayView2<f32>) -> Result<Vec<Looked>> {
        let looked = |&row: &usize| {
            self.within(&(row..row + 1), |open, own| {
                let mirrored = Self::rows(&mut open.mirrored, own.clone())?.iter().copied().collect();
                let bytes: Vec<u8> =
                    Self::rows(&mut open.descriptors, own.clone())?.iter().copied().collect();
                let real = open.copies.get(own.start).copied();
                let (Some(descriptor), Some(real)) = (Descriptor::from_row(&bytes), real) else {
                    return Err(Error::data(
                        "what a part holds of pictures is damaged",
                        "run its shard again",
                    ));
                };
                Ok(Looked { mirrored, descriptor, real })
            })
        };
        rows.iter().map(looked).collect()
    }

    fn keep(&self, row: usize, name: &str, target: &Path) -> Result<()> {
        let dir = self.within(&(row..row + 1), |open, _| Ok(&self.parts[open.at].dir))?;
        link_or_copy(&dir.join(IMAGES).join(name), target)
    }

    fn discard(&self, _: usize, _: &str) -> Result<()> {
        Ok(())
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        let Some(latent) = &self.run.latent else { return Ok(None) };
        let shape: Vec<usize> = [range.len()].into_iter().chain(latent.iter().copied()).collect();
        let flat = self.within(&range, |open, own| Self::rows(&mut open.latents, own))?;
        flat.into_shape_with_order(shape)
            .map(Some)
            .map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
    }

    fn real_names(&self) -> Cow<'_, [String]> {
        Cow::Owned(self.nearest.borrow().all.clone())
    }
}
