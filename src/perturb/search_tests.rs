//! The search itself, on a density whose answer is known.

use super::*;
use crate::candidates::{LatentOrigin, LatentSource};
use crate::extract::{Extractor, ExtractorRequest};
use crate::generate::{GeneratorInfo, GeneratorRequest, Seeds, Variables, load};
use candle_core::Device;
use ndarray::ArrayView2;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A density that depends on the sum of the features, with the same slope everywhere; it counts how often it is asked.
struct Linear {
    value: fn(f64) -> f64,
    slope: f64,
    asked: AtomicUsize,
}

impl Linear {
    fn new(value: fn(f64) -> f64, slope: f64) -> Self {
        Self { value, slope, asked: AtomicUsize::new(0) }
    }
}

impl Density for Linear {
    fn densities(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(features.outer_iter().map(|row| (self.value)(row.iter().map(|&v| f64::from(v)).sum())).collect())
    }

    fn densities_and_gradients(&self, features: ArrayView2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
        let densities = self.densities(features.mapv(|v| v as f32).view())?;
        Ok((densities, Array2::from_elem(features.dim(), self.slope)))
    }
}

fn sum() -> Linear {
    Linear::new(|sum| sum, 1.0)
}

fn generator() -> Box<dyn Generator> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/generators/dcgan/weights.safetensors");
    load(path, &GeneratorRequest::default()).unwrap()
}

fn batch(generator: &dyn Generator, seeds: &[u32]) -> LatentBatch {
    let list = seeds.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let source =
        LatentSource::new(LatentOrigin::Seeds(list.parse::<Seeds>().unwrap()), DType::F32, &Device::Cpu);
    source.batch(generator, 0..seeds.len()).unwrap()
}

fn with_search<T>(density: &dyn Density, options: SearchOptions, ask: impl Fn(&Search) -> T) -> T {
    let generator = generator();
    let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    ask(&Search {
        generator: generator.as_ref(),
        extractor: &extractor,
        density,
        conditions: ForwardOptions::default(),
        options,
    })
}

fn row(latents: &Tensor, row: usize) -> Vec<f32> {
    latents.get(row).unwrap().flatten_all().unwrap().to_vec1().unwrap()
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
        SearchOptions { passes: Some(7), ..SearchOptions::default() },
        SearchOptions { passes: Some(5), norm: Norm::L2, ..SearchOptions::default() },
    ];
    for (options, epsilon) in variants.into_iter().zip([0.1, 0.5, 0.1, 0.5]) {
        with_search(&sum(), options, |search| {
            let seeds = [5, 0, 9, 2, 7];
            let perturb = |seeds: &[u32], bias| {
                let batch = batch(search.generator, seeds);
                let initial = search.initial_state(&batch).unwrap();
                let best = search.perturb(&batch, &initial, bias, epsilon, &|| Ok(())).unwrap();
                (initial.unperturbed, best)
            };
            for bias in [Direction::Higher, Direction::Lower] {
                let (before, after) = perturb(&seeds, bias);
                let balls = Balls::new(&before.latents, epsilon, options.norm).unwrap();
                assert!(balls.distances(&after.latents).unwrap().iter().all(|&distance| distance <= epsilon));
                for (i, (before, after_i)) in before.candidates.iter().zip(&after.candidates).enumerate() {
                    assert!(bias.improves(before.value, after_i.value));
                    let (_, alone) = perturb(&seeds[i..=i], bias);
                    assert_eq!(row(&alone.latents, 0), row(&after.latents, i));
                    assert_eq!(alone.candidates[0].value, after_i.value);
                    assert_eq!(alone.candidates[0].image, after_i.image);
                }
            }
        });
    }
}

#[test]
fn an_image_that_cannot_be_improved_stays_as_it_is() {
    let flat = Linear::new(|_| 1.0, 1.0);
    let lowest = Linear::new(|sum| -sum.abs() - 1.0, 0.0);
    for density in [&flat, &lowest] {
        let options = SearchOptions { steps: 2, ..SearchOptions::default() };
        with_search(density, options, |search| {
            let batch = batch(search.generator, &[1, 2]);
            let initial = search.initial_state(&batch).unwrap();
            let best = search.perturb(&batch, &initial, Direction::Higher, 0.1, &|| Ok(())).unwrap();
            let before = &initial.unperturbed;
            for (i, (before_i, after)) in before.candidates.iter().zip(&best.candidates).enumerate() {
                assert_eq!(row(&before.latents, i), row(&best.latents, i));
                assert_eq!((&before_i.image, before_i.value), (&after.image, after.value));
            }
        });
    }
}

