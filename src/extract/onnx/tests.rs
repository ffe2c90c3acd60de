use super::*;
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::images::{Pixels, Prepared};
use candle_core::{Device, Var};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::path::PathBuf;

/// Relative L2 that separates right from wrong.
const SAME: f32 = 1e-5;
const SIDE: usize = 16;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn loaded(name: &str, onnx: OnnxRequest) -> Result<LoadedExtractor> {
    let weights = Some(fixture(name));
    LoadedExtractor::load(&ExtractorRequest { weights, onnx, ..ExtractorRequest::default() })
}

/// `image(n)` of `make_onnx.py`.
fn image(n: usize) -> Prepared {
    let pixels = (0..SIDE * SIDE * 3).map(|i| ((i * 7919 + n * 104_729) % 251) as u8).collect();
    Prepared { pixels: Pixels::Bytes(pixels), width: 16, height: 16, note: String::new() }
}

fn expected(name: &str) -> Vec<Vec<f32>> {
    let json: Json = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    serde_json::from_value(json[name].clone()).unwrap()
}

fn assert_same<'a>(got: impl IntoIterator<Item = &'a f32>, expected: &[f32]) {
    let got: Vec<f32> = got.into_iter().copied().collect();
    assert_eq!(got.len(), expected.len());
    let squares = |of: &dyn Fn(usize) -> f32| (0..expected.len()).map(|i| of(i).powi(2)).sum::<f32>();
    let error = (squares(&|i| got[i] - expected[i]) / squares(&|i| expected[i])).sqrt();
    assert!(error < SAME, "relative L2 {error}");
}

fn message(name: &str, onnx: OnnxRequest) -> (String, String) {
    let error = loaded(name, onnx).err().unwrap();
    (error.to_string(), error.hint().unwrap_or_default())
}

#[test]
fn features_are_those_of_onnx_runtime() {
    for name in ["tiny.onnx", "fixed.onnx", "last.onnx", "old.onnx"] {
        let extractor = loaded(name, OnnxRequest::default()).unwrap();
        assert_eq!(extractor.identity().dimension, 8);
        let images: Vec<Prepared> = (0..3).map(image).collect();
        let images: Vec<Option<&Prepared>> = images.iter().map(Some).collect();
        let features = extractor.features(&images).unwrap();
        for (row, expected) in features.outer_iter().zip(expected("features")) {
            assert_same(row, &expected);
        }
    }
}

#[test]
fn a_network_of_one_channel_sees_gray() {
    let onnx = OnnxRequest { mean: Some(vec![0.5]), std: Some(vec![0.25]), ..OnnxRequest::default() };
    let extractor = loaded("gray.onnx", onnx).unwrap();
    assert!(extractor.preprocessing().describe().contains("gray, mean 0.5, std 0.25"));
    let Pixels::Bytes(colours) = image(0).pixels else { unreachable!("the test image is made of bytes") };
    let gray = Prepared { pixels: Pixels::Bytes(colours.into_iter().step_by(3).collect()), ..image(0) };
    let features = extractor.features(&[Some(&gray)]).unwrap();
    let json: Json = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    let expected: Vec<f32> = serde_json::from_value(json["gray"].clone()).unwrap();
    assert_same(features.row(0), &expected);
    let assumed = loaded("gray.onnx", OnnxRequest::default()).unwrap();
    assert_eq!((assumed.preprocessing().mean.len(), assumed.preprocessing().std.len()), (1, 1));
}

#[test]
fn a_row_is_the_same_alone_in_a_batch_beside_a_hole_and_on_any_number_of_threads() {
    let of = |images: &[Option<&Prepared>], threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| loaded("tiny.onnx", OnnxRequest::default()).unwrap().features(images).unwrap())
    };
    let images: Vec<Prepared> = (0..7).map(image).collect();
    let all: Vec<Option<&Prepared>> = images.iter().map(Some).collect();
    let batch = of(&all, 1);
    for threads in [2, 5, 16] {
        assert_eq!(of(&all, threads), batch);
    }
    for (i, image) in images.iter().enumerate() {
        assert_eq!(of(&[Some(image)], 2).row(0), batch.row(i));
        assert_eq!(of(&[None, Some(image), None], 2).row(1), batch.row(i));
    }
}

