//! `pd sample` as a user meets it: small generators with random weights, a reference of the images of another one.

use crate::support::{column, content, pd};
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::generate::{GeneratorRequest, Snapshot, initialise};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory with a small generator of random weights.
fn generator(dir: &TempDir, name: &str, seed: u64) -> PathBuf {
    let config = dir.path().join(format!("{name}.json"));
    let text = r#"{"family": "mlp-gan", "generator": {"widths": [6, 24, 192], "image": [3, 8, 8]}}"#;
    fs::write(&config, text).unwrap();
    let network = initialise(&config, seed, &GeneratorRequest::default()).unwrap();
    let out = dir.path().join(name);
    Snapshot { ema: Some(network.as_ref()), ..Snapshot::default() }.save(&out).unwrap();
    out
}

/// Generators `g` and `real`, and the reference `ref` of 300 images of the latter.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    generator(&dir, "g", 1);
    generator(&dir, "real", 2);
    let sample = ["sample", "--generator", "real", "--seeds", "0-299", "-o", "photos"];
    pd(&dir).args(sample).assert().success();
    pd(&dir).args(["embed", "photos", "-o", "ref"]).assert().success();
    pd(&dir).args(["index", "ref", "--k", "5", "--no-predictor"]).assert().success();
    dir
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_bias_moves_the_density_and_the_scores_are_those_of_the_written_files() {
    let dir = stage();
    // Powers of the density alone: the ratio rule of two unrelated networks goes where the real images are.
    for (bias, rule) in [("fidelity", "power:3"), ("diversity", "power:-3")] {
        let args = ["sample", "--generator", "g", "--reference", "ref", "--rule", rule, "-n", "60"];
        pd(&dir).args(args).args(["--pilot", "240", "-o", bias]).assert().success();
        let table = dir.path().join(bias).join("samples.csv");
        let decisions = column(&table, "decision");
        let rho: Vec<f64> = column(&table, "pseudo_density").iter().map(|v| v.parse().unwrap()).collect();
        let kept = || (0..rho.len()).filter(|&i| decisions[i] == "kept");
        assert_eq!(kept().count(), 60);
        let change = mean(kept().map(|i| rho[i])) - mean(rho.iter().copied());
        assert!(if bias == "fidelity" { change > 0.0 } else { change < 0.0 }, "{bias}: {change}");
        // The images on disk have the densities of the table.
        pd(&dir).args(["score", bias, "--reference", "ref", "-o", "again.csv"]).assert().success();
        let again = dir.path().join("again.csv");
        let of_file: BTreeMap<String, String> =
            column(&again, "path").into_iter().zip(column(&again, "pseudo_density")).collect();
        let names = column(&table, "file");
        let shown = column(&table, "pseudo_density");
        assert_eq!(of_file.len(), 60);
        for i in kept() {
            assert_eq!(of_file[&names[i]], shown[i]);
        }
    }
}

#[test]
fn neither_batch_nor_threads_change_a_byte_and_a_finished_run_is_not_done_again() {
    let dir = stage();
    let args = ["sample", "--generator", "g", "--reference", "ref", "--bias", "match", "-n", "40", "--grid"];
    let run = |out: &str, more: &[&str]| {
        pd(&dir).args(args).args(["--pilot", "150", "-o", out]).args(more).assert().success();
        content(&dir.path().join(out))
    };
    let first = run("a", &[]);
    assert_eq!(first, run("b", &["--batch", "7", "--threads", "1"]));
    assert_eq!(first.keys().filter(|name| name.starts_with("seed")).count(), 40);
    assert!(first.contains_key("grid.png") && !dir.path().join("a/partial").exists());
    assert_eq!(first, run("a", &[]));
    pd(&dir)
        .args(["sample", "--generator", "real", "--bias", "none", "-n", "2", "-o", "a"])
        .assert()
        .code(2)
        .stderr(contains("a holds another run: candidates.").and(contains(" there, ")));
}

#[test]
fn a_directory_that_another_process_writes_is_refused_until_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    generator(&dir, "g", 1);
    let out = dir.path().join("a");
    fs::create_dir(&out).unwrap();
    let lock = fs::File::create(out.join(".lock")).unwrap();
    lock.try_lock().unwrap();
    let sample = || {
        let mut command = pd(&dir);
        command.args(["sample", "--generator", "g", "--seeds", "0-3", "-o", "a"]);
        command.assert()
    };
    sample().code(2).stderr(contains("another process is writing a"));
    assert_eq!(content(&out).into_keys().collect::<Vec<_>>(), [".lock"]);
    drop(lock);
    sample().success();
    assert!(content(&out).contains_key("summary.json"));
}

