//! What a step is made of: real images by their weight, and latents, by rejection where the generated side is weighted too.

use super::data::{RealImages, mirrors};
use super::latents::to_latents;
use super::ratio_weights::{self, RatioWeights};
use super::trainer::NamedState;
use super::weighted_rows::WeightedRows;
use crate::candidates::{DensityScorer, render};
use crate::density::Rule;
use crate::error::{Error, Result};
use crate::generate::{ForwardOptions, Generator};
use crate::progress::Progress;
use crate::random::{Purpose, keyed, normals};
use crate::remedy::Remedy;
use crate::train::RankShard;
use candle_core::{DType, Device, Tensor};
use rand::RngExt;

/// Real images with everything that decides which of them a step sees.
pub struct RealBatches {
    /// The images.
    pub images: RealImages,
    /// How often each is drawn.
    pub rows: WeightedRows,
    /// What weighs them anew as the generator changes, for the ratio rule.
    pub ratio: Option<RatioWeights>,
    /// Generated images that are mixed in.
    pub kept: Option<KeptImages>,
    /// The class of each, where the model takes classes.
    pub classes: Option<Vec<u32>>,
    /// Whether half of them are mirrored.
    pub mirror: bool,
    /// Key of every draw.
    pub seed: u64,
    /// Where batches go.
    pub device: Device,
    /// The type of their numbers, and of latents: that of the networks.
    pub dtype: DType,
}

/// Generated images that a sampling run kept, as training data: what was chosen is learnt.
pub struct KeptImages {
    /// The images.
    pub images: RealImages,
    /// The share of a batch that they are, 0 to 1: each image of a batch is one of them with this probability.
    pub share: f64,
}

impl KeptImages {
    /// For each image of the batch of a step, the kept image that takes its place, if one does.
    fn of_step(&self, seed: u64, step: u64, count: usize) -> Vec<Option<usize>> {
        let mut rng = keyed(seed, Purpose::KeptRows, step);
        let mut row = || {
            let (taken, row) = (rng.random::<f64>() < self.share, rng.random_range(0..self.images.len()));
            taken.then_some(row)
        };
        (0..count).map(|_| row()).collect()
    }
}

/// Images or latents with their classes.
pub struct Batch {
    /// `[B, …]`
    pub values: Tensor,
    /// `[B]`, where the model takes classes.
    pub classes: Option<Vec<u32>>,
}

impl Batch {
    /// The own rows of a whole batch.
    fn of(&self, shard: &RankShard) -> Result<Batch> {
        let classes = self.classes.as_ref().map(|classes| shard.select(classes));
        Ok(Batch { values: shard.select_rows(&self.values)?, classes })
    }
}

impl RealBatches {
    /// The real images `[B, C, H, W]` of this rank's part of a step.
    ///
    /// # Errors
    /// As [`RealImages::batch`].
    pub fn of_step(&self, step: u64, shard: &RankShard) -> Result<Batch> {
        let rows = shard.select(&self.rows.draw(self.seed, step, shard.batch()));
        let mirrored = shard.select(&mirrors(self.seed, step, shard.batch(), self.mirror));
        let mut sources: Vec<(&RealImages, usize)> = rows.iter().map(|&row| (&self.images, row)).collect();
        if let Some(kept) = &self.kept {
            let instead = shard.select(&kept.of_step(self.seed, step, shard.batch()));
            for (source, instead) in sources.iter_mut().zip(instead) {
                *source = instead.map_or(*source, |row| (&kept.images, row));
            }
        }
        let values = self.images.batch(&sources, &mirrored, &self.device)?.to_dtype(self.dtype)?;
        let classes = self.classes.as_ref().map(|classes| rows.iter().map(|&row| classes[row]).collect());
        Ok(Batch { values, classes })
    }

    /// Whether the real images are weighed anew before this step.
    pub(super) fn weighs_before(&self, step: u64) -> bool {
        self.ratio.as_ref().is_some_and(|ratio| ratio.are_due(step))
    }

