//! IDDPM and ADM as a user meets them: images of an official checkpoint with its flags, training, perturbation, and the way back.

use crate::support::{bytes_of, digits_zip, generator_fixture, pd, pixels, run, write_latents};
use predicates::str::contains;
use pseudo_density::internals::formats::read_state_dict;
use std::fs;
use tempfile::TempDir;

/// A number as OpenAI's scripts write it.
fn byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).clamp(0.0, 255.0) as u8
}

#[test]
fn the_trajectories_of_a_checkpoint_with_its_flags_are_those_of_the_official_program() {
    for name in ["iddpm", "adm"] {
        let dir = TempDir::new().unwrap();
        let fixture = generator_fixture(name);
        // A state dict as torch saves it, under the official names.
        pd(&dir)
            .args(["weights", "convert", "-o", "model.pt"])
            .arg(fixture.join("weights.safetensors"))
            .assert()
            .success();
        fs::copy(fixture.join("flags.json"), dir.path().join("flags.json")).unwrap();
        let io = read_state_dict(fixture.join("io.safetensors")).unwrap();
        write_latents(dir.path().join("noise.npy"), &io, "x_T");
        let generator = format!("--generator model.pt --arch {name}");
        let sample = format!("sample --bias none {generator} --latents noise.npy --ddim-steps 5 -o");
        run(&dir, &format!("{sample} out --config flags.json")).success();
        let found = pixels(&dir.path().join("out"));
        let expected = bytes_of(io.f32("ddim.final").unwrap(), 32, byte);
        assert_eq!(found.len(), expected.len());
        // The carried weights are rounded to half precision; with exact ones no byte is off by more than 1.
        for (found, expected) in found.iter().zip(&expected) {
            let off: u32 = found.iter().zip(expected).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            assert!(off < found.len() as u32 / 2, "{off} of {}", found.len());
        }
        run(&dir, &format!("{sample} none")).code(2).stderr(contains("--config"));
        run(&dir, &format!("weights convert model.pt --arch {name} --config flags.json -o converted"))
            .success();
        run(&dir, "sample --bias none --generator converted --latents noise.npy --ddim-steps 5 -o again")
            .success();
        assert!(pixels(&dir.path().join("again")) == found);
        run(&dir, &format!("{sample} odd --config flags.json --trunc 0.5"))
            .code(2)
            .stderr(contains("--trunc"));
    }
}

const CONFIG: &str = r#"{"family": "iddpm", "generator": {"image_size": 8, "num_channels": 32, "num_res_blocks": 1,
    "attention_resolutions": "4", "channel_mult": "1,1", "learn_sigma": true, "diffusion_steps": 50, "noise_schedule": "cosine"}}"#;

#[test]
fn a_model_is_trained_by_the_hybrid_objective_perturbed_and_given_back_to_torch() {
    let dir = TempDir::new().unwrap();
    let digits = digits_zip();
    fs::write(dir.path().join("iddpm.json"), CONFIG).unwrap();
    pd(&dir)
        .args("finetune --quiet --batch 8 --init iddpm.json --steps 4 --snap 2 --log-every 1".split(' '))
        .args("--sheet 2 --ddim-steps 5 -o run --data".split(' '))
        .arg(&digits)
        .assert()
        .success();
    let weights = |snapshot: &str| {
        let dict = read_state_dict(dir.path().join("run").join(snapshot).join("g.safetensors")).unwrap();
        dict.f32("out.2.weight").unwrap().to_vec()
    };
    let (before, after) = (weights("snapshot-000002"), weights("snapshot-000004"));
    // The mean's half learns from the squared error, the variance's from the bound.
    let half = before.len() / 2;
    assert!(before[..half] != after[..half] && before[half..] != after[half..]);

    // Dropout of the configuration is part of training and of nothing else.
    let dropping = CONFIG.replace("\"learn_sigma\"", "\"dropout\": 0.5, \"learn_sigma\"");
    fs::write(dir.path().join("dropping.json"), &dropping).unwrap();
    pd(&dir)
        .args("finetune --quiet --batch 8 --init dropping.json --steps 1 --log-every 1 --sheet 2".split(' '))
        .args("--ddim-steps 5 -o dropped --data".split(' '))
        .arg(&digits)
        .assert()
        .success();
    let of = |run: &str, file: &str| fs::read(dir.path().join(run).join(file)).unwrap();
    assert_eq!(of("run", "fakes-000000.png"), of("dropped", "fakes-000000.png"));
    let first_line =
        |run: &str| String::from_utf8(of(run, "log.jsonl")).unwrap().lines().next().unwrap().to_owned();
    assert_ne!(first_line("run"), first_line("dropped"));
    fs::write(dir.path().join("all.json"), dropping.replace("0.5", "1.0")).unwrap();
    pd(&dir)
        .args("finetune --quiet --init all.json --steps 1 -o none --data".split(' '))
        .arg(&digits)
        .assert()
        .failure()
        .stderr(contains("`dropout` is 1"));

    pd(&dir).args("embed --quiet -o ref".split(' ')).arg(&digits).assert().success();
    run(&dir, "index ref --quiet --no-predictor").success();
    run(
        &dir,
        "perturb --generator run/snapshot-000004 --reference ref --bias fidelity --seeds 0-1 --ddim-steps 3 --steps 2 -o moved",
    )
    .success();
    let table = fs::read_to_string(dir.path().join("moved/samples.csv")).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");

    run(&dir, "weights convert run/snapshot-000004 -o tuned.pt").success();
    let written = read_state_dict(dir.path().join("tuned.pt")).unwrap();
    let kept = read_state_dict(dir.path().join("run/snapshot-000004/g_ema.safetensors")).unwrap();
    assert_eq!(written.len(), kept.len());
    assert!(written.iter().all(|(name, tensor)| kept.get(name) == Some(tensor)));
    assert!(written.get("input_blocks.1.0.in_layers.0.weight").is_some());
    run(&dir, "weights convert tuned.pt -o tuned.onnx").code(2).stderr(contains(".safetensors nor .pt"));
    run(&dir, "weights convert tuned.pt --arch iddpm -o tuned.pth").code(2);
}
