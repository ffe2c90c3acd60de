//! Loading, recognising, writing and refusing networks; the fully connected families.

use super::test_support::{fixture, relative, values, weights};
use super::*;
use crate::error::{Error, Result};
use crate::formats::safetensors::write_safetensors;
use crate::formats::{HostTensor, StateDict, TensorData};
use candle_core::{DType, Device, Tensor, Var};
use std::path::Path;

const MLP: [(&str, &[usize]); 6] = [
    ("0.weight", &[5, 3]),
    ("0.bias", &[5]),
    ("2.weight", &[7, 5]),
    ("2.bias", &[7]),
    ("4.weight", &[16, 7]),
    ("4.bias", &[16]),
];
const MLP_DISCRIMINATOR: [(&str, &[usize]); 4] =
    [("0.weight", &[5, 16]), ("0.bias", &[5]), ("2.weight", &[1, 5]), ("2.bias", &[1])];
const VAE: [(&str, &[usize]); 6] = [
    ("fc1.weight", &[6, 9]),
    ("fc1.bias", &[6]),
    ("fc3.weight", &[6, 2]),
    ("fc3.bias", &[6]),
    ("fc4.weight", &[9, 6]),
    ("fc4.bias", &[9]),
];

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(directory: &Path, name: &str, tensors: &[(&str, &[usize])]) -> std::path::PathBuf {
    let path = directory.join(name);
    write_safetensors(&path, &weights(tensors)).unwrap();
    path
}

fn request(dtype: DType) -> GeneratorRequest {
    GeneratorRequest { dtype, ..GeneratorRequest::default() }
}

fn refusal<T>(result: Result<T>) -> String {
    let error = result.err().unwrap();
    format!("{error} ({})", error.hint().unwrap_or_default())
}

/// `weight x + bias` of one row, in plain loops.
fn affine(dict: &StateDict, name: &str, x: &[f64]) -> Vec<f64> {
    let (weight, bias) =
        (dict.f32(&format!("{name}.weight")).unwrap(), dict.f32(&format!("{name}.bias")).unwrap());
    let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
    weight.chunks(x.len()).zip(bias).map(|(row, bias)| dot(row) + f64::from(*bias)).collect()
}

#[test]
fn the_fully_connected_families_compute_their_definition() {
    let directory = directory();
    let relu = |x: Vec<f64>| x.into_iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
    let z = [0.5, -1.25, 2.0];

    let g = load(write(directory.path(), "g.safetensors", &MLP), &request(DType::F64)).unwrap();
    assert_eq!((g.info().family, g.info().image_shape.dims()), ("mlp-gan", [1, 4, 4]));
    let dict = weights(&MLP);
    let expected = affine(&dict, "4", &relu(affine(&dict, "2", &relu(affine(&dict, "0", &z)))));
    let expected = Tensor::new(expected.iter().map(|v| v.tanh()).collect::<Vec<_>>(), &Device::Cpu).unwrap();
    let latent = Tensor::new(&[z], &Device::Cpu).unwrap();
    let images = g.generate(&latent, &ForwardOptions::default()).unwrap();
    assert_eq!(images.dims(), [1, 1, 4, 4]);
    assert!(relative(&images, &expected) < 1e-12);

    let d = load_discriminator(
        write(directory.path(), "d.safetensors", &MLP_DISCRIMINATOR),
        &request(DType::F64),
    )
    .unwrap();
    let dict = weights(&MLP_DISCRIMINATOR);
    let flat: Vec<f64> = images.flatten_all().unwrap().to_vec1().unwrap();
    let hidden =
        affine(&dict, "0", &flat).into_iter().map(|v| if v > 0.0 { v } else { 0.2 * v }).collect::<Vec<_>>();
    let expected = Tensor::new(affine(&dict, "2", &hidden), &Device::Cpu).unwrap();
    assert!(relative(&d.logits(&images, &ForwardOptions::default()).unwrap(), &expected) < 1e-12);

    let vae = load(write(directory.path(), "vae.safetensors", &VAE), &request(DType::F64)).unwrap();
    assert_eq!((vae.info().family, vae.info().image_shape.dims()), ("vae", [1, 3, 3]));
    let dict = weights(&VAE);
    let expected = affine(&dict, "fc4", &relu(affine(&dict, "fc3", &z[..2])));
    let expected: Vec<f64> = expected.iter().map(|v| 2.0 / (1.0 + (-v).exp()) - 1.0).collect();
    let images = vae
        .generate(&Tensor::new(&[[z[0], z[1]]], &Device::Cpu).unwrap(), &ForwardOptions::default())
        .unwrap();
    assert!(relative(&images, &Tensor::new(expected, &Device::Cpu).unwrap()) < 1e-12);
}

