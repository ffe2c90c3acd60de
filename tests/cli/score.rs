//! `pd score` as a user meets it, on the bundled digits and on features.

use crate::support::{content, digits, digits_zip, pd, picture, rows, run};
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
        "path,pseudo_density,percentile,mean_knn_distance,nearest,nearest_distance,copy_of"
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

#[test]
fn checks_say_what_may_be_wrong_with_a_picture() {
    let dir = TempDir::new().unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for seed in 0..24 {
        picture(seed).save(photos.join(format!("p{seed:02}.png"))).unwrap();
    }
    let changed = |change: &dyn Fn(u8) -> u8| {
        let mut image = picture(99);
        image.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(change));
        image
    };
    let blurred = image::imageops::blur(&picture(98), 9.0);
    let wide = image::imageops::thumbnail(&picture(97), 160, 40);
    let odd = [
        ("bright.png", changed(&|v| 245 + v / 26), "bright"),
        ("dark.png", changed(&|v| v / 16), "dark"),
        ("gray.png", image::DynamicImage::from(picture(96)).grayscale().to_rgb8(), "gray"),
        ("soft.png", blurred, "blurred"),
        ("tiny.png", image::imageops::thumbnail(&picture(95), 40, 35), "odd_size"),
        ("wide.png", wide, "odd_aspect"),
    ];
    for (name, image, _) in &odd {
        image.save(photos.join(name)).unwrap();
    }
    run(&dir, "score photos --extractor tiny --checks -o s.csv").success();
    let table = rows(&dir.path().join("s.csv"));
    let header = fs::read_to_string(dir.path().join("s.csv")).unwrap();
    assert!(
        header
            .lines()
            .next()
            .unwrap()
            .ends_with(",copy_of,sharpness,brightness,contrast,entropy,colour,width,height,flags")
    );
    for row in &table {
        let (path, flags) = (&row["path"], row["flags"].as_str());
        match odd.iter().find(|(name, _, _)| name == path) {
            Some((_, _, expected)) => {
                assert!(flags.split(';').any(|flag| flag == *expected), "{path}: {flags}");
            }
            None => assert_eq!(flags, "", "{path}"),
        }
    }
    assert_eq!((&table[24]["width"][..], &table[24]["height"][..]), ("160", "140"));
    run(&dir, "score photos --extractor tiny --checks")
        .success()
        .stdout(contains("limits that this set has taught").and(contains("odd_aspect")));
    let out =
        run(&dir, "score photos --extractor tiny --checks --json").success().get_output().stdout.clone();
    let summary: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let gray = summary["checks"].as_array().unwrap().iter().find(|check| check["flag"] == "gray").unwrap();
    assert_eq!((&gray["number"], &gray["images"]), (&"colour".into(), &1.into()));
    // Groups of copies have them too.
    picture(5).save(photos.join("same.png")).unwrap();
    run(&dir, "dups photos --extractor tiny --checks -o d.csv").success().stdout(contains("low_information"));
    let copies = rows(&dir.path().join("d.csv"));
    assert!(
        copies
            .iter()
            .any(|row| row["path"] == "same.png" && row["flags"].is_empty() && row["width"] == "160")
    );
    fs::write(dir.path().join("f.npy"), "").unwrap();
    run(&dir, "score f.npy --checks").code(2).stderr(contains("holds none"));
}
