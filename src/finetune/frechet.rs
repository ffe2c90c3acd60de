//! The Fréchet term: beside the discriminator's loss, the Fréchet distance between the features of real images and those of what the
//! generator makes. After Lucas et al. (arXiv 2009.14075) and arXiv 2604.28190; here the real moments are those of the importance
//! weights.
//!
//! The moments of generated features are those of a queue of the last batches. `T` transports their Gaussian onto the real one; a
//! generated image with features `f` then has the gradient `2 [(m_g - m_r) + (I - T)(f - m_g)]`, divided by the images of its batch.

use crate::candidates::image_features_with_slope;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::{HostTensor, StateDict, TensorData};
use crate::generate::Quantization;
use crate::metrics::{RootedStatistics, Statistics, Transport, transport};
use crate::progress::{Progress, Silent};
use crate::train::RankShard;
use candle_core::Tensor;
use ndarray::{Array1, Array2, ArrayView2, s};
use std::path::Path;

const STATE: &str = "frechet";
/// Rows of the queue, unless features are wider.
const QUEUE_ROWS: usize = 4096;
/// Rows for each column that the queue holds at least, when it is full and when the term begins.
const ROWS_PER_COLUMN: usize = 2;
/// Steps from one transport map to the next, at least.
const REFRESH: u64 = 10;
/// Added to every variance, as a share of the mean variance of the real features.
const RIDGE: f64 = 1e-3;
/// A variance below this share of the squared mean is that of rounding.
const ROUNDING: f64 = 1e-12;

/// What the state of term `i` is called among the files of a run.
pub(super) fn state_name(i: usize) -> String {
    if i == 0 { STATE.to_owned() } else { format!("{STATE}-{i}") }
}

/// How much the term counts. Once it has begun, it is computed at every `interval`-th step and weighted up for it, as R1 is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FrechetConfig {
    /// Its weight in the generator's loss.
    pub weight: f64,
    /// Steps from one to the next.
    pub interval: usize,
}

/// The term with the features that it remembers.
pub struct FrechetTerm {
    config: FrechetConfig,
    extractor: LoadedExtractor,
    real: RootedStatistics,
    ridge: f64,
    /// `[Q, D]`: the features of image `i` of the steps with the term are in row `i mod Q`.
    queue: Array2<f32>,
    /// `[D]`, the mean of the queue when the map was found.
    mean: Array1<f32>,
    /// `I - T` `[D, D]`.
    slope: Array2<f32>,
    /// The squared Fréchet distance of real moments and queue when the map was found.
    distance: f32,
}

/// What a step takes from the term.
pub(super) struct Term {
    /// A number whose gradient is that of the weighted term; its value means nothing. `None` at a step without the term.
    pub loss: Option<Tensor>,
    /// The squared Fréchet distance of the queue.
    pub distance: f64,
}

impl FrechetTerm {
    /// The distance to real images with these features `[N, D]`, which count by `importance` `[N]`.
    ///
    /// # Errors
    /// [`Error::Data`] if features and importance do not fit, or all features are the same.
    pub(crate) fn new(
        config: FrechetConfig,
        extractor: LoadedExtractor,
        features: ArrayView2<f32>,
        importance: &[f64],
        progress: &dyn Progress,
    ) -> Result<Self> {
        let width = features.ncols();
        let statistics = Statistics::weighted(features, importance, progress)?;
        let variance = statistics.covariance.diag().mean().unwrap_or_default();
        let square = statistics.mean.mapv(|mean| mean * mean).mean().unwrap_or_default();
        let ridge = RIDGE * variance;
        if !(ridge.is_finite() && variance > ROUNDING * square) {
            return Err(Error::data(
                "the real images all have the same features",
                "is the reference damaged?",
            ));
        }
        Ok(Self {
            config,
            extractor,
            real: statistics.with_ridge(ridge).rooted()?,
            ridge,
            queue: Array2::zeros((QUEUE_ROWS.max(ROWS_PER_COLUMN * width), width)),
            mean: Array1::zeros(width),
            slope: Array2::zeros((width, width)),
            distance: f32::NAN,
        })
    }

    /// Steps from one with the term to the next.
    pub(super) fn interval(&self) -> usize {
        self.config.interval
    }

    /// The term on this rank's part of the images `[B, C, H, W]`, in -1..=1, of a step. The gradient is taken at the 8-bit images,
    /// straight through. `None` while the queue holds too few features.
    ///
    /// # Errors
    /// [`Error::Usage`] if the extractor gives no gradient; [`Error::Data`] if an image is not finite.
    pub(super) fn of_images(
        &mut self,
        images: &Tensor,
        quantization: Quantization,
        shard: &RankShard,
        step: u64,
    ) -> Result<Option<Term>> {
        let Self { config, extractor, real, ridge, queue, mean, slope, distance } = self;
        let begins = (ROWS_PER_COLUMN * queue.ncols()).div_ceil(shard.batch()) as u64;
        let Some(turn) = turn(step, config.interval, begins) else {
            return Ok(distance.is_finite().then(|| Term { loss: None, distance: f64::from(*distance) }));
        };
        let mut moments = Moments { real, ridge: *ridge, queue, mean, slope, distance };
        let (begun, smooth) = image_features_with_slope(extractor, images, quantization, |features| {
            moments.remember(features, shard, turn)?;
            if turn + 1 < begins {
                return Ok((false, Array2::zeros(features.dim())));
            }
            if turn + 1 == begins || turn.is_multiple_of(REFRESH.div_ceil(config.interval as u64)) {
                moments.refresh((turn + 1) * shard.batch() as u64)?;
            }
            Ok((true, moments.gradients(features)))
        })?;
        let loss = (smooth.sum_all()? * (config.weight * config.interval as f64))?;
        Ok(begun.then_some(Term { loss: Some(loss), distance: f64::from(self.distance) }))
    }

