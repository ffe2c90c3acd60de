//! The ratio rule in training (ours): real images that the generator makes too rarely are drawn more often. The densities among
//! generated images are measured anew every so many steps, as the generator changes.

use super::outside_steps::OutsideSteps;
use super::weighted_rows::WeightedRows;
use crate::candidates::Pilot;
use crate::density::{PseudoDensity, Rule, Truncation};
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::formats::{HostTensor, StateDict, TensorData};
use crate::generate::Generator;
use crate::neighbors::BuildOptions;
use crate::progress::{Progress, Silent};
use crate::random::Purpose;
use crate::train::RankShard;
use candle_core::Device;
use ndarray::Array2;
use std::path::Path;

/// What the state of the weights is called among the files of a run.
pub(super) const STATE: &str = "ratio_weights";
const LOG_WEIGHTS: &str = "log_weights";

/// Real images with what the ratio rule weighs them by.
pub struct RatioWeights {
    /// The rule.
    pub rule: Rule,
    /// How its weights are cut.
    pub truncation: Option<Truncation>,
    /// Pseudo densities of the real images, `[N]`.
    pub densities: Vec<f64>,
    /// Their features, `[N, D]`.
    pub features: Array2<f32>,
    /// Takes generated images to features.
    pub extractor: LoadedExtractor,
    /// K and exponent of the reference.
    pub model: PseudoDensity,
    /// Generated images of a pilot.
    pub pilot: usize,
    /// Steps from one pilot to the next.
    pub every: u64,
    /// The log weights that the last pilot gave, `[N]`, in float32: a run that goes on reads the same ones.
    pub logs: Vec<f32>,
}

