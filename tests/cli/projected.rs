//! ProjectedGAN as a user meets it: images of its weights, and training on the features of a frozen network.

use crate::pickle;
use crate::support::{bytes_of, digits_zip, generator_fixture, pd, pixels, run, write_latents};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use pseudo_density::internals::formats::safetensors::write_safetensors;
use pseudo_density::internals::formats::{HostTensor, StateDict, TensorData, read_state_dict};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SIZES: &str = r#""z_dim": 32, "img_resolution": 128, "img_channels": 3, "ngf": 4"#;

#[test]
fn images_are_those_of_the_official_program_and_noise_belongs_to_the_seed() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("lite.json"), format!("{{{SIZES}, \"lite\": true}}")).unwrap();
    fs::write(dir.path().join("whole.json"), format!("{{{SIZES}}}")).unwrap();
    for name in ["projected-gan", "projected-gan-lite"] {
        fs::copy(
            generator_fixture(name).join("weights.safetensors"),
            dir.path().join(format!("{name}.safetensors")),
        )
        .unwrap();
    }
    let io = read_state_dict(generator_fixture("projected-gan-lite/io.safetensors")).unwrap();
    write_latents(dir.path().join("z.npy"), &io, "z");
    let lite = "sample --bias none --generator projected-gan-lite.safetensors --arch projected-gan --config lite.json";
    run(&dir, &format!("{lite} --latents z.npy -o lite")).success();
    let found = pixels(&dir.path().join("lite"));
    assert_eq!(found.len(), 3);
    let byte = |v: f32| (v * 127.5 + 128.0).clamp(0.0, 255.0) as u8;
    let official = bytes_of(io.f32("img").unwrap(), 128, byte);
    assert!(found[0].iter().zip(&official[0]).all(|(a, b)| a.abs_diff(*b) <= 1));
    run(&dir, &format!("{lite} --latents z.npy --trunc 0.7 -o odd")).code(2).stderr(contains("--trunc"));

    let whole = "sample --bias none --generator projected-gan.safetensors --arch projected-gan --config whole.json --seeds 1-2";
    for (out, more) in [("a", ""), ("b", "--noise-mode random"), ("c", "--noise-mode none")] {
        run(&dir, &format!("{whole} {more} -o {out}")).success();
    }
    let [a, b, c] = ["a", "b", "c"].map(|out| pixels(&dir.path().join(out)));
    // Nothing is stored that could be constant: the seed's own noise either way.
    assert!(a == b && a != c);
    run(&dir, "weights convert projected-gan.safetensors -o g").code(1).stderr(contains("--config"));
    run(&dir, "weights convert projected-gan.safetensors --arch projected-gan --config whole.json -o g")
        .success();
    run(&dir, "sample --bias none --generator g --seeds 1-2 -o d").success();
    assert!(pixels(&dir.path().join("d")) == a);
}

/// A network of EfficientNet-Lite's shape and a tenth of its width, under timm's names.
fn narrow_backbone(path: &Path) {
    /// Blocks, kernel, expansion, channels of each stage.
    const STAGES: [(usize, usize, usize, usize); 7] =
        [(1, 3, 1, 8), (1, 3, 6, 8), (1, 5, 6, 8), (1, 3, 6, 8), (1, 5, 6, 16), (1, 5, 6, 16), (1, 3, 6, 24)];
    let mut dict = StateDict::new(path);
    let mut add = |name: String, shape: Vec<usize>, value: &dyn Fn(usize) -> f32| {
        let values = (0..shape.iter().product()).map(value).collect();
        dict.insert(name, HostTensor { shape, data: TensorData::F32(values) });
    };
    let mut layer = |conv: String, norm: String, dims: [usize; 4]| {
        let scale = (3.0 / (dims[1] * dims[2] * dims[3]) as f32).sqrt();
        add(format!("{conv}.weight"), dims.to_vec(), &|i| ((i * 7919 % 1013) as f32 / 506.0 - 1.0) * scale);
        for (part, value) in [("weight", 1.0), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0)] {
            add(format!("{norm}.{part}"), vec![dims[0]], &|_| value);
        }
    };
    layer("conv_stem".into(), "bn1".into(), [32, 3, 3, 3]);
    let mut ins = 32;
    for (stage, (blocks, kernel, expansion, outs)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let name = format!("blocks.{stage}.{block}");
            let hidden = ins * expansion;
            let mut number = 1;
            let mut part = |conv: &str, dims| {
                layer(format!("{name}.{conv}"), format!("{name}.bn{number}"), dims);
                number += 1;
            };
            if expansion > 1 {
                part("conv_pw", [hidden, ins, 1, 1]);
            }
            part("conv_dw", [hidden, 1, kernel, kernel]);
            part(if expansion > 1 { "conv_pwl" } else { "conv_pw" }, [outs, hidden, 1, 1]);
            ins = outs;
        }
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_safetensors(path, &dict).unwrap();
}

