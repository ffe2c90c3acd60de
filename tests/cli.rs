//! The program as a user meets it: every command is run as a process on real files.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `pd` with a cache of its own, so that nothing of the user's is seen or changed.
fn pd(dir: &TempDir) -> Command {
    let mut command = Command::cargo_bin("pd").unwrap();
    command.env("PD_CACHE", dir.path().join("cache")).current_dir(dir.path());
    command
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn odd_files() -> PathBuf {
    project("tests/fixtures/preprocess/files")
}

/// The first digits of the bundled set, unpacked.
fn digits(dir: &TempDir, per_class: usize) -> PathBuf {
    let out = dir.path().join("digits");
    let mut archive = zip::ZipArchive::new(fs::File::open(project("examples/digits.zip")).unwrap()).unwrap();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let name = entry.name().unwrap().to_string();
        let Some((class, _)) = name.split_once('/') else { continue };
        let count = seen.entry(class.to_string()).or_default();
        *count += 1;
        if *count <= per_class {
            let to = out.join(&name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::io::copy(&mut entry, &mut fs::File::create(to).unwrap()).unwrap();
        }
    }
    out
}

/// Every file below a directory with its bytes.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

fn names(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    content(dir).into_iter().map(|(p, b)| (p.strip_prefix(dir).unwrap().display().to_string(), b)).collect()
}

#[test]
fn the_bundled_digits_are_scored_with_nothing_else_at_hand() {
    let dir = TempDir::new().unwrap();
    pd(&dir)
        .args(["score", project("examples/digits.zip").to_str().unwrap()])
        .assert()
        .success()
        .stdout(contains("1797 images, tiny").and(contains("most typical")).and(contains("most unusual")));
}

#[test]
fn json_is_one_object_and_tables_hold_a_row_per_image_in_path_order() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 3);
    let out =
        pd(&dir).arg("score").arg(&images).args(["--k", "5", "--json", "-o", "s.csv"]).output().unwrap();
    assert!(out.status.success());
    let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(summary["images"], 30);
    assert_eq!(summary["most_typical"].as_array().unwrap().len(), 5);
    let text = fs::read_to_string(dir.path().join("s.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "path,pseudo_density,percentile,mean_knn_distance,nearest,nearest_distance"
    );
    let paths: Vec<&str> = lines.clone().map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(paths.len(), 30);
    assert!(paths.is_sorted());
    let mean: f64 = lines.map(|l| l.split(',').nth(1).unwrap().parse::<f64>().unwrap()).sum::<f64>() / 30.0;
    assert!((mean - 1.0).abs() < 1e-9, "pseudo densities average {mean}");
    for format in ["s.jsonl", "s.json", "s.parquet"] {
        pd(&dir).arg("score").arg(&images).args(["--k", "5", "-o", format]).assert().success().stdout("");
        assert!(fs::metadata(dir.path().join(format)).unwrap().len() > 0);
    }
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
    fs::copy(content(&images).keys().next().unwrap(), &copy).unwrap();
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
    assert_eq!(names(&dir.path().join("a")), names(&dir.path().join("b")));
}

#[test]
fn a_run_that_was_interrupted_continues_to_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let images = project("examples/digits.zip");
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
    assert_eq!(names(&whole), names(&interrupted));
    assert_eq!(names(&whole), names(&killed));
    // Once more: nothing to do, nothing changed.
    pd(&dir).arg("embed").arg(&images).args(["-o", "interrupted"]).assert().success();
    assert_eq!(names(&whole), names(&interrupted));
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
        .failure()
        .stderr(contains("already holds another reference"));
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

#[test]
fn features_of_another_program_are_scored_like_images() {
    let dir = TempDir::new().unwrap();
    let values: Vec<f32> = (0..200).map(|i| ((i * 7919) % 1013) as f32 / 100.0).collect();
    let features = ndarray::Array2::from_shape_vec((50, 4), values).unwrap();
    pseudo_density::formats::npy::write_npy(dir.path().join("feats.npy"), &features).unwrap();
    pd(&dir).args(["score", "feats.npy", "--k", "4"]).assert().success().stdout(contains("external (4-d)"));
    pd(&dir).args(["embed", "feats.npy", "-o", "ref"]).assert().success();
    pd(&dir).args(["index", "ref", "--k", "4"]).assert().success();
    pd(&dir).args(["score", "feats.npy", "--reference", "ref"]).assert().success();
    pd(&dir).args(["score", "feats.npy", "--fit", "crop"]).assert().code(2).stderr(contains("--fit"));
    let narrow = features.slice(ndarray::s![.., ..3]).to_owned();
    pseudo_density::formats::npy::write_npy(dir.path().join("narrow.npy"), &narrow).unwrap();
    pd(&dir)
        .args(["score", "narrow.npy", "--reference", "ref"])
        .assert()
        .code(2)
        .stderr(contains("width 4 there, 3 here"));
}

