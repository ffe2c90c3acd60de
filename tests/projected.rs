//! ProjectedGAN as a user meets it: images of its weights, and training on the features of a frozen network.

mod support;

use ndarray::ArrayD;
use predicates::str::contains;
use pseudo_density::formats::npy::write_npy;
use pseudo_density::formats::safetensors::write_safetensors;
use pseudo_density::formats::{HostTensor, StateDict, TensorData, read_state_dict};
use std::fs;
use std::path::Path;
use support::{pd, pixels, project, run};
use tempfile::TempDir;

const SIZES: &str = r#""z_dim": 32, "img_resolution": 128, "img_channels": 3, "ngf": 4"#;

#[test]
fn images_are_those_of_the_official_program_and_noise_belongs_to_the_seed() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("lite.json"), format!("{{{SIZES}, \"lite\": true}}")).unwrap();
    fs::write(dir.path().join("whole.json"), format!("{{{SIZES}}}")).unwrap();
    for name in ["projected-gan", "projected-gan-lite"] {
        fs::copy(
            project("tests/fixtures/generators").join(name).join("weights.safetensors"),
            dir.path().join(format!("{name}.safetensors")),
        )
        .unwrap();
    }
    let io = read_state_dict(project("tests/fixtures/generators/projected-gan-lite/io.safetensors")).unwrap();
    let z = io.get("z").unwrap();
    let array = ArrayD::from_shape_vec(z.shape.clone(), io.f32("z").unwrap().to_vec()).unwrap();
    write_npy(dir.path().join("z.npy"), &array).unwrap();
    let lite = "sample --bias none --generator projected-gan-lite.safetensors --arch projected-gan --config lite.json";
    run(&dir, &format!("{lite} --latents z.npy -o lite")).success();
    let found = pixels(&dir.path().join("lite"));
    assert_eq!(found.len(), 3);
    const PIXELS: usize = 128 * 128;
    let expected = io.f32("img").unwrap();
    let byte = |v: f32| (v * 127.5 + 128.0).clamp(0.0, 255.0) as u8;
    let official = (0..PIXELS).flat_map(|p| [0, 1, 2].map(|c| byte(expected[c * PIXELS + p])));
    assert!(found[0].iter().zip(official).all(|(a, b)| a.abs_diff(b) <= 1));
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
            .arg(project("examples/digits.zip"))
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
        .arg(project("examples/digits.zip"))
        .assert()
        .failure()
        .stderr(contains("--reference"));
}
