//! StyleGAN as a user meets it: images of an official pickle, its conversion, and training from nothing.

use crate::pickle;
use crate::support::{bytes_of, digits_zip, generator_fixture, pd, pixels, run, write_latents};
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::formats::read_state_dict;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

/// A number as NVIDIA's `generate.py` writes it.
fn byte(value: f32) -> u8 {
    (value * 127.5 + 128.0).clamp(0.0, 255.0) as u8
}

#[test]
fn the_images_of_an_official_pickle_are_those_of_the_official_program() {
    let dir = TempDir::new().unwrap();
    for name in ["stylegan2", "stylegan3-t"] {
        let io = generator_fixture(name).join("io.safetensors");
        write_latents(dir.path().join("z.npy"), &read_state_dict(&io).unwrap(), "z");
        let pkl = generator_fixture(name).join("snapshot.pkl");
        let sample = |out: &str, more: &str| {
            let mut command = pd(&dir);
            command.args(["sample", "--bias", "none", "-o", out, "--generator"]).arg(&pkl);
            command.args(more.split_whitespace()).assert().success();
            pixels(&dir.path().join(out))
        };
        let out = format!("{name}-z");
        let found = sample(&out, "--latents z.npy --trunc 0.7 --noise-mode const");
        let expected = bytes_of(read_state_dict(&io).unwrap().f32("img_psi0.7").unwrap(), 32, byte);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1));
        }
        let seeds = sample(&format!("{name}-seeds"), "--seeds 0-3 --trunc 0.7 --noise-mode const");
        assert_eq!(seeds.len(), 4);

        // The same images from the directory that it is converted into.
        let converted = format!("{name}-directory");
        let said = if name == "stylegan2" {
            "trained generator, discriminator"
        } else {
            "stylegan3: averaged generator"
        };
        pd(&dir)
            .args(["weights", "convert", "-o", &converted])
            .arg(&pkl)
            .assert()
            .success()
            .stdout(contains(said));
        let again = format!("{name}-again");
        pd(&dir)
            .args(["sample", "--generator", &converted, "--seeds", "0-3", "--trunc", "0.7", "-o", &again])
            .assert()
            .success();
        assert!(pixels(&dir.path().join(again)) == seeds);
        pd(&dir).args(["weights", "convert", "-o", &converted]).arg(&pkl).assert().code(2);
    }
}

#[test]
fn classes_and_noise_modes_are_asked_for_and_refused() {
    let dir = TempDir::new().unwrap();
    let sample = |more: &str| {
        let mut command = pd(&dir);
        command
            .args(["sample", "--seeds", "0-1", "--generator"])
            .arg(generator_fixture("stylegan2-cond/snapshot.pkl"));
        command.args(more.split_whitespace()).assert()
    };
    sample("-o none").code(2).stderr(contains("--class"));
    sample("--class 4 -o four").code(2).stderr(contains("4 classes"));
    let mut seen = Vec::new();
    for (out, more) in [("a", ""), ("b", "--noise-mode none"), ("c", "--noise-mode random")] {
        sample(&format!("--class 2 {more} -o {out}")).success();
        seen.push(pixels(&dir.path().join(out)));
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2]);
    sample("--class 2 --noise-mode random -o d").success();
    assert!(pixels(&dir.path().join("d")) == seen[2]);
    let config = ["--config", "none.json", "-o", "e", "--class", "1"].join(" ");
    sample(&config).code(2).stderr(contains("--config"));
}

#[test]
fn a_stylegan2_is_trained_from_nothing_with_lazy_r1() {
    const CONFIG: &str = r#"{"family": "stylegan2",
        "generator": {"z_dim": 8, "w_dim": 8, "img_channels": 1, "channels": [8, 8], "mapping": {"num_layers": 2}},
        "discriminator": {"img_channels": 1, "channels": [8, 8], "mbstd_group_size": 4}}"#;
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("sg.json"), CONFIG).unwrap();
    let digits = digits_zip();
    let run = |args: &str| {
        let mut command = pd(&dir);
        command.args([
            "finetune",
            "--quiet",
            "--batch",
            "8",
            "--gamma",
            "0.1",
            "--r1-interval",
            "2",
            "--data",
        ]);
        command.arg(&digits).args(args.split_whitespace()).assert()
    };
    run("--init sg.json --steps 4 --snap 2 --log-every 1 --sheet 2 -o run").success();
    let log = fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("\"r1\"")).count(), 2, "{log}");
    // The authors' defaults: a path-length penalty at every fourth step, its running mean in the state.
    assert_eq!(log.lines().filter(|line| line.contains("\"pl\"")).count(), 1, "{log}");
    let state = dir.path().join("run/state/step-00000004/pl_mean.safetensors");
    assert!(read_state_dict(state).unwrap().f32("pl_mean").unwrap()[0] > 0.0);
    let options = fs::read_to_string(dir.path().join("run/options.json")).unwrap();
    assert!(
        options.contains("\"style_mixing\": 0.9") && options.contains("\"path_length\": 2.0"),
        "{options}"
    );
    let weights = |snapshot: &str, name: &str| {
        let dict = read_state_dict(dir.path().join("run").join(snapshot).join("g.safetensors")).unwrap();
        dict.f32(name).unwrap().to_vec()
    };
    for name in [
        "mapping.fc0.weight",
        "mapping.w_avg",
        "synthesis.b8.conv0.noise_strength",
        "synthesis.b8.torgb.weight",
    ] {
        assert_ne!(weights("snapshot-000002", name), weights("snapshot-000004", name), "{name}");
    }
    for name in ["synthesis.b8.conv0.noise_const", "synthesis.b8.conv0.resample_filter"] {
        assert_eq!(weights("snapshot-000002", name), weights("snapshot-000004", name), "{name}");
    }
    pd(&dir)
        .args(["sample", "--generator", "run/snapshot-000004", "--seeds", "0-2", "-o", "out"])
        .assert()
        .success();
    let uneven =
        ["finetune", "--quiet", "--init", "sg.json", "--batch", "6", "--steps", "1", "-o", "six", "--data"];
    pd(&dir)
        .args(uneven)
        .arg(&digits)
        .assert()
        .failure()
        .stderr(contains("groups of 4").or(contains("--batch")));
}