#[test]
fn the_kept_latents_give_the_kept_images_again() {
    let dir = stage();
    pd(&dir).args(["sample", "--generator", "g", "--seeds", "3,7-9", "-o", "a"]).assert().success();
    let args = ["sample", "--generator", "g", "--latents", "a/latents.npy", "-o", "b"];
    pd(&dir).args(args).assert().success();
    let (a, b) = (content(&dir.path().join("a")), content(&dir.path().join("b")));
    for (seed, row) in [3, 7, 8, 9].iter().zip(0..) {
        assert_eq!(a[&format!("seed{seed:04}.png")], b[&format!("row{row:04}.png")]);
    }
}

#[test]
fn two_level_accepts_by_the_papers_rule_and_says_what_it_costs() {
    let dir = stage();
    let args = ["sample", "--generator", "g", "--reference", "ref", "--rule", "two-level"];
    let more = ["--threshold", "p50", "--weight", "20", "--seeds", "0-399", "--json", "-o", "a"];
    let output = pd(&dir).args(args).args(more).assert().success().get_output().stdout.clone();
    let summary: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let table = dir.path().join("a/samples.csv");
    let (weights, decisions) = (column(&table, "weight"), column(&table, "decision"));
    let tau = {
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.path().join("ref/manifest.json")).unwrap()).unwrap();
        manifest["density"]["quantiles"]["p50"].as_f64().unwrap()
    };
    for (i, rho) in column(&table, "pseudo_density").iter().enumerate() {
        let above = rho.parse::<f64>().unwrap() > tau;
        assert_eq!(weights[i].parse::<f64>().unwrap().round(), if above { 20.0 } else { 1.0 });
        assert!(!above || decisions[i] == "kept");
    }
    assert_eq!(summary["draws"], 400);
    assert_eq!(summary["kept"].as_u64().unwrap() + summary["rejected"].as_u64().unwrap(), 400);
}

#[test]
fn too_few_draws_keep_what_was_accepted_and_say_so() {
    let dir = stage();
    let args = ["sample", "--generator", "g", "--reference", "ref", "--bias", "fidelity", "-n", "50"];
    let more = ["--max-draws", "120", "--pilot", "100"];
    pd(&dir)
        .args(args)
        .args(more)
        .args(["-o", "a"])
        .assert()
        .success()
        .stderr(contains("more than the 120 allowed").and(contains("of the 50 images asked for")));
    pd(&dir)
        .args(args)
        .args(more)
        .args(["-o", "b", "--strict"])
        .assert()
        .code(3)
        .stderr(contains("of the 50 images asked for"));
    let kept = column(&dir.path().join("a/samples.csv"), "decision").iter().filter(|d| *d == "kept").count();
    let images = content(&dir.path().join("a")).keys().filter(|n| n.starts_with("seed")).count();
    assert!(kept > 0 && kept < 50 && kept == images);
}

