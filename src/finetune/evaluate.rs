//! Fréchet distance, precision, recall and coverage of the averaged generator during a run, on fixed latents: against the reference, and
//! in a second space against the training images, since the space that scored always looks better.

use super::data::RealImages;
use super::densities::training_features;
use super::outside_steps::OutsideSteps;
use super::trainer::{Scalars, Trainer};
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::metrics::{Comparison, FeatureSet, Options, estimate, metric};
use crate::progress::{Progress, Unreported};
use crate::random::Purpose;
use crate::reference::Reference;
use candle_core::Device;

/// Training images that are judged against, at most: spread over all of them.
const JUDGED_AGAINST: usize = 10_000;

/// What is measured: the name of the metric, which is its column in the reference's space, and its column in the space that judges.
const COLUMNS: [[&str; 2]; 4] = [
    [DISTANCE, JUDGED_DISTANCE],
    ["precision", "judge_precision"],
    ["recall", "judge_recall"],
    ["coverage", "judge_coverage"],
];

/// The Fréchet distance in the reference's space; it is called FID only in the 2015 Inception's space.
const DISTANCE: &str = "fd";
/// The Fréchet distance in the space that judges.
const JUDGED_DISTANCE: &str = "judge_fd";

/// One feature space of an evaluation.
struct Space<'p> {
    extractor: LoadedExtractor,
    /// Real images, with everything that is computed of them once for all evaluations.
    real: FeatureSet<'p>,
}

/// What an evaluation needs, read once.
pub struct Evaluator<'p> {
    /// The space of the reference, and the one that judges where there is one.
    spaces: Vec<Space<'p>>,
    options: Options,
    images: usize,
    seed: u64,
    device: Device,
}

impl<'p> Evaluator<'p> {
    /// Evaluates `images` generated images in the space of the reference. What the first evaluation prepares of the reference is
    /// reported to `progress`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if the reference is damaged.
    pub fn new(
        reference: &Reference,
        extractor: LoadedExtractor,
        images: usize,
        seed: u64,
        device: &Device,
        progress: &'p dyn Progress,
    ) -> Result<Self> {
        let options = Options { device: device.clone(), ..Options::default() };
        let real = FeatureSet::new(reference.features()?.into_shared(), &options, progress)?;
        let spaces = vec![Space { extractor, real }];
        Ok(Self { spaces, options, images, seed, device: device.clone() })
    }

    /// Evaluates in a second space too, against the training images.
    ///
    /// # Errors
    /// What the extractor returns; [`crate::Error::Interrupted`].
    pub(crate) fn judged_by(
        mut self,
        extractor: LoadedExtractor,
        images: &RealImages,
        progress: &'p dyn Progress,
    ) -> Result<Self> {
        let features = training_features(images, &extractor, JUDGED_AGAINST, progress)?;
        let real = FeatureSet::new(features.into_shared(), &self.options, progress)?;
        self.spaces.push(Space { extractor, real });
        Ok(self)
    }

    /// The column that says which evaluation is the best: the distance in the space that did not score, where there is one.
    pub(crate) fn watched(&self) -> &'static str {
        if self.spaces.len() > 1 { JUDGED_DISTANCE } else { DISTANCE }
    }

    /// The columns of every space for the averaged generator. Latent `i` is the same at every evaluation of a seed.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if features are not finite; [`crate::Error::Interrupted`].
    pub fn evaluate(&self, trainer: &dyn Trainer, progress: &dyn Progress) -> Result<Scalars> {
        let keys: Vec<u64> = (0..self.images as u64).collect();
        let made = OutsideSteps {
            generator: trainer.ema(),
            seed: self.seed,
            purpose: Purpose::Evaluation,
            keys: &keys,
            batch: trainer.batch(),
            device: &self.device,
        };
        let extractors: Vec<&LoadedExtractor> = self.spaces.iter().map(|space| &space.extractor).collect();
        progress.start("evaluating", self.images as u64, "images");
        let features = made.features(&extractors, progress)?;
        progress.finish();
        let unreported = Unreported(progress);
        let metrics = COLUMNS.iter().map(|[name, ..]| metric(name)).collect::<Result<Vec<_>>>()?;
        let mut scalars = Scalars::new();
        for ((space, features), column) in self.spaces.iter().zip(features).zip(0..) {
            let generated = FeatureSet::new(features.into_shared(), &self.options, &unreported)?;
            let comparison = Comparison::new(&space.real, &generated, &self.options, &unreported)?;
            let found = estimate(&comparison, &metrics, None)?;
            scalars.extend(COLUMNS.iter().filter_map(|names| {
                let estimate = found.iter().find(|estimate| estimate.column == names[0])?;
                Some((names[column], estimate.value))
            }));
        }
        Ok(scalars)
    }
}
