//! The generators, their train-mode state and the heads against the official program. What is carried is one image of each; every tensor
//! is compared where `PD_GENERATOR_FIXTURES` names a folder that holds `projected-gan`, `projected-gan-lite` and `projected-gan-heads`.

use super::blocks::Noise;
use super::features::Mixing;
use super::generator::FastGan;
use super::heads::{Head, HeadConfig};
use super::official::describe;
use crate::formats::torch::ModuleDescription;
use crate::formats::{StateDict, TensorData, read_state_dict};
use crate::generate::config::Config;
use crate::generate::family::Role;
use crate::generate::options::{ForwardOptions, Mode};
use crate::generate::test_support::{fixture, relative, values};
use crate::generate::traits::Generator;
use crate::generate::variables::{Builder, Variables};
use crate::generate::{GeneratorRequest, load};
use candle_core::{DType, Device, Tensor, Var};
use std::path::{Path, PathBuf};

/// Expected tensors, and how far from them ours were.
struct Case {
    directory: PathBuf,
    io: StateDict,
    dtype: DType,
    found: Vec<(String, f64)>,
}

impl Case {
    fn new(directory: &Path, dtype: DType) -> Self {
        let io = read_state_dict(directory.join("io.safetensors")).unwrap();
        Self { directory: directory.into(), io, dtype, found: Vec::new() }
    }

    fn get(&self, name: &str) -> Option<Tensor> {
        let tensor = self.io.get(name)?;
        let TensorData::F32(values) = &tensor.data else { panic!("{name}") };
        Tensor::from_slice(values, tensor.shape.as_slice(), &Device::Cpu).unwrap().to_dtype(self.dtype).ok()
    }

    /// Notes the difference of a tensor that is carried; rows beyond the carried ones are left out.
    fn note(&mut self, name: &str, actual: &Tensor) {
        if let Some(expected) = self.get(name) {
            let actual = match expected.dims() {
                [rows, ..] => actual.narrow(0, 0, *rows).unwrap(),
                [] => actual.clone(),
            };
            self.found.push((name.to_owned(), relative(&actual, &expected)));
        }
    }

    fn note_state(&mut self, prefix: &str, variables: &Variables) {
        for (name, variable) in variables.buffers() {
            self.note(&format!("{prefix}.{name}"), variable);
        }
    }

    fn builder(&self) -> Builder {
        let weights = read_state_dict(self.directory.join("weights.safetensors")).unwrap();
        Builder::from_weights(weights, self.dtype, &Device::Cpu)
    }

    #[track_caller]
    fn assert(&self, least: usize) {
        assert!(self.found.len() >= least, "{} of {least} in {}", self.found.len(), self.directory.display());
        for (name, difference) in &self.found {
            println!("{} {name} {difference:.1e}", self.directory.file_name().unwrap().display());
            let tolerance = if name.starts_with("grad_") { 1e-3 } else { 1e-4 };
            assert!(*difference <= tolerance, "{name} differs by {difference:e}");
        }
    }

    fn generator(&self, lite: bool) -> FastGan {
        let part = serde_json::json!({"z_dim": 32, "img_resolution": 128, "img_channels": 3, "ngf": 4, "lite": lite});
        FastGan::new(&Config::new("config.json", Some(part)), self.builder()).unwrap()
    }

    /// The noise of each layer: `feat_8.2`, `feat_8.6`, `feat_16.2`, …
    fn noises(&self) -> Vec<Option<Tensor>> {
        const LAYERS: usize = 10;
        let name = |i: usize| format!("noise.synthesis.feat_{}.{}", 8 << (i / 2), [2, 6][i % 2]);
        (0..LAYERS).map(|i| self.get(&name(i))).collect()
    }

