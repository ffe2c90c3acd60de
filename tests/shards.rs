//! `--shard I/N` and `pd merge`: however the work is cut, the bytes are those of one run.

use assert_cmd::Command;
use predicates::str::contains;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Images: more than two chunks of 1 024 hold.
const IMAGES: usize = 2_100;
/// Images of the reference.
const REFERENCE: usize = 60;

fn pd(dir: &TempDir) -> Command {
    let mut command = Command::cargo_bin("pd").unwrap();
    command.env("PD_CACHE", dir.path().join("cache")).current_dir(dir.path());
    for name in ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "SLURM_STEP_ID", "RANK", "WORLD_SIZE"] {
        command.env_remove(name);
    }
    command
}

fn run(dir: &TempDir, arguments: &[&str]) -> assert_cmd::assert::Assert {
    pd(dir).args(arguments).assert()
}

/// Small images, some of them damaged, in `photos`.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for i in 0..IMAGES {
        let (a, b) = (i * 7919 % 256, i * 104_729 % 256);
        let text =
            if i % 500 == 3 { "P2 broken".to_owned() } else { format!("P2 2 2 255 {a} {b} {} 9", i % 251) };
        fs::write(photos.join(format!("{i:04}.pgm")), text).unwrap();
    }
    dir
}

fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()))
        .collect()
}

#[test]
fn features_and_scores_made_in_parts_are_those_of_one_run() {
    let dir = stage();
    run(&dir, &["embed", "photos", "-o", "whole"]).success();
    for count in [1, 3, 4] {
        let out = format!("cut{count}");
        for index in (0..count).rev() {
            run(&dir, &["embed", "photos", "--shard", &format!("{index}/{count}"), "-o", &out]).success();
        }
        run(&dir, &["merge", &out])
            .success()
            .stdout(contains(format!("{count} parts: 2095 images, 5 skipped")));
        assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join(&out)), "{count} shards");
        run(&dir, &["merge", &out]).success().stderr(contains("merged already"));
    }
    for index in 0..3 {
        run(&dir, &["embed", "photos", "--shard", &format!("{index}/3"), "-o", "parts"]).success();
    }
    run(&dir, &["merge", "parts", "--in-place"]).success();
    assert!(!dir.path().join("parts/features.npy").exists());
    for reference in ["whole", "parts"] {
        run(&dir, &["index", reference, "--no-predictor"]).success();
    }
    let scores = |name: &str| fs::read(dir.path().join(name).join("scores.csv")).unwrap();
    assert_eq!(scores("whole"), scores("parts"));

    run(&dir, &["score", "photos", "--reference", "whole", "-o", "one.csv"]).success();
    for index in 0..2 {
        let shard = format!("{index}/2");
        run(&dir, &["score", "photos", "--reference", "whole", "--shard", &shard, "-o", "scored"]).success();
    }
    run(&dir, &["merge", "scored"]).success();
    let mut expected = BTreeMap::new();
    expected.insert("scores.csv".to_owned(), fs::read(dir.path().join("one.csv")).unwrap());
    expected.insert("scores.skipped.csv".to_owned(), fs::read(dir.path().join("one.skipped.csv")).unwrap());
    assert_eq!(content(&dir.path().join("scored")), expected);
}

#[test]
fn what_is_missing_different_or_changed_is_named() {
    let dir = stage();
    let photos = dir.path().join("photos");
    for i in REFERENCE..IMAGES {
        fs::remove_file(photos.join(format!("{i:04}.pgm"))).unwrap();
    }
    let embed = |shard: &str, more: &[&str]| {
        run(&dir, &[&["embed", "photos", "-o", "out", "--shard", shard], more].concat())
    };
    run(&dir, &["merge", "out"]).failure().code(1);
    embed("0/3", &[]).success();
    run(&dir, &["merge", "out"]).failure().code(1).stderr(contains("missing 2 of 3: --array=1-2"));
    embed("0/3", &[]).success();
    embed("1/3", &["--fit", "pad"]).success();
    run(&dir, &["merge", "out"]).failure().code(1).stderr(contains("options.identity.preprocessing.fit"));
    embed("1/3", &[]).failure().code(1).stderr(contains("of another run"));
    fs::remove_dir_all(dir.path().join("out/parts/00001-of-00003")).unwrap();
    let array = |index: &str| {
        let mut command = pd(&dir);
        command.env("SLURM_ARRAY_TASK_ID", index).env("SLURM_ARRAY_TASK_COUNT", "1");
        command.args(["embed", "photos", "-o", "out", "--shard", "auto/3"]).assert()
    };
    array("3").failure().code(2);
    array("1").success();
    array("2").success();
    let table = dir.path().join("out/parts/00002-of-00003/images.csv");
    let kept = fs::read(&table).unwrap();
    fs::write(&table, "row,path,width,height,note\n").unwrap();
    run(&dir, &["merge", "out"]).failure().code(1).stderr(contains("00002-of-00003/images.csv"));
    fs::write(&table, kept).unwrap();
    run(&dir, &["merge", "out"]).success();
    embed("1/3", &[]).failure().code(1).stderr(contains("merged"));
    for wrong in ["3/3", "x", "auto"] {
        embed(wrong, &[]).failure().code(2);
    }
    run(&dir, &["score", "photos", "--shard", "0/2"]).failure().code(2);
}