#[test]
fn it_is_trained_by_the_hinge_loss_on_the_features_of_a_frozen_network() {
    let dir = TempDir::new().unwrap();
    let config = format!(
        r#"{{"family": "projected-gan", "generator": {{{SIZES}, "lite": true}},
            "discriminator": {{"img_resolution": 128, "img_channels": 3, "cout": 4, "ndf": 4}}}}"#
    );
    fs::write(dir.path().join("pg.json"), config).unwrap();
    let train = |out: &str, steps: usize| {
        pd(&dir)
            .args("finetune --quiet --batch 2 --init pg.json --snap 1 --log-every 1 --sheet 1".split(' '))
            .args(["--steps", &steps.to_string(), "-o", out, "--data"])
            .arg(digits_zip())
            .assert()
    };
    // Without the frozen network there is nothing to see through, and the message says how to get it.
    train("none", 1).failure().stderr(contains("efficientnet-lite0"));
    narrow_backbone(&dir.path().join("cache/weights/efficientnet-lite0.safetensors"));
    train("run", 2).success();
    let weights = |snapshot: &str, file: &str| {
        read_state_dict(dir.path().join("run").join(snapshot).join(file)).unwrap()
    };
    let (before, after) =
        (weights("snapshot-000001", "d.safetensors"), weights("snapshot-000002", "d.safetensors"));
    let changed = |name: &str| before.f32(name).unwrap() != after.f32(name).unwrap();
    for name in ["weight_orig", "weight_u", "weight_v", "bias"] {
        assert!(changed(&format!("discriminator.mini_discs.0.main.0.main.0.{name}")), "{name}");
    }
    assert!(changed("discriminator.mini_discs.3.main.0.main.1.running_var"));
    for name in
        ["pretrained.layer0.0.weight", "pretrained.layer3.1.0.conv_pwl.weight", "scratch.layer2_ccm.weight"]
    {
        assert!(!changed(&format!("feature_network.{name}")), "{name}");
    }
    let log = fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    assert!(log.lines().count() >= 2 && log.contains("d_loss"), "{log}");
    // A snapshot brings its own frozen network.
    fs::remove_dir_all(dir.path().join("cache")).unwrap();
    pd(&dir)
        .args(
            "finetune --quiet --batch 2 --generator run/snapshot-000002 --weight 1 --steps 1 --sheet 1"
                .split(' '),
        )
        .args(["-o", "more", "--data"])
        .arg(digits_zip())
        .assert()
        .failure()
        .stderr(contains("--reference"));
}

/// Trains `config` for two steps on the digits, a snapshot after each, in `run`.
fn train(dir: &TempDir, config: &Value) {
    fs::write(dir.path().join("init.json"), config.to_string()).unwrap();
    narrow_backbone(&dir.path().join("cache/weights/efficientnet-lite0.safetensors"));
    pd(dir)
        .args(
            "finetune --quiet --batch 2 --init init.json --steps 2 --snap 1 --log-every 1 --sheet 1"
                .split(' '),
        )
        .args(["-o", "run", "--data"])
        .arg(digits_zip())
        .assert()
        .success();
}

/// The last snapshot's network in this file.
fn trained(dir: &TempDir, file: &str) -> StateDict {
    read_state_dict(dir.path().join("run/snapshot-000002").join(file)).unwrap()
}

/// That tensors changed from the first snapshot to the last.
#[track_caller]
fn assert_changed(dir: &TempDir, file: &str, names: &[&str]) {
    let before = read_state_dict(dir.path().join("run/snapshot-000001").join(file)).unwrap();
    let after = trained(dir, file);
    for name in names {
        assert_ne!(before.f32(name).unwrap(), after.f32(name).unwrap(), "{name}");
    }
}

