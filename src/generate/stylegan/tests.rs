//! StyleGAN2 and StyleGAN3 against NVIDIA's programs, from snapshots laid out as these write them.

use super::super::config::Config;
use super::super::family::Role;
use super::super::test_support::{Expected, fixture, relative, values};
use super::super::*;
use super::mapping::Mapping;
use super::official::Official;
use super::{discriminator as networks, synthesis3};
use crate::formats::torch::read_module;
use crate::formats::{HostTensor, StateDict, TensorData};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// Of the largest value.
const VALUES: f64 = 1e-4;
const GRADIENTS: f64 = 1e-3;

fn request(dtype: DType) -> GeneratorRequest {
    GeneratorRequest { dtype, ..GeneratorRequest::default() }
}

fn generator(name: &str, dtype: DType) -> Box<dyn Generator> {
    load(fixture(name).join("snapshot.pkl"), &request(dtype)).unwrap()
}

fn discriminator(name: &str, dtype: DType) -> Box<dyn Discriminator> {
    load_discriminator(fixture(name).join("snapshot.pkl"), &request(dtype)).unwrap()
}

fn expected(name: &str) -> Expected {
    Expected::read(&format!("{name}/io.safetensors"))
}

/// The class of each row of one-hot labels.
fn classes(io: &Expected, conditional: bool) -> Option<Vec<u32>> {
    conditional.then(|| io.get("c", DType::F32).argmax(1).unwrap().to_vec1().unwrap())
}

/// `softplus(x)`, averaged.
fn softplus(x: &Tensor) -> Tensor {
    let tail = (x.abs().unwrap().neg().unwrap().exp().unwrap() + 1.0).unwrap().log().unwrap();
    (tail + x.relu().unwrap()).unwrap().mean_all().unwrap()
}

const STYLEGAN2: [(&str, bool); 2] = [("stylegan2", false), ("stylegan2-cond", true)];

#[test]
fn images_of_both_spaces_agree_under_truncation_and_noise_modes() {
    for (name, conditional) in STYLEGAN2 {
        let io = expected(name);
        let classes = classes(&io, conditional);
        for dtype in [DType::F32, DType::F64] {
            let g = generator(name, dtype);
            assert_eq!((g.info().family, g.info().image_shape.dims()), ("stylegan2", [3, 32, 32]));
            assert_eq!(g.info().class_count, if conditional { 4 } else { 0 });
            let z = io.get("z", dtype);
            let plain = ForwardOptions { classes: classes.as_deref(), ..ForwardOptions::default() };
            let cut = |cutoff| ForwardOptions { truncation: Some(Truncation { psi: 0.7, cutoff }), ..plain };
            for (suffix, options) in [("", plain), ("_psi0.7", cut(None)), ("_psi0.7_cutoff", cut(Some(3)))] {
                io.assert(&format!("img{suffix}"), &g.generate(&z, &options).unwrap(), VALUES);
                let ws = g.map_latents(&z, "w", &options).unwrap();
                io.assert(&format!("ws{suffix}"), &ws, VALUES);
                let from_w = ForwardOptions { space: Some("w"), truncation: None, ..options };
                io.assert(&format!("img{suffix}"), &g.generate(&ws, &from_w).unwrap(), VALUES);
            }
            let none = ForwardOptions { noise: NoiseMode::None, ..plain };
            io.assert("img_noise_none", &g.generate(&z, &none).unwrap(), VALUES);
            let mixed = ForwardOptions { space: Some("w"), ..plain };
            io.assert("img_ws_mixed", &g.generate(&io.get("ws_mixed", dtype), &mixed).unwrap(), VALUES);
            let d = discriminator(name, dtype);
            assert_eq!((d.info().family, d.info().image_shape), ("stylegan2", g.info().image_shape));
            let images = io.get("d_images", dtype);
            io.assert("d_logits_images", &d.logits(&images, &plain).unwrap(), VALUES);
            let first = ForwardOptions { classes: classes.as_ref().map(|c| &c[..3]), ..plain };
            let made = io.get("img", dtype);
            io.assert("d_logits", &d.logits(&made, &plain).unwrap(), VALUES);
            let three = made.narrow(0, 0, 3).unwrap();
            io.assert("d_logits_first3", &d.logits(&three, &first).unwrap(), VALUES);
        }
    }
}

