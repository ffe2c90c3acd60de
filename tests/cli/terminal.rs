//! The program in a terminal: its help, and a reader that goes away.

use crate::support::{digits, pd};
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
        "sweep",
        "perturb",
        "finetune",
        "eval",
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