/// The last snapshot as an official program pickles it: `G_ema`, `G` and `D`, the latter of plain objects.
fn pickled(dir: &TempDir, of_generator: &[(&str, Value)], persistent: bool) {
    let [average, live, judge] =
        ["g_ema.safetensors", "g.safetensors", "d.safetensors"].map(|file| trained(dir, file));
    let generator = |weights| pickle::Module { weights, attributes: of_generator, persistent };
    let attributes = [
        ("diffaug", json!(true)),
        ("interp224", json!(true)),
        ("feature_network.expand", json!(true)),
        ("discriminator.mini_discs.0.start_sz", json!(128)),
    ];
    let judge = pickle::Module { weights: &judge, attributes: &attributes, persistent: false };
    let networks = [("G", &generator(&live)), ("D", &judge), ("G_ema", &generator(&average))];
    fs::write(dir.path().join("network.pkl"), pickle::file(&networks)).unwrap();
}

#[test]
fn networks_with_classes_are_trained_pickled_sampled_perturbed_and_trained_further() {
    let dir = TempDir::new().unwrap();
    let mut generator: Value = serde_json::from_str(&format!("{{{SIZES}}}")).unwrap();
    // More embeddings than classes, as the official ones have.
    for (name, count) in [("c_dim", 10), ("num_classes", 12)] {
        generator[name] = count.into();
    }
    let judge = json!({"img_resolution": 128, "img_channels": 3, "cout": 4, "ndf": 4, "c_dim": 10, "num_classes": 12,
        "embedding_dim": 6, "cmap_dim": 5});
    train(&dir, &json!({"family": "projected-gan", "generator": generator, "discriminator": judge}));
    let of_generator = [
        "synthesis.embed.weight",
        "synthesis.feat_8.conv2.weight_orig",
        "synthesis.feat_8.noise.weight",
        "synthesis.feat_16.bn1.gain.weight_orig",
        "synthesis.feat_16.bn1.gain.weight_u",
        "synthesis.feat_128.bn2.bias.bias",
        "synthesis.feat_128.bn2.stored_var",
    ];
    assert_changed(&dir, "g.safetensors", &of_generator);
    let of_judge = ["cls.weight_orig", "embed.weight", "embed_proj.0.weight", "main.0.main.1.running_mean"];
    let of_judge = of_judge.map(|name| format!("discriminator.mini_discs.0.{name}"));
    assert_changed(&dir, "d.safetensors", &of_judge.each_ref().map(String::as_str));

    let said = [
        ("z_dim", json!(32)),
        ("c_dim", json!(10)),
        ("img_resolution", json!(128)),
        ("img_channels", json!(3)),
    ];
    pickled(&dir, &said, false);
    let sample = |generator: &str, more: &str| {
        run(&dir, &format!("sample --bias none --generator {generator} --seeds 0-2 {more}"))
    };
    sample("network.pkl", "-o none").code(2).stderr(contains("10 classes").and(contains("--class")));
    sample("network.pkl", "--class 10 -o ten").code(2).stderr(contains("no class 10"));
    for (out, generator, class) in
        [("photos", "network.pkl", 3), ("four", "network.pkl", 4), ("again", "run/snapshot-000002", 3)]
    {
        sample(generator, &format!("--class {class} -o {out}")).success();
    }
    let [three, four, again] = ["photos", "four", "again"].map(|out| pixels(&dir.path().join(out)));
    assert!(three == again && three != four && three.len() == 3);
    run(&dir, "weights convert network.pkl -o converted").success().stdout(contains("discriminator"));
    sample("converted", "--class 4 -o fourth").success();
    assert!(pixels(&dir.path().join("fourth")) == four);

    let mut labels = Vec::new();
    for entry in fs::read_dir(dir.path().join("photos")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".png") {
            labels.push(json!([name, labels.len() + 2]));
        }
    }
    fs::write(dir.path().join("photos/dataset.json"), json!({"labels": labels}).to_string()).unwrap();
    run(&dir, "embed photos -o ref").success();
    run(&dir, "index ref --k 1 --no-predictor").success();
    run(&dir, "perturb --generator network.pkl --class 3 --reference ref --bias fidelity --seeds 0-1 --steps 1 -o moved")
        .success();
    let moved = fs::read_to_string(dir.path().join("moved/samples.csv")).unwrap();
    assert_eq!(moved.lines().count(), 3, "{moved}");
    let more =
        "finetune --quiet --generator network.pkl --discriminator network.pkl --data photos --reference ref";
    run(&dir, &format!("{more} --weight 1 --batch 2 --steps 1 --sheet 1 -o more")).success();
}