#[test]
fn a_pool_gives_distinct_and_novel_images_or_says_how_many_it_can() {
    let dir = stage();
    pd(&dir).args(["sample", "--generator", "g", "--seeds", "0-199", "-o", "pool"]).assert().success();
    let args = ["sample", "--pool", "pool", "--reference", "ref", "--bias", "diversity"];
    pd(&dir).args(args).args(["-n", "50", "-o", "a"]).assert().success();
    let table = dir.path().join("a/samples.csv");
    assert_eq!(column(&table, "path").len(), 200);
    let chosen: Vec<String> = column(&table, "file").into_iter().filter(|f| !f.is_empty()).collect();
    assert_eq!(chosen.len(), 50);
    for name in &chosen {
        assert_eq!(
            fs::read(dir.path().join("a").join(name)).unwrap(),
            fs::read(dir.path().join("pool").join(name)).unwrap()
        );
    }
    pd(&dir)
        .args(args)
        .args(["-n", "201", "-o", "b"])
        .assert()
        .success()
        .stderr(contains("201 images were asked for, the pool of 200 gave 200"));
    pd(&dir)
        .args(args)
        .args(["-n", "150", "--distinct", "100", "-o", "c", "--strict"])
        .assert()
        .code(3)
        .stderr(contains("too near to another"));
    let images = |out: &str| {
        content(&dir.path().join(out)).into_keys().filter(|name| name.starts_with("seed")).collect::<Vec<_>>()
    };
    assert!((1..150).contains(&images("c").len()));
    pd(&dir).args(args).args(["-n", "all", "--distinct", "100", "--grid", "-o", "f"]).assert().success();
    assert_eq!(images("f"), images("c"));
    assert!(dir.path().join("f/grid.png").is_file());
    // The features of a reference are there already: only the pictures are named beside it.
    pd(&dir).args(["embed", "pool", "-o", "pool-ref"]).assert().success();
    let of_reference =
        ["sample", "--pool", "pool-ref", "--reference", "ref", "--bias", "diversity", "-n", "50"];
    pd(&dir).args(of_reference).args(["--images", "pool", "-o", "g50"]).assert().success();
    assert_eq!(images("g50"), images("a"));
    pd(&dir)
        .args(of_reference)
        .args(["--images", "photos", "-o", "h"])
        .assert()
        .code(2)
        .stderr(contains("was made of other pictures"));
    pd(&dir).args(of_reference).args(["--grid", "-o", "h"]).assert().code(2).stderr(contains("--images"));
    pd(&dir).args(args).args(["-n", "300", "--replace", "-o", "d"]).assert().success();
    let copies = column(&dir.path().join("d/samples.csv"), "copies");
    assert_eq!(copies.iter().map(|c| c.parse::<usize>().unwrap()).sum::<usize>(), 300);
    #[cfg(unix)]
    {
        pd(&dir).args(args).args(["-n", "5", "--link", "-o", "e"]).assert().success();
        let links = fs::read_dir(dir.path().join("e")).unwrap().flatten();
        assert_eq!(links.filter(|e| e.file_type().unwrap().is_symlink()).count(), 5);
    }
}

