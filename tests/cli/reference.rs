//! `pd embed` and `pd index` as a user meets them: what a reference holds, and that it always holds the same.

use crate::support::{content, digits, digits_zip, pd, project};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

fn odd_files() -> PathBuf {
    project("tests/fixtures/preprocess/files")
}

#[test]
fn damaged_files_are_skipped_with_their_reason_or_stop_a_strict_run() {
    let dir = TempDir::new().unwrap();
    pd(&dir)
        .arg("embed")
        .arg(odd_files())
        .args(["-o", "ref"])
        .assert()
        .success()
        .stdout(contains("20 images, 5 skipped"))
        .stderr(contains("skipped truncated.jpg: "));
    let skipped = fs::read_to_string(dir.path().join("ref/skipped.csv")).unwrap();
    for damaged in ["bad_crc_ihdr.png", "empty.png", "text.png", "truncated.jpg", "truncated.png"] {
        assert!(skipped.contains(&format!("\n{damaged},")), "{damaged} is missing in {skipped}");
    }
    pd(&dir).arg("score").arg(odd_files()).args(["--k", "3", "--strict"]).assert().code(3);
    pd(&dir).arg("score").arg(odd_files()).args(["--k", "3", "-o", "s.csv"]).assert().success();
    assert_eq!(fs::read_to_string(dir.path().join("s.skipped.csv")).unwrap(), skipped);
}

#[test]
fn a_reference_has_the_files_of_the_contract_and_scores_its_own_images_as_it_was_scored() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 12);
    pd(&dir).arg("embed").arg(&images).args(["-o", "ref"]).assert().success();
    pd(&dir)
        .args(["score", "digits", "--reference", "ref"])
        .assert()
        .code(1)
        .stderr(contains("pd index ref"));
    pd(&dir).args(["index", "ref", "--k", "7"]).assert().success().stdout(contains("K = 7"));
    for file in [
        "manifest.json",
        "features.npy",
        "images.csv",
        "scores.csv",
        "predictor.safetensors",
        "skipped.csv",
        "duplicates.csv",
    ] {
        assert!(dir.path().join("ref").join(file).is_file(), "{file} is missing");
    }
    pd(&dir).args(["score", "digits", "--reference", "ref", "-o", "again.csv"]).assert().success();
    let own = fs::read_to_string(dir.path().join("ref/scores.csv")).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("again.csv")).unwrap(), own);
    pd(&dir).args(["score", "digits", "--k", "7", "-o", "within.csv"]).assert().success();
    assert_eq!(fs::read_to_string(dir.path().join("within.csv")).unwrap(), own);
    let copy = dir.path().join("other/copy.png");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, content(&images).into_values().next().unwrap()).unwrap();
    let out = pd(&dir).args(["score", "other", "--reference", "ref", "--json"]).output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(summary["most_typical"][0]["nearest_distance"], 0.0);
}

#[test]
fn the_same_command_gives_the_same_bytes_at_any_batch_and_thread_count() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 8);
    for (out, args) in [("a", ["--threads", "1", "--batch", "1"]), ("b", ["--threads", "3", "--batch", "17"])]
    {
        pd(&dir).args(["embed", "digits", "-o", out]).args(args).assert().success();
        pd(&dir).args(["index", out, "--k", "5"]).args(&args[..2]).assert().success();
    }
    assert_eq!(content(&dir.path().join("a")), content(&dir.path().join("b")));
}

#[test]
fn a_run_that_was_interrupted_continues_to_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let images = digits_zip();
    pd(&dir).arg("embed").arg(&images).args(["-o", "whole"]).assert().success();
    pd(&dir).arg("embed").arg(&images).args(["-o", "killed"]).assert().success();
    // What a killed run leaves: its first chunk and no manifest.
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let child = std::process::Command::new(assert_cmd::cargo::cargo_bin("pd"))
        .env("PD_CACHE", dir.path().join("cache"))
        .arg("embed")
        .arg(&images)
        .args(["-o", "interrupted", "--threads", "1"])
        .current_dir(dir.path())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let interrupted = dir.path().join("interrupted");
    while !interrupted.join("partial/chunk-000000.json").exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    pd(&dir).arg("embed").arg(&images).args(["-o", "interrupted"]).assert().success();
    assert_eq!(content(&whole), content(&interrupted));
    assert_eq!(content(&whole), content(&killed));
    // Once more: nothing to do, nothing changed.
    pd(&dir).arg("embed").arg(&images).args(["-o", "interrupted"]).assert().success();
    assert_eq!(content(&whole), content(&interrupted));
}

#[test]
fn another_extractor_than_the_references_is_refused_naming_both() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 5);
    pd(&dir).args(["embed", "digits", "-o", "ref"]).assert().success();
    pd(&dir).args(["index", "ref", "--k", "5"]).assert().success();
    pd(&dir)
        .args(["score", "digits", "--reference", "ref", "--fit", "crop"])
        .assert()
        .code(2)
        .stderr(contains("squash").and(contains("crop")));
    pd(&dir)
        .args(["embed", "digits", "--fit", "pad", "-o", "ref"])
        .assert()
        .code(2)
        .stderr(contains(r#"ref holds another run: preprocessing.fit is "squash" there, "pad" here"#));
    let manifest = dir.path().join("ref/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let digest = text.split("\"weights_sha256\": \"").nth(1).unwrap().split('"').next().unwrap().to_string();
    fs::write(&manifest, text.replace(&digest, &"0".repeat(64))).unwrap();
    pd(&dir)
        .args(["score", "digits", "--reference", "ref"])
        .assert()
        .code(2)
        .stderr(contains(&digest).and(contains("0".repeat(64))));
}
