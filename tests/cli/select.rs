//! `pd select` as a user meets it: digits to choose from, other digits as the reference.

use crate::support::{column, content, digits, pd, rows, run};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Digits: `pool` with six of each kind, and a reference `ref` of others.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let all = digits(&dir, 18);
    for class in fs::read_dir(&all).unwrap().flatten() {
        let to = dir.path().join("pool").join(class.file_name());
        fs::create_dir_all(&to).unwrap();
        let mut images: Vec<_> =
            fs::read_dir(class.path()).unwrap().flatten().map(|file| file.path()).collect();
        images.sort();
        for image in images.iter().take(6) {
            fs::rename(image, to.join(image.file_name().unwrap())).unwrap();
        }
    }
    run(&dir, "embed digits -o ref").success();
    run(&dir, "index ref --k 5 --no-predictor").success();
    dir
}

fn summary(dir: &TempDir, out: &str) -> Value {
    serde_json::from_slice(&fs::read(dir.path().join(out).join("summary.json")).unwrap()).unwrap()
}

fn numbers(table: &Path, name: &str) -> Vec<f64> {
    column(table, name).iter().map(|cell| cell.parse().unwrap()).collect()
}

#[test]
fn the_chosen_are_copied_ordered_and_compared_with_random_and_dense_sets() {
    let dir = stage();
    run(&dir, "select pool -n 12 --reference ref -o out")
        .success()
        .stdout(contains("12 of 60 images chosen, in out").and(contains("highest density")));
    let out = dir.path().join("out");
    let table = out.join("selected.csv");
    let files = column(&table, "file");
    let pool = content(&dir.path().join("pool"));
    let written = content(&out);
    assert_eq!(written.keys().filter(|name| name.ends_with(".png")).count(), 12);
    for file in &files {
        assert_eq!(written[file], pool[file]);
    }
    let order: Vec<String> = (1..=12).map(|place| place.to_string()).collect();
    assert_eq!(column(&table, "order"), order);
    let summary = summary(&dir, "out");
    let sum: f64 = numbers(&table, "gain").iter().sum();
    assert!((sum - summary["objective"].as_f64().unwrap()).abs() < 1e-6);
    for row in rows(&table) {
        assert!(files.contains(&row["nearest_chosen"]) && row["nearest_chosen"] != row["file"]);
        assert!(dir.path().join("digits").join(&row["nearest"]).is_file());
    }
    let figure = |set: &str, name: &str| summary["figures"][set][name].as_f64().unwrap();
    assert!(figure("selected", "recall") > figure("random", "recall"));
    assert!(figure("selected", "smallest_distance") > figure("random", "smallest_distance"));
    assert!(figure("selected", "vendi") > figure("densest", "vendi"));
    assert!(figure("densest", "mean_density") > figure("selected", "mean_density"));
    // A finished run is not done again, threads change nothing, and another run is refused.
    run(&dir, "select pool -n 12 --reference ref -o out").success().stderr(contains("finished already"));
    run(&dir, "select pool -n 12 --reference ref -o again --threads 1 --batch 7").success();
    assert_eq!(content(&dir.path().join("again")), written);
    run(&dir, "select pool -n 13 --reference ref -o out").code(2).stderr(contains("another"));
}

#[test]
fn an_interrupted_choice_is_continued() {
    let dir = stage();
    run(&dir, "select pool -n 5 -o whole").success();
    // What a run leaves that is killed while it copies: some images, and its mark.
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    run(&dir, "select pool -n 5 -o cut").success();
    let finished = summary(&dir, "cut");
    fs::remove_file(cut.join("summary.json")).unwrap();
    fs::remove_file(cut.join("selected.csv")).unwrap();
    let begun = serde_json::json!({"command": finished["command"], "run": finished["run"]});
    fs::write(cut.join(".begun.json"), begun.to_string()).unwrap();
    run(&dir, "select pool -n 6 -o cut").code(2).stderr(contains("another run"));
    run(&dir, "select pool -n 5 -o cut").success();
    assert_eq!(content(&cut), content(&whole));
}