    fn measure_generator(&mut self, lite: bool) {
        let z = self.get("z").unwrap();
        let rows = self.get("img").unwrap().dim(0).unwrap();
        let some = z.narrow(0, 0, rows).unwrap();
        let generator = self.generator(lite);
        let noises = self.noises();
        let given = |index: u64| noises[index as usize].clone().unwrap();
        let noise = Noise::Given(&given);
        let img = generator.synthesis(&some, &noise, &ForwardOptions::default()).unwrap();
        let silent = generator.synthesis(&some, &Noise::Absent, &ForwardOptions::default()).unwrap();
        let probed = self.get("proj").map(|proj| {
            let z = Var::from_tensor(&z).unwrap();
            let sum = (generator.synthesis(&z, &noise, &ForwardOptions::default()).unwrap() * proj)
                .unwrap()
                .sum_all()
                .unwrap();
            let grads = sum.backward().unwrap();
            (sum.detach(), grads.get(&z).unwrap().clone())
        });
        // Training: a forward pass of the whole batch.
        let train = self.generator(lite);
        let training = ForwardOptions { mode: Mode::train(), ..ForwardOptions::default() };
        let in_training = match rows == z.dim(0).unwrap() {
            true => train.synthesis(&z, &noise, &training).unwrap(),
            false => train.synthesis(&z, &Noise::Absent, &training).unwrap(),
        };
        let with_noise = rows == z.dim(0).unwrap() || lite;
        self.note("img", &img);
        self.note("img_zero_noise", &silent);
        if let Some((sum, gradient)) = probed {
            self.note("proj_sum", &sum);
            self.note("grad_z", &gradient);
        }
        if with_noise {
            self.note("img_train", &in_training);
        }
        self.note_state("after_train_forward", train.variables().unwrap());
        if let (DType::F64, Some(proj)) = (self.dtype, self.get("proj")) {
            let sum = |generator: &FastGan| {
                let images = generator.synthesis(&z, &noise, &ForwardOptions::default()).unwrap();
                (images * &proj).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
            };
            self.note_slopes("grad_proj_sum.G.", generator.variables().unwrap(), || sum(&generator));
        }
    }

