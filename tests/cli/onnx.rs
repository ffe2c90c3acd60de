//! ONNX files as extractors, as a user meets them.

use crate::support::{pd, project};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    project("tests/fixtures").join(name)
}

#[test]
fn a_reference_made_with_a_model_file_is_used_without_naming_the_file_again() {
    let dir = TempDir::new().unwrap();
    let images = fixture("preprocess/files");
    fs::copy(fixture("onnx/tiny.onnx"), dir.path().join("my.onnx")).unwrap();
    pd(&dir)
        .arg("embed")
        .arg(&images)
        .args(["--extractor", "my.onnx", "-o", "ref"])
        .assert()
        .success()
        .stdout(contains("20 images, 5 skipped, 8 features each"))
        .stderr(contains("does not say how images are prepared").and(contains("mean 0.485 0.456 0.406")));
    let manifest = fs::read_to_string(dir.path().join("ref/manifest.json")).unwrap();
    assert!(manifest.contains(r#""output": "features""#), "{manifest}");
    pd(&dir).args(["index", "ref", "--k", "3"]).assert().success();
    let score = |dir: &TempDir| {
        let mut command = pd(dir);
        command.arg("score").arg(&images).args(["--reference", "ref"]);
        command
    };
    score(&dir).assert().success().stdout(contains("20 images")).stderr(contains("does not say").not());
    score(&dir)
        .args(["--extractor", "tiny"])
        .assert()
        .code(2)
        .stderr(contains("extractor onnx there, tiny here"));
    fs::rename(dir.path().join("my.onnx"), dir.path().join("moved.onnx")).unwrap();
    score(&dir).assert().code(1).stderr(contains("--extractor FILE.onnx"));
    score(&dir).args(["--weights", "moved.onnx"]).assert().success();
    score(&dir).assert().success();
}

#[test]
fn the_same_bytes_come_out_at_any_batch_size_and_thread_count() {
    let dir = TempDir::new().unwrap();
    let mut seen = Vec::new();
    for (i, (batch, threads)) in [("1", "1"), ("7", "2"), ("64", "5")].into_iter().enumerate() {
        let out = format!("ref{i}");
        pd(&dir)
            .arg("embed")
            .arg(fixture("preprocess/files"))
            .arg("--extractor")
            .arg(fixture("onnx/any_size.onnx"))
            .args(["--mean", "0.5", "--std", "0.25", "--fit", "crop", "--batch", batch])
            .args(["--threads", threads, "-o", &out])
            .assert()
            .success();
        let read = |name: &str| fs::read(dir.path().join(&out).join(name)).unwrap();
        seen.push((read("features.npy"), read("manifest.json")));
    }
    assert!(seen.iter().all(|one| *one == seen[0]));
    assert!(String::from_utf8_lossy(&seen[0].1).contains("0.25"));
}

#[test]
fn a_model_that_needs_a_choice_or_cannot_be_run_says_so() {
    let dir = TempDir::new().unwrap();
    let embed = |model: &Path| {
        let mut command = pd(&dir);
        command.arg("embed").arg(fixture("preprocess/files")).arg("--extractor").arg(model).args(["-o", "r"]);
        command
    };
    embed(&fixture("onnx/two.onnx"))
        .assert()
        .code(2)
        .stderr(contains("2 outputs: features [N, 8], map").and(contains("--onnx-output")));
    fs::write(dir.path().join("broken.onnx"), "no model").unwrap();
    embed(Path::new("broken.onnx")).assert().code(1).stderr(contains("broken.onnx: cannot be used"));
    embed(Path::new("missing.onnx")).assert().code(1).stderr(contains("cannot open missing.onnx"));
    embed(Path::new("resnet18"))
        .args(["--onnx-output", "features"])
        .assert()
        .code(2)
        .stderr(contains("are for ONNX files"));
    embed(Path::new("onnx")).assert().code(2).stderr(contains(".onnx files"));
}
