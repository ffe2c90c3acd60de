//! Running a generator until enough of its images are accepted. Candidates come in blocks that are kept on disk until the
//! end, so that an interrupted run continues; what becomes of one depends on its own number and the pilot only.

use super::judge::Judge;
use super::source::{Source, features_of, join};
use super::spacing::{Decision, Kept, Spacing};
use super::weighing::{Candidates, Pilot, Weighing, WeightOptions};
use crate::density::effective_sample_size;
use crate::density::random::{Purpose, uniform};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::npy::{read_npy, write_npy};
use crate::images::{RgbImage, write_png};
use crate::neighbors::IndexKind;
use crate::progress::{Progress, check_stop};
use crate::shards::{PARTIAL, Partial};
use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Candidates that are made and kept on disk together.
const BLOCK: usize = 128;

/// What is drawn.
#[derive(Debug, Clone, Serialize)]
pub struct DrawOptions {
    /// Images wanted; `None` for all that are accepted among the candidates.
    pub n: Option<usize>,
    /// Candidates that the acceptance, and `raw_gen` of the ratio rule, are estimated on.
    pub pilot: usize,
    /// Candidates at most.
    pub max_draws: u64,
    /// Weights.
    pub weights: WeightOptions,
    /// Key of the acceptance of every candidate, beside its own.
    pub seed: u64,
    /// Images per forward pass; no result depends on it.
    #[serde(skip)]
    pub batch: usize,
}

/// What judges candidates: an extractor and a reference.
pub struct Judgement<'a> {
    /// Makes features.
    pub extractor: &'a LoadedExtractor,
    /// Makes densities.
    pub judge: Judge<'a>,
    /// How far the kept have to be apart.
    pub spacing: Spacing,
}

/// Candidates with what became of them, in order; all vectors are of one length but those that a run without reference lacks.
#[derive(Default)]
pub struct Drawn {
    /// Names of the images.
    pub names: Vec<String>,
    /// Their seeds.
    pub seeds: Vec<Option<u32>>,
    /// Their scores; empty without a reference.
    pub candidates: Option<Candidates>,
    /// Their weights as tables show them.
    pub weights: Vec<f64>,
    /// What became of them.
    pub decisions: Vec<Decision>,
    /// Candidates made, the undecided ones after the last kept included.
    pub draws: usize,
    /// What the pilot said.
    pub pilot: Option<PilotReport>,
    /// Whether as many were kept as were wanted.
    pub complete: bool,
}

/// What is known after the pilot.
#[derive(Debug, Clone, Serialize)]
pub struct PilotReport {
    /// Its images.
    pub images: usize,
    /// Their mean probability of being accepted.
    pub acceptance: f64,
    /// The effective sample size of their weights.
    pub effective_sample_size: f64,
    /// Candidates that the wanted number will take.
    pub expected_draws: Option<f64>,
    /// Spearman correlation of predicted and nearest-neighbour densities, with `--density predictor`.
    pub predictor_spearman: Option<f64>,
}

impl Drawn {
    /// Kept rows.
    pub fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.decisions.len()).filter(|&i| self.decisions[i] == Decision::Kept)
    }
}

/// One run: what makes candidates, what judges them, and where its blocks are.
struct Run<'a> {
    source: &'a Source<'a>,
    judgement: Option<&'a Judgement<'a>>,
    options: &'a DrawOptions,
    out: &'a Path,
    partial: Partial,
    progress: &'a dyn Progress,
}

/// Draws into the directory `out`: images of the kept. `run` describes everything that the result depends on.
///
/// # Errors
/// [`Error::Data`] for images or features that are not finite, and what generator and reference return. Finished blocks are
/// kept. Too few accepted images are no error here: see [`Drawn::complete`].
pub fn draw(
    source: &Source<'_>,
    judgement: Option<&Judgement<'_>>,
    options: &DrawOptions,
    (out, run): (&Path, &impl Serialize),
    progress: &dyn Progress,
) -> Result<Drawn> {
    if let Some(judgement) = judgement {
        options.weights.check(judgement.judge.scorer.distribution())?;
    }
    let partial = Partial::open(out.join(PARTIAL), run)?;
    let run = Run { source, judgement, options, out, partial, progress };
    let drawn = run.draw()?;
    run.partial.remove()?;
    Ok(drawn)
}