#[test]
fn gradients_of_latents_and_of_both_losses_agree() {
    for (name, conditional) in STYLEGAN2 {
        let io = expected(name);
        let classes = classes(&io, conditional);
        for dtype in [DType::F32, DType::F64] {
            let (g, d) = (generator(name, dtype), discriminator(name, dtype));
            let (z, proj) = (io.get("z", dtype), io.get("proj", dtype));
            let eval = ForwardOptions { classes: classes.as_deref(), ..ForwardOptions::default() };
            let result =
                value_and_gradient(g.as_ref(), &z, &eval, |images| Ok((images * &proj)?.sum_all()?)).unwrap();
            io.assert("proj_sum", &result.value, VALUES);
            io.assert("grad_z", &result.gradient, GRADIENTS);

            let train = ForwardOptions { mode: Mode::train(), ..eval };
            let images = g.generate(&z, &train).unwrap();
            io.assert("w_avg_after_train_step", g.weights().unwrap().get("mapping.w_avg").unwrap(), VALUES);
            let through = ForwardOptions { mode: Mode::train().inputs_only(), ..eval };
            let loss = softplus(&d.logits(&images, &through).unwrap().neg().unwrap());
            io.assert("g_loss", &loss, VALUES);
            let grads = loss.backward().unwrap();
            assert!(d.variables().parameters().all(|(_, var)| grads.get(var).is_none()));
            for parameter in [
                "mapping.fc0.weight",
                "synthesis.b16.conv0.weight",
                "synthesis.b8.conv1.noise_strength",
                "synthesis.b32.torgb.affine.weight",
                "synthesis.b4.const",
            ] {
                let gradient = grads.get(g.weights().unwrap().get(parameter).unwrap()).unwrap();
                io.assert(&format!("grad_g_loss.G.{parameter}"), gradient, GRADIENTS);
            }

            let fake = d.logits(&images.detach(), &train).unwrap();
            let real = d.logits(&io.get("d_images", dtype), &train).unwrap();
            let loss = (softplus(&fake) + softplus(&real.neg().unwrap())).unwrap();
            io.assert("d_loss", &loss, VALUES);
            let grads = loss.backward().unwrap();
            for parameter in ["b16.conv0.weight", "b32.fromrgb.weight", "b4.conv.weight", "b8.skip.weight"] {
                let gradient = grads.get(d.variables().get(parameter).unwrap()).unwrap();
                io.assert(&format!("grad_d_loss.D.{parameter}"), gradient, GRADIENTS);
            }
        }
    }
}

/// Labels between classes, which the options of a forward pass cannot express.
#[test]
fn soft_labels_reach_both_mapping_networks() {
    let path = fixture("stylegan2-cond").join("snapshot.pkl");
    let io = expected("stylegan2-cond");
    for dtype in [DType::F32, DType::F64] {
        let labels = io.get("c_soft", dtype);
        let (weights, module) = read_module(&path, &["G_ema"]).unwrap();
        let config = Official { root: &module, weights: &weights }.mapping().unwrap();
        let mut builder = Builder::from_weights(weights, dtype, &Device::Cpu);
        let mapping = Mapping::new(&mut builder, &config, (32, 4, 32), true).unwrap();
        let w = mapping.forward(Some(&io.get("z", dtype)), Some(&labels), Mode::Eval).unwrap();
        let ws = io.get("ws_c_soft", DType::F64);
        for layer in 0..8 {
            assert!(relative(&w, &ws.narrow(1, layer, 1).unwrap()) < VALUES);
        }
        let (weights, module) = read_module(&path, &["D"]).unwrap();
        let part = super::official::stylegan2(&module, &weights, Role::Discriminator, None).unwrap();
        let builder = Builder::from_weights(weights, dtype, &Device::Cpu);
        let d = networks::assemble(&Config::new(&path, Some(part)), builder, "stylegan2").unwrap();
        for images in ["img", "d_images"] {
            let logits = d.of_labels(&io.get(images, dtype), Some(&labels), Mode::Eval).unwrap();
            if images == "img" {
                io.assert("d_logits_c_soft", &logits, VALUES);
            }
        }
    }
}

