use super::*;
use crate::generate::{GeneratorRequest, load};
use std::path::PathBuf;

/// Largest difference of two values in -1..=1 that are the same.
const SAME: f32 = 1e-5;
/// Seeds of the expected images; each is of the class behind its number.
const SEEDS: [u32; 3] = [0, 1, 2];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn loaded(name: &str, inputs: &[&str], range: Option<&str>) -> Result<Box<dyn Generator>> {
    let inputs = inputs.iter().map(|input| input.parse().unwrap()).collect();
    let range = range.map(|range| range.parse().unwrap());
    let onnx = OnnxGeneratorRequest { inputs, output: None, range };
    load(fixture(name), &GeneratorRequest { onnx, ..GeneratorRequest::default() })
}

/// Images by the ONNX Runtime, as `make_generators.py` has written them.
fn expected(name: &str) -> Vec<Vec<f32>> {
    let text = std::fs::read(fixture("expected_generators.json")).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&text).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

fn images(generator: &dyn Generator, classes: Option<&[u32]>) -> Vec<Vec<f32>> {
    let latents = latents_of_seeds(&generator.info().spaces[0], &SEEDS, DType::F32, &Device::Cpu).unwrap();
    let options = ForwardOptions { classes, ..ForwardOptions::default() };
    let images = generator.generate(&latents, &options).unwrap();
    images.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn assert_same(found: &[f32], expected: impl Iterator<Item = f32>) {
    let expected: Vec<f32> = expected.collect();
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < SAME, "differs by {worst}");
}

#[test]
fn images_are_those_of_onnx_runtime() {
    let generator = loaded("gan.onnx", &[], None).unwrap();
    let info = generator.info();
    assert_eq!((info.image_shape.dims(), info.class_count), ([3, 8, 8], 0));
    assert_eq!((info.spaces[0].name, info.spaces[0].shape.as_slice()), ("z", &[6][..]));
    assert!(info.assumed.last().unwrap().contains("values -1 (black) to 1 (white)"), "{:?}", info.assumed);
    for (found, expected) in images(generator.as_ref(), None).iter().zip(expected("gan")) {
        assert_same(found, expected.into_iter());
    }
}

#[test]
fn classes_by_number_are_counted_and_channels_may_be_last() {
    let generator = loaded("classes.onnx", &[], None).unwrap();
    let info = generator.info();
    assert_eq!((info.image_shape.dims(), info.class_count), ([3, 8, 8], 5));
    assert!(info.assumed.last().unwrap().contains("values 0 (black) to 1 (white)"), "{:?}", info.assumed);
    let found = images(generator.as_ref(), Some(&[1, 2, 3]));
    for (found, expected) in found.iter().zip(expected("classes")) {
        let plane = 64;
        let planes = (0..3 * plane).map(|at| 2.0 * expected[(at % plane) * 3 + at / plane] - 1.0);
        assert_same(found, planes);
    }
}

#[test]
fn classes_of_zeros_with_a_one_further_numbers_and_values_to_255_are_understood() {
    let error = loaded("one_hot.onnx", &[], None).err().unwrap();
    assert!(
        error.to_string().contains("`psi`") && error.hint().unwrap().contains("NameGeneratorInput"),
        "{error}"
    );
    let generator = loaded("one_hot.onnx", &["psi=0.5"], None).unwrap();
    let info = generator.info();
    assert_eq!((info.image_shape.dims(), info.class_count), ([1, 8, 8], 4));
    assert_eq!((info.spaces[0].name, info.spaces[0].shape.as_slice()), ("noise", &[2, 4, 4][..]));
    let found = images(generator.as_ref(), Some(&[1, 2, 3]));
    for (found, expected) in found.iter().zip(expected("one_hot")) {
        assert_same(found, expected.into_iter().map(|byte| byte / 127.5 - 1.0));
    }
}