#[test]
fn a_stylegan2_with_a_projected_discriminator_is_trained_as_projectedgan_trains_it() {
    let dir = TempDir::new().unwrap();
    let config = json!({
        "family": "stylegan2", "discriminator_family": "projected-gan",
        "generator": {"z_dim": 64, "w_dim": 128, "img_channels": 3, "channels": [8, 8, 8, 8], "mapping": {"num_layers": 2},
            "conv_clamp": 256.0},
        "discriminator": {"img_resolution": 32, "img_channels": 3, "cout": 4, "ndf": 4, "separable": true}});
    train(&dir, &config);
    assert_changed(
        &dir,
        "g.safetensors",
        &["mapping.fc0.weight", "mapping.w_avg", "synthesis.b32.conv1.weight"],
    );
    let conv = "discriminator.mini_discs.1.main.0.main.0";
    let names = ["depthwise.weight_orig", "depthwise.weight_u", "pointwise.weight_orig"];
    let names = names.map(|name| format!("{conv}.{name}"));
    assert_changed(&dir, "d.safetensors", &names.each_ref().map(String::as_str));
    let json = |path: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(dir.path().join(path)).unwrap()).unwrap()
    };
    let written = json("run/snapshot-000002/config.json");
    assert_eq!(
        (&written["family"], &written["discriminator_family"]),
        (&json!("stylegan2"), &json!("projected-gan"))
    );
    // The loss is that of the discriminator, which has no penalties; the step size is StyleGAN2's.
    let as_projected = |options: &Value| {
        assert_eq!(options["loss"], json!("hinge"));
        for (name, value) in
            [("gamma", 0.0), ("path_length", 0.0), ("style_mixing", 0.0), ("lr", 2e-3), ("beta2", 0.99)]
        {
            assert_eq!(options[name], json!(value), "{name}");
        }
    };
    as_projected(&json("run/options.json"));

    let said = [
        ("z_dim", json!(64)),
        ("c_dim", json!(0)),
        ("w_dim", json!(128)),
        ("img_resolution", json!(32)),
        ("img_channels", json!(3)),
        ("mapping.z_dim", json!(64)),
        ("mapping.c_dim", json!(0)),
        ("mapping.w_dim", json!(128)),
        ("mapping.num_layers", json!(2)),
        ("mapping.w_avg_beta", json!(0.998)),
        ("mapping.fc0.activation", json!("lrelu")),
        ("mapping.fc0.bias_gain", json!(0.01)),
        ("synthesis.img_resolution", json!(32)),
        ("synthesis.img_channels", json!(3)),
        ("synthesis.b4.architecture", json!("skip")),
        ("synthesis.b4.conv1.conv_clamp", json!(256)),
    ];
    pickled(&dir, &said, true);
    for (out, generator) in [("photos", "network.pkl"), ("again", "run/snapshot-000002")] {
        run(&dir, &format!("sample --bias none --generator {generator} --seeds 0-5 --trunc 0.7 -o {out}"))
            .success();
    }
    let [photos, again] = ["photos", "again"].map(|out| pixels(&dir.path().join(out)));
    assert!(photos == again && photos[0] != photos[1]);
    run(&dir, "weights convert network.pkl -o converted").success().stdout(contains("discriminator"));
    run(&dir, "embed photos -o ref").success();
    run(&dir, "index ref --k 2 --no-predictor").success();
    run(&dir, "perturb --generator network.pkl --space w --reference ref --bias diversity --seeds 0-1 --steps 1 -o moved")
        .success();
    let more = "--data photos --reference ref --weight 1 --batch 2 --steps 1 --sheet 1";
    for (out, networks) in [
        ("more", "--generator network.pkl --discriminator network.pkl"),
        ("further", "--generator run/snapshot-000002"),
        ("converted-further", "--generator converted"),
    ] {
        run(&dir, &format!("finetune --quiet {networks} {more} -o {out}")).success();
        as_projected(&json(&format!("{out}/options.json")));
    }
}