#[test]
fn copies_do_not_become_typical_when_they_are_collapsed() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 6);
    let one = content(&images).into_values().next().unwrap();
    for i in 0..12 {
        fs::write(images.join(format!("copy{i}.png")), &one).unwrap();
    }
    let top = |args: &[&str]| {
        let out = pd(&dir).args(["score", "digits", "--k", "5", "--json"]).args(args).output().unwrap();
        assert!(out.status.success());
        let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(summary["exact_duplicates"], 13);
        summary["most_typical"][0]["path"].as_str().unwrap().to_string()
    };
    let first = content(&images).keys().next().unwrap().strip_prefix(&images).unwrap().display().to_string();
    let is_copy = |path: &str| path.starts_with("copy") || path == first;
    assert!(is_copy(&top(&[])));
    assert!(!is_copy(&top(&["--duplicates", "collapse"])));
}

#[test]
fn groups_are_scored_within_themselves_and_small_ones_are_named() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 8);
    fs::create_dir(images.join("few")).unwrap();
    fs::write(images.join("few/one.png"), content(&images).into_values().next().unwrap()).unwrap();
    pd(&dir)
        .args(["score", "digits", "--groups", "folder", "--k", "5", "-o", "s.csv"])
        .assert()
        .success()
        .stderr(contains("group few is not scored"));
    let text = fs::read_to_string(dir.path().join("s.csv")).unwrap();
    assert!(text.lines().next().unwrap().ends_with(",group"));
    assert!(text.contains("few/one.png,,,,,,few"));
}

#[test]
fn too_few_images_and_unknown_names_are_explained() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 1);
    pd(&dir)
        .args(["score", "digits"])
        .assert()
        .code(1)
        .stderr(contains("10 images are too few for 10 neighbours"));
    pd(&dir)
        .args(["score", "digits", "--extractor", "resnet5"])
        .assert()
        .code(2)
        .stderr(contains("did you mean"));
    pd(&dir)
        .args(["score", "digits", "--extractor", "resnet18"])
        .assert()
        .code(1)
        .stderr(contains("pd weights fetch resnet18"));
    pd(&dir).args(["score", "nowhere"]).assert().code(1).stderr(contains("nowhere"));
    pd(&dir).args(["score", "digits", "-o", "s.xlsx"]).assert().code(2).stderr(contains(".parquet"));
    pd(&dir).args(["index", "digits"]).assert().code(1).stderr(contains("pd embed"));
}

#[test]
fn weights_are_listed_converted_and_found() {
    let dir = TempDir::new().unwrap();
    pd(&dir).args(["weights", "list"]).assert().success().stdout(
        contains("efficientnet-lite0")
            .and(contains("embedded"))
            .and(contains("model hub: timm/vgg16.tv_in1k/model.safetensors"))
            .and(contains("18826032 bytes, SHA-256 579344248a93")),
    );
    pd(&dir)
        .args([
            "weights",
            "convert",
            project("tests/fixtures/formats/weights_legacy.pth").to_str().unwrap(),
            "-o",
            "w.safetensors",
        ])
        .assert()
        .success();
    assert!(dir.path().join("w.safetensors").is_file());
    pd(&dir).args(["weights", "path", "resnet18"]).assert().code(1);
    pd(&dir)
        .args([
            "score",
            project("examples/digits.zip").to_str().unwrap(),
            "--extractor",
            "lenet5",
            "--weights",
            "w.safetensors",
        ])
        .assert()
        .code(1)
        .stderr(contains("convnet.c1.weight"));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 3);
    let script = format!("{} score digits --k 5 -q | true", assert_cmd::cargo::cargo_bin("pd").display());
    let out =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn every_help_fits_eighty_columns_and_ends_with_two_examples() {
    let dir = TempDir::new().unwrap();
    let commands = [
        "",
        "demo",
        "score",
        "embed",
        "index",
        "merge",
        "sample",
        "sweep",
        "perturb",
        "finetune",
        "eval",
        "report",
        "weights",
        "doctor",
        "completions",
        "man",
    ];
    for command in commands {
        let out =
            pd(&dir).args(command.split_whitespace()).arg("--help").env("COLUMNS", "80").output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let examples = text.split("Examples:\n").nth(1).unwrap();
        let begins = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
        assert_eq!(examples.trim_end().lines().filter(begins).count(), 2, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
