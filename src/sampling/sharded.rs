//! `pd sample` in parts (`--shard I/N`): each part has the images, features, scores and latents of some of the candidates.
//! Pilot, weights, acceptance and distances between the kept need all candidates in order: the merge decides, as one run does.

use super::draw::{BLOCK, Labels, Stock};
use super::making::{Judgement, Making};
use super::record::DrawRecord;
use super::reference_stats::ReferenceStats;
use super::source::Source;
use super::weights::Candidates;
use crate::error::{Error, Result};
use crate::formats::atomic::link_or_copy;
use crate::formats::npy::{NpyRows, NpyWriter};
use crate::formats::table::{Columns, Table, Values, write_table};
use crate::progress::Progress;
use crate::reference::score::Scores;
use crate::shards::{self, Part, Partial, Run, Shard};
use ndarray::{Array2, ArrayD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path};

/// The command whose parts these are.
pub const SAMPLE: &str = "sample";
/// A row per candidate: name, seed, key and scores.
const TABLE: &str = "candidates.csv";
const FEATURES: &str = "features.npy";
/// One row per candidate, whatever the shape of a latent.
const LATENTS: &str = "latents.npy";
/// Where in a part its images are.
const IMAGES: &str = "images";

/// What identifies a run, and everything that the merge decides by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SampleRun {
    /// What tells this run from others, as its summary has it.
    pub run: Value,
    /// What is drawn; a threshold is a density here.
    pub options: DrawRecord,
    /// What the reference says; `None` where everything is kept.
    pub reference: Option<ReferenceStats>,
    /// Candidates in all.
    pub candidates: usize,
    /// Shape of one latent.
    pub latent: Vec<usize>,
}

/// The candidates of one shard, as a part of `out`; `reference_paths` name the nearest real images. Finished blocks of an earlier
/// attempt are not made again.
///
/// # Errors
/// What making images and features returns; as [`shards::finished_part`].
pub fn sample_shard(
    out: &Path,
    (source, judgement, batch): (&Source<'_>, Option<&Judgement<'_>>, usize),
    reference_paths: &[String],
    (run, candidates, shard): (&Run, usize, Shard),
    progress: &dyn Progress,
) -> Result<Part> {
    shards::finished_or(out, shard, run, || {
        let partial = Partial::open(shards::chunks_of(out, shard, run), run)?;
        let making = Making::new(source, judgement, batch, partial);
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
            making.images(block.clone())?;
            progress.advance(block.len() as u64);
        }
        progress.finish();
        let part = shards::publish(out, shard, run, own.clone(), |dir| {
            fill(dir, &making, (&blocks, judgement.is_some()), reference_paths)?;
            Ok((own.len(), 0))
        })?;
        making.finish()?;
        Ok(part)
    })
}

/// Puts finished blocks together.
fn fill(
    dir: &Path,
    making: &Making<'_>,
    (blocks, judged): (&[Range<usize>], bool),
    reference_paths: &[String],
) -> Result<()> {
    let images = dir.join(IMAGES);
    fs::create_dir(&images).map_err(Error::io("create", &images))?;
    let (mut features, mut latents): (Option<NpyWriter>, Option<NpyWriter>) = (None, None);
    let mut labels = Labels::default();
    let mut candidates: Option<Candidates> = None;
    for block in blocks {
        let own = making.labels(block.clone())?;
        for name in &own.names {
            making.lend(name, &images.join(name))?;
        }
        labels.names.extend(own.names);
        labels.seeds.extend(own.seeds);
        labels.keys.extend(own.keys);
        append(&mut latents, &dir.join(LATENTS), &making.flat_latents(block.clone())?)?;
        if judged {
            let (rows, scores) = making.block(block.clone())?;
            append(&mut features, &dir.join(FEATURES), &rows)?;
            match &mut candidates {
                Some(all) => all.extend(scores),
                None => candidates = Some(scores),
            }
        }
    }
    features.into_iter().chain(latents).try_for_each(NpyWriter::finish)?;
    write_table(dir.join(TABLE), &table(labels, candidates, reference_paths)?)
}

fn append(writer: &mut Option<NpyWriter>, path: &Path, rows: &Array2<f32>) -> Result<()> {
    let writer = match writer {
        Some(writer) => writer,
        None => writer.insert(NpyWriter::create(path, rows.ncols())?),
    };
    writer.write_rows(rows.view())
}

fn table(labels: Labels, candidates: Option<Candidates>, reference_paths: &[String]) -> Result<Table> {
    let mut table = Table::new();
    table.push("name", Values::Text(labels.names))?;
    let seeds = labels.seeds.into_iter().map(|seed| seed.map(i64::from));
    table.push("seed", Values::OptionalInt(seeds.collect()))?;
    table.push("key", Values::Int(labels.keys.into_iter().map(|key| key as i64).collect()))?;
    let Some(Candidates { scores, predicted }) = candidates else { return Ok(table) };
    let nearest = scores.nearest.iter().map(|row| reference_paths.get((*row)? as usize).cloned());
    table.push("nearest", Values::OptionalText(nearest.collect()))?;
    table.push("pseudo_density", Values::Float(scores.pseudo_density))?;
    table.push("percentile", Values::Float(scores.percentile))?;
    table.push("mean_knn_distance", Values::Float(scores.mean_knn_distance))?;
    table.push("nearest_distance", Values::Float(scores.nearest_distance))?;
    if let Some(predicted) = predicted {
        table.push("predicted_density", Values::Float(predicted))?;
    }
    Ok(table)
}

