//! Networks against the outputs of their reference implementations (torchvision, timm); `-- --nocapture` shows by how much they differ.
//! On the device that `PD_TEST_DEVICE` names, if it does; `benches/gpu.sh` runs them so on a machine with a GPU, where
//! `PD_TEST_FIXTURES` says where the expected values are.

use super::rule::{Rule, images, uniform, unit_images};
use super::transformer::Size;
use super::*;
use candle_core::{DType, Device, Var, safetensors};
use std::collections::HashMap;

fn fixture(name: &str) -> HashMap<String, Tensor> {
    let root = std::env::var("PD_TEST_FIXTURES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures").into());
    let path = format!("{root}/extractors/{name}.safetensors");
    safetensors::load(path, &Device::Cpu).unwrap()
}

fn relative(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |t: &Tensor| {
        t.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    };
    norm(&(a - b).unwrap()) / norm(b)
}

fn device() -> Device {
    let choice = std::env::var("PD_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    choice.parse::<crate::device::DeviceChoice>().unwrap().open().unwrap().device
}

/// The network with the rule's weights.
fn built(name: &str, gain: f64) -> Box<dyn Extractor> {
    built_in(name, gain, DType::F32)
}

/// The same in `dtype`: on the CPU, all but float32 is composed of tensor operations as a device computes it.
fn built_in(name: &str, gain: f64, dtype: DType) -> Box<dyn Extractor> {
    (architecture(name).unwrap().build)(&Parameters::new(&Rule { gain }).on(&device(), dtype)).unwrap()
}

/// A tensor where and as the network takes it.
fn placed(x: &Tensor, dtype: DType) -> Tensor {
    x.to_device(&device()).unwrap().to_dtype(dtype).unwrap()
}

fn on_cpu(x: &Tensor) -> Tensor {
    x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

/// The features of the first images, as many as `expected` has at least, agree.
fn features_agree(name: &str, network: &dyn Extractor, images: &Tensor, expected: &Tensor) {
    let features = on_cpu(&network.forward(images).unwrap());
    assert_eq!(features.dims()[1], network.dimension());
    assert_eq!(architecture(name).unwrap().dimension, network.dimension());
    let error = relative(&features, &expected.narrow(0, 0, images.dim(0).unwrap()).unwrap());
    println!("{name}: features differ by {error:.1e}");
    assert!(error < 1e-5, "{name}: features differ by {error:e}");
}

/// The gradient of the probed features of `x`, every 7th row and column, agrees.
fn gradient_agrees(name: &str, x: &Var, features: &Tensor, expected: &Tensor, bound: f64) {
    let dimension = features.dim(1).unwrap();
    let probe: Vec<f32> = uniform("probe", 2 * dimension).iter().map(|u| *u as f32).collect();
    let probe = Tensor::from_vec(probe, (2, dimension), &Device::Cpu).unwrap();
    let grads = (features * placed(&probe, features.dtype())).unwrap().sum_all().unwrap().backward().unwrap();
    let every_7th = Tensor::arange_step(0u32, x.dim(3).unwrap() as u32, 7, &Device::Cpu).unwrap();
    let grad = on_cpu(grads.get(x).unwrap()).index_select(&every_7th, 2).unwrap();
    let error = relative(&grad.index_select(&every_7th, 3).unwrap(), expected);
    println!("{name}: gradients differ by {error:.1e}");
    assert!(error < bound, "{name}: gradients differ by {error:e}");
}

fn agrees(name: &str, fixture: (&str, &str), gain: f64, n: usize, gradient_bound: Option<f64>) {
    agrees_in(DType::F32, name, fixture, gain, n, gradient_bound);
}

fn agrees_in(
    dtype: DType,
    name: &str,
    (fixture_name, key): (&str, &str),
    gain: f64,
    n: usize,
    gradient_bound: Option<f64>,
) {
    let network = built_in(name, gain, dtype);
    let expected = fixture(fixture_name);
    features_agree(name, network.as_ref(), &placed(&images(n, 224, 224), dtype), &expected[key]);
    if let Some(bound) = gradient_bound {
        let x = Var::from_tensor(&placed(&images(2, 224, 224), dtype)).unwrap();
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
        let input = preprocess(&preprocessing, &placed(&unit_images(2, height, width), DType::F32)).unwrap();
        let resized = on_cpu(&((&input + 1.0).unwrap() * 0.5).unwrap());
        let every_7th = Tensor::arange_step(0u32, 299, 7, &Device::Cpu).unwrap();
        let resized = resized.index_select(&every_7th, 2).unwrap().index_select(&every_7th, 3).unwrap();
        let error = relative(&resized, &expected[&format!("resized_strided.{height}x{width}")]);
        assert!(error < 1e-6, "{height} x {width}: the resized images differ by {error:e}");
        let expected = &expected[&format!("pool3_2048.{height}x{width}")];
        features_agree("inception-fid", network.as_ref(), &input, expected);
    }
    let x = Var::from_tensor(&placed(&unit_images(2, 224, 224), DType::F32)).unwrap();
    let features = network.forward(&preprocess(&preprocessing, &x).unwrap()).unwrap();
    let expected = &expected["grad_strided.pool3_2048.224x224"];
    gradient_agrees("inception-fid", &x, &features, expected, 3e-2);
}

#[test]
fn the_parts_of_the_inception_network_stand_side_by_side_and_the_spatial_ones_agree_with_pytorch_fid() {
    let preprocessing = (architecture("inception-spatial").unwrap().preprocessing)();
    let input = preprocess(&preprocessing, &placed(&unit_images(2, 224, 224), DType::F32)).unwrap();
    let expected = &fixture("inception_spatial")["mixed_6d_branch1x1.224x224"];
    features_agree("inception-spatial", built("inception-spatial", 1.6).as_ref(), &input, expected);
    let names = ["inception-logits", "inception-fid", "inception-spatial"];
    let family = architecture("inception-fid").unwrap().family.unwrap();
    let rule = Rule { gain: 1.6 };
    let together = (family.build)(&Parameters::new(&rule).on(&device(), DType::F32), &names).unwrap();
    let together = on_cpu(&together.forward(&input).unwrap());
    let mut start = 0;
    for name in names {
        let alone = on_cpu(&built(name, 1.6).forward(&input).unwrap());
        let width = alone.dim(1).unwrap();
        let part = together.narrow(1, start, width).unwrap();
        assert_eq!(part.to_vec2::<f32>().unwrap(), alone.to_vec2::<f32>().unwrap(), "{name}");
        start += width;
    }
    assert_eq!(start, together.dim(1).unwrap());
}

/// A small network agrees in the features of four images of `side` pixels and in the gradient of two.
fn small_agrees(
    name: &str,
    network: &dyn Extractor,
    dtype: DType,
    side: usize,
    (features, gradient): (&Tensor, &Tensor),
) {
    let found = on_cpu(&network.forward(&placed(&images(4, side, side), dtype)).unwrap());
    assert_eq!(found.dims()[1], network.dimension());
    let error = relative(&found, features);
    println!("{name}: features differ by {error:.1e}");
    assert!(error < 1e-5, "{name}: features differ by {error:e}");
    let x = Var::from_tensor(&placed(&images(2, side, side), dtype)).unwrap();
    gradient_agrees(name, &x, &network.forward(&x).unwrap(), gradient, 1e-5);
}

const SMALL_CLIP: Size = Size { side: 56, patch: 14, width: 128, depth: 3 };
const SMALL_CLIP_DIMENSION: usize = 96;
const SMALL_SIGLIP: Size = Size { side: 64, patch: 16, width: 128, depth: 3 };

/// The rule's weights under the names of one library alone.
struct Only {
    prefixes: &'static [&'static str],
}

impl ParameterSource for Only {
    fn contains(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        assert!(self.contains(name), "{name}");
        Rule { gain: 1.0 }.get(name, dims)
    }
}

#[test]
fn clip_agrees_with_open_clip_in_features_and_gradient_and_with_transformers() {
    let expected = fixture("clip_small");
    for dtype in [DType::F32, DType::F64] {
        let source = Only { prefixes: &["visual."] };
        let parameters = Parameters::new(&source).on(&device(), dtype);
        let network = clip::build_sized(&parameters, SMALL_CLIP, SMALL_CLIP_DIMENSION).unwrap();
        let wanted = (&expected["openai"], &expected["openai.grad_strided"]);
        small_agrees("clip", network.as_ref(), dtype, 56, wanted);
    }
    let source = Only { prefixes: &["vision_model.", "visual_projection."] };
    let network = clip::build_sized(&Parameters::new(&source), SMALL_CLIP, SMALL_CLIP_DIMENSION).unwrap();
    let found = network.forward(&images(4, 56, 56)).unwrap();
    let error = relative(&found, &expected["transformers"]);
    assert!(error < 1e-5, "{error:e}");
    let error = network.forward(&images(1, 56, 70)).unwrap_err();
    assert!(error.to_string().contains("56 x 56, not 56 x 70"), "{error}");
}

#[test]
fn siglip_agrees_with_transformers_in_features_and_gradient() {
    let expected = fixture("siglip_small");
    for dtype in [DType::F32, DType::F64] {
        let source = Only { prefixes: &["vision_model."] };
        let parameters = Parameters::new(&source).on(&device(), dtype);
        let network = siglip::build_sized(&parameters, SMALL_SIGLIP).unwrap();
        let wanted = (&expected["pooled"], &expected["grad_strided"]);
        small_agrees("siglip", network.as_ref(), dtype, 64, wanted);
    }
}

#[test]
fn convnext_t_agrees_with_timm_in_features_and_gradient() {
    agrees("convnext-t", ("convnext_tiny", "pooled"), 1.0, 4, Some(1e-5));
}

#[test]
fn images_that_a_network_cannot_take_are_errors() {
    let network = built("dinov2-s14", 1.0);
    let error = network.forward(&placed(&images(1, 196, 224), DType::F32)).unwrap_err();
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

#[test]
fn depthwise_networks_composed_of_tensor_operations_agree_with_timm_in_features_and_gradient() {
    let fixture = ("efficientnet_lite0", "gap");
    agrees_in(DType::F64, "efficientnet-lite0", fixture, 2f64.sqrt(), 1, Some(5e-2));
}

#[test]
fn residual_networks_composed_of_tensor_operations_agree_with_torchvision_in_features_and_gradient() {
    agrees_in(DType::F64, "resnet18", ("resnet18", "gap"), 2f64.sqrt(), 1, Some(2e-3));
}

#[test]
fn vision_transformers_composed_of_tensor_operations_agree_with_timm_in_features_and_gradient() {
    agrees_in(DType::F64, "vit-b16", ("vit_base_patch16_224", "cls"), 1.0, 1, Some(1e-5));
}

#[test]
fn inception_composed_of_tensor_operations_agrees_with_pytorch_fid() {
    let network = built_in("inception-fid", 1.6, DType::F64);
    let preprocessing = (architecture("inception-fid").unwrap().preprocessing)();
    let input = preprocess(&preprocessing, &placed(&unit_images(1, 224, 224), DType::F64)).unwrap();
    let expected = &fixture("fid_inception_v3")["pool3_2048.224x224"];
    features_agree("inception-fid", network.as_ref(), &input, expected);
}
