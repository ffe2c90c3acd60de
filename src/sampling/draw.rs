//! Drawing until enough candidates are accepted. What becomes of one depends on its own number and the pilot only, and not on
//! where candidates come from: a source ([`super::GeneratedCandidates`]) or parts that were made elsewhere ([`super::sharded`]).

use super::reference_stats::ReferenceStats;
use super::remarks::{warn_of_direction, warn_of_reference, warn_of_weights};
use super::spacing::{Accepted, Copied, Decision, SpacingFilter};
use super::weights::ImportanceWeights;
use crate::candidates::{CandidateRecord, CandidateScores, LOOKED_TOGETHER, Looked, Pilot, join_rows};
use crate::density::{Rule, effective_sample_size};
use crate::error::{Error, Result};
use crate::neighbors::BuildOptions;
use crate::progress::{Progress, Unreported};
use crate::random::{Purpose, uniform};
use crate::remedy::Remedy;
use candle_core::Device;
use ndarray::{Array2, ArrayD, ArrayView2, Axis};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

/// Candidates that are made and kept on disk together, at most.
pub(crate) const BLOCK: usize = 128;
/// Candidates that are made together after the pilot, at least: a generator that is given few at a time stands idle in between.
const FEWEST: usize = 16;

/// Candidates block by block, with features and scores: made from a source, or read from the parts that several machines made.
pub(crate) trait CandidateBlocks {
    /// How many there are.
    fn len(&self) -> u64;

    /// What is known of the candidates of a range, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>>;

    /// Makes the images of a block.
    ///
    /// # Errors
    /// What making or reading them returns.
    fn images(&self, range: Range<usize>) -> Result<()>;

    /// Makes the images of a block, and gives their features `[B, D]` and scores.
    ///
    /// # Errors
    /// What making or reading them returns.
    fn block(&self, range: Range<usize>) -> Result<(Array2<f32>, CandidateScores)>;

    /// Puts the image of a candidate where it belongs. After an interruption it may be there already.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn keep(&self, row: usize, name: &str, target: &Path) -> Result<()>;

    /// Looks at the pictures of some rows, which these are the features `[B, D]` of. Before it is kept or discarded, the picture of a
    /// candidate is looked at once; after an interruption the answer is still there.
    ///
    /// # Errors
    /// If there is no picture to look at.
    fn look(&self, rows: &[usize], features: ArrayView2<f32>) -> Result<Vec<Looked>>;

    /// A candidate's image is not wanted.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn discard(&self, row: usize, name: &str) -> Result<()>;

    /// The latents of a range, `[B, …]`; `None` for candidates that have none.
    ///
    /// # Errors
    /// If they cannot be made or read.
    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>>;

    /// The names of the real images that the scores given so far point to.
    fn real_names(&self) -> Cow<'_, [String]>;
}

/// Images wanted where nothing else says how many.
pub(crate) const DEFAULT_N: u64 = 64;

/// What is drawn.
#[derive(Debug, Clone)]
pub(crate) struct DrawOptions {
    /// Images wanted; `None` for all that are accepted among the candidates.
    pub n: Option<usize>,
    /// Candidates that the acceptance, and `raw_gen` of the ratio rule, are estimated on.
    pub pilot: usize,
    /// Candidates at most.
    pub max_draws: u64,
    /// The rule of the weights; `None` weighs all images the same.
    pub rule: Option<Rule>,
    /// Draws for each kept image on average, at most; `None` leaves the two-level rule its own acceptance.
    pub budget: Option<f64>,
    /// Key of the acceptance of every candidate, beside its own.
    pub seed: u64,
}