#[test]
fn of_several_outputs_one_is_chosen_by_name_and_all_are_listed() {
    let (reason, hint) = message("two.onnx", OnnxRequest::default());
    assert!(reason.contains("has 2 outputs: features [N, 8], map [N, 4, 16, 16]"), "{reason}");
    assert!(hint.contains("NameOnnxOutput"));
    let output = |name: &str| OnnxRequest { output: Some(name.into()), ..OnnxRequest::default() };
    assert_eq!(loaded("two.onnx", output("features")).unwrap().identity().dimension, 8);
    let (reason, hint) = message("two.onnx", output("map"));
    assert!(reason.contains("`map` is [1, 4, 16, 16], which is no feature vector"), "{reason}");
    assert!(hint.contains("features [N, 8]"));
    assert!(message("two.onnx", output("more")).1.contains("features [N, 8]"));
}

#[test]
fn a_tensor_inside_the_network_can_be_the_output() {
    let request = OnnxRequest { output: Some("pooled".into()), ..OnnxRequest::default() };
    let extractor = loaded("tiny.onnx", request).unwrap();
    let features = extractor.features(&[Some(&image(1))]).unwrap();
    assert_same(features.row(0), &expected("pooled")[1]);
}

#[test]
fn models_that_take_no_images_say_what_they_take() {
    let (reason, hint) = message("text.onnx", OnnxRequest::default());
    assert!(reason.contains("no input takes images: the only one does not take float32"), "{reason}");
    assert!(hint.contains("tokens [N, 77]"), "{hint}");
    assert!(message("batch4.onnx", OnnxRequest::default()).0.contains("exactly 4 images"));
    let input = |name: &str| OnnxRequest { input: Some(name.into()), ..OnnxRequest::default() };
    assert!(message("tiny.onnx", input("pixels")).0.contains("there is no input `pixels`"));
    assert_eq!(loaded("tiny.onnx", input("images")).unwrap().identity().dimension, 8);
}

