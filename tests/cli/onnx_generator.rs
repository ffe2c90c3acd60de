//! ONNX files as generators, as a user meets them.

use crate::support::{column, content, pd, pixels, project, run};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// The generators, and images of one of them as a reference.
fn stage() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["gan.onnx", "classes.onnx", "one_hot.onnx"] {
        fs::copy(project("tests/fixtures/onnx").join(name), dir.path().join(name)).unwrap();
    }
    run(&dir, "sample --generator gan.onnx --seeds 1000-1059 -o real").success();
    run(&dir, "embed real -o ref").success();
    run(&dir, "index ref --k 3 --no-predictor").success();
    dir
}

#[test]
fn images_are_sampled_with_the_range_that_was_found_and_the_same_at_any_batch() {
    let dir = stage();
    run(&dir, "sample --generator gan.onnx --reference ref --bias diversity -n 12 --pilot 40 -o out")
        .success()
        .stderr(contains("generator onnx: latents from `z` [6]; images from `images`; values -1 (black) to 1 (white), as found in 16 images"));
    let words = "sample --generator gan.onnx --reference ref --bias diversity -n 12 --pilot 40 -o again";
    run(&dir, &format!("{words} --batch 5 --threads 1")).success();
    let whole = content(&dir.path().join("out"));
    assert_eq!(content(&dir.path().join("again")), whole);
    assert!(whole.contains_key("latents.npy"));
    // Seed 0 of the same network by ONNX Runtime.
    run(&dir, "sample --generator gan.onnx --seeds 0-2 -o seeds").success();
    let expected: Value =
        serde_json::from_slice(&fs::read(project("tests/fixtures/onnx/expected_generators.json")).unwrap())
            .unwrap();
    for (image, expected) in pixels(&dir.path().join("seeds")).iter().zip(expected["gan"].as_array().unwrap())
    {
        let values: Vec<f64> = expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        for (at, &byte) in image.iter().enumerate() {
            let exact = (values[(at % 3) * 64 + at / 3] + 1.0) * 127.5;
            assert!((f64::from(byte) - exact).abs() <= 0.5001, "{at}: {byte} and {exact}");
        }
    }
    // Another range is another run.
    run(&dir, "sample --generator gan.onnx --seeds 0-2 --generator-range 0,1 -o seeds")
        .code(2)
        .stderr(contains("another run"));
}

#[test]
fn an_image_that_ends_as_bytes_is_written_as_it_is() {
    let dir = TempDir::new().unwrap();
    for name in ["bytes.onnx", "unclipped.onnx"] {
        fs::copy(project("tests/fixtures/onnx").join(name), dir.path().join(name)).unwrap();
    }
    run(&dir, "sample --generator bytes.onnx --seeds 0-2 -o out")
        .success()
        .stderr(contains("values 0 (black) to 255 (white), as bytes are"));
    let expected = fs::read(project("tests/fixtures/onnx/expected_generators.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    for (image, expected) in pixels(&dir.path().join("out")).iter().zip(expected["bytes"].as_array().unwrap())
    {
        let bytes: Vec<u8> =
            expected.as_array().unwrap().iter().map(|byte| byte.as_f64().unwrap() as u8).collect();
        assert_eq!(image, &bytes);
    }
    run(&dir, "sample --generator unclipped.onnx --seeds 0-2 -o no")
        .code(1)
        .stderr(contains("clip them to 0 to 255"));
    assert!(!dir.path().join("no").exists());
}

#[test]
fn classes_and_further_inputs_are_named() {
    let dir = stage();
    let sample = |words: &str| run(&dir, &format!("sample --seeds 0-3 {words}"));
    sample("--generator classes.onnx -o no").code(2).stderr(contains("give --class, from 0 to 4"));
    sample("--generator classes.onnx --class 5 -o no").code(2).stderr(contains("there is no class 5"));
    sample("--generator classes.onnx --class 4 -o four").success();
    sample("--generator classes.onnx --class 0 -o zero").success();
    assert_ne!(pixels(&dir.path().join("four")), pixels(&dir.path().join("zero")));
    sample("--generator one_hot.onnx --class 1 -o no")
        .code(2)
        .stderr(contains("nothing says what its input `psi` takes").and(contains("--generator-input")));
    sample("--generator one_hot.onnx --class 1 --generator-input psi=0.5 -o psi").success();
    sample("--generator gan.onnx --generator-input z=psi -o no")
        .code(2)
        .stderr(contains("does not say what an input takes"));
    sample("--generator gan.onnx --generator-output z2 -o no")
        .code(2)
        .stderr(contains("images [N, 3, 8, 8]"));
    sample("--generator real --generator-range 0,1 -o no").code(2).stderr(contains("--generator FILE.onnx"));
    sample("--generator gan.onnx --arch dcgan -o no").code(2).stderr(contains("leave --arch"));
    assert!(!dir.path().join("no").exists());
    run(&dir, "finetune --generator gan.onnx --data real --reference ref --bias fidelity --steps 2 -o no")
        .code(2)
        .stderr(contains("no weights to train"));
}

#[test]
fn latents_are_moved_without_a_gradient_and_rules_are_compared() {
    let dir = stage();
    let perturb = "perturb --generator gan.onnx --reference ref --bias fidelity --seeds 0-3 --eps 0.5";
    run(&dir, &format!("{perturb} -o no"))
        .code(2)
        .stderr(contains("gives no gradient").and(contains("zero-order")));
    assert!(!dir.path().join("no").exists());
    run(&dir, &format!("{perturb} --search zero-order --passes 12 -o moved")).success();
    let table = dir.path().join("moved/samples.csv");
    let numbers =
        |name: &str| -> Vec<f64> { column(&table, name).iter().map(|cell| cell.parse().unwrap()).collect() };
    let (before, after) = (numbers("density_before"), numbers("density_after"));
    assert!(before.iter().zip(&after).all(|(before, after)| after >= before));
    assert!(after.iter().sum::<f64>() > before.iter().sum::<f64>());
    let sweep = "sweep --generator one_hot.onnx --class 1 --generator-input psi=0.5 --reference ref -n 256 -o sweep --json";
    let found = run(&dir, sweep).success().get_output().stdout.clone();
    let summary: Value = serde_json::from_slice(&found).unwrap();
    // The command that it prints works.
    let command = summary["best"][0]["command"].as_str().unwrap();
    let words = command.strip_prefix("pd ").unwrap().replace("-n 1000", "-n 5 --pilot 20 -q");
    pd(&dir).args(words.split_whitespace()).assert().success();
}