#[test]
fn images_alone_and_in_a_batch_are_the_same_bits() {
    let directory = directory();
    for (tensors, width) in [(&MLP, 3), (&VAE, 2)] {
        let g = load(write(directory.path(), "g.safetensors", tensors), &request(DType::F32)).unwrap();
        let z = values(&[5, width], 1, DType::F32);
        let bits = |z: &Tensor| {
            g.generate(z, &ForwardOptions::default())
                .unwrap()
                .flatten_from(1)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
        };
        let together = bits(&z);
        for (row, together) in together.iter().enumerate() {
            assert_eq!(&bits(&z.narrow(0, row, 1).unwrap())[0], together);
        }
    }
}

#[test]
fn gradients_of_latents_agree_with_central_differences_in_float64() {
    let directory = directory();
    for (tensors, width) in [(&MLP, 3), (&VAE, 2)] {
        let g = load(write(directory.path(), "g.safetensors", tensors), &request(DType::F64)).unwrap();
        let z = values(&[2, width], 4, DType::F64);
        let objective = |images: &Tensor| Ok((images.sqr()? * images)?.sum_all()?);
        let result = value_and_gradient(g.as_ref(), &z, &ForwardOptions::default(), objective).unwrap();
        let gradient: Vec<f64> = result.gradient.flatten_all().unwrap().to_vec1().unwrap();
        let flat: Vec<f64> = z.flatten_all().unwrap().to_vec1().unwrap();
        const STEP: f64 = 1e-6;
        for (i, slope) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = flat.clone();
                moved[i] += step;
                let moved = Tensor::from_vec(moved, z.dims(), &Device::Cpu).unwrap();
                objective(&g.generate(&moved, &ForwardOptions::default()).unwrap())
                    .unwrap()
                    .to_scalar::<f64>()
                    .unwrap()
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((slope - difference).abs() < 1e-7 * (1.0 + difference.abs()), "{slope} and {difference}");
        }
    }
}

#[test]
fn a_snapshot_is_read_back_bit_for_bit_with_all_its_networks() {
    let directory = directory();
    let trained = load(write(directory.path(), "a.safetensors", &MLP), &request(DType::F32)).unwrap();
    let ema = load(write(directory.path(), "a.safetensors", &MLP), &request(DType::F32)).unwrap();
    for (_, var) in ema.weights().unwrap().parameters() {
        var.set(&(var.as_tensor() * 0.5).unwrap()).unwrap();
    }
    let d = load_discriminator(
        write(directory.path(), "d.safetensors", &MLP_DISCRIMINATOR),
        &request(DType::F32),
    )
    .unwrap();
    let run = directory.path().join("run/snapshot");
    let snapshot = Snapshot {
        generator: Some(trained.as_ref()),
        ema: Some(ema.as_ref()),
        discriminator: Some(d.as_ref()),
    };
    snapshot.save(&run).unwrap();
    let z = values(&[2, 3], 1, DType::F32);
    for (network, written) in [(Network::Ema, &ema), (Network::Generator, &trained)] {
        let read = load(&run, &GeneratorRequest { network, ..GeneratorRequest::default() }).unwrap();
        let images = |g: &dyn Generator| g.generate(&z, &ForwardOptions::default()).unwrap();
        assert_eq!(relative(&images(read.as_ref()), &images(written.as_ref())), 0.0);
    }
    let read = load_discriminator(&run, &GeneratorRequest::default()).unwrap();
    let x = values(&[2, 1, 4, 4], 1, DType::F32);
    let logits = |d: &dyn Discriminator| d.logits(&x, &ForwardOptions::default()).unwrap();
    assert_eq!(relative(&logits(read.as_ref()), &logits(d.as_ref())), 0.0);
    // Networks share no memory: the values of one reach another by loading alone.
    trained.weights().unwrap().load(&ema.weights().unwrap().state_dict("ema").unwrap()).unwrap();
    assert_eq!(
        relative(
            &trained.generate(&z, &ForwardOptions::default()).unwrap(),
            &ema.generate(&z, &ForwardOptions::default()).unwrap()
        ),
        0.0
    );
}

