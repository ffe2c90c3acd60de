//! The gradient of the whole chain against central differences in float64, for one small network of each family.

use super::super::density::knn_gradient;
use super::*;
use crate::density::PseudoDensity;
use crate::extract::{Extractor, ExtractorRequest};
use crate::generate::{GeneratorRequest, SamplerRequest, initialise, latents_of_seeds, load};
use candle_core::Device;
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

fn features(extractor: &LoadedExtractor, images: &Tensor) -> Array2<f64> {
    let features = extractor.features_of_images(&pixels::to_unit_rgb(images).unwrap()).unwrap();
    let rows = features.to_vec2::<f64>().unwrap();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

#[test]
fn the_whole_chain_has_the_gradient_of_central_differences_in_every_family() {
    for normalize in [false, true] {
        let request = ExtractorRequest { normalize: Some(normalize), ..ExtractorRequest::default() };
        let extractor = LoadedExtractor::load(&request).unwrap();
        for (family, generator) in generators() {
            let generator = generator.as_ref();
            let latents = |seeds: &[u32]| {
                latents_of_seeds(&generator.info().spaces[0], seeds, DType::F64, &Device::Cpu).unwrap()
            };
            let conditions = ForwardOptions::default();
            let images = |latents: &Tensor| generator.generate(latents, &conditions).unwrap();
            let rows = features(&extractor, &images(&latents(&[11, 12, 13]))).mapv(|v| v as f32);
            let model = PseudoDensity { k: 3, exponent: 1.5, rows: 50, floor: 0.7, scaled_sum: 9.0 };
            let objective = FixedNeighbors { rows, model };
            let z = latents(&[0, 1]);
            let (_, gradient) =
                evaluate_with_gradient(generator, &extractor, &objective, &z, &conditions).unwrap();
            let direction = latents(&[7, 8]);
            let slope = (&gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            let at = |step: f64| {
                let moved = (&z + (&direction * step).unwrap()).unwrap();
                objective.density(&features(&extractor, &images(&moved)))
            };
            // A diffusion model makes large changes of small ones, which would step over the kinks of the extractor's ReLUs.
            let step = if generator.denoiser().is_some() { 1e-9 } else { 1e-6 };
            let difference = (at(step) - at(-step)) / (2.0 * step);
            assert!(difference.abs() > 1e-6, "{family}: nothing is tested where nothing changes");
            assert!(
                (slope - difference).abs() < 1e-4 * difference.abs(),
                "{family}, normalize {normalize}: {slope} and {difference}"
            );
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
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("extractor") && error.hint().unwrap().contains("pd sample"));
}