#[test]
fn stylegan3_agrees_in_images_activations_gradient_and_running_averages() {
    let io = expected("stylegan3-t");
    for dtype in [DType::F32, DType::F64] {
        let g = generator("stylegan3-t", dtype);
        assert_eq!((g.info().family, g.info().image_shape.dims()), ("stylegan3", [3, 32, 32]));
        let z = io.get("z", dtype);
        let plain = ForwardOptions::default();
        let cut = |cutoff| ForwardOptions { truncation: Some(Truncation { psi: 0.7, cutoff }), ..plain };
        for (suffix, options) in [("", plain), ("_psi0.7", cut(None)), ("_psi0.7_cutoff", cut(Some(3)))] {
            io.assert(&format!("ws{suffix}"), &g.map_latents(&z, "w", &options).unwrap(), VALUES);
            io.assert(&format!("img{suffix}"), &g.generate(&z, &options).unwrap(), VALUES);
        }
        let mixed = io.get("ws_mixed", dtype);
        let in_w = ForwardOptions { space: Some("w"), ..plain };
        io.assert("img_ws_mixed", &g.generate(&mixed, &in_w).unwrap(), VALUES);

        let path = fixture("stylegan3-t").join("snapshot.pkl");
        let weights = g.weights().unwrap().state_dict(&path).unwrap();
        let builder = Builder::from_weights(weights, dtype, &Device::Cpu);
        let network = synthesis3::probes::build(&Config::new(&path, Some(g.info().config.clone())), builder);
        let activations = synthesis3::probes::activations(&network, &mixed);
        io.assert("ws_mixed.fourier", &activations[0], VALUES);
        for (name, place) in [("L0_36_32", 1), ("L3_52_20", 4)] {
            let first = activations[place].narrow(0, 0, 1).unwrap();
            io.assert(&format!("ws_mixed.{name}.first_sample"), &first, VALUES);
        }

        let proj = io.get("proj", dtype);
        let result =
            value_and_gradient(g.as_ref(), &z, &plain, |images| Ok((images * &proj)?.sum_all()?)).unwrap();
        io.assert("proj_sum", &result.value, VALUES);
        io.assert("grad_z", &result.gradient, GRADIENTS);

        g.generate(&z, &ForwardOptions { mode: Mode::train(), ..plain }).unwrap();
        io.assert("w_avg_after_update", g.weights().unwrap().get("mapping.w_avg").unwrap(), VALUES);
        let averages: Vec<Tensor> = g
            .weights()
            .unwrap()
            .buffers()
            .filter(|(name, _)| name.ends_with("magnitude_ema"))
            .map(|(_, var)| var.as_detached_tensor())
            .collect();
        io.assert("magnitude_ema_after_update", &Tensor::stack(&averages, 0).unwrap(), VALUES);
    }
}

/// StyleGAN3's published geometry and filters, from a network that is made anew: its buffers are those of the snapshot.
#[test]
fn filters_made_anew_are_those_of_the_official_program() {
    let g = generator("stylegan3-t", DType::F64);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let config = serde_json::json!({"family": "stylegan3", "generator": g.info().config});
    std::fs::write(&path, config.to_string()).unwrap();
    let fresh = initialise(&path, 1, &request(DType::F64)).unwrap();
    let mut filters = 0;
    for (name, filter) in g.weights().unwrap().buffers().filter(|(name, _)| name.ends_with("filter")) {
        assert!(relative(fresh.weights().unwrap().get(name).unwrap(), filter) < 1e-6, "{name}");
        filters += 1;
    }
    assert_eq!(filters, 12);
    let names = |g: &dyn Generator| {
        let mut names: Vec<String> =
            g.weights().unwrap().parameters().map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(fresh.as_ref()), names(g.as_ref()));
    let image = fresh.generate(&values(&[1, 32], 1, DType::F64), &ForwardOptions::default()).unwrap();
    let largest = image.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    assert!(largest > 1e-3 && largest < 100.0, "{largest}");
    for (from, to) in [
        ("\"num_critical\":2", "\"num_critical\":6"),
        ("\"img_resolution\":32", "\"img_resolution\":33"),
        ("z_dim", "z_dims"),
    ] {
        std::fs::write(&path, config.to_string().replace(from, to)).unwrap();
        assert!(initialise(&path, 1, &request(DType::F32)).is_err(), "{to}");
    }
}

fn keyed(noise: NoiseMode, keys: &[u64]) -> ForwardOptions<'_> {
    ForwardOptions { noise, keys: Some(keys), ..ForwardOptions::default() }
}