#[test]
fn size_comes_from_the_model_then_from_the_file_beside_it_and_assumptions_are_told() {
    let extractor = loaded("tiny.onnx", OnnxRequest::default()).unwrap();
    assert_eq!((extractor.preprocessing().width, extractor.preprocessing().height), (16, 16));
    assert!(extractor.remark().unwrap().contains("mean 0.485 0.456 0.406"));
    let extractor = loaded("any_size.onnx", OnnxRequest::default()).unwrap();
    assert_eq!((extractor.preprocessing().width, extractor.preprocessing().height), (224, 224));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("any.onnx");
    std::fs::copy(fixture("any_size.onnx"), &file).unwrap();
    let colours = r#""image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]"#;
    let write = |text: String| std::fs::write(directory.path().join(config::FILE), text).unwrap();
    write(format!(r#"{{{colours}, "size": {{"height": 20, "width": 24}}, "resample": 3}}"#));
    let request = ExtractorRequest { name: Some(file.display().to_string()), ..Default::default() };
    let extractor = LoadedExtractor::load(&request).unwrap();
    assert_eq!(
        extractor.preprocessing().describe(),
        "24 x 20, squash, bicubic, mean 0.5 0.4 0.3, std 0.2 0.2 0.1"
    );
    assert_eq!(extractor.remark(), None);
    let onnx = OnnxRequest { mean: Some(vec![0.25]), ..OnnxRequest::default() };
    let extractor = LoadedExtractor::load(&ExtractorRequest { onnx, ..request }).unwrap();
    assert_eq!(extractor.preprocessing().mean, [0.25; 3]);
    assert_eq!(extractor.preprocessing().std, [0.2, 0.2, 0.1]);

    std::fs::copy(fixture("tiny.onnx"), &file).unwrap();
    let request = ExtractorRequest { weights: Some(file), ..Default::default() };
    let error = LoadedExtractor::load(&request).err().unwrap().to_string();
    assert!(error.contains("3 channels of 16 x 16, not 3 channels of 24 x 20"), "{error}");
}

#[test]
fn means_and_deviations_that_make_no_sense_are_refused() {
    for (mean, std) in [(vec![0.5; 2], vec![0.5]), (vec![f32::NAN], vec![0.5]), (vec![0.5], vec![0.0])] {
        let request = OnnxRequest { mean: Some(mean), std: Some(std), ..OnnxRequest::default() };
        assert!(message("tiny.onnx", request).0.contains("preprocessing"));
    }
}

#[test]
fn the_identity_reopens_the_same_network_and_refuses_another() {
    let onnx = OnnxRequest {
        output: Some("features".into()),
        mean: Some(vec![0.5]),
        std: Some(vec![0.25]),
        ..OnnxRequest::default()
    };
    let made = loaded("two.onnx", onnx).unwrap();
    let identity = made.identity();
    let stored = serde_json::to_string(identity).unwrap();
    assert!(stored.contains(r#""onnx":{"input":"images","output":"features"}"#), "{stored}");
    let stored = serde_json::from_str(&stored).unwrap();
    let named = |name: &str| ExtractorRequest { weights: Some(fixture(name)), ..Default::default() };
    let again = LoadedExtractor::for_identity(&stored, &named("two.onnx")).unwrap();
    assert_eq!((again.identity(), again.remark()), (identity, None));
    let images = [Some(&image(0)), None];
    assert_eq!(made.features(&images).unwrap().row(0), again.features(&images).unwrap().row(0));

    let error = |request: &ExtractorRequest| LoadedExtractor::for_identity(&stored, request).err().unwrap();
    assert!(error(&named("tiny.onnx")).to_string().contains("SHA-256"));
    let tiny = ExtractorRequest { name: Some("tiny".into()), ..Default::default() };
    assert!(error(&tiny).to_string().contains("extractor onnx there, tiny here"));
    let other = OnnxRequest { mean: Some(vec![0.1]), ..OnnxRequest::default() };
    assert!(
        error(&ExtractorRequest { onnx: other, ..named("two.onnx") }).to_string().contains("preprocessing")
    );
}

#[test]
fn what_belongs_to_other_extractors_is_refused_with_onnx_files_and_the_other_way_round() {
    let both = ExtractorRequest {
        name: Some("resnet18".into()),
        weights: Some(fixture("tiny.onnx")),
        ..Default::default()
    };
    assert!(LoadedExtractor::load(&both).err().unwrap().to_string().contains("network and weights"));
    let onnx = OnnxRequest { output: Some("x".into()), ..OnnxRequest::default() };
    let error = LoadedExtractor::load(&ExtractorRequest { onnx, ..Default::default() }).err().unwrap();
    assert!(error.to_string().contains("no such file"));
    assert!(error.hint().unwrap().contains("NameOnnxOrDropItsOptions"));
}

#[test]
fn generated_images_have_features_but_no_gradient() {
    let extractor = loaded("tiny.onnx", OnnxRequest::default()).unwrap();
    let pixels = image(2);
    let of_file = extractor.features(&[Some(&pixels)]).unwrap();
    let values: Vec<f32> = pixels.pixels.into_bytes().iter().map(|&v| f32::from(v) / 255.0).collect();
    let images = Tensor::from_vec(values, (1, SIDE, SIDE, 3), &Device::Cpu).unwrap();
    let images = images.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    let of_tensor = extractor.features_of_images(&images).unwrap().to_vec2::<f32>().unwrap();
    assert_same(&of_tensor[0], &of_file.row(0).to_vec());
    let variable = Var::from_tensor(&images).unwrap();
    let error = extractor.features_of_images(variable.as_tensor()).unwrap_err();
    assert!(error.to_string().contains("no gradient"));
    assert!(error.hint().unwrap().contains("DifferentiableExtractor"));
}

fn opened(bytes: &[u8]) -> Result<OnnxFile> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("damaged.onnx");
    std::fs::write(&file, bytes).unwrap();
    open(&file, &OnnxRequest::default(), None)
}

#[test]
fn files_that_are_no_models_are_refused_with_their_name() {
    let zip = [&b"PK\x03\x04"[..], &[0; 100]].concat();
    let zeros = vec![0; 1000];
    for bytes in [&b""[..], b"not a model at all", b"RTEN\x02\0\0\0", &zip, &zeros, &[0xff; 64]] {
        let error = opened(bytes).err().unwrap().to_string();
        assert!(error.contains("damaged.onnx: cannot be used as an ONNX model"), "{error}");
    }
}

#[test]
fn no_truncation_makes_the_reader_panic() {
    let whole = std::fs::read(fixture("tiny.onnx")).unwrap();
    for length in 0..whole.len() {
        // The graph is one message: without its end nothing is left.
        assert!(opened(&whole[..length]).is_err() || length > whole.len() - 10, "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_damage_makes_the_reader_panic(at in 0usize..935, value: u8, more in 0usize..935, other: u8) {
        let mut bytes = std::fs::read(fixture("tiny.onnx")).unwrap();
        bytes[at] = value;
        bytes[more] = other;
        let _ = opened(&bytes);
    }
}
