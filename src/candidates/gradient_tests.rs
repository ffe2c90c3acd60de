//! The gradient of the whole chain, straight through rounding, against differences in float64, for one small network of each family.

use super::super::density::knn_gradient;
use super::*;
use crate::density::PseudoDensity;
use crate::extract::{Extractor, ExtractorRequest};
use crate::generate::{GeneratorRequest, SamplerRequest, initialise, latents_of_seeds, load};
use crate::images::RgbImage;
use candle_core::{DType, Device};
use ndarray::{ArrayView2, Axis};

/// Pseudo density with neighbours that are the same for every feature.
struct FixedNeighbors {
    rows: Array2<f32>,
    model: PseudoDensity,
}

impl Density for FixedNeighbors {
    fn densities(&self, features: ArrayView2<f32>) -> Result<Vec<f64>> {
        Ok(features.outer_iter().map(|row| self.density(&row.mapv(f64::from).insert_axis(Axis(0)))).collect())
    }

    fn densities_and_gradients(&self, features: ArrayView2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
        let rows: Vec<_> = self.rows.outer_iter().collect();
        let mut gradients = Array2::zeros(features.dim());
        for (feature, mut gradient) in features.outer_iter().zip(gradients.outer_iter_mut()) {
            gradient.assign(&knn_gradient(feature, &rows, &self.model));
        }
        Ok((self.densities(features.mapv(|v| v as f32).view())?, gradients))
    }
}

impl FixedNeighbors {
    /// The sum of the densities, by the formula.
    fn density(&self, features: &Array2<f64>) -> f64 {
        let distance = |f: &ndarray::ArrayView1<f64>, x: ndarray::ArrayView1<f32>| {
            f.iter().zip(x).map(|(&f, &x)| (f - f64::from(x)).powi(2)).sum::<f64>().sqrt()
        };
        let mean = |f: ndarray::ArrayView1<f64>| {
            self.rows.outer_iter().map(|x| distance(&f, x)).sum::<f64>() / self.rows.nrows() as f64
        };
        let scale = self.model.rows as f64 / self.model.scaled_sum;
        features.outer_iter().map(|f| (self.model.floor / mean(f)).powf(self.model.exponent) * scale).sum()
    }
}

fn generators() -> Vec<(&'static str, Box<dyn Generator>)> {
    let directory = tempfile::tempdir().unwrap();
    let sampler = SamplerRequest { sampler: None, steps: Some(3) };
    let request = |sampler| GeneratorRequest { dtype: DType::F64, sampler, ..GeneratorRequest::default() };
    let made = |family: &str, part: serde_json::Value| {
        let path = directory.path().join(format!("{family}.json"));
        std::fs::write(&path, serde_json::json!({"family": family, "generator": part}).to_string()).unwrap();
        initialise(&path, 3, &request(SamplerRequest::default())).unwrap()
    };
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/generators/diffusers-ddpm/pipeline");
    vec![
        ("mlp-gan", made("mlp-gan", serde_json::json!({"widths": [6, 20, 144], "image": [1, 12, 12]}))),
        ("vae", made("vae", serde_json::json!({"z_dim": 5, "hidden": 20, "image": [1, 12, 12]}))),
        ("dcgan", made("dcgan", serde_json::json!({"z_dim": 7, "channels": [8, 6], "image_channels": 3}))),
        ("diffusers", load(fixture, &request(sampler)).unwrap()),
    ]
}

