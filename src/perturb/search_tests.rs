//! The search itself, on an objective whose answer is known.

use super::*;
use crate::extract::ExtractorRequest;
use crate::generate::{GeneratorRequest, latents_of_seeds, load};
use candle_core::Device;
use ndarray::ArrayView2;

/// A linear density of the features, or one without slope, or one with a broken slope.
struct Linear {
    value: fn(f64) -> f64,
    slope: f64,
}

impl Objective for Linear {
    fn values(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        Ok(features.outer_iter().map(|row| (self.value)(row.iter().map(|&v| f64::from(v)).sum())).collect())
    }

    fn gradients(&self, features: ArrayView2<f64>) -> Result<Array2<f64>> {
        Ok(Array2::from_elem(features.dim(), self.slope))
    }
}

const SUM: Linear = Linear { value: |sum| sum, slope: 1.0 };

fn generator() -> Box<dyn Generator> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/generators/dcgan/weights.safetensors");
    load(path, &GeneratorRequest::default()).unwrap()
}

fn latents(generator: &dyn Generator, seeds: &[u32]) -> Latents {
    Latents {
        values: latents_of_seeds(&generator.info().spaces[0], seeds, DType::F32, &Device::Cpu).unwrap(),
        seeds: Some(seeds.to_vec()),
        keys: seeds.iter().map(|&seed| seed.into()).collect(),
        classes: None,
    }
}

fn with_search<T>(objective: &dyn Objective, options: SearchOptions, ask: impl Fn(&Search) -> T) -> T {
    let generator = generator();
    let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    ask(&Search {
        generator: generator.as_ref(),
        extractor: &extractor,
        objective,
        conditions: ForwardOptions::default(),
        options,
    })
}

#[test]
fn the_best_image_met_is_returned_and_lies_in_the_ball_whatever_the_batch() {
    let variants = [
        SearchOptions { steps: 4, ..SearchOptions::default() },
        SearchOptions {
            steps: 3,
            norm: Norm::L2,
            random_start: true,
            step_size: Some(0.2),
            ..SearchOptions::default()
        },
    ];
    for (options, epsilon) in variants.into_iter().zip([0.1, 0.5]) {
        with_search(&SUM, options, |search| {
            let seeds = [5, 0, 9, 2, 7];
            let climb = |seeds: &[u32], bias| {
                let latents = latents(search.generator, seeds);
                let start = search.start(&latents).unwrap();
                (start.found.clone(), search.climb(&latents, &start, bias, epsilon, &|| Ok(())).unwrap())
            };
            for bias in [Direction::Higher, Direction::Lower] {
                let (before, after) = climb(&seeds, bias);
                for (i, (before, after)) in before.iter().zip(&after).enumerate() {
                    assert!(bias.improves(before.value, after.value));
                    let ball = Ball { center: &before.latent, radius: epsilon, norm: options.norm };
                    assert!(ball.distance(&after.latent) <= epsilon);
                    let (_, alone) = climb(&seeds[i..=i], bias);
                    assert_eq!((&alone[0].latent, alone[0].value), (&after.latent, after.value));
                    assert_eq!(alone[0].picture, after.picture);
                }
            }
        });
    }
}

#[test]
fn an_image_that_cannot_be_improved_stays_as_it_is() {
    let flat = Linear { value: |_| 1.0, slope: 1.0 };
    let lowest = Linear { value: |sum| -sum.abs() - 1.0, slope: 0.0 };
    for objective in [&flat, &lowest] {
        let options = SearchOptions { steps: 2, ..SearchOptions::default() };
        with_search(objective, options, |search| {
            let latents = latents(search.generator, &[1, 2]);
            let start = search.start(&latents).unwrap();
            let best = search.climb(&latents, &start, Direction::Higher, 0.1, &|| Ok(())).unwrap();
            for (before, after) in start.found.iter().zip(&best) {
                assert_eq!((&before.latent, &before.picture), (&after.latent, &after.picture));
                assert_eq!(before.value, after.value);
            }
        });
    }
}

#[test]
fn latents_of_another_shape_and_gradients_that_are_not_numbers_are_refused() {
    let broken = Linear { value: |sum| sum, slope: f64::NAN };
    with_search(&broken, SearchOptions::default(), |search| {
        let good = latents(search.generator, &[1, 31]);
        let error = search.start(&good).unwrap_err();
        assert!(error.to_string().contains("seed0001") && error.hint().unwrap().contains("--eps"), "{error}");
        let values = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
        let error = search.start(&Latents { values, ..good }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("[2, 5]"), "{error}");
    });
}

#[test]
fn the_control_is_of_the_size_asked_for_and_keyed_by_the_image() {
    with_search(&SUM, SearchOptions::default(), |search| {
        let control = |seeds: &[u32]| {
            let latents = latents(search.generator, seeds);
            let start = search.start(&latents).unwrap();
            (start.found.clone(), search.control(&latents, &start, 0.25).unwrap())
        };
        let (before, after) = control(&[3, 4]);
        for (before, after) in before.iter().zip(&after) {
            let offsets = before.latent.iter().zip(&after.latent).map(|(a, b)| (a - b).abs());
            assert!(offsets.into_iter().all(|offset| (offset - 0.25).abs() < 1e-6));
        }
        assert_eq!(control(&[4]).1[0].latent, after[1].latent);
    });
}
