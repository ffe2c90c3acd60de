//! Networks against the outputs of their reference implementations (torchvision, timm).

use super::rule::{Rule, images, uniform};
use super::*;
use candle_core::{DType, Device, Var, safetensors};
use std::collections::HashMap;

fn fixture(name: &str) -> HashMap<String, Tensor> {
    let path = format!("{}/tests/fixtures/extractors/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    safetensors::load(path, &Device::Cpu).unwrap()
}

fn relative(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |t: &Tensor| {
        t.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    };
    norm(&(a - b).unwrap()) / norm(b)
}

fn agrees(name: &str, fixture_name: &str, gradient_bound: Option<f64>) {
    let rule = Rule { gain: 2f64.sqrt() };
    let network = (architecture(name).unwrap().build)(&Parameters::new(&rule)).unwrap();
    let expected = fixture(fixture_name);
    let features = network.forward(&images(4, 224, 224)).unwrap();
    assert_eq!(features.dims()[1], network.dimension());
    let error = relative(&features, &expected["gap"]);
    assert!(error < 1e-5, "{name}: features differ by {error:e}");
    if let Some(bound) = gradient_bound {
        let x = Var::from_tensor(&images(2, 224, 224)).unwrap();
        let probe: Vec<f32> = uniform("probe", 2 * network.dimension()).iter().map(|u| *u as f32).collect();
        let probe = Tensor::from_vec(probe, (2, network.dimension()), &Device::Cpu).unwrap();
        let grads = (network.forward(&x).unwrap() * probe).unwrap().sum_all().unwrap().backward().unwrap();
        let every_7th = Tensor::arange_step(0u32, 224, 7, &Device::Cpu).unwrap();
        let grad = grads.get(&x).unwrap().index_select(&every_7th, 2).unwrap();
        let error = relative(&grad.index_select(&every_7th, 3).unwrap(), &expected["grad_strided"]);
        assert!(error < bound, "{name}: gradients differ by {error:e}");
    }
}

#[test]
fn resnet18_agrees_with_torchvision_in_features_and_gradient() {
    agrees("resnet18", "resnet18", Some(2e-3));
}

#[test]
fn resnet50_agrees_with_torchvision() {
    agrees("resnet50", "resnet50", None);
}

#[test]
fn efficientnet_lite0_agrees_with_timm_in_features_and_gradient() {
    agrees("efficientnet-lite0", "efficientnet_lite0", Some(5e-2));
}
