//! What works on a machine that has nothing else: `pd demo`, and the bare commands on what the program carries.

use crate::support;
use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// `pd` in the directory to work in.
fn pd(dir: &TempDir) -> Command {
    let mut command = support::pd(dir);
    command.current_dir(dir.path().join("work"));
    command
}

/// An empty directory to work in, and a cache beside it.
fn empty() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("work")).unwrap();
    dir
}

fn run(dir: &TempDir, args: &str) -> assert_cmd::assert::Assert {
    pd(dir).args(args.split_whitespace()).assert().success()
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn bare_commands_run_on_the_demonstration_and_say_so() {
    let dir = empty();
    let work = dir.path().join("work");
    let carried = "using the demonstration that pd carries";
    let named = || contains(carried).and(contains("--generator G")).and(contains("--reference REF"));
    run(&dir, "score").stdout(contains("160 images")).stderr(contains(carried).and(contains("name IMAGES")));
    run(&dir, "dups")
        .stdout(contains("of 120 images"))
        .stderr(contains(carried).and(contains("name IMAGES")));
    run(&dir, "select").stdout(contains("24 of 120 images chosen")).stderr(contains("--reference REF"));
    run(&dir, "sample --bias fidelity -n 20").stdout(contains("20 images kept")).stderr(named());
    run(&dir, "perturb --bias diversity --seeds 0-3 --steps 2").stderr(named());
    run(&dir, "sweep -n 128").stderr(named()).stdout(contains("pd sample ").and(contains("cache").not()));
    run(&dir, "finetune --bias diversity --steps 5").stderr(named().and(contains("--data IMAGES")));
    for made in ["pd-sample", "pd-select", "pd-perturb", "pd-sweep", "pd-finetune"] {
        run(&dir, &format!("report {made}")).stdout(contains(format!("{made}/report.html")));
    }
    assert_eq!(entries(&work), ["pd-finetune", "pd-perturb", "pd-sample", "pd-select", "pd-sweep"]);
    // The real images beside the samples are those the program carries.
    for made in ["pd-sample", "pd-select"] {
        let page = fs::read_to_string(work.join(made).join("report.html")).unwrap();
        assert!(!page.contains("\"picture\":null") && page.contains("nearest real"), "{made}");
    }
    // No path of this machine gets into a result.
    for file in ["pd-sample/summary.json", "pd-finetune/options.json", "pd-sweep/summary.json"] {
        let text = fs::read_to_string(work.join(file)).unwrap();
        assert!(!text.contains(dir.path().to_str().unwrap()), "{file}");
    }
    // The same command again goes on with the same run; another one is not written over it.
    run(&dir, "finetune --bias diversity --steps 6").stdout(contains("6 steps"));
    let other = pd(&dir).args(["sample", "--bias", "diversity", "-n", "20"]).assert().code(2);
    other.stderr(contains("holds another run"));
    // What was made is a generator like any other.
    run(&dir, "sample --generator pd-finetune/snapshot-000006 -n 4 -o tuned").stdout(contains("4 images"));
}

#[test]
fn half_a_set_of_inputs_is_not_completed_with_digits() {
    let dir = empty();
    let refused = |args: &str, missing: &str| {
        let run = pd(&dir).args(args.split_whitespace()).assert().failure();
        run.stderr(contains(missing).and(contains("carries").not()));
    };
    refused("sample --reference ref --bias match", "ref");
    refused("sample --pool photos --bias match -n 5", "--reference");
    refused("perturb --generator g --bias fidelity", "--reference");
    refused("perturb --reference ref --bias fidelity", "ref");
    refused("sweep --generator g", "--reference");
    refused("score --reference ref", "ref");
    refused("dups --against photos", "no pictures were named");
    refused("select --reference ref -n 5", "no images were named");
    refused("finetune --generator g --steps 5", "g");
}

#[test]
#[ignore = "takes a minute; the gate runs it as the smoke test of the README's first command"]
fn the_demonstration_tells_its_story_and_its_commands_can_be_copied() {
    let dir = empty();
    let work = dir.path().join("work");
    let story = String::from_utf8(run(&dir, "demo -q").get_output().stdout.clone()).unwrap();
    for title in
        ["Which pictures are odd", "Which are copies", "Which 24", "Reweight", "Perturb", "Fine-tune"]
    {
        assert!(story.contains(title), "{title}\n{story}");
    }
    assert!(story.lines().all(|line| line.len() <= 220), "{story}");
    let page = fs::read_to_string(work.join("demo/report.html")).unwrap();
    assert!(page.len() < 2_500_000 && page.matches("<img").count() > 200, "{}", page.len());
    assert!(!page.contains("\"picture\":null") && !page.contains("http:") && !page.contains("https:"));
    // All edited copies are found, and none is chosen; some are, at random.
    assert!(story.contains("24 of 120 images are copies"), "{story}");
    let taken = |name: &str| {
        let line = story.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().rev().take(3).map(|n| n.parse().unwrap()).collect::<Vec<usize>>()
    };
    assert_eq!(taken("chosen by pd select")[1..], [0, 0], "{story}");
    assert!(taken("drawn at random").iter().sum::<usize>() > 3, "{story}");
    // The table: draws, precision, recall and distance of seven sets.
    let table: Vec<&str> = story.split("all stages in one table").nth(1).unwrap().lines().collect();
    let plain = table.iter().find(|line| line.contains("as it is")).unwrap();
    assert!(plain.contains("1.0") && plain.contains("0."), "{plain}");
    assert_eq!(table.iter().filter(|line| line.contains("(+") || line.contains("(-")).count(), 6);

    // Every printed command, copied, does the same: what it would write is there already, to the byte.
    let commands: Vec<&str> = story.lines().filter_map(|line| line.trim().strip_prefix("$ pd ")).collect();
    assert!(commands.len() >= 15, "{commands:?}");
    let samples =
        commands.iter().filter(|command| command.starts_with("sample") && command.contains("--bias match"));
    for command in samples {
        let output = command.rsplit(' ').next().unwrap();
        let again = command.replace(output, "again");
        run(&dir, &again);
        for name in entries(&work.join("again")) {
            let (ours, theirs) = (work.join("again").join(&name), work.join(output).join(&name));
            assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{command}: {name}");
        }
        fs::remove_dir_all(work.join("again")).unwrap();
    }
    // Run again, it finds everything done, and tells the same.
    let again = String::from_utf8(run(&dir, "demo -q").get_output().stdout.clone()).unwrap();
    let timeless =
        |text: &str| text.lines().filter(|l| !l.starts_with("time:")).collect::<Vec<_>>().join("\n");
    assert_eq!(timeless(&again), timeless(&story));
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = empty();
    fs::create_dir(dir.path().join("work/demo")).unwrap();
    fs::write(dir.path().join("work/demo/thesis.txt"), "ten years").unwrap();
    pd(&dir).args(["demo"]).assert().code(2).stderr(contains("something else"));
    assert_eq!(entries(&dir.path().join("work/demo")), ["thesis.txt"]);
}