#[test]
fn groups_give_their_shares() {
    let dir = stage();
    let counts = |out: &str| {
        let mut counts = BTreeMap::<String, usize>::new();
        for group in column(&dir.path().join(out).join("selected.csv"), "group") {
            *counts.entry(group).or_default() += 1;
        }
        counts
    };
    run(&dir, "select pool --each 2 --groups folder --reference ref -o each").success();
    assert_eq!(counts("each").values().copied().collect::<Vec<_>>(), [2; 10]);
    run(&dir, "select pool -n 25 --groups folder -o shares").success().stdout(contains("from 10 groups"));
    let shares = counts("shares");
    assert_eq!(shares.values().sum::<usize>(), 25);
    assert!(shares.values().all(|count| (2..=3).contains(count)), "{shares:?}");
    let table: String = column(&dir.path().join("each/selected.csv"), "path")
        .iter()
        .map(|path| format!("{path},a\n"))
        .collect();
    fs::write(dir.path().join("groups.csv"), format!("path,group\n{table}")).unwrap();
    run(&dir, "select pool -n 3 --groups groups.csv -o table").code(1).stderr(contains("have no group"));
    run(&dir, "select each -n 3 --groups groups.csv -o table").success();
    assert_eq!(counts("table"), BTreeMap::from([("a".to_string(), 3)]));
    run(&dir, "select pool --each 2 -o no").code(2).stderr(contains("--groups"));
}

#[test]
fn prompts_are_groups_wherever_generators_leave_them() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, 3);
    let pool = dir.path().join("digits");
    run(&dir, "select digits --each 1 --groups prompt -o no")
        .code(1)
        .stderr(contains("30 of 30 images have no prompt").and(contains("samples.csv")));
    for (path, _) in content(&pool) {
        let prompt = if path.as_str() < "5" { "a low digit" } else { "a high digit" };
        fs::write(pool.join(&path).with_extension("txt"), format!("{prompt}\n")).unwrap();
    }
    run(&dir, "select digits --each 3 --groups prompt -o out").success();
    let groups = column(&dir.path().join("out/selected.csv"), "group");
    assert_eq!(groups.iter().filter(|group| *group == "a low digit").count(), 3);
    assert_eq!(groups.iter().filter(|group| *group == "a high digit").count(), 3);
    // The table of `pd sample` says more than what lies beside the image.
    let listed: String = content(&pool)
        .keys()
        .filter(|path| path.ends_with(".png"))
        .map(|path| format!("{path},{}\n", if path.starts_with('0') { "zero" } else { "" }))
        .collect();
    fs::write(pool.join("samples.csv"), format!("file,prompt\n{listed}")).unwrap();
    run(&dir, "select digits --each 1 --groups prompt -o listed").success();
    let mut groups = column(&dir.path().join("listed/selected.csv"), "group");
    groups.sort();
    assert_eq!(groups, ["a high digit", "a low digit", "zero"]);
}

#[test]
fn limits_are_kept_and_a_pool_that_is_too_small_says_what_it_gave() {
    let dir = stage();
    run(&dir, "select pool -n 10 --reference ref --novel 20 --distinct 20 -o apart").success();
    let real = numbers(&dir.path().join("ref/scores.csv"), "nearest_distance");
    let mut sorted = real.clone();
    sorted.sort_by(f64::total_cmp);
    let least = numbers(&dir.path().join("apart/selected.csv"), "nearest_distance");
    assert!(least.iter().all(|distance| *distance >= sorted[sorted.len() / 6]), "{least:?}");
    run(&dir, "select pool -n 50 --reference ref --distinct 95 -o few").success().stderr(
        contains("50 images were asked for, the pool of 60 can give")
            .and(contains("copies of a chosen one or too near to it")),
    );
    let found = summary(&dir, "few");
    let count = column(&dir.path().join("few/selected.csv"), "file").len();
    assert!(count < 50 && found["selected"] == count && found["complete"] == false);
    run(&dir, "select pool -n 50 --reference ref --distinct 95 -o few")
        .code(2)
        .stderr(contains("fewer images"));
    run(&dir, "select pool -n 61 -o strict --strict").code(3).stderr(contains("can give 60"));
    run(&dir, "select pool -n 61 -o all").success().stderr(contains("the pool of 60 can give 60"));
}

#[test]
fn wrong_requests_say_what_was_meant() {
    let dir = stage();
    let refused = |words: &str, code: i32, by: &str| {
        run(&dir, &format!("select {words}")).code(code).stderr(contains(by));
    };
    refused("--novel pool", 2, "name it before this option: pd select pool");
    refused("pool --novel 101 -n 2 --reference ref", 2, "0 to 100");
    refused("pool --novel -n 2", 2, "--reference");
    refused("pool", 2, "-n");
    refused("pool -n 0", 2, "0");
    refused("pool -n 2 --diversity=-1", 2, "0 or above");
    refused("pool -n 2 --quality ratio", 2, "--quality density");
    refused("nowhere -n 2", 1, "nowhere");
    refused("pool -n 2 --features ref", 1, "features of none");
    assert!(!dir.path().join("pd-select").exists());
    pd(&dir).args(["select", "--help"]).assert().success().stdout(
        contains("mean over the chosen of quality").and(contains("no --shard")).and(contains("Examples:")),
    );
}