    /// Notes how far expected gradients are from differences. In eval mode parameters are constants, and their gradients are the slopes
    /// of the value: along each gradient itself, and along another direction.
    fn note_slopes(&mut self, prefix: &str, variables: &Variables, value: impl Fn() -> f64) {
        const STEP: f64 = 1e-6;
        let names: Vec<String> = self.io.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names.iter().filter(|name| name.starts_with(prefix)) {
            let variable = variables.get(&name[prefix.len()..]).unwrap();
            let (start, gradient) = (variable.as_detached_tensor().copy().unwrap(), self.get(name).unwrap());
            let length =
                (&gradient * &gradient).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
            let other = values(gradient.dims(), 1, DType::F64);
            for direction in [(&gradient / length).unwrap(), other] {
                let at = |step: f64| {
                    variable.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
                    value()
                };
                let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                let expected =
                    (&gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
                self.found.push((name.clone(), (slope - expected).abs() / length));
            }
            variable.set(&start).unwrap();
        }
    }

    fn measure_heads(&mut self) {
        let maps: Vec<Tensor> = (0..4).map(|i| self.get(&format!("backbone.{i}")).unwrap()).collect();
        let logits = |mode: Mode, maps: &[Tensor]| {
            let mut builder = self.builder();
            let mixing = Mixing::new(&mut builder, [24, 40, 112, 320], 8, true).unwrap();
            let channels = mixing.channels.into_iter().enumerate();
            let narrow = HeadConfig { ndf: Some(8), separable: false, classes: None };
            let heads: Vec<Head> =
                channels.map(|(i, ins)| Head::new(&mut builder, i, ins, narrow).unwrap()).collect();
            let variables = builder.finish(&[]).unwrap();
            let mixed = mixing.forward(maps).unwrap();
            let options = ForwardOptions { mode, ..ForwardOptions::default() };
            let logits: Vec<Tensor> =
                mixed.iter().zip(&heads).map(|(map, head)| head.forward(map, &options).unwrap()).collect();
            (Tensor::cat(&logits, 1).unwrap(), mixed, variables, heads)
        };
        // The official hinge losses of one batch, taken for real and for generated.
        let fake = |t: &Tensor| (t + 1.0).unwrap().relu().unwrap().mean_all().unwrap();
        let (eval, mixed, variables_of_heads, heads) = logits(Mode::Eval, &maps);
        let variables: Vec<Var> = maps.iter().map(|map| Var::from_tensor(map).unwrap()).collect();
        let tracked: Vec<Tensor> = variables.iter().map(|var| var.as_tensor().clone()).collect();
        let (of_maps, ..) = logits(Mode::Eval, &tracked);
        let loss_g = of_maps.mean_all().unwrap().neg().unwrap();
        let grads = loss_g.backward().unwrap();
        let (train, _, after, _) = logits(Mode::train(), &maps);
        let train_grads = fake(&train).backward().unwrap();
        if self.dtype == DType::F64 {
            let eval = |heads: &[Head]| {
                let logits: Vec<Tensor> = mixed
                    .iter()
                    .zip(heads)
                    .map(|(map, head)| head.forward(map, &ForwardOptions::default()).unwrap())
                    .collect();
                fake(&Tensor::cat(&logits, 1).unwrap()).to_scalar::<f64>().unwrap()
            };
            self.note_slopes("grad_loss_d_fake.", &variables_of_heads, || eval(&heads));
        }
        self.note("d_logits", &eval);
        self.note("projected.0.first_sample", &mixed[0]);
        self.note("projected.2", &mixed[2]);
        self.note("projected.3", &mixed[3]);
        if maps[0].dim(0).unwrap() < 2 {
            return;
        }
        self.note("loss_d_fake", &fake(&eval));
        self.note("loss_d_real", &fake(&eval.neg().unwrap()));
        self.note("loss_g", &loss_g);
        for (i, variable) in variables.iter().enumerate() {
            self.note(&format!("grad_loss_g.backbone.{i}"), grads.get(variable).unwrap());
        }
        self.note("d_logits_train", &train);
        self.note("loss_d_fake_train", &fake(&train));
        self.note_state("after_train_forward", &after);
        for (name, variable) in after.parameters() {
            self.note(&format!("grad_loss_d_fake_train.{name}"), train_grads.get(variable).unwrap());
        }
    }
}

#[test]
fn generators_and_heads_agree_with_the_official_program() {
    for (name, lite, least) in [("projected-gan", false, 8), ("projected-gan-lite", true, 8)] {
        let mut case = Case::new(&fixture(name), DType::F32);
        case.measure_generator(lite);
        case.assert(least);
    }
    let mut case = Case::new(&fixture("projected-gan-heads"), DType::F32);
    case.measure_heads();
    case.assert(1);
}

#[test]
#[ignore = "set PD_GENERATOR_FIXTURES to the folder that holds projected-gan, -lite and -heads"]
fn every_tensor_agrees_with_the_official_program() {
    /// Compared with differences in float64 only.
    const GRADIENTS_OF_WEIGHTS: usize = 4;
    let root =
        PathBuf::from(std::env::var_os("PD_GENERATOR_FIXTURES").expect("PD_GENERATOR_FIXTURES is not set"));
    for dtype in [DType::F32, DType::F64] {
        for (name, lite, inputs) in [("projected-gan", false, 12), ("projected-gan-lite", true, 2)] {
            let mut case = Case::new(&root.join(name), dtype);
            case.measure_generator(lite);
            case.assert(0);
            let mut names: Vec<&String> = case.found.iter().map(|(name, _)| name).collect();
            names.dedup();
            let weights = if dtype == DType::F64 { 0 } else { GRADIENTS_OF_WEIGHTS };
            assert_eq!(names.len() + weights, case.io.len() - inputs, "{name}");
        }
        let mut case = Case::new(&root.join("projected-gan-heads"), dtype);
        case.measure_heads();
        case.assert(0);
    }
    for name in ["projected-gan", "projected-gan-lite"] {
        let networks =
            crate::generate::load_all(root.join(name).join("snapshot.pkl"), &GeneratorRequest::default());
        let networks = networks.unwrap();
        let weights = read_state_dict(root.join(name).join("weights.safetensors")).unwrap();
        let read = networks.ema.weights().unwrap().state_dict("").unwrap();
        assert_eq!(read.len(), weights.len());
        assert!(weights.iter().all(|(name, tensor)| read.get(name) == Some(tensor)));
        assert!(networks.generator.is_some() && networks.discriminator.is_some());
    }
}

#[test]
fn an_image_does_not_depend_on_its_batch_and_its_noise_only_on_its_key() {
    let case = Case::new(&fixture("projected-gan"), DType::F32);
    let generator = case.generator(false);
    let z = case.get("z").unwrap();
    let bits = |z: &Tensor, keys: &[u64]| {
        generator
            .synthesis(z, &Noise::Keyed(keys), &ForwardOptions::default())
            .unwrap()
            .flatten_from(1)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    let both = bits(&z.narrow(0, 0, 2).unwrap(), &[3, 4]);
    assert_eq!(bits(&z.narrow(0, 1, 1).unwrap(), &[4])[0], both[1]);
    assert_ne!(bits(&z.narrow(0, 1, 1).unwrap(), &[5])[0], both[1]);
}

#[test]
fn the_layout_of_the_first_publication_has_small_blocks_between_whole_ones() {
    let [whole, lite] = ["projected-gan", "projected-gan-lite"]
        .map(|name| read_state_dict(fixture(name).join("weights.safetensors")).unwrap());
    let is_small = |name: &str| {
        ["feat_16.", "feat_64.", "feat_256."]
            .iter()
            .any(|block| name.starts_with(&format!("synthesis.{block}")))
    };
    let mut dict = StateDict::new("weights.safetensors");
    for (from, small) in [(&whole, false), (&lite, true)] {
        for (name, tensor) in from.iter().filter(|(name, _)| is_small(name) == small) {
            dict.insert(name, tensor.clone());
        }
    }
    let mut root = ModuleDescription::default();
    for (name, value) in [("z_dim", 32), ("c_dim", 0), ("img_resolution", 128), ("img_channels", 3)] {
        root.attributes.insert(name.into(), value.into());
    }
    let described = |dict: &StateDict| describe(&root, dict, Role::Generator, None).unwrap();
    let part = described(&dict);
    assert_eq!((&part["alternating"], &part["lite"]), (&true.into(), &false.into()));
    assert_eq!((described(&whole).get("alternating"), &described(&lite)["lite"]), (None, &true.into()));
    let z = values(&[1, 32], 3, DType::F32);
    let build = |part: serde_json::Value| {
        let builder = Builder::from_weights(dict.clone(), DType::F32, &Device::Cpu);
        FastGan::new(&Config::new("config.json", Some(part)), builder)
    };
    let image =
        build(part.clone()).unwrap().synthesis(&z, &Noise::Absent, &ForwardOptions::default()).unwrap();
    assert_eq!(image.dims(), [1, 3, 128, 128]);
    assert!(image.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap() > 1e-4);
    let mut other = part;
    other["alternating"] = false.into();
    assert!(build(other).err().unwrap().to_string().contains("feat_16"));
}

#[test]
fn tensors_alone_and_impossible_sizes_are_refused_in_words() {
    let weights = fixture("projected-gan/weights.safetensors");
    let alone = load(&weights, &GeneratorRequest::default()).err().unwrap();
    assert!(
        alone.to_string().contains("resolution") && alone.hint().unwrap().contains("GiveConfiguration"),
        "{alone}"
    );
    let case = Case::new(&fixture("projected-gan"), DType::F32);
    let refused = |part: serde_json::Value| {
        FastGan::new(&Config::new("config.json", Some(part)), case.builder()).err().unwrap().to_string()
    };
    let part = |side: usize, ngf: usize| serde_json::json!({"z_dim": 32, "img_resolution": side, "img_channels": 3, "ngf": ngf});
    assert!(refused(part(64, 4)).contains("128 to 1024"));
    assert!(refused(part(200, 4)).contains("128 to 1024"));
    assert!(refused(part(128, 1 << 20)).contains("ngf"));
    assert!(refused(part(128, 8)).contains("synthesis.init.init.0.weight_orig"));
    assert!(refused(part(512, 4)).contains("synthesis.feat_512"));
}