#[test]
fn a_cast_to_bytes_gives_the_bytes_of_onnx_runtime_unless_they_would_not_fit() {
    let generator = loaded("bytes.onnx", &[], None).unwrap();
    let info = generator.info();
    assert_eq!(info.image_shape.dims(), [3, 8, 8]);
    assert!(
        info.assumed.last().unwrap().contains("0 (black) to 255 (white), as bytes are"),
        "{:?}",
        info.assumed
    );
    for (found, expected) in images(generator.as_ref(), None).iter().zip(expected("bytes")) {
        assert_same(found, (0..192).map(|at| expected[(at % 64) * 3 + at / 64] / 127.5 - 1.0));
    }
    let error = loaded("unclipped.onnx", &[], None).err().unwrap();
    assert!(error.to_string().contains("clip them to 0 to 255"), "{error}");
}

#[test]
fn an_image_depends_on_nothing_but_its_latent() {
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| images(loaded("gan.onnx", &[], None).unwrap().as_ref(), None))
    };
    let all = of(1);
    assert_eq!((of(2), of(5)), (all.clone(), all.clone()));
    let generator = loaded("gan.onnx", &[], None).unwrap();
    let space = &generator.info().spaces[0];
    let one = latents_of_seeds(space, &SEEDS[1..2], DType::F32, &Device::Cpu).unwrap();
    let alone = generator.generate(&one, &ForwardOptions::default()).unwrap();
    assert_eq!(alone.flatten_all().unwrap().to_vec1::<f32>().unwrap(), all[1]);
}

#[test]
fn what_is_said_of_a_file_is_taken_or_refused_with_what_there_is() {
    let said = |name: &str, inputs: &[&str]| {
        let error = loaded(name, inputs, None).err().unwrap();
        (error.to_string(), error.hint().unwrap_or_default())
    };
    let (reason, hint) = said("gan.onnx", &["w=latent"]);
    assert!(reason.contains("no input `w`") && hint.contains("z [N, 6]"), "{reason} {hint}");
    assert!(said("gan.onnx", &["z=class"]).0.contains("no input takes latents"));
    assert!(said("classes.onnx", &["label=latent", "z=0"]).0.contains("`label` does not take float32"));
    assert!(said("batch.onnx", &[]).0.contains("batch of 1 or a dynamic one"));
    assert!(said("text.onnx", &[]).0.contains("the only one does not take float32"));
    // An extractor's output is no image.
    assert!(said("tiny.onnx", &[]).0.contains("its output is no image"));
    let generator = loaded("gan.onnx", &["z=latent"], Some("1,-1")).unwrap();
    let negative = images(generator.as_ref(), None);
    assert_same(&negative[0], expected("gan")[0].iter().map(|value| -value));
    let output = OnnxGeneratorRequest { output: Some("flat".into()), ..OnnxGeneratorRequest::default() };
    let request = GeneratorRequest { onnx: output, ..GeneratorRequest::default() };
    let error = load(fixture("gan.onnx"), &request).err().unwrap();
    assert!(error.to_string().contains("no output `flat`"), "{error}");
    let error = load(fixture("../generators"), &request).err().unwrap();
    assert!(error.hint().unwrap().contains("NameOnnxGeneratorOrDropItsOptions"), "{error}");
    let arch = GeneratorRequest { arch: Some("dcgan".into()), ..GeneratorRequest::default() };
    assert!(load(fixture("gan.onnx"), &arch).is_err());
}

#[test]
fn there_is_no_gradient_and_nothing_to_train() {
    let generator = loaded("gan.onnx", &[], None).unwrap();
    assert!(generator.variables().is_none() && generator.weights().is_err());
    let latents = candle_core::Var::zeros((2, 6), DType::F32, &Device::Cpu).unwrap();
    let error = generator.generate(latents.as_tensor(), &ForwardOptions::default()).unwrap_err();
    assert!(error.hint().unwrap().contains("SearchWithoutGradient"), "{error}");
}

#[test]
fn damaged_files_are_refused_and_nothing_panics() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("damaged.onnx");
    let whole = std::fs::read(fixture("classes.onnx")).unwrap();
    let opened = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        load(&file, &GeneratorRequest::default())
    };
    assert!(opened(b"no model").is_err());
    for length in (0..whole.len() - 10).step_by(97) {
        assert!(opened(&whole[..length]).is_err(), "{length} bytes");
    }
    for at in (0..whole.len()).step_by(53) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = opened(&bytes);
    }
}