/// Candidates in parts.
pub struct Parts<'a> {
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
    labels: Labels,
    candidates: Candidates,
    features: Option<NpyRows>,
    latents: Option<NpyRows>,
}

impl<'a> Parts<'a> {
    /// Of the parts of a run, which are whole.
    pub fn new(parts: &'a [Part], run: &'a SampleRun) -> Self {
        Self { parts, run, open: RefCell::default(), nearest: RefCell::default() }
    }

    /// The names of the real images that scores point to.
    pub fn nearest(&self) -> Vec<String> {
        self.nearest.borrow().all.clone()
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
        let wrong =
            |reason: String| Error::malformed(&path, reason, "remove the part and run its shard again");
        let table = Columns::read(&path)?;
        if table.rows() != part.record.inputs.len() {
            return Err(wrong(format!("has {} rows", table.rows())));
        }
        let names = table.text("name")?.to_vec();
        let plain = |name: &&String| {
            let mut parts = Path::new(name.as_str()).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(name) = names.iter().find(|name| !plain(name)) {
            return Err(wrong(format!("`{name}` is no name of a file")));
        }
        let number = |text: &String| text.parse().map_err(|_| wrong(format!("`{text}` is no number")));
        let seeds = table.text("seed")?.iter().map(|text| match text.is_empty() {
            true => Ok(None),
            false => number(text).map(|seed: u64| u32::try_from(seed).ok()),
        });
        let labels = Labels {
            names,
            seeds: seeds.collect::<Result<_>>()?,
            keys: table.text("key")?.iter().map(number).collect::<Result<_>>()?,
        };
        let file = |name: &str, width: usize| match part.file(name) {
            Some(path) => NpyRows::open(path, width).map(Some),
            None => Ok(None),
        };
        let (candidates, features) = match &self.run.reference {
            Some(known) => (self.candidates(&table)?, file(FEATURES, known.width)?),
            None => (Candidates { scores: Scores::default(), predicted: None }, None),
        };
        Ok(Open {
            at,
            labels,
            candidates,
            features,
            latents: file(LATENTS, self.run.latent.iter().product())?,
        })
    }

    fn candidates(&self, table: &Columns) -> Result<Candidates> {
        let mut names = self.nearest.borrow_mut();
        let nearest = table.text("nearest")?.iter();
        let nearest = nearest.map(|name| (!name.is_empty()).then(|| names.number(name))).collect();
        let scores = Scores {
            pseudo_density: table.numbers("pseudo_density")?,
            percentile: table.numbers("percentile")?,
            mean_knn_distance: table.numbers("mean_knn_distance")?,
            nearest,
            nearest_distance: table.numbers("nearest_distance")?,
            group: Vec::new(),
        };
        let predicted =
            table.has("predicted_density").then(|| table.numbers("predicted_density")).transpose()?;
        Ok(Candidates { scores, predicted })
    }

    fn rows(file: &mut Option<NpyRows>, range: Range<usize>) -> Result<Array2<f32>> {
        match file {
            Some(file) => file.read(range),
            None => Err(Error::data("a part lacks its features or latents", "run its shard again")),
        }
    }
}

impl Stock for Parts<'_> {
    fn len(&self) -> u64 {
        self.run.candidates as u64
    }

    fn labels(&self, range: Range<usize>) -> Result<Labels> {
        // What is decided on together may come from several parts.
        let mut all = Labels::default();
        for start in range.clone().step_by(BLOCK) {
            self.within(&(start..(start + BLOCK).min(range.end)), |open, own| {
                all.names.extend_from_slice(&open.labels.names[own.clone()]);
                all.seeds.extend_from_slice(&open.labels.seeds[own.clone()]);
                all.keys.extend_from_slice(&open.labels.keys[own]);
                Ok(())
            })?;
        }
        Ok(all)
    }

    fn images(&self, _: Range<usize>) -> Result<()> {
        Ok(())
    }

    fn block(&self, range: Range<usize>) -> Result<(Array2<f32>, Candidates)> {
        self.within(&range, |open, own| {
            let features = Self::rows(&mut open.features, own.clone())?;
            Ok((features, open.candidates.part(own)))
        })
    }

    fn keep(&self, row: usize, name: &str, target: &Path) -> Result<()> {
        let dir = self.within(&(row..row + 1), |open, _| Ok(&self.parts[open.at].dir))?;
        link_or_copy(&dir.join(IMAGES).join(name), target)
    }

    fn discard(&self, _: usize, _: &str) -> Result<()> {
        Ok(())
    }

    fn latent(&self, row: usize) -> Result<ArrayD<f32>> {
        let flat = self.within(&(row..row + 1), |open, own| Self::rows(&mut open.latents, own))?;
        let shape: Vec<usize> = [1].into_iter().chain(self.run.latent.iter().copied()).collect();
        flat.into_shape_with_order(shape).map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
    }
}
