//! `pd weights` as a user meets it.

use crate::support::{digits_zip, pd, project};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

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