#[test]
fn every_family_comes_back_from_its_own_directory() {
    let directory = directory();
    let files = [
        write(directory.path(), "g.safetensors", &MLP),
        write(directory.path(), "vae.safetensors", &VAE),
        fixture("dcgan/weights.safetensors"),
        fixture("diffusers-ddpm/pipeline"),
    ];
    for (family, path) in FAMILIES.iter().zip(files) {
        let g = load(path, &GeneratorRequest::default()).unwrap();
        assert_eq!(g.info().family, family.name);
        let out = directory.path().join(family.name);
        Snapshot { ema: Some(g.as_ref()), ..Snapshot::default() }.save(&out).unwrap();
        let read = load(&out, &GeneratorRequest::default()).unwrap();
        assert_eq!(read.info().config, g.info().config);
        let dicts = [&g, &read].map(|g| g.weights().unwrap().state_dict("").unwrap());
        assert_eq!(dicts[0].len(), dicts[1].len());
        for (name, tensor) in dicts[0].iter() {
            assert_eq!(dicts[1].get(name), Some(tensor), "{name}");
        }
    }
}

#[test]
fn random_beginnings_follow_their_seed_and_train() {
    let directory = directory();
    let path = directory.path().join("config.json");
    let config = r#"{"family": "dcgan",
        "generator": {"z_dim": 6, "channels": [8, 4], "image_channels": 1},
        "discriminator": {"channels": [4, 8], "image_channels": 1}}"#;
    std::fs::write(&path, config).unwrap();
    let make = |seed| initialise(&path, seed, &GeneratorRequest::default()).unwrap();
    let (g, same, other) = (make(1), make(1), make(2));
    let weight = |g: &dyn Generator| g.weights().unwrap().get("main.0.weight").unwrap().as_tensor().clone();
    assert_eq!(relative(&weight(g.as_ref()), &weight(same.as_ref())), 0.0);
    assert!(relative(&weight(other.as_ref()), &weight(g.as_ref())) > 0.1);
    assert_eq!(g.info().image_shape.dims(), [1, 16, 16]);
    let d = initialise_discriminator(&path, 1, &GeneratorRequest::default()).unwrap();
    let train = ForwardOptions { mode: Mode::train(), ..ForwardOptions::default() };
    let images = g.generate(&values(&[4, 6], 1, DType::F32), &train).unwrap();
    let grads = d.logits(&images, &train).unwrap().sum_all().unwrap().backward().unwrap();
    let moved = |var: &Var| {
        grads.get(var).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0
    };
    assert!(
        g.weights()
            .unwrap()
            .parameters()
            .filter(|(name, _)| name.starts_with("main.0"))
            .all(|(_, var)| moved(var))
    );
    assert!(
        d.variables().parameters().filter(|(name, _)| name.starts_with("main.0")).all(|(_, var)| moved(var))
    );
    assert!(g.weights().unwrap().buffers().any(|(name, _)| name == "main.1.running_mean"));
}

