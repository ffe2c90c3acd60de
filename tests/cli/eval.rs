//! `pd eval` as a user meets it, on feature files and on images.

use crate::support::{digits, digits_zip, pd, project};
use ndarray::{Array2, s};
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::formats::npy::write_npy;
use pseudo_density::internals::formats::read_features;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn fixture(key: &str) -> Array2<f32> {
    read_features(project("tests/fixtures/metrics/features.safetensors"), Some(key)).unwrap()
}

fn expected() -> Value {
    let text = fs::read(project("tests/fixtures/metrics/expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A directory with `real.npy` and `fake.npy` of so many rows.
fn features(rows: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, key) in [("real.npy", "real_2000"), ("fake.npy", "fake_2000")] {
        write_npy(dir.path().join(name), &fixture(key).slice(s![..rows, ..])).unwrap();
    }
    dir
}

fn json(dir: &TempDir, args: &[&str]) -> Value {
    let out = pd(dir).arg("eval").args(args).args(["--json", "--quiet"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

const BOTH: [&str; 4] = ["--real", "real.npy", "--generated", "fake.npy"];

#[test]
fn every_metric_agrees_with_the_reference_values() {
    let dir = features(2000);
    let found = json(&dir, &BOTH);
    let row = &found["generated"][0];
    let expected = expected();
    let close = |name: &str, value: &Value| {
        let (found, expected) = (row[name].as_f64().unwrap(), value.as_f64().unwrap());
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{name}: {found}, expected {expected}");
    };
    close("fd", &expected["fid"]["fid"]);
    close("kid", &expected["kid"]["unbiased_full"]);
    for (k, names) in [("k3", ["precision", "recall"]), ("k5", ["density", "coverage"])] {
        names.iter().for_each(|name| close(name, &expected["prdc"][k]["values"][name]));
    }
    assert_eq!(found["extractor"], "external");
    assert_eq!(
        (&found["k"], &found["k_density"], &found["boundary"]),
        (&3.into(), &5.into(), &"excluded".into())
    );
    assert_eq!((&row["path"], &row["n"]), (&"fake.npy".into(), &2000.into()));
    assert_eq!(found["real"]["n"], 2000);
    for name in ["clipped_density", "clipped_coverage", "authenticity"] {
        assert!((0.0..=1.0).contains(&row[name].as_f64().unwrap()), "{name}");
    }
    assert!(found["real"]["vendi"].as_f64().unwrap() > 1.0 && found["real"]["fd"].is_null());
    assert!(row["kid_subsets"].is_null());
}

#[test]
fn several_sets_stand_in_one_table_that_states_its_conventions() {
    let dir = features(300);
    pd(&dir)
        .args(["eval", "--real", "real.npy", "--generated", "fake.npy", "real.npy", "--self-check"])
        .assert()
        .success()
        .stdout(
            contains("on a sphere's boundary is outside (<, as in prdc)")
                .and(contains("\nfake.npy "))
                .and(contains("\nreal.npy "))
                .and(contains("real, half against half"))
                .and(contains("real.npy (real)"))
                .and(contains("clipped_coverage"))
                .and(contains("FID").not()),
        );
    pd(&dir)
        .args(["eval", "--boundary", "included", "--metrics", "precision"])
        .args(BOTH)
        .assert()
        .success()
        .stdout(contains("is inside (<=, as in torch-fidelity)").and(contains("vendi").not()));
}

#[test]
fn the_same_command_gives_the_same_bytes_at_any_thread_count() {
    let dir = features(300);
    let args = ["--bootstrap", "20", "--self-check", "--metrics"];
    let all = "fd,fd-infinity,kid,kid-subsets,cmmd,precision,recall,density,coverage,clipped-density,clipped-coverage,\
               p-precision,p-recall,vendi,rke,authenticity";
    let mut outputs = Vec::new();
    for threads in ["1", "2"] {
        pd(&dir)
            .arg("eval")
            .args(BOTH)
            .args(args)
            .args([all, "--kid-subsets", "3", "--kid-subset-size", "50"])
            .args(["--threads", threads, "-o", "out.json", "--per-sample", "samples.csv"])
            .assert()
            .success()
            .stdout("");
        outputs.push(["out.json", "samples.csv"].map(|name| fs::read(dir.path().join(name)).unwrap()));
    }
    assert_eq!(outputs[0], outputs[1]);
    let found: Value = serde_json::from_slice(&outputs[0][0]).unwrap();
    let row = &found["generated"][0];
    for column in ["precision", "recall", "coverage", "clipped_coverage", "p_recall"] {
        let ([low, high], value) = (interval(row, column), row[column].as_f64().unwrap());
        assert!(low <= value && value <= high && low < high, "{column}: {row}");
    }
    assert_eq!(found["self_check"]["n"], 150);
    assert!(row["kid_subsets_std"].as_f64().unwrap() > 0.0);
}

#[test]
fn with_intervals_it_says_which_differences_are_larger_than_chance() {
    let dir = features(300);
    let run = |args: &[&str]| {
        pd(&dir)
            .args(["eval", "--real", "real.npy", "--generated", "real.npy", "fake.npy", "--bootstrap", "30"])
            .args(["--metrics", "kd,precision,vendi"])
            .args(args)
            .assert()
            .success()
    };
    run(&[]).stdout(contains("fake.npy against real.npy: worse in kid"));
    run(&["-o", "out.json"]);
    let found: Value = serde_json::from_slice(&fs::read(dir.path().join("out.json")).unwrap()).unwrap();
    assert_eq!(found["verdicts"][0]["worse"][0], "kid");
    run(&["-o", "out.tex"]);
    let table = fs::read_to_string(dir.path().join("out.tex")).unwrap();
    assert!(table.contains("\\midrule\nreal.npy & generated & 300 & "), "{table}");
    assert!(table.contains("& kid $\\downarrow$ & precision $\\uparrow$ & vendi \\\\"), "{table}");
    assert!(table.contains(" & 1.0000 [1.0000, 1.0000] & "), "{table}");
    let written = run(&["-o", "out.md"]).stdout("");
    written.stderr(contains("fake.npy against real.npy: worse in kid"));
    let table = fs::read_to_string(dir.path().join("out.md")).unwrap();
    assert!(table.lines().nth(3).unwrap().starts_with("| fake.npy | generated | 300 | "), "{table}");
}

#[test]
fn tables_have_a_row_per_set_and_samples_a_row_per_image() {
    let dir = features(300);
    pd(&dir)
        .args(["eval", "--real", "real.npy", "--generated", "fake.npy", "real.npy"])
        .args([
            "-o",
            "out.csv",
            "--per-sample",
            "samples.csv",
            "--metrics",
            "precision,fd",
            "--bootstrap",
            "20",
        ])
        .assert()
        .success();
    let table = fs::read_to_string(dir.path().join("out.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "path,set,n,precision,precision_low,precision_high,fd,fd_low,fd_high");
    assert!(lines.len() == 3 && lines[1].starts_with("fake.npy,generated,300,"), "{table}");
    let samples = fs::read_to_string(dir.path().join("samples.csv")).unwrap();
    let lines: Vec<&str> = samples.lines().collect();
    assert_eq!(lines[0], "set,path,realism,rarity,nearest,nearest_distance,authentic");
    assert_eq!(lines.len(), 601);
    assert!(
        lines[301].starts_with("real.npy,row:0,") && lines[301].ends_with(",row:0,0,false"),
        "{}",
        lines[301]
    );
}

#[test]
fn statistics_are_saved_and_serve_as_a_real_side() {
    let dir = features(300);
    let direct = json(&dir, &[&BOTH[..], &["--save-stats", "stats.npz", "--metrics", "fd"]].concat());
    let saved = json(&dir, &["--real", "stats.npz", "--generated", "fake.npy"]);
    assert_eq!(saved["generated"][0]["fd"], direct["generated"][0]["fd"]);
    assert!(saved["real"]["n"].is_null() && saved["generated"][0]["precision"].is_null());
    pd(&dir)
        .args(["eval", "--real", "stats.npz", "--generated", "fake.npy", "--metrics", "recall"])
        .assert()
        .code(2)
        .stderr(contains("serves the Frechet distance only"));
    pd(&dir)
        .args(["eval", "--real", "stats.npz", "--generated", "fake.npy", "--self-check"])
        .assert()
        .code(2)
        .stderr(contains("--self-check needs"));
}

#[test]
fn folders_of_images_are_compared_and_a_reference_serves_as_the_real_side() {
    let dir = TempDir::new().unwrap();
    let mut archive = zip::ZipArchive::new(fs::File::open(digits_zip()).unwrap()).unwrap();
    let names: Vec<String> = archive.file_names().flatten().map(String::from).collect();
    let names: Vec<String> = names.into_iter().filter(|name| name.ends_with(".png")).collect();
    for (i, name) in names.iter().take(80).enumerate() {
        let folder = dir.path().join(if i % 2 == 0 { "a" } else { "b" });
        fs::create_dir_all(&folder).unwrap();
        let mut to = fs::File::create(folder.join(format!("{i}.png"))).unwrap();
        std::io::copy(&mut archive.by_name(name).unwrap(), &mut to).unwrap();
    }
    fs::write(dir.path().join("b/broken.png"), "no image").unwrap();
    let direct = json(&dir, &["--real", "a", "--generated", "b", "a"]);
    assert_eq!((&direct["extractor"], &direct["generated"][0]["n"]), (&"tiny".into(), &40.into()));
    assert_eq!(direct["generated"][1]["precision"], 1.0);
    let said =
        pd(&dir).args(["eval", "--real", "a", "--generated", "b", "a", "-o", "x.csv"]).assert().success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert_eq!(said.matches("extractor: tiny").count(), 1, "one network serves all sets: {said}");
    assert!(said.contains("wrote 2 generated sets to x.csv"), "{said}");
    pd(&dir).args(["embed", "a", "-o", "ref"]).assert().success();
    let referred = json(&dir, &["--real", "ref", "--generated", "b"]);
    assert_eq!(referred["generated"][0], direct["generated"][0]);
    write_npy(dir.path().join("x.npy"), &Array2::<f32>::eye(8)).unwrap();
    pd(&dir)
        .args(["eval", "--real", "a", "--generated", "x.npy"])
        .assert()
        .code(2)
        .stderr(contains("features that another program made"));
    pd(&dir)
        .args(["eval", "--real", "ref", "--generated", "x.npy"])
        .assert()
        .code(2)
        .stderr(contains("extractor"));
}

#[test]
fn small_sets_are_warned_about() {
    let dir = features(20);
    pd(&dir)
        .arg("eval")
        .args(BOTH)
        .assert()
        .success()
        .stderr(contains("20 rows are fewer than 2 for each of 64 columns").and(contains("20 rows are few")));
    let found = json(&dir, &BOTH);
    assert!(found["warnings"].as_array().unwrap().len() >= 2);
}

#[test]
fn input_that_cannot_be_compared_is_refused_by_name() {
    let dir = features(50);
    let path = dir.path();
    write_npy(path.join("narrow.npy"), &Array2::<f32>::eye(20)).unwrap();
    write_npy(path.join("three.npy"), &fixture("fake_2000").slice(s![..3, ..])).unwrap();
    let mut broken = fixture("fake_2000").slice(s![..50, ..]).to_owned();
    broken[[7, 3]] = f32::NAN;
    write_npy(path.join("nan.npy"), &broken).unwrap();
    fs::write(path.join("bad.npz"), "PK").unwrap();
    let refused = |generated: &str, code: i32, text: &str| {
        pd(&dir)
            .args(["eval", "--real", "real.npy", "--generated", generated])
            .assert()
            .code(code)
            .stderr(contains(text));
    };
    refused("narrow.npy", 2, "features of width 64 there, 20 here");
    refused("three.npy", 1, "three.npy: spheres of 5 neighbours need at least 6 rows, there are 3");
    refused("nan.npy", 1, "nan.npy: row 7 of the features holds a value that is not finite");
    refused("bad.npz", 1, "bad.npz");
    let negative = pd(&dir).arg("eval").args(BOTH).args(["--k", "-1"]).assert();
    negative.code(2).stderr(contains("-1 is not in 1..=10000"));
    let groups = pd(&dir).arg("eval").args(BOTH).args(["--groups", "missing.csv"]).assert();
    groups.code(1).stderr(contains("cannot read missing.csv"));
    refused("missing.npy", 1, "missing.npy");
    pd(&dir)
        .arg("eval")
        .args(BOTH)
        .args(["--metrics", "is"])
        .assert()
        .code(2)
        .stderr(contains("possible values: fd, fd-infinity, kid"));
    pd(&dir).arg("eval").args(BOTH).args(["-o", "x.xlsx"]).assert().code(2).stderr(contains("known: .csv"));
    pd(&dir)
        .arg("eval")
        .args(BOTH)
        .args(["--metrics", "kid-subsets"])
        .assert()
        .code(2)
        .stderr(contains("cannot be drawn from 50 rows"));
    pd(&dir)
        .arg("eval")
        .args(BOTH)
        .args(["--metrics", "fid"])
        .assert()
        .success()
        .stderr(contains("is the FID only with --extractor inception-fid"))
        .stdout(contains(" fid").not());
}

#[test]
fn what_cannot_be_compared_is_refused_before_any_image_is_read() {
    let dir = features(300);
    let (some, few) = (dir.path().join("some"), dir.path().join("few"));
    for (folder, count) in [(&some, 8), (&few, 3)] {
        fs::create_dir(folder).unwrap();
        for number in 0..count {
            fs::write(folder.join(format!("{number}.png")), b"\x89PNG\r\n\x1a\nno image").unwrap();
        }
    }
    let refused = |real: &str, generated: &str, code: i32, text: &str| {
        pd(&dir)
            .args([
                "eval",
                "--real",
                real,
                "--generated",
                "some",
                generated,
                "--metrics",
                "fid-INFINITY,recall",
            ])
            .args(["--extractor", "tiny"])
            .assert()
            .code(code)
            .stderr(contains(text).and(contains("skipped").not()));
    };
    refused("some", "few", 1, "fd-infinity needs at least 20 images, and some has 8 images");
    pd(&dir)
        .args(["eval", "--real", "some", "--generated", "some", "few", "--metrics", "recall"])
        .assert()
        .code(1)
        .stderr(contains("recall needs at least 6 images, and few has 3 images").and(contains("--k")));
    pd(&dir).arg("eval").args(BOTH).args(["--save-stats", "stats.npz", "--metrics", "fd"]).assert().success();
    refused("stats.npz", "some", 2, "mean and covariance of 64 numbers, and tiny gives 192 for an image");
}

#[test]
fn the_inception_score_is_of_class_scores_alone() {
    let dir = features(300);
    let found = pd(&dir).arg("eval").args(BOTH).args(["--metrics", "inception-score", "--json"]).assert();
    let found: Value = serde_json::from_slice(&found.success().get_output().stdout).unwrap();
    assert!(found["generated"][0]["inception_score"].as_f64().unwrap() > 1.0);
    assert!(found["real"]["inception_score"].as_f64().unwrap() > 1.0);
    digits(&dir, 2);
    pd(&dir)
        .args(["eval", "--real", "digits", "--generated", "digits", "--metrics", "inception-score"])
        .assert()
        .code(2)
        .stderr(contains("`tiny` gives others").and(contains("--extractor inception-logits")));
}

#[test]
fn groups_are_compared_on_their_own_beside_the_whole() {
    let dir = features(300);
    let table = |rows: std::ops::Range<usize>, of: &dyn Fn(usize) -> &'static str| {
        rows.map(|row| format!("row:{row},{}\n", of(row))).collect::<String>()
    };
    let groups = format!("path,group\n{}", table(0..300, &|row| if row < 200 { "shoes" } else { "hats" }));
    fs::write(dir.path().join("groups.csv"), groups).unwrap();
    let run = |args: &[&str]| {
        let mut command = pd(&dir);
        command.arg("eval").args(BOTH).args(["--metrics", "precision,p-recall,fd", "--groups", "groups.csv"]);
        command.args(args).assert()
    };
    run(&[]).success().stdout(contains("\n  hats (100 real)").and(contains("\n  shoes (200 real)")));
    run(&["-o", "out.json"]).success();
    let found: Value = serde_json::from_slice(&fs::read(dir.path().join("out.json")).unwrap()).unwrap();
    let groups = &found["generated"][0]["groups"];
    assert_eq!(
        (&groups[0]["group"], &groups[0]["n"], &groups[0]["n_real"]),
        (&json!("hats"), &json!(100), &json!(100))
    );
    assert!(groups[1]["precision"].as_f64().is_some());
    run(&["-o", "out.csv"]).success();
    let lines = fs::read_to_string(dir.path().join("out.csv")).unwrap();
    assert!(lines.starts_with("path,set,n,group,n_real,precision") && lines.lines().count() == 4, "{lines}");
    run(&["--shard", "0/2", "-o", "parts"]).code(2).stderr(contains("cannot be used with"));
    fs::write(dir.path().join("groups.csv"), "path,group\nrow:0,shoes\n").unwrap();
    run(&[]).code(1).stderr(contains("299 of 300 images have no group"));
}

#[test]
fn what_is_read_is_not_written_over_and_no_file_is_written_twice() {
    let dir = features(50);
    let save = |args: &[&str], real: &str| {
        pd(&dir)
            .args(["eval", "--real", real, "--generated", "fake.npy", "--metrics", "fd"])
            .args(args)
            .assert()
    };
    save(&["--save-stats", "stats.npz"], "real.npy").success();
    let before = fs::read(dir.path().join("stats.npz")).unwrap();
    save(&["--save-stats", "./stats.npz"], "stats.npz").code(2).stderr(contains("./stats.npz is read too"));
    assert_eq!(fs::read(dir.path().join("stats.npz")).unwrap(), before);
    fs::write(dir.path().join("groups.csv"), "path,group\n").unwrap();
    save(&["--groups", "groups.csv", "-o", "groups.csv"], "real.npy").code(2).stderr(contains("is read too"));
    save(&["--per-sample", "a.csv", "-o", "a.csv"], "real.npy")
        .code(2)
        .stderr(contains("to be written twice"));
    assert!(!dir.path().join("a.csv").exists());
}

#[test]
fn a_preset_settles_how_images_are_decoded() {
    let dir = features(50);
    let args = ["--preset", "adm", "--real", "real.npy", "--generated", "fake.npy", "--fast-decode"];
    pd(&dir).arg("eval").args(args).assert().code(2).stderr(contains("cannot be used with"));
}

/// The interval of a column of a set.
fn interval(set: &Value, column: &str) -> [f64; 2] {
    [0, 1].map(|end| set["intervals"][column][end].as_f64().unwrap())
}