fn rows(values: &Tensor) -> Array2<f64> {
    let rows = values.to_vec2::<f64>().unwrap();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

/// Features of a network's input `[B, C, H, W]`, on the unit sphere if so asked, by the formula.
fn features(extractor: &LoadedExtractor, input: &Tensor) -> Array2<f64> {
    let mut features = rows(&extractor.network().forward(input).unwrap());
    if extractor.identity().normalize {
        for mut row in features.outer_iter_mut() {
            let norm = row.dot(&row).sqrt();
            row.mapv_inplace(|v| v / norm);
        }
    }
    features
}

/// The input of the network for images as they are written: with all rounding.
fn written_input(extractor: &LoadedExtractor, images: &[RgbImage]) -> Tensor {
    let preprocessing = extractor.preprocessing();
    let mut input = vec![0f32; images.len() * preprocessing.values()];
    for (image, out) in images.iter().zip(input.chunks_exact_mut(preprocessing.values())) {
        preprocessing.normalise(&preprocessing.apply(image), out);
    }
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let dims = (images.len(), preprocessing.channels(), height, width);
    Tensor::from_vec(input, dims, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

/// The independent chain: how the smooth input moves with the latents, by differences; how the density moves with the input at the
/// written image, along that, by differences.
#[test]
fn the_gradient_passes_straight_through_rounding_in_every_family() {
    for normalize in [false, true] {
        let request = ExtractorRequest { normalize: Some(normalize), ..ExtractorRequest::default() };
        let extractor = LoadedExtractor::load(&request).unwrap();
        for (family, generator) in generators() {
            let generator = generator.as_ref();
            let latents = |seeds: &[u32]| {
                latents_of_seeds(&generator.info().spaces[0], seeds, DType::F64, &Device::Cpu).unwrap()
            };
            let conditions = ForwardOptions::default();
            let smooth = |latents: &Tensor| {
                let images = generator.generate(latents, &conditions).unwrap();
                extractor.input_of_images(&pixels::to_unit_rgb(&images).unwrap()).unwrap()
            };
            let written = |latents: &Tensor| {
                written_input(&extractor, &render(generator, latents, &conditions).unwrap())
            };
            let neighbors = features(&extractor, &written(&latents(&[11, 12, 13]))).mapv(|v| v as f32);
            let model = PseudoDensity { k: 3, exponent: 1.5, rows: 50, floor: 0.7, scaled_sum: 9.0 };
            let density = FixedNeighbors { rows: neighbors, model };
            let z = latents(&[0, 1]);
            let (found, gradient) =
                evaluate_with_gradient(generator, &extractor, &density, &z, &conditions).unwrap();

            let direction = latents(&[7, 8]);
            let slope = (&gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            // A diffusion model makes large changes of small ones, which would step over kinks.
            let step = if generator.denoiser().is_some() { 1e-9 } else { 1e-6 };
            let moved = |step: f64| smooth(&(&z + (&direction * step).unwrap()).unwrap());
            let along = ((moved(step) - moved(-step)).unwrap() / (2.0 * step)).unwrap();
            let input = written(&z);
            let at = |step: f64| {
                density.density(&features(&extractor, &(&input + (&along * step).unwrap()).unwrap()))
            };
            let step = 1e-6;
            let difference = (at(step) - at(-step)) / (2.0 * step);
            assert!(difference.abs() > 1e-6, "{family}: nothing is tested where nothing changes");
            // Its smaller step leaves fewer digits of the difference.
            let tolerance = if generator.denoiser().is_some() { 1e-3 } else { 1e-4 };
            assert!(
                (slope - difference).abs() < tolerance * difference.abs(),
                "{family}, normalize {normalize}: {slope} and {difference}"
            );
            let sum = found.densities.iter().sum::<f64>();
            assert!((sum - at(0.0)).abs() < 1e-5 * sum, "{family}: {sum} and {}", at(0.0));
        }
    }
}

#[test]
fn with_and_without_the_gradient_images_features_and_densities_are_the_same_to_the_bit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/generators/dcgan/weights.safetensors");
    let generator = load(path, &GeneratorRequest::default()).unwrap();
    for normalize in [false, true] {
        let request = ExtractorRequest { normalize: Some(normalize), ..ExtractorRequest::default() };
        let extractor = LoadedExtractor::load(&request).unwrap();
        let latents = |seeds: &[u32]| {
            latents_of_seeds(&generator.info().spaces[0], seeds, DType::F32, &Device::Cpu).unwrap()
        };
        let conditions = ForwardOptions::default();
        let images = render(generator.as_ref(), &latents(&[11, 12, 13]), &conditions).unwrap();
        let model = PseudoDensity { k: 3, exponent: 1.0, rows: 50, floor: 0.7, scaled_sum: 9.0 };
        let density = FixedNeighbors { rows: features_of(&extractor, &images).unwrap(), model };
        for seeds in [&[4][..], &[4, 5, 6]] {
            let z = latents(seeds);
            let generator = generator.as_ref();
            let plain = evaluate(generator, &extractor, &density, &z, &conditions).unwrap();
            let (found, _) =
                evaluate_with_gradient(generator, &extractor, &density, &z, &conditions).unwrap();
            assert_eq!(found.images, plain.images);
            assert_eq!(found.features, plain.features);
            assert_eq!(found.densities, plain.densities);
        }
    }
}

/// A network that is computed elsewhere: it gives features and no gradient.
struct Foreign;

impl Extractor for Foreign {
    fn dimension(&self) -> usize {
        2
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        Ok(images.flatten_from(1)?.narrow(1, 0, 2)?.detach())
    }
}

#[test]
fn networks_without_a_gradient_are_named_and_what_to_use_instead() {
    let (_, generator) = generators().remove(0);
    let z = latents_of_seeds(&generator.info().spaces[0], &[0, 1], DType::F64, &Device::Cpu).unwrap();
    let model = PseudoDensity { k: 3, exponent: 1.0, rows: 50, floor: 0.7, scaled_sum: 9.0 };
    let density = FixedNeighbors { rows: Array2::zeros((3, 2)), model };
    let extractor =
        LoadedExtractor::load(&ExtractorRequest::default()).unwrap().with_network(Box::new(Foreign));
    let conditions = ForwardOptions::default();
    let error =
        evaluate_with_gradient(generator.as_ref(), &extractor, &density, &z, &conditions).unwrap_err();
    assert!(matches!(error, Error::Usage { .. }));
    assert!(
        error.to_string().contains("extractor") && error.hint().unwrap().contains("DifferentiableExtractor")
    );
}