impl Run<'_> {
    fn limit(&self) -> usize {
        usize::try_from(self.source.len().min(self.options.max_draws)).unwrap_or(usize::MAX)
    }

    fn draw(&self) -> Result<Drawn> {
        let Some(judgement) = self.judgement else { return self.draw_all() };
        let limit = self.limit();
        let pilot = self.options.pilot.max(1).min(limit);
        self.progress.start("pilot", pilot as u64, "images");
        let mut features = Vec::new();
        let mut candidates: Option<Candidates> = None;
        let mut drawn = Drawn::default();
        let mut made = 0;
        while made < pilot {
            let range = made..(made + BLOCK).min(limit);
            let block = self.block(range.clone())?;
            let judged = judgement.judge.judge(block.view(), None)?;
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
            return Err(Error::usage("there are no candidates", "give --seeds"));
        };
        let first = join(&features)?;
        drop(features);

        let options = &self.options.weights;
        let of_pilot = first.slice(ndarray::s![..pilot, ..]).to_owned().into_shared();
        let generated = match Weighing::needs_pilot(options.rule) {
            true => {
                let model = judgement.judge.scorer.model();
                let found = Pilot::new(of_pilot, model, (IndexKind::Auto, self.options.seed), self.progress)?;
                Some(found)
            }
            false => None,
        };
        let mut among = generated.as_ref().map_or(Vec::new(), |pilot| pilot.own().to_vec());
        let rho = &candidates.densities()[..pilot];
        let reference = judgement.judge.scorer.distribution();
        let (weighing, mut log_weights) = Weighing::new(options, reference, rho, &among)?;
        let report = self.report(&weighing, &log_weights, rho, candidates.agreement());
        if let Some(generated) = &generated {
            among = generated.densities(first.slice(ndarray::s![pilot.., ..]), self.progress)?;
        }
        log_weights.extend(weighing.log_weights(&candidates.densities()[pilot..], &among)?);

        let mut kept = Kept::new(judgement.spacing);
        let wanted = self.options.n.unwrap_or(usize::MAX);
        self.progress.start("drawing", self.options.n.unwrap_or(limit) as u64, "images");
        let mut block = first;
        let mut start = 0;
        loop {
            let range = start..start + block.nrows();
            let before = kept.count();
            self.decide(
                (range.clone(), &block),
                (&candidates, &log_weights, &weighing),
                (&mut kept, wanted),
                &mut drawn,
            )?;
            self.progress.advance((kept.count() - before) as u64);
            start = range.end;
            if kept.count() >= wanted || range.end >= limit {
                break;
            }
            let range = range.end..(range.end + BLOCK).min(limit);
            block = self.block(range)?;
            let judged = judgement.judge.judge(block.view(), None)?;
            among = match &generated {
                Some(pilot) => pilot.densities(block.view(), &crate::progress::Silent)?,
                None => Vec::new(),
            };
            log_weights.extend(weighing.log_weights(judged.densities(), &among)?);
            candidates.extend(judged);
            made += block.nrows();
        }
        self.progress.finish();
        drawn.draws = made;
        drawn.complete = self.options.n.is_none() || kept.count() >= wanted;
        candidates.truncate(drawn.decisions.len());
        drawn.candidates = Some(candidates);
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
            if !self.partial.has(start / BLOCK) {
                self.each_batch(range.clone(), |range, images| {
                    let names = self.source.names(range);
                    images
                        .par_iter()
                        .zip(names)
                        .try_for_each(|(image, name)| write_png(&self.out.join(name), image))
                })?;
                self.partial.finish(start / BLOCK, &range.len())?;
            }
            drawn.names.extend(self.source.names(range.clone()));
            drawn.seeds.extend(self.source.seeds(range.clone()));
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
        weighing: &Weighing,
        log_weights: &[f64],
        rho: &[f64],
        spearman: Option<f64>,
    ) -> PilotReport {
        let images = log_weights.len();
        let sum: f64 = log_weights.iter().zip(rho).map(|(&w, &rho)| weighing.probability(w, rho)).sum();
        let acceptance = sum / images as f64;
        let expected_draws = self.options.n.map(|n| n as f64 / acceptance);
        if let Some(expected) = expected_draws
            && expected > self.options.max_draws as f64
        {
            self.progress.warn(&format!(
                "{:.2} % of the candidates are accepted: {} images will take about {expected:.0} draws, more than the {} of --max-draws",
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
        (candidates, log_weights, weighing): (&Candidates, &[f64], &Weighing),
        (kept, wanted): (&mut Kept, usize),
        drawn: &mut Drawn,
    ) -> Result<()> {
        let names = self.source.names(range.clone());
        let seeds = self.source.seeds(range.clone());
        let keys = self.source.keys(range.clone());
        for (i, row) in range.enumerate() {
            if kept.count() >= wanted {
                break;
            }
            let probability = weighing.probability(log_weights[row], candidates.densities()[row]);
            let accepted = uniform(self.options.seed, Purpose::Accept, keys[i]) < probability;
            let decision = match accepted {
                true => {
                    let values: Vec<f32> = features.row(i).to_vec();
                    kept.offer(&values, candidates.scores.nearest_distance[row])?
                }
                false => Decision::Rejected,
            };
            let made = self.image(&names[i]);
            if decision == Decision::Kept {
                let target = self.out.join(&names[i]);
                // After an interruption it may be there already.
                if made.exists() || !target.exists() {
                    fs::rename(&made, &target).map_err(Error::io("move", &made))?;
                }
            } else if made.exists() {
                fs::remove_file(&made).map_err(Error::io("remove", &made))?;
            }
            drawn.names.push(names[i].clone());
            drawn.seeds.push(seeds[i]);
            drawn.weights.push(weighing.shown(log_weights[row]));
            drawn.decisions.push(decision);
        }
        Ok(())
    }

    /// Where an undecided image waits.
    fn image(&self, name: &str) -> PathBuf {
        self.out.join(PARTIAL).join(name)
    }

    /// Features of a block of candidates, whose images wait on disk; from an earlier run where it was finished.
    fn block(&self, range: Range<usize>) -> Result<Array2<f32>> {
        let Some(judgement) = self.judgement else { return Ok(Array2::zeros((range.len(), 0))) };
        let index = range.start / BLOCK;
        if self.partial.has(index) {
            return read_npy(self.partial.data(index));
        }
        let mut parts = Vec::new();
        self.each_batch(range.clone(), |range, images| {
            let names = self.source.names(range);
            images
                .par_iter()
                .zip(&names)
                .try_for_each(|(image, name)| write_png(&self.image(name), image))?;
            parts.push(features_of(judgement.extractor, images)?);
            Ok(())
        })?;
        let features = join(&parts)?;
        write_npy(self.partial.data(index), &features)?;
        self.partial.finish(index, &range.len())?;
        Ok(features)
    }

    fn each_batch(
        &self,
        range: Range<usize>,
        mut sink: impl FnMut(Range<usize>, &[RgbImage]) -> Result<()>,
    ) -> Result<()> {
        let batch = self.options.batch.max(1);
        for start in range.clone().step_by(batch) {
            check_stop(|| {
                format!("finished blocks are kept in {}; the same command continues", self.out.display())
            })?;
            let range = start..(start + batch).min(range.end);
            let images = self.source.images(range.clone())?;
            sink(range, &images)?;
        }
        Ok(())
    }
}
