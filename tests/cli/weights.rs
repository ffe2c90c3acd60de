//! `pd weights` as a user meets it.

use crate::support::{digits_zip, pd, project};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use tempfile::TempDir;

#[test]
fn weights_are_listed_converted_and_found() {
    let dir = TempDir::new().unwrap();
    pd(&dir).args(["weights", "list"]).assert().success().stdout(
        contains("efficientnet-lite0")
            .and(contains("embedded"))
            .and(contains("model hub: timm/vgg16.tv_in1k/model.safetensors"))
            .and(contains("18826032 bytes, SHA-256 579344248a93"))
            .and(contains("all of it is known and checked"))
            .and(contains("pd weights fetch vit-b16 --trust-on-first-use")),
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
            digits_zip().to_str().unwrap(),
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
fn weights_in_the_cache_that_have_changed_are_not_used() {
    let dir = TempDir::new().unwrap();
    let weights = dir.path().join("cache/weights");
    fs::create_dir_all(&weights).unwrap();
    let file = weights.join("lenet5.pth");
    fs::copy(project("tests/fixtures/formats/weights_legacy.pth"), &file).unwrap();
    fs::write(weights.join("lenet5.pth.sha256"), format!("{}  lenet5.pth\n", "0".repeat(64))).unwrap();
    for words in [
        &["score", digits_zip().to_str().unwrap(), "--extractor", "lenet5"][..],
        &["weights", "path", "lenet5"],
    ] {
        pd(&dir).args(words).assert().code(1).stderr(
            contains("lenet5.pth: has changed").and(contains("0000 was recorded when it was fetched")),
        );
    }
}

#[test]
fn what_nobody_can_check_is_fetched_only_on_trust_and_nothing_without_encryption() {
    let dir = TempDir::new().unwrap();
    let fetch = |flag: &str| {
        let mut command = pd(&dir);
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").args(["weights", "fetch", "vit-b16", "-q"]);
        command.args(flag.split_whitespace()).assert()
    };
    fetch("").code(2).stderr(
        contains("no digest of the weights of `vit-b16` is known")
            .and(contains("pd weights fetch vit-b16 --trust-on-first-use")),
    );
    assert!(!dir.path().join("cache").exists());
    fetch("--trust-on-first-use").code(1).stderr(contains("only https is used"));
}

/// Needs a Python with pip; without one the program says so, and no code of the directory runs either.
#[test]
fn a_file_called_pip_in_the_working_directory_is_not_run() {
    let dir = TempDir::new().unwrap();
    for name in ["pip.py", "sitecustomize.py", "pip/__main__.py"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "open('OWNED', 'w')\n").unwrap();
    }
    pd(&dir)
        .env("PIP_NO_INDEX", "1")
        .env("PYTHONPATH", dir.path())
        .args(["weights", "fetch", "efficientnet-lite0", "-q"])
        .assert()
        .code(1)
        .stderr(contains("efficientnet-lite0"));
    let owned = walk(dir.path()).into_iter().find(|path| path.ends_with("OWNED"));
    assert_eq!(owned, None);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.unwrap().into_path()).collect()
}