#[test]
fn a_configuration_and_weights_that_disagree_name_the_first_wrong_tensor_with_both_shapes() {
    let directory = directory();
    write(directory.path(), "g.safetensors", &MLP);
    let with = |config: &str| {
        std::fs::write(directory.path().join("config.json"), config).unwrap();
        refusal(load(directory.path(), &GeneratorRequest::default()))
    };
    let mlp = |widths: &str, image: &str| {
        with(&format!(r#"{{"family": "mlp-gan", "generator": {{"widths": {widths}, "image": {image}}}}}"#))
    };
    let text = mlp("[3, 5, 9, 16]", "[1, 4, 4]");
    assert!(text.contains("`2.weight`") && text.contains("[7, 5]") && text.contains("[9, 5]"), "{text}");
    let text = mlp("[3, 5, 1000000000, 16]", "[1, 4, 4]");
    assert!(text.contains("`2.weight`") && text.contains("1000000000"), "{text}");
    assert!(mlp("[3, 5, 7, 16, 16]", "[1, 4, 4]").contains("`6.weight`"));
    assert!(
        mlp("[3, 5, 7]", "[1, 4, 4]").contains("`4.weight`")
            || mlp("[3, 5, 7]", "[1, 4, 4]").contains("image")
    );
    assert!(mlp("[3, 5, 7, 16]", "[1, 4, 5]").contains("image"));
    assert!(mlp("[3, 5, 7, 16]", "[1, 4294967296, 4294967296]").contains("image"));
    assert!(mlp("[3]", "[1, 4, 4]").contains("widths"));
    assert!(mlp("[0, 5]", "[1, 4, 4]").contains("empty"));
    assert!(mlp("[-1, 5]", "[1, 4, 4]").contains("configuration"));
    assert!(
        with(r#"{"family": "mlp-gan", "generator": {"widths": [3, 16], "imge": [1, 4, 4]}}"#)
            .contains("imge")
    );
    assert!(with(r#"{"family": "mlp-gan"}"#).contains("generator"));
    assert!(with(r#"{"family": "stylegan9", "generator": {}}"#).contains("stylegan9"));
    assert!(with(r#"{"generator": {}}"#).contains("family"));
    assert!(with("[1").contains("damaged"));
    assert!(with("[1]").contains("object"));
    let dcgan =
        r#"{"family": "dcgan", "generator": {"z_dim": 9, "channels": CHANNELS, "image_channels": 3}}"#;
    assert!(with(&dcgan.replace("CHANNELS", "[]")).contains("channels"));
    assert!(with(&dcgan.replace("CHANNELS", &format!("{:?}", [1; 64]))).contains("channels"));
    assert!(with(&dcgan.replace("CHANNELS", "[18446744073709551615]")).contains("main.0.weight"));
    let huge = r#"{"family": "dcgan", "generator": {"z_dim": 4294967295, "channels": [4294967295], "image_channels": 3}}"#;
    std::fs::write(directory.path().join("config.json"), huge).unwrap();
    assert!(
        refusal(initialise(directory.path().join("config.json"), 0, &GeneratorRequest::default()))
            .contains("beyond any memory")
    );
}

#[test]
fn what_cannot_be_told_from_the_tensors_asks_for_the_architecture() {
    let directory = directory();
    let unknown = write(directory.path(), "x.safetensors", &[("a.weight", &[2, 2])]);
    assert!(refusal(load(&unknown, &GeneratorRequest::default())).contains("NameArchitecture"));
    let d = write(directory.path(), "d.safetensors", &MLP_DISCRIMINATOR);
    assert!(refusal(load(&d, &GeneratorRequest::default())).contains("discriminator"));
    assert!(
        refusal(load_discriminator(fixture("dcgan/weights.safetensors"), &GeneratorRequest::default()))
            .contains("generator")
    );
    let arch = |name: &str| GeneratorRequest { arch: Some(name.into()), ..GeneratorRequest::default() };
    for family in FAMILIES {
        assert!(load(&unknown, &arch(family.name)).is_err(), "{}", family.name);
    }
    assert!(refusal(load(&unknown, &arch("gan"))).contains("mlp-gan"));
    assert!(refusal(load_discriminator(&unknown, &arch("vae"))).contains("no discriminator"));
    assert!(refusal(load(directory.path(), &GeneratorRequest::default())).contains("config.json"));
    assert!(refusal(load(directory.path().join("none"), &GeneratorRequest::default())).contains("none"));
    let mut extra = MLP.to_vec();
    extra.push(("6.running_mean", &[4]));
    let extra = write(directory.path(), "extra.safetensors", &extra);
    assert!(refusal(load(&extra, &arch("mlp-gan"))).contains("`6.running_mean`"));
    assert!(refusal(load(fixture("diffusers-ddpm/pipeline"), &arch("dcgan"))).contains("pipeline"));
    let steps = SamplerRequest { sampler: None, steps: Some(5) };
    let g = write(directory.path(), "g.safetensors", &MLP);
    let sampled = GeneratorRequest { sampler: steps, ..GeneratorRequest::default() };
    assert!(refusal(load(&g, &sampled)).contains("DropDenoisingSteps"));
}

#[test]
fn latents_and_conditions_of_another_generator_are_refused() {
    let directory = directory();
    let g = load(write(directory.path(), "g.safetensors", &MLP), &request(DType::F32)).unwrap();
    let z = values(&[2, 3], 1, DType::F32);
    let with = |options: ForwardOptions| refusal(g.generate(&z, &options));
    let none = ForwardOptions::default();
    assert!(refusal(g.generate(&values(&[2, 4], 1, DType::F32), &none)).contains("[n, 3]"));
    assert!(refusal(g.generate(&values(&[3], 1, DType::F32), &none)).contains("[n, 3]"));
    assert!(with(ForwardOptions { space: Some("w"), ..none }).contains("known are z"));
    assert!(with(ForwardOptions { classes: Some(&[0, 1]), ..none }).contains("no classes"));
    assert!(with(ForwardOptions { keys: Some(&[0]), ..none }).contains("1 keys"));
    assert!(with(ForwardOptions { noise: NoiseMode::Random, ..none }).contains("key"));
    assert!(refusal(g.map_latents(&z, "w", &none)).contains("w"));
    assert_eq!(relative(&g.map_latents(&z, "z", &none).unwrap(), &z), 0.0);
}

#[test]
fn damaged_weights_are_refused_without_a_panic() {
    let directory = directory();
    let path = directory.path().join("g.safetensors");
    let whole = std::fs::read(fixture("dcgan/weights_d.safetensors")).unwrap();
    for cut in [0, 7, 100, 2000, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(load_discriminator(&path, &GeneratorRequest::default()).is_err(), "{cut}");
    }
    let mut dict = weights(&MLP);
    dict.insert("0.weight", HostTensor { shape: vec![5, 3], data: TensorData::I64(vec![0; 15]) });
    write_safetensors(&path, &dict).unwrap();
    assert!(refusal(load(&path, &GeneratorRequest::default())).contains("integers"));
}

#[test]
fn a_weights_file_is_read_with_a_configuration_of_its_own() {
    let directory = directory();
    let (path, weights) =
        (directory.path().join("config.json"), write(directory.path(), "w.safetensors", &MLP));
    let with = |text: &str, arch: Option<&str>| {
        std::fs::write(&path, text).unwrap();
        let (arch, config) = (arch.map(String::from), Some(path.clone()));
        load(&weights, &GeneratorRequest { arch, config, ..GeneratorRequest::default() })
    };
    let part = r#"{"widths": [3, 5, 7, 16], "image": [1, 2, 8]}"#;
    assert_eq!(with(part, Some("mlp-gan")).unwrap().info().image_shape.dims(), [1, 2, 8]);
    let whole = format!(r#"{{"family": "mlp-gan", "generator": {part}}}"#);
    assert_eq!(with(&whole, None).unwrap().info().image_shape.dims(), [1, 2, 8]);
    assert!(refusal(with(&whole, Some("vae"))).contains("mlp-gan"));
    assert!(refusal(with(part, None)).contains("NameArchitecture"));
}

/// A generator that is no network of this program: each image is its latent.
struct Outside(GeneratorInfo);

impl Generator for Outside {
    fn info(&self) -> &GeneratorInfo {
        &self.0
    }

    fn variables(&self) -> Option<&Variables> {
        None
    }

    fn stage(&self, _: usize, state: &Tensor, _: &ForwardOptions) -> Result<Tensor> {
        Ok(state.reshape(((), 1, 2, 2))?)
    }
}

#[test]
fn a_generator_without_weights_makes_images_and_is_refused_where_weights_are_written() {
    let info =
        GeneratorInfo::new("outside", serde_json::json!({}), [1, 2, 2], [LatentSpace::normal("z", &[4])]);
    let generator: &dyn Generator = &Outside(info);
    let z = values(&[3, 4], 1, DType::F32);
    let images = generator.generate(&z, &ForwardOptions::default()).unwrap();
    assert_eq!(relative(&images, &z), 0.0);
    assert!(matches!(generator.weights().unwrap_err(), Error::Usage { .. }));
    let directory = directory();
    let out = directory.path().join("run");
    let error = Snapshot { ema: Some(generator), ..Snapshot::default() }.save(&out).unwrap_err();
    assert!(error.to_string().contains("outside has no weights") && !out.exists(), "{error}");
}