#[test]
fn an_official_pickle_is_trained_further_by_the_defaults_of_its_family() {
    let dir = TempDir::new().unwrap();
    let pkl = generator_fixture("stylegan2/snapshot.pkl");
    let run = |words: &str| run(&dir, &words.replace("PKL", pkl.to_str().unwrap()));
    run("sample --generator PKL --seeds 0-11 -o photos").success();
    run("embed photos -o ref").success();
    run("index ref --k 2 --no-predictor").success();
    let common = "finetune --quiet --generator PKL --discriminator PKL --data photos --reference ref";
    run(&format!("{common} --weight 1 --batch 4 --steps 1 --log-every 1 --sheet 2 -o run")).success();
    let log = fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    assert!(log.contains("\"r1\""), "{log}");
}

#[test]
fn configuration_r_of_stylegan3_is_made_anew_pickled_and_sampled() {
    const CONFIG: &str = r#"{"family": "stylegan3",
        "generator": {"z_dim": 8, "w_dim": 8, "img_resolution": 16, "img_channels": 3, "mapping": {"num_layers": 2},
            "num_layers": 4, "channel_base": 256, "channel_max": 16, "conv_kernel": 1, "use_radial_filters": true},
        "discriminator": {"img_channels": 3, "channels": [8, 8, 8], "mbstd_group_size": 4}}"#;
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("r.json"), CONFIG).unwrap();
    let digits = digits_zip();
    let train = |words: &str| {
        let mut command = pd(&dir);
        command.args(["finetune", "--quiet", "--batch", "4", "--sheet", "2", "--steps", "1", "--data"]);
        command.arg(&digits).args(words.split_whitespace()).assert()
    };
    train("--init r.json -o run").success();
    let [g, d] = ["g_ema", "d"].map(|network| {
        read_state_dict(dir.path().join(format!("run/snapshot-000001/{network}.safetensors"))).unwrap()
    });
    let squares = g.iter().filter(|(name, of)| name.ends_with("down_filter") && of.shape.len() == 2);
    assert_eq!(squares.count(), 2);
    let of_synthesis =
        json!({"channel_base": 256, "channel_max": 16, "conv_kernel": 1, "use_radial_filters": true});
    let said = [
        ("mapping.z_dim", json!(8)),
        ("mapping.c_dim", json!(0)),
        ("mapping.w_dim", json!(8)),
        ("mapping.num_layers", json!(2)),
        ("mapping.w_avg_beta", json!(0.998)),
        ("mapping.fc0.bias_gain", json!(0.01)),
        ("synthesis.img_resolution", json!(16)),
        ("synthesis.img_channels", json!(3)),
        ("synthesis.num_layers", json!(4)),
        ("synthesis.num_critical", json!(2)),
        ("synthesis._init_kwargs", of_synthesis),
    ];
    let of_judge = [
        ("c_dim", json!(0)),
        ("img_resolution", json!(16)),
        ("img_channels", json!(3)),
        ("b4.mbstd.group_size", json!(4)),
        ("b4.mbstd.num_channels", json!(1)),
    ];
    let generator = pickle::Module { weights: &g, attributes: &said, persistent: true };
    let judge = pickle::Module { weights: &d, attributes: &of_judge, persistent: true };
    let file = pickle::file(&[("G", &generator), ("D", &judge), ("G_ema", &generator)]);
    fs::write(dir.path().join("r.pkl"), file).unwrap();
    // Its discriminator is StyleGAN2's, and may go into a directory with it.
    run(&dir, "weights convert r.pkl -o converted").success().stdout(contains("discriminator"));
    for (out, generator) in [("a", "r.pkl"), ("b", "run/snapshot-000001"), ("c", "converted")] {
        run(&dir, &format!("sample --bias none --generator {generator} --seeds 0-1 -o {out}")).success();
    }
    let [a, b, c] = ["a", "b", "c"].map(|out| pixels(&dir.path().join(out)));
    assert!(a == b && a == c && a[0] != a[1]);
}
