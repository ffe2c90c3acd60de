//! Networks against the outputs of their reference implementations (torchvision, timm).

use super::rule::{Rule, images, uniform, unit_images};
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

/// The network with the rule's weights.
fn built(name: &str, gain: f64) -> Box<dyn Extractor> {
    (architecture(name).unwrap().build)(&Parameters::new(&Rule { gain })).unwrap()
}

/// The features of the first images, as many as `expected` has at least, agree.
fn features_agree(name: &str, network: &dyn Extractor, images: &Tensor, expected: &Tensor) {
    let features = network.forward(images).unwrap();
    assert_eq!(features.dims()[1], network.dimension());
    assert_eq!(architecture(name).unwrap().dimension, network.dimension());
    let error = relative(&features, &expected.narrow(0, 0, images.dim(0).unwrap()).unwrap());
    assert!(error < 1e-5, "{name}: features differ by {error:e}");
}

/// The gradient of the probed features of `x`, every 7th row and column, agrees.
fn gradient_agrees(name: &str, x: &Var, features: &Tensor, expected: &Tensor, bound: f64) {
    let dimension = features.dim(1).unwrap();
    let probe: Vec<f32> = uniform("probe", 2 * dimension).iter().map(|u| *u as f32).collect();
    let probe = Tensor::from_vec(probe, (2, dimension), &Device::Cpu).unwrap();
    let grads = (features * probe).unwrap().sum_all().unwrap().backward().unwrap();
    let every_7th = Tensor::arange_step(0u32, x.dim(3).unwrap() as u32, 7, &Device::Cpu).unwrap();
    let grad = grads.get(x).unwrap().index_select(&every_7th, 2).unwrap();
    let error = relative(&grad.index_select(&every_7th, 3).unwrap(), expected);
    assert!(error < bound, "{name}: gradients differ by {error:e}");
}

fn agrees(name: &str, (fixture_name, key): (&str, &str), gain: f64, n: usize, gradient_bound: Option<f64>) {
    let network = built(name, gain);
    let expected = fixture(fixture_name);
    features_agree(name, network.as_ref(), &images(n, 224, 224), &expected[key]);
    if let Some(bound) = gradient_bound {
        let x = Var::from_tensor(&images(2, 224, 224)).unwrap();
        gradient_agrees(name, &x, &network.forward(&x).unwrap(), &expected["grad_strided"], bound);
    }
}

#[test]
fn resnet18_agrees_with_torchvision_in_features_and_gradient() {
    agrees("resnet18", ("resnet18", "gap"), 2f64.sqrt(), 4, Some(2e-3));
}

#[test]
fn resnet50_agrees_with_torchvision() {
    agrees("resnet50", ("resnet50", "gap"), 2f64.sqrt(), 4, None);
}

#[test]
fn efficientnet_lite0_agrees_with_timm_in_features_and_gradient() {
    agrees("efficientnet-lite0", ("efficientnet_lite0", "gap"), 2f64.sqrt(), 4, Some(5e-2));
}

#[test]
fn vit_b16_agrees_with_timm_in_features_and_gradient() {
    agrees("vit-b16", ("vit_base_patch16_224", "cls"), 1.0, 2, Some(1e-5));
}

#[test]
fn dinov2_s14_agrees_with_timm() {
    agrees("dinov2-s14", ("vit_small_patch14_dinov2", "cls"), 1.0, 4, None);
}

#[test]
fn vgg16_agrees_with_torchvision() {
    agrees("vgg16", ("vgg16", "fc2"), 2f64.sqrt(), 2, None);
}

#[test]
fn inception_fid_agrees_with_pytorch_fid_at_any_size_in_features_and_gradient() {
    let network = built("inception-fid", 1.6);
    let preprocessing = (architecture("inception-fid").unwrap().preprocessing)();
    let expected = fixture("fid_inception_v3");
    for (height, width) in [(32, 32), (224, 224), (299, 299), (384, 512)] {
        let input = preprocess(&preprocessing, &unit_images(2, height, width)).unwrap();
        let resized = ((&input + 1.0).unwrap() * 0.5).unwrap();
        let every_7th = Tensor::arange_step(0u32, 299, 7, &Device::Cpu).unwrap();
        let resized = resized.index_select(&every_7th, 2).unwrap().index_select(&every_7th, 3).unwrap();
        let error = relative(&resized, &expected[&format!("resized_strided.{height}x{width}")]);
        assert!(error < 1e-6, "{height} x {width}: the resized images differ by {error:e}");
        let expected = &expected[&format!("pool3_2048.{height}x{width}")];
        features_agree("inception-fid", network.as_ref(), &input, expected);
    }
    let x = Var::from_tensor(&unit_images(2, 224, 224)).unwrap();
    let features = network.forward(&preprocess(&preprocessing, &x).unwrap()).unwrap();
    let expected = &expected["grad_strided.pool3_2048.224x224"];
    gradient_agrees("inception-fid", &x, &features, expected, 3e-2);
}

#[test]
fn images_that_a_network_cannot_take_are_errors() {
    let network = built("dinov2-s14", 1.0);
    let error = network.forward(&images(1, 196, 224)).unwrap_err();
    assert!(error.to_string().contains("224 x 224, not 196 x 224"), "{error}");
}

/// The rule's weights under other names.
struct Renamed {
    rule: Rule,
    /// (as the other world says, as the rule's does), in the order of replacement.
    names: &'static [(&'static str, &'static str)],
}

impl ParameterSource for Renamed {
    fn contains(&self, name: &str) -> bool {
        // The published files of torchvision have the older names of the MLP.
        self.names.iter().any(|(theirs, _)| name.contains(theirs)) && !name.contains("mlp.0")
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        let name = self.names.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to));
        self.rule.get(&name, dims)
    }
}

#[test]
fn files_of_the_other_world_load_under_their_own_names() {
    const VIT: &[(&str, &str)] = &[
        ("class_token", "cls_token"),
        ("encoder.pos_embedding", "pos_embed"),
        ("conv_proj", "patch_embed.proj"),
        ("encoder.layers.encoder_layer_", "blocks."),
        ("ln_", "norm"),
        ("self_attention.in_proj_", "attn.qkv."),
        ("self_attention.out_proj", "attn.proj"),
        ("mlp.linear_", "mlp.fc"),
        ("encoder.ln", "norm"),
    ];
    const VGG: &[(&str, &str)] = &[("pre_logits.fc1", "classifier.0"), ("pre_logits.fc2", "classifier.3")];
    for (name, key, fixture_name, gain, names) in
        [("vit-b16", "cls", "vit_base_patch16_224", 1.0, VIT), ("vgg16", "fc2", "vgg16", 2f64.sqrt(), VGG)]
    {
        let source = Renamed { rule: Rule { gain }, names };
        let network = (architecture(name).unwrap().build)(&Parameters::new(&source)).unwrap();
        features_agree(name, network.as_ref(), &images(1, 224, 224), &fixture(fixture_name)[key]);
    }
}
