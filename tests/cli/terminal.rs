//! The program in a terminal: its help, and a reader that goes away.

use crate::support::{digits, digits_zip, pd, run};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use tempfile::TempDir;

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
        "select",
        "resample",
        "sweep",
        "perturb",
        "finetune",
        "eval",
        "dups",
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

#[cfg(unix)]
#[test]
fn names_of_files_are_shown_and_not_obeyed_by_the_terminal() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 2);
    let odd = "a\u{1b}]0;OWNED\u{7}\u{1b}[2J\u{9b}31m.png";
    fs::rename(images.join("0").read_dir().unwrap().next().unwrap().unwrap().path(), images.join(odd))
        .unwrap();
    fs::write(images.join("bad\u{1b}[31m\nerror: fake line.png"), "x").unwrap();
    let is_obeyed = |c: char| c.is_control() && c != '\n';
    for words in ["score digits --k 2", "score digits --k 2 --json", "score digits/9 --k 2"] {
        let out = run(&dir, words);
        let out = out.get_output();
        for text in [&out.stdout, &out.stderr] {
            let text = String::from_utf8(text.clone()).unwrap();
            assert!(!text.contains(is_obeyed), "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("error: fake")), "{text}");
        }
    }
    run(&dir, "score digits --k 2").success().stderr(contains("bad\\u001b[31m\\u000aerror: fake line.png"));
    // A result keeps the name as it is.
    let json = run(&dir, "score digits --k 2 --json").get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(json["skipped"][0][0].as_str().unwrap().contains("bad\u{1b}[31m\nerror: fake"));
    run(&dir, "score digits --k 2 -o s.csv").success();
    assert!(crate::support::column(&dir.path().join("s.csv"), "path").contains(&odd.to_string()));
    pd(&dir)
        .args(["score", "missing\u{1b}[2J\nhint: fake"])
        .assert()
        .code(1)
        .stderr(contains("missing\\u001b[2J\\u000ahint: fake").and(contains("\u{1b}").not()));
}

#[test]
fn names_that_are_formulas_stay_as_they_are_unless_a_spreadsheet_is_to_read_them() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 3);
    let formula = "=cmd|' C'!A0.png";
    fs::rename(images.join("0").read_dir().unwrap().next().unwrap().unwrap().path(), images.join(formula))
        .unwrap();
    fs::write(images.join("@broken.png"), "x").unwrap();
    run(&dir, "score digits --k 2 -o plain.csv").success();
    run(&dir, "score digits --k 2 -o safe.csv --csv-safe").success();
    run(&dir, "score digits --k 2 -o safe.jsonl --csv-safe").success();
    let paths = |name: &str| crate::support::column(&dir.path().join(name), "path");
    assert!(paths("plain.csv").contains(&formula.to_string()));
    assert!(paths("safe.csv").contains(&format!("'{formula}")));
    assert_eq!(paths("plain.skipped.csv"), ["@broken.png"]);
    assert_eq!(paths("safe.skipped.csv"), ["'@broken.png"]);
    let plain = |name: &str| paths(name).into_iter().filter(|path| !path.contains("cmd")).collect::<Vec<_>>();
    assert_eq!(plain("safe.csv"), plain("plain.csv"));
    assert!(fs::read_to_string(dir.path().join("safe.jsonl")).unwrap().contains("\"=cmd|"));
    run(&dir, "score --help").success().stdout(contains("--csv-safe").and(contains("formula")));
}

