//! Drawing within groups of candidates, such as those of one prompt: each has a pilot, an acceptance and kept images of its own.

use super::draw::{BLOCK, CandidateBlocks, DrawOptions, Drawn, PilotReport, draw};
use super::reference_stats::ReferenceStats;
use super::spacing::Copied;
use crate::candidates::{CandidateRecord, CandidateScores, CopyOf, Looked};
use crate::error::{Error, Result};
use crate::progress::Progress;
use candle_core::Device;
use ndarray::{Array2, ArrayD, ArrayView2, s};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

/// As [`draw`], within each of the groups of candidates that follow each other with these numbers of members. Where all of them are
/// needed, blocks are those of all candidates: one may hold several groups, or a part of one. Else no candidate is made that is not
/// asked for.
///
/// # Errors
/// As [`draw`].
pub(crate) fn draw_groups(
    blocks: &dyn CandidateBlocks,
    groups: &[usize],
    (reference, options): (Option<&ReferenceStats>, &DrawOptions),
    device: &Device,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Drawn> {
    let last = RefCell::default();
    let mut all = Drawn { complete: true, ..Drawn::default() };
    let mut start = 0;
    let needed = match reference {
        Some(_) => options.pilot,
        None => options.n.unwrap_or(usize::MAX),
    };
    let whole_blocks = groups.iter().all(|&count| count <= options.limit(needed as u64));
    for &count in groups {
        let group = Group { blocks, own: start..start + count, whole_blocks, last: &last };
        let drawn = draw(&group, reference, options, device, out, progress)?;
        append(&mut all, drawn, start);
        start += count;
    }
    Ok(all)
}

/// Appends what was drawn from the group whose first candidate has the number `start`.
fn append(all: &mut Drawn, drawn: Drawn, start: usize) {
    let before = all.decisions.len();
    let moved = |copied: Option<Copied>| {
        copied.map(|copied| match copied {
            Copied::Kept(copy) => Copied::Kept(CopyOf { row: copy.row + before, ..copy }),
            of_real => of_real,
        })
    };
    all.numbers.extend(drawn.numbers.into_iter().map(|number| number + start));
    all.records.extend(drawn.records);
    all.weights.extend(drawn.weights);
    all.decisions.extend(drawn.decisions);
    all.copy_of.extend(drawn.copy_of.into_iter().map(moved));
    all.draws += drawn.draws;
    all.complete &= drawn.complete;
    match (&mut all.scores, drawn.scores) {
        (Some(all), Some(scores)) => all.extend(scores),
        (all, scores) => *all = scores.or(all.take()),
    }
    all.pilot = match (all.pilot.take(), drawn.pilot) {
        (Some(one), Some(other)) => Some(together(&one, &other)),
        (one, other) => one.or(other),
    };
}

/// What two pilots say of the images of both.
fn together(one: &PilotReport, other: &PilotReport) -> PilotReport {
    let images = one.images + other.images;
    let accepted = one.acceptance * one.images as f64 + other.acceptance * other.images as f64;
    PilotReport {
        images,
        acceptance: accepted / images.max(1) as f64,
        effective_sample_size: one.effective_sample_size + other.effective_sample_size,
        expected_draws: one.expected_draws.zip(other.expected_draws).map(|(one, other)| one + other),
        // A correlation within each group says nothing of all together.
        predictor_spearman: None,
    }
}

/// A block of all candidates, as it was read last.
type Block = (usize, Array2<f32>, CandidateScores);

/// Some of the candidates, numbered from 0.
struct Group<'a> {
    blocks: &'a dyn CandidateBlocks,
    own: Range<usize>,
    /// Whether a block is made as a whole, whatever is asked for of it.
    whole_blocks: bool,
    last: &'a RefCell<Option<Block>>,
}

impl Group<'_> {
    /// The number among all candidates.
    fn number(&self, row: usize) -> usize {
        self.own.start + row
    }

    /// The blocks of all candidates that a range of this group is in: number of each, what is made of it, and what is asked for.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
        let (start, end) = (self.number(range.start), self.number(range.end));
        let all = usize::try_from(self.blocks.len()).unwrap_or(usize::MAX);
        (start / BLOCK..end.div_ceil(BLOCK)).map(move |index| {
            let block = index * BLOCK..((index + 1) * BLOCK).min(all);
            let part = start.max(block.start)..end.min(block.end);
            (index, if self.whole_blocks { block } else { part.clone() }, part)
        })
    }
}

impl CandidateBlocks for Group<'_> {
    fn len(&self) -> u64 {
        self.own.len() as u64
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        let mut records = Vec::with_capacity(range.len());
        for (_, _, part) in self.parts(range) {
            records.extend(self.blocks.records(part)?);
        }
        Ok(records)
    }

    fn images(&self, range: Range<usize>) -> Result<()> {
        self.parts(range).try_for_each(|(_, block, _)| self.blocks.images(block))
    }

    fn block(&self, range: Range<usize>) -> Result<(Array2<f32>, CandidateScores)> {
        let mut found: Option<(Array2<f32>, CandidateScores)> = None;
        for (index, block, part) in self.parts(range) {
            let mut last = self.last.borrow_mut();
            let (_, features, scores) = match &mut *last {
                Some(read) if self.whole_blocks && read.0 == index => read,
                last => {
                    let (features, scores) = self.blocks.block(block.clone())?;
                    last.insert((index, features, scores))
                }
            };
            let rows = part.start - block.start..part.end - block.start;
            let (own, scores) = (features.slice(s![rows.clone(), ..]), scores.part(rows));
            match &mut found {
                None => found = Some((own.to_owned(), scores)),
                Some((features, all)) => {
                    features
                        .append(ndarray::Axis(0), own)
                        .map_err(|e| Error::data(format!("features do not fit each other: {e}"), ""))?;
                    all.extend(scores);
                }
            }
        }
        found.ok_or_else(|| Error::data("there are no candidates", ""))
    }

    fn keep(&self, row: usize, name: &str, target: &Path) -> Result<()> {
        self.blocks.keep(self.number(row), name, target)
    }

    fn look(&self, rows: &[usize], features: ArrayView2<f32>) -> Result<Vec<Looked>> {
        let rows: Vec<usize> = rows.iter().map(|&row| self.number(row)).collect();
        self.blocks.look(&rows, features)
    }

    fn discard(&self, row: usize, name: &str) -> Result<()> {
        self.blocks.discard(self.number(row), name)
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        self.blocks.latents(self.number(range.start)..self.number(range.end))
    }

    fn real_names(&self) -> Cow<'_, [String]> {
        self.blocks.real_names()
    }
}