impl RatioWeights {
    /// Whether the weights are measured anew before this step.
    pub(super) fn are_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every)
    }

    /// The rows as a pilot that `generator` makes weighs them.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the images of the pilot are all alike, or an image has a density of which no weight can be made;
    /// [`crate::Error::Interrupted`], and nothing has changed.
    pub(super) fn measure(
        &mut self,
        generator: &dyn Generator,
        (seed, device): (u64, &Device),
        step: u64,
        shard: &RankShard,
        progress: &dyn Progress,
    ) -> Result<WeightedRows> {
        let images = self.pilot.next_multiple_of(shard.ranks().size());
        let part = RankShard::new(images, 1, shard.ranks())?;
        let own = OutsideSteps {
            generator,
            seed,
            purpose: Purpose::Pilot,
            keys: &part.images_of_step(step / self.every),
            batch: shard.batch(),
            device,
        };
        progress.start("pilot", own.keys.len() as u64, "images");
        let features = own.features(&[&self.extractor], progress)?.swap_remove(0);
        progress.finish();
        let features = part.gather_rows(features.mapv(f64::from).view()).mapv(|value| value as f32);
        let index = BuildOptions { device: device.clone(), ..BuildOptions::default() };
        let pilot = Pilot::new(features.into_shared(), &self.model, &index, &Silent)?;
        let generated = pilot.densities(self.features.view(), &Silent)?;
        let logs = self.rule.log_weights(&self.densities, &generated)?;
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.logs = logs.iter().map(|log| (log - largest) as f32).collect();
        self.rows()
    }

    fn rows(&self) -> Result<WeightedRows> {
        let logs = self.logs.iter().map(|&log| log.into()).collect();
        WeightedRows::of_log_weights(logs, self.truncation)
    }

    /// What a run goes on from.
    pub(super) fn state(&self) -> StateDict {
        let mut state = StateDict::new(Path::new(STATE));
        let data = TensorData::F32(self.logs.clone());
        state.insert(LOG_WEIGHTS, HostTensor { shape: vec![self.logs.len()], data });
        state
    }

    /// The rows as a state has them.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if it is that of other images.
    pub(super) fn load(&mut self, state: &StateDict) -> Result<WeightedRows> {
        self.logs = state.f32_shaped(LOG_WEIGHTS, &[self.densities.len()])?.to_vec();
        self.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::ExtractorRequest;
    use crate::generate::{GeneratorRequest, load};
    use crate::train::collective::single;

    const NEIGHBOURS: usize = 3;
    const PILOT: usize = 40;

    fn generator() -> Box<dyn Generator> {
        let weights =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/generators/dcgan/weights.safetensors");
        load(weights, &GeneratorRequest::default()).unwrap()
    }

    fn extractor() -> LoadedExtractor {
        LoadedExtractor::load(&ExtractorRequest::default()).unwrap()
    }

    fn features_of(purpose: Purpose, keys: std::ops::Range<u64>) -> Array2<f32> {
        let (generator, keys) = (generator(), keys.collect::<Vec<_>>());
        let images = OutsideSteps {
            generator: generator.as_ref(),
            seed: 5,
            purpose,
            keys: &keys,
            batch: 7,
            device: &Device::Cpu,
        };
        images.features(&[&extractor()], &Silent).unwrap().swap_remove(0)
    }

    /// Twenty real images, weighted by `(rho / rho_gen)^1.5 rho^-2`.
    fn weights() -> RatioWeights {
        let features = features_of(Purpose::Evaluation, 0..20);
        RatioWeights {
            rule: Rule::Ratio { b: -2.0, dimension: 1.5 },
            truncation: Some(Truncation { clip: 100.0, min_ess: 0.0 }),
            densities: (0..20).map(|i| 0.5 + f64::from(i) / 10.0).collect(),
            features,
            extractor: extractor(),
            model: PseudoDensity { k: NEIGHBOURS, exponent: 2.0, rows: 100, floor: 1.0, scaled_sum: 1.0 },
            pilot: PILOT,
            every: 10,
            logs: Vec::new(),
        }
    }

    fn measure(weights: &mut RatioWeights, step: u64) -> WeightedRows {
        let shard = RankShard::new(8, 1, &single()).unwrap();
        weights.measure(generator().as_ref(), (5, &Device::Cpu), step, &shard, &Silent).unwrap()
    }

    #[test]
    fn weights_are_the_ratio_of_the_densities_by_its_definition() {
        let mut weights = weights();
        let rows = measure(&mut weights, 20);
        // The third pilot.
        let pilot = features_of(Purpose::Pilot, 2 * PILOT as u64..3 * PILOT as u64);
        let expected = |i: usize| {
            let mut distances: Vec<f64> = pilot
                .outer_iter()
                .map(|row| {
                    let squares =
                        row.iter().zip(weights.features.row(i)).map(|(a, b)| f64::from(a - b).powi(2));
                    squares.sum::<f64>().sqrt()
                })
                .collect();
            distances.sort_by(f64::total_cmp);
            let raw = (NEIGHBOURS as f64 / distances[..NEIGHBOURS].iter().sum::<f64>()).powi(2);
            let rho = weights.densities[i];
            (rho / raw).powf(1.5) * rho.powi(-2)
        };
        let importance = rows.importance();
        for i in 1..20 {
            let (found, expected) = (importance[i] / importance[0], expected(i) / expected(0));
            assert!((found / expected - 1.0).abs() < 1e-4, "{i}: {found}, not {expected}");
        }
    }

    #[test]
    fn a_state_gives_the_same_rows_and_that_of_other_images_is_refused() {
        let (mut weights, mut again) = (weights(), weights());
        let rows = measure(&mut weights, 0);
        assert_eq!(again.load(&weights.state()).unwrap().importance(), rows.importance());
        assert_ne!(
            measure(&mut again, 10).importance(),
            rows.importance(),
            "every pilot has latents of its own"
        );
        again.densities.pop();
        assert!(again.load(&weights.state()).is_err());
        assert!(weights.are_due(0) && weights.are_due(30) && !weights.are_due(31));
    }
}