fn bits(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn an_image_is_the_same_bits_alone_and_in_a_batch_with_every_noise() {
    for name in ["stylegan2", "stylegan3-t"] {
        let g = generator(name, DType::F32);
        let z = values(&[3, 32], 5, DType::F32);
        for noise in [NoiseMode::Const, NoiseMode::None, NoiseMode::Random] {
            let together = g.generate(&z, &keyed(noise, &[7, 8, 9])).unwrap();
            for row in 0..3 {
                let alone =
                    g.generate(&z.narrow(0, row, 1).unwrap(), &keyed(noise, &[7 + row as u64])).unwrap();
                assert_eq!(bits(&alone), bits(&together.narrow(0, row, 1).unwrap()), "{name} {noise:?}");
            }
        }
    }
}

#[test]
fn random_noise_belongs_to_the_key_of_its_image() {
    let g = generator("stylegan2", DType::F32);
    let z = values(&[1, 32], 5, DType::F32);
    let of = |key| bits(&g.generate(&z, &keyed(NoiseMode::Random, &[key])).unwrap());
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let keyless = ForwardOptions { noise: NoiseMode::Random, ..ForwardOptions::default() };
    assert!(g.generate(&z, &keyless).is_err());
}

#[test]
fn every_protocol_holds_the_same_network_and_a_directory_keeps_it() {
    let g = generator("stylegan2", DType::F32);
    let older = load(fixture("stylegan2/snapshot_protocol3.pkl"), &request(DType::F32)).unwrap();
    let digest = g.weights().unwrap().digest().unwrap();
    assert_eq!(older.weights().unwrap().digest().unwrap(), digest);
    let directory = tempfile::tempdir().unwrap();
    for name in ["stylegan2", "stylegan2-cond", "stylegan3-t"] {
        let all = load_all(fixture(name).join("snapshot.pkl"), &request(DType::F32)).unwrap();
        let out = directory.path().join(name);
        all.snapshot().save(&out).unwrap();
        let again = load_all(&out, &request(DType::F32)).unwrap();
        assert_eq!(again.generator.is_some(), all.generator.is_some());
        assert_eq!(again.ema.info().config, all.ema.info().config);
        assert_eq!(
            again.ema.weights().unwrap().digest().unwrap(),
            all.ema.weights().unwrap().digest().unwrap()
        );
        let (d, kept) = (all.discriminator, again.discriminator);
        assert_eq!(d.is_some(), kept.is_some());
        if let (Some(d), Some(kept)) = (d, kept) {
            assert_eq!((&d.info().config, d.info().family), (&kept.info().config, kept.info().family));
            assert_eq!(d.variables().digest().unwrap(), kept.variables().digest().unwrap());
        }
    }
}

/// A small StyleGAN3 with the layers of configuration R: kernels of one pixel, filters as asked for.
fn configuration_r(radial: bool) -> Config {
    let part = serde_json::json!({"z_dim": 8, "w_dim": 8, "img_resolution": 16, "img_channels": 3,
        "mapping": {"num_layers": 2}, "num_layers": 4, "channel_base": 256, "channel_max": 16, "conv_kernel": 1,
        "use_radial_filters": radial});
    Config::new("config.json", Some(part))
}

#[test]
fn radial_filters_that_are_products_do_what_separable_ones_do_and_real_ones_do_not() {
    let build = |radial: bool, weights: Option<StateDict>| {
        let builder = match weights {
            Some(weights) => Builder::from_weights(weights, DType::F32, &Device::Cpu),
            None => Builder::from_nothing(3, Path::new("config.json"), DType::F32, &Device::Cpu),
        };
        synthesis3::build_generator(&configuration_r(radial), builder, &SamplerRequest::default()).unwrap()
    };
    let z = values(&[2, 8], 7, DType::F32);
    let images = |g: &dyn Generator| g.generate(&z, &ForwardOptions::default()).unwrap();
    let (separable, radial) = (build(false, None), build(true, None));
    let mut products = separable.weights().unwrap().state_dict("g.safetensors").unwrap();
    let squares: Vec<(String, usize)> = radial
        .weights()
        .unwrap()
        .buffers()
        .filter(|(name, buffer)| name.ends_with("down_filter") && buffer.rank() == 2)
        .map(|(name, buffer)| (name.to_owned(), buffer.dims()[0]))
        .collect();
    // Layers 0 and 1: those after are critically sampled, and the last has no filters.
    assert_eq!(squares.len(), 2, "{squares:?}");
    for (name, taps) in &squares {
        let line = products.f32_shaped(name, &[*taps]).unwrap().to_vec();
        let square = line.iter().flat_map(|a| line.iter().map(move |b| a * b)).collect();
        products
            .insert(name.clone(), HostTensor { shape: vec![*taps, *taps], data: TensorData::F32(square) });
    }
    let by_products = build(true, Some(products));
    let expected = images(separable.as_ref());
    assert!(relative(&images(by_products.as_ref()), &expected) < 1e-5);
    // The filters of a network that is made anew are those of the definition.
    assert!(relative(&images(radial.as_ref()), &expected) > 1e-3);
    let saved = radial.weights().unwrap().state_dict("g.safetensors").unwrap();
    assert_eq!(relative(&images(build(true, Some(saved)).as_ref()), &images(radial.as_ref())), 0.0);
}

fn refusal<T>(result: crate::error::Result<T>) -> String {
    let error = result.err().unwrap();
    format!("{error} ({})", error.hint().unwrap_or_default())
}

#[test]
fn what_is_no_such_network_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("network.pkl");
    let whole = std::fs::read(fixture("stylegan3-t/snapshot.pkl")).unwrap();
    let open = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        refusal(load(&path, &request(DType::F32)))
    };
    for cut in (2..whole.len()).step_by(whole.len() / 40) {
        open(&whole[..cut]);
    }
    let place = |text: &[u8]| whole.windows(text.len()).position(|window| window == text).unwrap();
    let changed = |from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        let at = place(from);
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    assert!(
        open(&changed(b"G_ema", b"G_emu")).contains("holds no network `G_ema` (it has training_set_kwargs")
    );
    assert!(open(&changed(b"synthesis", b"synthesus")).contains("NameArchitecture"));
    assert!(open(&changed(b"img_resolution", b"img_resolutiom")).len() > 10);
    let arch = |arch: &str| GeneratorRequest { arch: Some(arch.into()), ..request(DType::F32) };
    let snapshot = fixture("stylegan3-t/snapshot.pkl");
    assert!(
        refusal(load(&snapshot, &arch("stylegan2"))).contains("img_resolution")
            || refusal(load(&snapshot, &arch("stylegan2"))).contains("synthesis.b4")
    );
    assert!(refusal(load(&snapshot, &arch("dcgan"))).contains("not read from official pickles"));
    assert!(refusal(load_discriminator(&snapshot, &request(DType::F32))).contains("`D`"));
    let g = generator("stylegan2", DType::F32);
    let bare = directory.path().join("g.safetensors");
    crate::formats::safetensors::write_safetensors(&bare, &g.weights().unwrap().state_dict(&bare).unwrap())
        .unwrap();
    assert!(refusal(load(&bare, &request(DType::F32))).contains("GiveConfiguration"));
    let z = values(&[1, 32], 5, DType::F32);
    let truncated = ForwardOptions {
        truncation: Some(Truncation { psi: 0.5, cutoff: None }),
        ..ForwardOptions::default()
    };
    assert!(refusal(g.map_latents(&z, "z", &truncated)).contains("truncation"));
    let d = discriminator("stylegan2", DType::F32);
    let images = values(&[5, 3, 32, 32], 5, DType::F32);
    assert!(refusal(d.logits(&images, &ForwardOptions::default())).contains("groups of 4"));
    assert!(!Path::new("owned").exists());
}