#[test]
fn what_must_be_in_the_set_is_not_chosen_again_and_counts_for_it() {
    let dir = stage();
    let must = dir.path().join("range");
    fs::create_dir_all(must.join("0")).unwrap();
    for image in fs::read_dir(dir.path().join("pool/0")).unwrap().flatten().take(3) {
        fs::copy(image.path(), must.join("0").join(image.file_name())).unwrap();
    }
    let have: Vec<String> = content(&must).into_keys().collect();
    run(&dir, "select pool -n 6 --reference ref --must range -o more").success();
    let chosen = column(&dir.path().join("more/selected.csv"), "path");
    assert_eq!(chosen.len(), 6);
    assert!(chosen.iter().all(|path| !have.contains(path)), "{chosen:?}");
    assert_eq!(summary(&dir, "more")["in_set_already"], 3);
    run(&dir, "select pool -n 60 --must range -o all").success().stderr(contains("can give 57"));
}

#[test]
fn features_that_are_there_are_not_made_again() {
    let dir = stage();
    run(&dir, "select pool -n 8 --reference ref -o made").success();
    run(&dir, "embed pool -o features").success();
    let chosen = |out: &str, name: &str| column(&dir.path().join(out).join("selected.csv"), name);
    for (words, out) in [("pool --features features", "directory"), ("features", "reference")] {
        run(&dir, &format!("select {words} -n 8 --reference ref -o {out} --json"))
            .success()
            .stdout(predicate::function(|text: &str| serde_json::from_str::<Value>(text).is_ok()));
        assert_eq!(chosen(out, "path"), chosen("made", "path"), "{out}");
    }
    // A features file says nothing of its extractor, so it goes with no reference but one of features.
    run(&dir, "select pool -n 8 -o alone").success();
    run(&dir, "select pool --features features/features.npy -n 8 -o file").success();
    assert_eq!(chosen("file", "path"), chosen("alone", "path"));
    assert_eq!(content(&dir.path().join("directory")).len(), content(&dir.path().join("made")).len());
    assert_eq!(content(&dir.path().join("reference")).len(), 2);
    run(&dir, "select features/features.npy -n 3 --set spread --quality none -o rows").success();
    assert!(chosen("rows", "path").iter().all(|name| name.starts_with("row:")));
    run(&dir, "select features -n 3 --features features -o no")
        .code(2)
        .stderr(contains("leave --features out"));
}

#[test]
fn links_archives_and_damaged_images_are_told_apart() {
    let dir = stage();
    if cfg!(unix) {
        run(&dir, "select pool -n 4 --set rke --link -o links").success();
        let files = column(&dir.path().join("links/selected.csv"), "file");
        for file in files {
            assert!(fs::symlink_metadata(dir.path().join("links").join(file)).unwrap().is_symlink());
        }
    }
    let zip = crate::support::digits_zip();
    let zip = zip.to_str().unwrap();
    run(&dir, &format!("select {zip} -n 4 --link -o no")).code(2).stderr(contains("no files to link to"));
    fs::write(dir.path().join("pool/0/broken.png"), b"no image").unwrap();
    run(&dir, "select pool -n 4 -o some").success().stderr(contains("broken.png"));
    run(&dir, "select pool -n 4 -o strict --strict").code(3).stderr(contains("broken.png"));
}

#[test]
fn what_sampling_wrote_is_a_pool() {
    let dir = stage();
    run(&dir, "sample --pool pool --reference ref -n 20 -o sampled").success();
    run(&dir, "select sampled -n 5 --reference ref -o out")
        .success()
        .stdout(contains("5 of 20 images chosen"));
}

#[test]
fn a_page_shows_the_chosen_and_what_else_could_have_been() {
    let dir = stage();
    run(&dir, "select pool -n 7 --reference ref --groups folder -o out").success();
    run(&dir, "report out --images digits").success().stdout(contains("out/report.html"));
    let page = fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    for words in
        ["out: 7 chosen images", "highest density", "nearest real", "nearest chosen", "order of choice"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.matches("data:image/png;base64").count() > 7 && !page.contains("\"picture\":null"));
}