    /// What a run goes on from.
    pub(super) fn state(&self) -> StateDict {
        let mut state = StateDict::new(Path::new(STATE));
        let mut keep = |name: &str, shape: &[usize], values: Vec<f32>| {
            state.insert(name, HostTensor { shape: shape.to_vec(), data: TensorData::F32(values) });
        };
        keep(QUEUE, self.queue.shape(), self.queue.iter().copied().collect());
        keep(MEAN, self.mean.shape(), self.mean.to_vec());
        keep(SLOPE, self.slope.shape(), self.slope.iter().copied().collect());
        keep(DISTANCE, &[], vec![self.distance]);
        state
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is that of another term.
    pub(super) fn load(&mut self, state: &StateDict) -> Result<()> {
        let matrix = |name: &str, array: &mut Array2<f32>| -> Result<()> {
            let values = state.f32_shaped(name, array.shape())?;
            array.iter_mut().zip(values).for_each(|(own, value)| *own = *value);
            Ok(())
        };
        matrix(QUEUE, &mut self.queue)?;
        matrix(SLOPE, &mut self.slope)?;
        let mean = state.f32_shaped(MEAN, self.mean.shape())?;
        self.mean.iter_mut().zip(mean).for_each(|(own, value)| *own = *value);
        self.distance = state.f32_shaped(DISTANCE, &[])?.first().copied().unwrap_or(f32::NAN);
        Ok(())
    }
}

const QUEUE: &str = "queue";
const MEAN: &str = "mean";
const SLOPE: &str = "slope";
const DISTANCE: &str = "distance";

/// How many steps before this one had the term, if this one has it: each of the first, which fill the queue until the term begins, and
/// every `interval`-th after the last of them.
fn turn(step: u64, interval: usize, begins: u64) -> Option<u64> {
    let last = begins.saturating_sub(1);
    match step.checked_sub(last) {
        Some(behind) => behind.is_multiple_of(interval as u64).then(|| last + behind / interval as u64),
        None => Some(step),
    }
}

/// The parts of a term that features change and are measured by.
struct Moments<'t> {
    real: &'t RootedStatistics,
    ridge: f64,
    queue: &'t mut Array2<f32>,
    mean: &'t mut Array1<f32>,
    slope: &'t mut Array2<f32>,
    distance: &'t mut f32,
}

impl Moments<'_> {
    /// Puts the features of the term's step `turn` into the queue: those of all ranks, of which each has its own.
    fn remember(&mut self, own: ArrayView2<f64>, shard: &RankShard, turn: u64) -> Result<()> {
        let (batch, rows) = (shard.batch() as u64, self.queue.nrows() as u64);
        for (at, row) in (turn * batch..).zip(shard.gather_rows(own).outer_iter()) {
            let mut place = self.queue.row_mut((at % rows) as usize);
            place.zip_mut_with(&row, |old, new| *old = *new as f32);
            if !place.iter().all(|value| value.is_finite()) {
                let reason = "the features of generated images are not finite";
                return Err(Error::data(reason, "is the learning rate too high?"));
            }
        }
        Ok(())
    }

    /// Finds the map anew, of a queue that `seen` features were put into.
    fn refresh(&mut self, seen: u64) -> Result<()> {
        let rows = self.queue.nrows();
        let filled = self.queue.slice(s![..rows.min(usize::try_from(seen).unwrap_or(rows)), ..]);
        let generated = Statistics::of(filled, &Silent)?.with_ridge(self.ridge);
        let Transport { map, distance } = transport(self.real, &generated)?;
        self.mean.zip_mut_with(&generated.mean, |own, new| *own = *new as f32);
        self.slope.zip_mut_with(&map, |own, new| *own = -*new as f32);
        self.slope.diag_mut().mapv_inplace(|value| value + 1.0);
        *self.distance = distance as f32;
        Ok(())
    }

    /// The gradient of the distance at each row of features `[B, D]`, as if every row of the generated distribution moved alike.
    fn gradients(&self, features: ArrayView2<f64>) -> Array2<f64> {
        let (mean, slope) = (self.mean.mapv(f64::from), self.slope.mapv(f64::from));
        let offset = &mean - &self.real.statistics().mean;
        let centred = &features - &mean;
        (centred.dot(&slope) + &offset) * (2.0 / features.nrows().max(1) as f64)
    }
}

#[cfg(test)]
#[path = "frechet_tests.rs"]
mod tests;
