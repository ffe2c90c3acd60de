//! `pd score` as a user meets it, on the bundled digits and on features.

use crate::support::{content, digits, digits_zip, pd};
use crate::tables::assert_same_table;
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use tempfile::TempDir;

#[test]
fn the_bundled_digits_are_scored_with_nothing_else_at_hand() {
    let dir = TempDir::new().unwrap();
    pd(&dir)
        .args(["score", digits_zip().to_str().unwrap()])
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
        assert_same_table(&dir.path().join("s.csv"), &dir.path().join(format));
    }
}

#[test]
fn features_of_another_program_are_scored_like_images() {
    let dir = TempDir::new().unwrap();
    let values: Vec<f32> = (0..200).map(|i| ((i * 7919) % 1013) as f32 / 100.0).collect();
    let features = ndarray::Array2::from_shape_vec((50, 4), values).unwrap();
    pseudo_density::internals::formats::npy::write_npy(dir.path().join("feats.npy"), &features).unwrap();
    pd(&dir).args(["score", "feats.npy", "--k", "4"]).assert().success().stdout(contains("external (4-d)"));
    pd(&dir).args(["embed", "feats.npy", "-o", "ref"]).assert().success();
    pd(&dir).args(["index", "ref", "--k", "4"]).assert().success();
    pd(&dir).args(["score", "feats.npy", "--reference", "ref"]).assert().success();
    pd(&dir).args(["score", "feats.npy", "--fit", "crop"]).assert().code(2).stderr(contains("--fit"));
    let narrow = features.slice(ndarray::s![.., ..3]).to_owned();
    pseudo_density::internals::formats::npy::write_npy(dir.path().join("narrow.npy"), &narrow).unwrap();
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
    let first = content(&images).into_keys().next().unwrap();
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
    for format in ["s.jsonl", "s.json", "s.parquet"] {
        let args = ["score", "digits", "--groups", "folder", "--k", "5", "-o", format];
        pd(&dir).args(args).assert().success();
        assert_same_table(&dir.path().join("s.csv"), &dir.path().join(format));
    }
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