#[test]
fn configurations_without_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let with = |generator: &str, discriminator: &str| {
        let text = format!(
            r#"{{"family": "stylegan2", "generator": {generator}, "discriminator": {discriminator}}}"#
        );
        std::fs::write(&path, text).unwrap();
        let g = initialise(&path, 1, &request(DType::F32)).map(drop);
        (g, initialise_discriminator(&path, 1, &request(DType::F32)).map(drop))
    };
    let g =
        r#"{"z_dim": 8, "w_dim": 8, "img_channels": 3, "channels": [8, 8], "mapping": {"num_layers": 2}}"#;
    let d = r#"{"img_channels": 3, "channels": [8, 8], "mbstd_group_size": 4}"#;
    let (made, judged) = with(g, d);
    made.unwrap();
    judged.unwrap();
    for (from, to) in [
        ("[8, 8]", "[]"),
        ("[8, 8]", "[8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]"),
        ("[8, 8]", "[8, 0]"),
        ("[8, 8]", "[8, 18446744073709551615]"),
        ("\"z_dim\": 8", "\"z_dim\": 0"),
        ("\"img_channels\": 3", "\"img_channels\": 4"),
        ("\"num_layers\": 2", "\"num_layers\": 0"),
        ("\"z_dim\"", "\"conv_clamp\": -1, \"z_dim\""),
        ("\"z_dim\"", "\"z\": 1, \"z_dim\""),
    ] {
        assert!(with(&g.replacen(from, to, 1), d).0.is_err(), "{to}");
    }
    for (from, to) in [
        ("[8, 8]", "[8]"),
        ("[8, 8]", "[8, 0]"),
        ("\"mbstd_group_size\": 4", "\"mbstd_group_size\": 0"),
        ("\"mbstd_group_size\": 4", "\"mbstd_num_channels\": 3"),
        ("\"mbstd_group_size\": 4", "\"c_dim\": 3"),
    ] {
        assert!(with(g, &d.replacen(from, to, 1)).1.is_err(), "{to}");
    }
}