#[test]
fn what_is_returned_is_what_its_latent_gives() {
    // Along the gradient of the sum, but measured by something else: some images get better, others do not.
    let density = Linear::new(|sum| (40.0 * sum).sin(), 1.0);
    let options = SearchOptions { steps: 3, ..SearchOptions::default() };
    with_search(&density, options, |search| {
        let batch = batch(search.generator, &[0, 1, 2, 3, 4, 5]);
        let initial = search.initial_state(&batch).unwrap();
        let best = search.perturb(&batch, &initial, Direction::Higher, 0.1, &|| Ok(())).unwrap();
        let again = search.without_gradients(&batch, best.latents.clone()).unwrap();
        assert_eq!(again.values(), best.values());
        assert_eq!(again.features(), best.features());
    });
}

#[test]
fn latents_of_another_shape_and_gradients_that_are_not_numbers_are_refused() {
    let broken = Linear::new(|sum| sum, f64::NAN);
    with_search(&broken, SearchOptions::default(), |search| {
        let good = batch(search.generator, &[1, 31]);
        let error = search.initial_state(&good).unwrap_err();
        assert!(
            error.to_string().contains("seed0001") && error.hint().unwrap().contains("SmallerPerturbation"),
            "{error}"
        );
        let values = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
        let error = search.initial_state(&LatentBatch { values, ..good }).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }));
        assert!(error.to_string().contains("[2, 5]"), "{error}");
    });
}

#[test]
fn the_control_is_of_the_size_asked_for_and_keyed_by_the_image() {
    with_search(&sum(), SearchOptions::default(), |search| {
        let control = |seeds: &[u32]| {
            let batch = batch(search.generator, seeds);
            let initial = search.initial_state(&batch).unwrap();
            (initial.unperturbed.latents.clone(), search.control(&batch, &initial, 0.25).unwrap().latents)
        };
        let (before, after) = control(&[3, 4]);
        let offsets = (&before - &after).unwrap().abs().unwrap().flatten_all().unwrap();
        let offsets = offsets.to_vec1::<f32>().unwrap();
        assert!(offsets.into_iter().all(|offset| (offset - 0.25).abs() < 1e-6));
        assert_eq!(row(&control(&[4]).1, 0), row(&after, 1));
    });
}

/// A generator whose images do not say how they came about.
struct Opaque(Box<dyn Generator>);

impl Generator for Opaque {
    fn info(&self) -> &GeneratorInfo {
        self.0.info()
    }

    fn variables(&self) -> Option<&Variables> {
        None
    }

    fn stage(&self, index: usize, state: &Tensor, conditions: &ForwardOptions) -> Result<Tensor> {
        Ok(self.0.stage(index, state, conditions)?.detach())
    }
}

#[test]
fn a_search_without_gradients_needs_none_and_makes_as_many_images_as_it_may() {
    let (density, generator) = (sum(), Opaque(generator()));
    let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    let search = |passes| Search {
        generator: &generator,
        extractor: &extractor,
        density: &density,
        conditions: ForwardOptions::default(),
        options: SearchOptions { passes, ..SearchOptions::default() },
    };
    let batch = batch(&generator, &[1, 2, 3]);
    assert!(matches!(search(None).initial_state(&batch).unwrap_err(), Error::Usage { .. }));
    let (search, before) = (search(Some(11)), density.asked.load(Ordering::Relaxed));
    let initial = search.initial_state(&batch).unwrap();
    let best = search.perturb(&batch, &initial, Direction::Higher, 0.1, &|| Ok(())).unwrap();
    assert_eq!(density.asked.load(Ordering::Relaxed) - before, 1 + 11);
    let pairs = initial.unperturbed.values().into_iter().zip(best.values());
    assert!(pairs.into_iter().all(|(before, after)| after > before));
}

/// A network that counts how often it is run.
struct Counting {
    inner: LoadedExtractor,
    asked: Arc<AtomicUsize>,
}

impl Extractor for Counting {
    fn dimension(&self) -> usize {
        self.inner.network().dimension()
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.network().forward(images)
    }
}

#[test]
fn a_step_runs_the_extractor_once_and_asks_for_densities_once() {
    let load = || LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    let (asked, density, generator) = (Arc::new(AtomicUsize::new(0)), sum(), generator());
    let extractor = load().with_network(Box::new(Counting { inner: load(), asked: Arc::clone(&asked) }));
    let search = Search {
        generator: generator.as_ref(),
        extractor: &extractor,
        density: &density,
        conditions: ForwardOptions::default(),
        options: SearchOptions { steps: 5, ..SearchOptions::default() },
    };
    let counts = || (asked.load(Ordering::Relaxed), density.asked.load(Ordering::Relaxed));
    let batch = batch(generator.as_ref(), &[1, 2, 3]);
    let initial = search.initial_state(&batch).unwrap();
    assert_eq!(counts(), (1, 1));
    search.perturb(&batch, &initial, Direction::Lower, 0.1, &|| Ok(())).unwrap();
    assert_eq!(counts(), (6, 6));
}