#[test]
fn tables_of_every_directory_can_be_made_safe_and_are_read_back_as_they_were() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 3);
    let (formula, other) = ("=1+1.png", "'-a.png");
    for (name, folder) in [(formula, "0"), (other, "1")] {
        let picture = images.join(folder).read_dir().unwrap().next().unwrap().unwrap().path();
        fs::rename(picture, images.join(name)).unwrap();
    }
    fs::write(images.join("@broken.png"), "x").unwrap();
    let safe = |place: &str| {
        let path = dir.path().join(place);
        assert!(fs::read(&path).unwrap().starts_with(b"\xef\xbb\xbf"), "{place}");
        let paths = crate::support::column(&path, "path");
        let masked = [format!("'{formula}"), format!("'{other}")];
        assert!(masked.iter().all(|name| paths.contains(name)), "{place}: {paths:?}");
        let cells = crate::support::rows(&path).into_iter().flat_map(|row| row.into_values());
        assert!(cells.into_iter().all(|cell| !cell.starts_with(['=', '@'])), "{place}");
    };
    run(&dir, "embed digits -o ref --csv-safe").success();
    run(&dir, "index ref --k 2 --csv-safe").success();
    safe("ref/images.csv");
    safe("ref/scores.csv");
    assert_eq!(crate::support::column(&dir.path().join("ref/skipped.csv"), "path"), ["'@broken.png"]);
    run(&dir, "embed digits -o ref").success().stdout(contains("Nothing to do: 30"));

    run(&dir, "sample --pool digits --reference ref -n all -o kept").success();
    let names = crate::support::column(&dir.path().join("kept/samples.csv"), "path");
    assert!(names.iter().any(|name| name == formula) && names.iter().any(|name| name == other));
    run(&dir, "sample --pool digits --reference ref -n all -o kept --csv-safe")
        .success()
        .stderr(contains("finished already"));
    safe("kept/samples.csv");
    run(&dir, "select digits --features ref -n 30 -o best --csv-safe").success();
    safe("best/selected.csv");
    run(&dir, "report ref --images digits").success();
    let page = fs::read_to_string(dir.path().join("ref/report.html")).unwrap();
    assert!(page.contains(formula) && !page.contains(&format!("'{formula}")));

    run(&dir, "score digits --k 2 --csv-safe").code(2).stderr(contains("-o FILE.csv"));
    run(&dir, "embed digits -o parts --shard 0/1 --csv-safe").code(2).stderr(contains("pd merge"));
    run(&dir, "embed digits -o parts --shard 0/1").success();
    run(&dir, "merge parts --csv-safe").success();
    safe("parts/images.csv");
}

/// The file is a pipe that nobody writes into: reading it never ends, and never asks whether to stop.
#[cfg(unix)]
#[test]
fn a_command_that_comes_to_no_safe_point_stops_all_the_same() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 2);
    let pipe = dir.path().join("groups.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("pd"))
        .args(["score", "digits", "--k", "2", "-q", "--groups", "groups.csv"])
        .env("PD_CACHE", dir.path().join("cache"))
        .current_dir(dir.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Opening it succeeds when the program has opened it too.
    let _writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("interrupted"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_and_a_closed_stderr_are_ordinary() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 20);
    let sh = |script: &str| {
        let program = assert_cmd::cargo::cargo_bin("pd");
        let script = script.replace("PD", &program.display().to_string());
        let cache = dir.path().join("cache");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).env("PD_CACHE", cache).current_dir(dir.path()).output().unwrap()
    };
    let out = sh("ulimit -f 4; exec PD score digits --k 2 -q -o s.csv");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write s.csv"), "{said}");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.retain(|name| name != "cache");
    assert_eq!(names, ["digits"]);
    // Nobody listens to warnings.
    fs::write(dir.path().join("digits/broken.png"), "x").unwrap();
    let out = sh("PD score digits --k 2 --json 2>&-");
    assert_eq!(out.status.code(), Some(0));
    assert!(serde_json::from_slice::<serde_json::Value>(&out.stdout).is_ok());
}

#[test]
fn what_a_dead_process_left_beside_a_table_goes() {
    let dir = TempDir::new().unwrap();
    let left = dir.path().join(".s.csv.AbCdEf.pd.tmp");
    fs::write(&left, "half").unwrap();
    fs::write(dir.path().join(".s.csv.AbCdEf.tmp"), "of another program").unwrap();
    pd(&dir).arg("score").arg(digits_zip()).args(["-q", "-o", "s.csv"]).assert().success();
    assert!(!left.exists() && dir.path().join(".s.csv.AbCdEf.tmp").exists());
}

#[test]
fn the_version_tells_two_builds_of_it_apart() {
    let dir = TempDir::new().unwrap();
    let said = |flag: &str| {
        let out = pd(&dir).arg(flag).env("PD_SIMD", "portable").output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(said("-V"), format!("pd {version}\n"));
    let long = said("--version");
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], format!("pd {version}"));
    assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("optional features: "), "{long}");
    assert_eq!(lines[3], "instruction set: portable");
}
