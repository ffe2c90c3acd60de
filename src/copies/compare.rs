//! The verdict on pairs of pictures: exact copies by their pixels, edited ones by the second look.

use super::descriptor::{Descriptor, Digest};
use super::evidence::Evidence;
use super::look::look;
use super::view::{View, colours};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Score from which a pair is one of edited copies.
const EDITED: f64 = 0.5;
/// Score from which two pictures look much alike.
const SIMILAR: f64 = 0.05;
/// Steps of a score between 0 and 1; the last one is left to exact copies.
const STEPS: f64 = 1e4;
/// Pairs that are compared together.
const TOGETHER: usize = 512;
/// Pictures that are kept prepared, of about 50 kB each.
const KEPT: usize = 4096;

/// How much alike two pictures have to be to count as copies; each level holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The same pixels, whatever the file.
    Exact,
    /// The same picture, of at least 32 pixels a side: compressed, resized, mirrored, cropped, framed, recoloured, blurred or written over.
    #[default]
    Edited,
    /// Pictures that look much alike, such as two shots of one scene; some are no copies.
    Similar,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 3] = [Level::Exact, Level::Edited, Level::Similar];

    /// The name, as it is typed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Level::Exact => "exact",
            Level::Edited => "edited",
            Level::Similar => "similar",
        }
    }
}

/// What was found out about a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Compared {
    /// Row among the first pictures.
    pub(crate) row: usize,
    /// Row among the second.
    pub(crate) other: usize,
    /// From 0 (another picture) to 1 (the same).
    pub(crate) score: f64,
    /// What the two are to each other; `None` for different pictures.
    pub(crate) level: Option<Level>,
    /// Whether one lies mirrored over the other.
    pub(crate) mirrored: bool,
}

impl Compared {
    /// Whether the two count as copies at a level.
    pub(crate) fn is(&self, level: Level) -> bool {
        self.level.is_some_and(|found| found <= level)
    }
}

/// Compares pictures, and keeps what it prepared of them for the next comparison.
#[derive(Default)]
pub(crate) struct Comparer {
    /// By the digest of the pixels.
    views: HashMap<Digest, View>,
}

impl Comparer {
    /// Looks at pairs of rows of `ours` and `theirs`, in any number of threads; the answers are in the order of the pairs, and a pair's does
    /// not depend on which of the two comes first.
    ///
    /// # Errors
    /// [`Error::Interrupted`] on request; [`Error::Data`] if a descriptor is damaged or a row does not exist.
    pub(crate) fn compare(
        &mut self,
        ours: &[Descriptor],
        theirs: &[Descriptor],
        pairs: &[(usize, usize)],
        progress: &dyn Progress,
    ) -> Result<Vec<Compared>> {
        let mut all = Vec::with_capacity(pairs.len());
        progress.start("comparing pictures", pairs.len() as u64, "pairs");
        for pairs in pairs.chunks(TOGETHER) {
            check_stop(progress, String::new)?;
            let pictures = pairs.iter().map(|&(row, other)| match (ours.get(row), theirs.get(other)) {
                (Some(first), Some(second)) => Ok((first, second)),
                _ => Err(Error::data(format!("there is no pair of rows {row} and {other}"), "")),
            });
            let pictures = pictures.collect::<Result<Vec<_>>>()?;
            self.prepare(pictures.iter().copied().filter(|(first, second)| is_seen(first, second)))?;
            let found =
                pictures.par_iter().zip(pairs).with_max_len(1).map(|(&(first, second), &(row, other))| {
                    let unlike = Compared { row, other, score: 0.0, level: None, mirrored: false };
                    if first.pixels() == second.pixels() {
                        return Ok(Compared { score: 1.0, level: Some(Level::Exact), ..unlike });
                    }
                    if !is_seen(first, second) {
                        return Ok(unlike);
                    }
                    let in_order = first.pixels() < second.pixels();
                    let evidence =
                        if in_order { self.look(first, second)? } else { self.look(second, first)? };
                    let score = rounded(evidence.score());
                    let level = match score {
                        score if score >= EDITED => Some(Level::Edited),
                        score if score >= SIMILAR => Some(Level::Similar),
                        _ => None,
                    };
                    Ok(Compared { score, level, mirrored: evidence.mirrored, ..unlike })
                });
            all.extend(found.collect::<Result<Vec<_>>>()?);
            progress.advance(pairs.len() as u64);
        }
        progress.finish();
        Ok(all)
    }

    /// Prepares the pictures of pairs.
    fn prepare<'a>(&mut self, pairs: impl Iterator<Item = (&'a Descriptor, &'a Descriptor)>) -> Result<()> {
        let needed: BTreeMap<Digest, &Descriptor> =
            pairs.flat_map(|(first, second)| [first, second]).map(|of| (of.pixels(), of)).collect();
        let missing = needed.iter().filter(|(digest, _)| !self.views.contains_key(*digest));
        let missing: Vec<&Descriptor> = missing.map(|(_, descriptor)| *descriptor).collect();
        if self.views.len() + missing.len() > KEPT {
            self.views.retain(|digest, _| needed.contains_key(digest));
        }
        let views = missing.into_par_iter().with_max_len(1);
        let views = views.map(|descriptor| Ok((descriptor.pixels(), View::of(&descriptor.picture()?))));
        self.views.extend(views.collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    fn look(&self, first: &Descriptor, second: &Descriptor) -> Result<Evidence> {
        let (Some(one), Some(two)) = (self.views.get(&first.pixels()), self.views.get(&second.pixels()))
        else {
            return Ok(Evidence::default());
        };
        look(one, two, || Ok((colours(&first.picture()?), colours(&second.picture()?))))
    }
}

/// Whether the pictures decide: they differ, and hold enough to tell.
fn is_seen(first: &Descriptor, second: &Descriptor) -> bool {
    first.pixels() != second.pixels() && first.is_large() && second.is_large()
}

/// For each of `rows` first pictures the best of its pairs that count at `level`, the first of equal ones.
pub(crate) fn best_copies(found: Vec<Compared>, rows: usize, level: Level) -> Vec<Option<Compared>> {
    let mut best: Vec<Option<Compared>> = vec![None; rows];
    for found in found.into_iter().filter(|found| found.is(level)) {
        if let Some(best) = best.get_mut(found.row)
            && best.is_none_or(|best| found.score > best.score)
        {
            *best = Some(found);
        }
    }
    best
}

/// A score in steps that a person reads, below that of an exact copy.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * STEPS).round().min(STEPS - 1.0) / STEPS
}