impl DrawOptions {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Usage`] for a budget below 1; as [`Rule::check`].
    pub(crate) fn check(&self, reference: &ReferenceStats) -> Result<()> {
        if self.budget.is_some_and(|budget| !(budget >= 1.0 && budget.is_finite())) {
            return Err(Error::usage(
                "the budget is the average number of draws for each kept image: 1 or more",
                "4 is the default",
            ));
        }
        self.rule.map_or(Ok(()), |rule| rule.check(reference.bounds))
    }

    /// Candidates at most, of `len`.
    pub(crate) fn limit(&self, len: u64) -> usize {
        usize::try_from(len.min(self.max_draws)).unwrap_or(usize::MAX)
    }
}

/// Candidates with what became of them, in order; all vectors are of one length but those that a run without reference lacks.
#[derive(Default)]
pub(crate) struct Drawn {
    /// Their numbers among all candidates.
    pub numbers: Vec<usize>,
    /// What is known of them.
    pub records: Vec<CandidateRecord>,
    /// Their scores; empty without a reference.
    pub scores: Option<CandidateScores>,
    /// Their weights as tables show them.
    pub weights: Vec<f64>,
    /// What became of them.
    pub decisions: Vec<Decision>,
    /// What they were found to be copies of; empty where copies are not refused.
    pub copy_of: Vec<Option<Copied>>,
    /// Candidates made, the undecided ones after the last kept included.
    pub draws: usize,
    /// What the pilot said.
    pub pilot: Option<PilotReport>,
    /// Whether as many were kept as were wanted.
    pub complete: bool,
}

/// What is known after the pilot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PilotReport {
    /// Its images.
    pub images: usize,
    /// Their mean probability of being accepted.
    pub acceptance: f64,
    /// The effective sample size of their weights.
    pub effective_sample_size: f64,
    /// Candidates that the wanted number will take.
    pub expected_draws: Option<f64>,
    /// Spearman correlation of predicted and nearest-neighbour densities, where the predictor scores.
    pub predictor_spearman: Option<f64>,
}

impl Drawn {
    /// Kept rows.
    pub(crate) fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.decisions.len()).filter(|&i| self.decisions[i] == Decision::Kept)
    }
}

/// One run: where candidates come from, what decides on them, and where the kept go.
struct Run<'a> {
    blocks: &'a dyn CandidateBlocks,
    options: &'a DrawOptions,
    device: &'a Device,
    out: &'a Path,
    progress: &'a dyn Progress,
}

/// Draws into the directory `out`: images of the kept. Without `reference` everything is kept.
/// Exact search among the generated images multiplies matrices on `device`.
///
/// # Errors
/// [`Error::Data`] for weights that cannot be made, and what `blocks` returns. Too few accepted images are no error here: see
/// [`Drawn::complete`].
pub(crate) fn draw(
    blocks: &dyn CandidateBlocks,
    reference: Option<&ReferenceStats>,
    options: &DrawOptions,
    device: &Device,
    out: &Path,
    progress: &dyn Progress,
) -> Result<Drawn> {
    let run = Run { blocks, options, device, out, progress };
    match reference {
        Some(reference) => {
            options.check(reference)?;
            run.draw(reference)
        }
        None => run.draw_all(),
    }
}

/// Where the block that begins with a candidate, or the rest of one, ends.
fn block_end(start: usize) -> usize {
    (start / BLOCK + 1) * BLOCK
}

/// Candidates after the pilot that the images that are still wanted will take.
fn expected_more(wanted: usize, kept: usize, acceptance: f64) -> usize {
    (wanted.saturating_sub(kept) as f64 / acceptance.max(f64::MIN_POSITIVE)).ceil() as usize
}

impl Run<'_> {
    fn limit(&self) -> usize {
        self.options.limit(self.blocks.len())
    }

    fn draw(&self, reference: &ReferenceStats) -> Result<Drawn> {
        let limit = self.limit();
        let pilot = self.options.pilot.max(1).min(limit);
        self.progress.start("pilot", pilot as u64, "images");
        let mut features = Vec::new();
        let mut candidates: Option<CandidateScores> = None;
        let mut drawn = Drawn::default();
        let mut made = 0;
        while made < pilot {
            // Candidates may cost minutes: none is made for the pilot that does not belong to it.
            let range = made..block_end(made).min(pilot);
            let (block, judged) = self.blocks.block(range.clone())?;
            match &mut candidates {
                Some(all) => all.extend(judged),
                None => candidates = Some(judged),
            }
            features.push(block);
            made = range.end;
            self.progress.advance(range.len() as u64);
        }
        self.progress.finish();
        let Some(mut candidates) = candidates else {
            return Err(Error::usage("there are no candidates", Remedy::GiveSeeds));
        };
        let first = join_rows(&features)?;
        drop(features);

        let DrawOptions { rule, budget, seed, .. } = *self.options;
        let of_pilot = || first.clone().into_shared();
        let index = BuildOptions { seed, device: self.device.clone(), ..BuildOptions::default() };
        let generated = Pilot::for_rule(rule, of_pilot, &reference.model, &index, self.progress)?;
        let own = generated.as_ref().map_or(&[][..], Pilot::own);
        let rho = candidates.densities();
        let (weights, mut log_weights) = ImportanceWeights::new(rule, budget, rho, own)?;
        let report = self.report(&weights, &log_weights, rho, candidates.agreement());
        warn_of_reference(rho, reference.bounds[0], self.progress);
        warn_of_weights(&log_weights, report.effective_sample_size, self.progress);

        let mut kept = SpacingFilter::new(reference.spacing, reference.copies);
        let wanted = self.options.n.unwrap_or(usize::MAX);
        let mut block = first;
        let mut start = 0;
        let mut drawing = false;
        loop {
            let range = start..start + block.nrows();
            self.decide(
                (range.clone(), &block),
                (&candidates, &log_weights, &weights),
                (&mut kept, wanted, reference.copies.any()),
                &mut drawn,
            )?;
            start = range.end;
            if drawing {
                self.progress.advance(range.len() as u64);
            }
            if kept.count() >= wanted || range.end >= limit {
                break;
            }
            let more = expected_more(wanted, kept.count(), report.acceptance).min(limit - start);
            if !drawing {
                self.progress.start("drawing", more as u64, "images");
                drawing = true;
            }
            // A whole block would be several times what the last few images take.
            let enough = start.saturating_add(more.max(FEWEST));
            let range = start..block_end(start).min(enough).min(limit);
            let judged;
            (block, judged) = self.blocks.block(range)?;
            let generated_density = match &generated {
                Some(pilot) => pilot.densities(block.view(), &Unreported(self.progress))?,
                None => Vec::new(),
            };
            log_weights.extend(weights.log_weights(judged.densities(), &generated_density)?);
            candidates.extend(judged);
            made += block.nrows();
        }
        if drawing {
            self.progress.finish();
        }
        drawn.draws = made;
        drawn.complete = self.options.n.is_none() || kept.count() >= wanted;
        candidates.truncate(drawn.decisions.len());
        warn_of_direction(rule, candidates.densities(), &drawn.decisions, self.progress);
        drawn.scores = Some(candidates);
        drawn.pilot = Some(report);
        Ok(drawn)
    }

    /// Without a reference everything is kept.
    fn draw_all(&self) -> Result<Drawn> {
        let count = self.limit().min(self.options.n.unwrap_or(usize::MAX));
        let mut drawn = Drawn { complete: self.options.n.is_none_or(|n| n == count), ..Drawn::default() };
        self.progress.start("generating", count as u64, "images");
        for start in (0..count).step_by(BLOCK) {
            let range = start..(start + BLOCK).min(count);
            self.blocks.images(range.clone())?;
            let records = self.blocks.records(range.clone())?;
            for (row, CandidateRecord { name, .. }) in range.clone().zip(&records) {
                self.blocks.keep(row, name, &self.out.join(name))?;
            }
            drawn.numbers.extend(range.clone());
            drawn.records.extend(records);
            self.progress.advance(range.len() as u64);
        }
        self.progress.finish();
        drawn.decisions = vec![Decision::Kept; count];
        drawn.weights = vec![1.0; count];
        drawn.draws = count;
        Ok(drawn)
    }

    fn report(
        &self,
        weights: &ImportanceWeights,
        log_weights: &[f64],
        rho: &[f64],
        spearman: Option<f64>,
    ) -> PilotReport {
        let images = log_weights.len();
        let sum: f64 = log_weights.iter().zip(rho).map(|(&w, &rho)| weights.probability(w, rho)).sum();
        let acceptance = sum / images as f64;
        let expected_draws = self.options.n.map(|n| n as f64 / acceptance);
        if let Some(expected) = expected_draws
            && expected > self.options.max_draws as f64
        {
            self.progress.warn(&format!(
                "{:.2} % of the candidates are accepted: {} images will take about {expected:.0} draws, more than the {} allowed",
                100.0 * acceptance,
                self.options.n.unwrap_or_default(),
                self.options.max_draws
            ));
        }
        PilotReport {
            images,
            acceptance,
            effective_sample_size: effective_sample_size(log_weights),
            expected_draws,
            predictor_spearman: spearman,
        }
    }

    /// Decides on candidates `range` in order until enough are kept.
    fn decide(
        &self,
        (range, features): (Range<usize>, &Array2<f32>),
        (candidates, log_weights, weights): (&CandidateScores, &[f64], &ImportanceWeights),
        (kept, wanted, looks): (&mut SpacingFilter, usize, bool),
        drawn: &mut Drawn,
    ) -> Result<()> {
        let records = self.blocks.records(range.clone())?;
        let accepted: Vec<bool> = range
            .clone()
            .zip(&records)
            .map(|(row, record)| {
                let probability = weights.probability(log_weights[row], candidates.densities()[row]);
                uniform(self.options.seed, Purpose::Accept, record.key) < probability
            })
            .collect();
        let first = range.start;
        let mut ahead = VecDeque::new();
        for (i, (row, record)) in range.zip(records).enumerate() {
            if kept.count() >= wanted {
                break;
            }
            if looks && accepted[i] && ahead.is_empty() {
                let next = (i..accepted.len()).filter(|&i| accepted[i]);
                let next: Vec<usize> = next.take(LOOKED_TOGETHER.min(wanted - kept.count())).collect();
                let rows: Vec<usize> = next.iter().map(|i| first + i).collect();
                ahead.extend(self.blocks.look(&rows, features.select(Axis(0), &next).view())?);
            }
            let (decision, copy_of) = match accepted[i] {
                true => {
                    let (values, looked) = (features.row(i).to_vec(), ahead.pop_front());
                    kept.try_accept(&Accepted {
                        row,
                        features: &values,
                        nearest_distance: candidates.scores.nearest_distance[row],
                        looked: looked.as_ref(),
                    })?
                }
                false => (Decision::Rejected, None),
            };
            if looks {
                drawn.copy_of.push(copy_of);
            }
            match decision {
                Decision::Kept => self.blocks.keep(row, &record.name, &self.out.join(&record.name))?,
                _ => self.blocks.discard(row, &record.name)?,
            }
            drawn.numbers.push(row);
            drawn.records.push(record);
            drawn.weights.push(weights.shown(log_weights[row]));
            drawn.decisions.push(decision);
        }
        Ok(())
    }
}