#[test]
fn what_a_run_costs_and_what_was_read_is_said_before_it_begins() {
    let dir = stage();
    let args = ["sample", "--generator", "g", "--reference", "ref", "--bias", "match", "-n", "20", "-o", "a"];
    pd(&dir).args(args).assert().success().stderr(
        contains("to keep 20, about 300 candidates are made (a pilot of 300 first)")
            .and(contains("a pilot of 300 candidates leans a little towards fidelity"))
            .and(contains("generator mlp-gan: ReLU between the layers")),
    );
    let summary = fs::read(dir.path().join("a/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["draws"], 300);
    assert_eq!(summary["run"]["options"]["pilot"], 300);
    assert!(summary["run"]["candidates"]["assumed"][0].as_str().unwrap().contains("ReLU"));
    pd(&dir)
        .args(["sample", "--generator", "g", "-n", "all", "-o", "b"])
        .assert()
        .code(2)
        .stderr(contains("--seeds"));
    pd(&dir)
        .args(["sample", "--generator", "g", "-n", "all", "--seeds", "0-4", "-o", "b"])
        .assert()
        .success();
}

#[test]
fn features_of_a_pool_are_made_once_and_again_when_a_picture_changes() {
    let dir = stage();
    pd(&dir).args(["sample", "--generator", "g", "--seeds", "0-79", "-o", "pool"]).assert().success();
    let choose = |out: &str| {
        let args =
            ["sample", "--pool", "pool", "--reference", "ref", "--bias", "diversity", "-n", "20", "-o", out];
        let output = pd(&dir).args(args).assert().success().get_output().stderr.clone();
        (content(&dir.path().join(out)), String::from_utf8(output).unwrap())
    };
    let (first, said) = choose("a");
    assert!(!said.contains("in the cache"), "{said}");
    let (second, said) = choose("b");
    assert!(said.contains("80 images of the pool are as before"), "{said}");
    assert_eq!(first, second);
    // Another picture under a name that is there already.
    let [one, other] = ["seed0000.png", "seed0001.png"].map(|name| dir.path().join("pool").join(name));
    fs::copy(&one, &other).unwrap();
    let (third, said) = choose("c");
    assert!(!said.contains("in the cache"), "{said}");
    assert_ne!(first["samples.csv"], third["samples.csv"]);
}

#[test]
fn requests_that_make_no_sense_are_refused_with_the_remedy() {
    let dir = stage();
    let refused = |args: &[&str], code: i32, words: &str| {
        pd(&dir)
            .args(["sample", "-o", "out"])
            .args(args)
            .assert()
            .code(code)
            .stderr(contains(words.to_string()));
    };
    refused(&["--generator", "g", "--bias", "fidelity"], 2, "need a reference");
    refused(&["--generator", "g", "--budget", "3"], 2, "everything is kept");
    let real = ["--generator", "g", "--reference", "ref"];
    let with = |more: &[&'static str]| [&real, more].concat();
    refused(&with(&["--rule", "two-level"]), 2, "needs --weight and --threshold");
    refused(&with(&["--rule", "two-level", "--bias", "match"]), 2, "ratio:0");
    refused(&with(&["--bias", "fidelity", "--threshold", "p80"]), 2, "belong to --rule two-level");
    refused(&with(&["--rule", "ratio:x"]), 2, "did you mean `ratio:2`");
    let rule = ["--rule", "two-level", "--weight", "2", "--threshold", "77"];
    refused(&with(&rule), 1, "outside the densities");
    refused(&["--generator", "g", "--seeds", "9-3"], 2, "seeds");
    refused(&["--generator", "g", "--latents", "ref/features.npy"], 1, "latents in z are [n, 6]");
    refused(&["--generator", "g", "--class", "1"], 2, "has no classes");
    refused(&["--generator", "nothing"], 1, "nothing");
    refused(&["--pool", "photos", "-n", "3"], 2, "none was named");
    refused(&with(&["--bias", "fidelity", "--density", "predictor"]), 1, "no density predictor");
}

#[test]
fn a_sweep_finds_the_frontier_continues_and_names_commands_that_work() {
    let dir = stage();
    let args = ["sweep", "--generator", "g", "--reference", "ref", "-n", "320", "--judged", "40", "-o", "s"];
    let output = pd(&dir).args(args).assert().success().stdout(contains("the lowest Frechet distance"));
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let table = dir.path().join("s/sweep.csv");
    assert_eq!(column(&table, "family")[0], "unbiased");
    assert_eq!(column(&table, "family").iter().filter(|f| *f == "truncation").count(), 5);
    assert!(column(&table, "frontier").iter().any(|f| f == "true"));
    assert!(fs::read_to_string(dir.path().join("s/sweep.svg")).unwrap().starts_with("<svg"));
    let command = text.lines().find(|line| line.trim().starts_with("pd sample")).unwrap();
    let words: Vec<&str> =
        command.split_whitespace().skip(1).map(|w| if w == "1000" { "5" } else { w }).collect();
    pd(&dir).args(words).assert().success();
    pd(&dir).args(args).assert().success().stderr(contains("finished already"));
}

#[test]
fn a_second_space_judges_a_sweep() {
    let dir = stage();
    let sweep = |more: &[&str]| {
        let mut command = pd(&dir);
        command.args(["sweep", "--generator", "g", "--reference", "ref", "-n", "64", "--judged", "16"]);
        command.args(more).assert()
    };
    // The space that scores is the independent value: judged there, every number is the same.
    let judged = sweep(&["--judge-extractor", "tiny", "--images", "photos", "-o", "t"]).success();
    judged.stderr(contains("settings are left out"));
    let table = dir.path().join("t/sweep.csv");
    for name in ["fd", "precision", "recall", "density", "coverage"] {
        assert_eq!(column(&table, name), column(&table, &format!("judge_{name}")));
    }
    sweep(&["--judge-reference", "ref", "-o", "r"]).success();
    assert_eq!(fs::read(&table).unwrap(), fs::read(dir.path().join("r/sweep.csv")).unwrap());

    sweep(&["--judge-extractor", "tiny", "-o", "n"]).code(2).stderr(contains("--images"));
    sweep(&["--judge-weights", "w.pth", "-o", "n"]).code(2).stderr(contains("of no extractor"));
    generator(&dir, "other", 3);
    pd(&dir).args(["sample", "--generator", "other", "--seeds", "0-9", "-o", "others"]).assert().success();
    sweep(&["--judge-extractor", "tiny", "--images", "others", "-o", "n"])
        .code(2)
        .stderr(contains("not of the same images"));
}