    /// Weighs the real images anew, where that is due before a step.
    ///
    /// # Errors
    /// As [`RatioWeights::measure`].
    pub(super) fn weigh(
        &mut self,
        generator: &dyn Generator,
        step: u64,
        shard: &RankShard,
        progress: &dyn Progress,
    ) -> Result<()> {
        match &mut self.ratio {
            Some(ratio) if ratio.are_due(step) => {
                self.rows = ratio.measure(generator, (self.seed, &self.device), step, shard, progress)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The effective sample size of weights that change, for the log.
    pub(super) fn changing_sample_size(&self) -> Option<(&'static str, f64)> {
        self.ratio.as_ref().map(|_| ("effective_sample_size", self.rows.effective_sample_size()))
    }

    /// What a run goes on from, where weights change.
    pub(super) fn state(&self) -> Option<NamedState> {
        let ratio = self.ratio.as_ref()?;
        Some(NamedState { name: ratio_weights::STATE.into(), tensors: ratio.state(), steps: None })
    }

    /// Goes on from [`RealBatches::state`], which `find` gives by name.
    ///
    /// # Errors
    /// What `find` returns; [`Error::Malformed`] for the state of other images.
    pub(super) fn load(&mut self, find: &dyn Fn(&str) -> Result<NamedState>) -> Result<()> {
        if let Some(ratio) = &mut self.ratio {
            self.rows = ratio.load(&find(ratio_weights::STATE)?.tensors)?;
        }
        Ok(())
    }

    /// Classes for generated images, as frequent as among the real ones.
    fn classes_of_generated(&self, item: u64, count: usize) -> Option<Vec<u32>> {
        let classes = self.classes.as_ref()?;
        let mut rng = keyed(self.seed, Purpose::Classes, item);
        Some((0..count).map(|_| classes[rng.random_range(0..classes.len())]).collect())
    }
}

/// Rejection of generated images by the two-level rule (Li et al., TMLR 2024, section 3.5).
pub struct Rejection {
    /// The two-level rule, its weight already the inverse (`1 / w`).
    pub rule: Rule,
    /// Scores them.
    pub scorer: DensityScorer,
    /// Most draws for each accepted image, on average over a batch.
    pub max_draws: u32,
}

/// Latents of a step, with the draws that they took.
pub(super) struct Accepted {
    /// The latents.
    pub batch: Batch,
    /// Draws for each accepted latent.
    pub draws: f64,
}

/// Steps leave room for this many rounds of candidates each in the keys of their streams.
const ROUNDS: u64 = 1 << 16;

/// The latents of this rank's part of a step: drawn from the prior, and where a rejection is given accepted by the density of their
/// images.
///
/// # Errors
/// [`Error::Data`] if acceptance needs more draws than allowed.
pub(super) fn latents(
    generator: &dyn Generator,
    real: &RealBatches,
    rejection: Option<&Rejection>,
    step: u64,
    shard: &RankShard,
) -> Result<Accepted> {
    let Accepted { batch, draws } = match rejection {
        None => Accepted { batch: candidates(generator, real, step * ROUNDS, shard.batch())?, draws: 1.0 },
        Some(rejection) => accepted(generator, real, rejection, step, shard)?,
    };
    Ok(Accepted { batch: batch.of(shard)?, draws })
}

/// The latents of a whole batch, the same on every rank.
fn accepted(
    generator: &dyn Generator,
    real: &RealBatches,
    Rejection { rule, scorer, max_draws }: &Rejection,
    step: u64,
    shard: &RankShard,
) -> Result<Accepted> {
    let count = shard.batch();
    let part = RankShard::new(count, 1, shard.ranks())?;
    let mut kept: Vec<Tensor> = Vec::new();
    let mut classes: Option<Vec<u32>> = real.classes.as_ref().map(|_| Vec::new());
    let (mut missing, mut drawn) = (count, 0);
    for round in 0..u64::from(*max_draws).min(ROUNDS) {
        let item = step * ROUNDS + round;
        let batch = candidates(generator, real, item, count)?;
        let keys: Vec<u64> = (0..count as u64).map(|row| item.wrapping_mul(count as u64) + row).collect();
        let densities = part.gather(&score(generator, scorer, &batch.of(&part)?, &part.select(&keys))?);
        let acceptance: Option<Vec<f64>> = densities.iter().map(|&rho| rule.acceptance(rho)).collect();
        let acceptance = acceptance.ok_or_else(|| {
            Error::usage("generated images are accepted by the two-level rule only", "use two-level")
        })?;
        let mut rng = keyed(real.seed, Purpose::AcceptGenerated, item);
        let accepted: Vec<u32> = (0u32..)
            .zip(acceptance)
            .filter(|&(_, probability)| rng.random::<f64>() < probability)
            .map(|(row, _)| row)
            .take(missing)
            .collect();
        missing -= accepted.len();
        drawn += match accepted.last() {
            Some(&last) if missing == 0 => last as usize + 1,
            _ => count,
        };
        if !accepted.is_empty() {
            let rows = Tensor::from_slice(&accepted, accepted.len(), batch.values.device())?;
            kept.push(batch.values.index_select(&rows, 0)?);
        }
        if let (Some(all), Some(new)) = (&mut classes, &batch.classes) {
            all.extend(accepted.iter().map(|&row| new[row as usize]));
        }
        if missing == 0 {
            let batch = Batch { values: Tensor::cat(&kept, 0)?, classes };
            return Ok(Accepted { batch, draws: drawn as f64 / count as f64 });
        }
    }
    let reason = format!(
        "of {drawn} generated images {} were accepted at step {step}: more than {max_draws} draws for each",
        count - missing
    );
    Err(Error::data(reason, Remedy::MilderGeneratedWeights))
}

/// The densities of candidates' images. These are made in eval mode: whether one is accepted must not depend on the others of its
/// round.
fn score(
    generator: &dyn Generator,
    scorer: &DensityScorer,
    candidates: &Batch,
    keys: &[u64],
) -> Result<Vec<f64>> {
    let conditions = ForwardOptions {
        classes: candidates.classes.as_deref(),
        keys: Some(keys),
        ..ForwardOptions::default()
    };
    scorer.densities(&render(generator, &candidates.values, &conditions)?)
}

fn candidates(generator: &dyn Generator, real: &RealBatches, item: u64, count: usize) -> Result<Batch> {
    let shape = &generator.info().space(None)?.shape;
    let values = normals(keyed(real.seed, Purpose::Latents, item))
        .take(count * shape.iter().product::<usize>())
        .map(|value| value as f32)
        .collect();
    Ok(Batch {
        values: to_latents(values, count, shape, &real.device)?.to_dtype(real.dtype)?,
        classes: real.classes_of_generated(item, count),
    })
}
