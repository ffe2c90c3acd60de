//! The shards under a real SLURM, by `tests/slurm.sh`. Where there is one: `cargo test --test cli -- --ignored slurm`.

use crate::support::project;
use std::process::Command;

/// What the script exits with where there is no SLURM.
const SKIPPED: i32 = 77;

#[test]
#[ignore = "needs a SLURM and ten minutes"]
fn shards_under_slurm() {
    let script = project("tests/slurm.sh");
    let status = Command::new(script).arg(env!("CARGO_BIN_EXE_pd")).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn without_slurm_the_script_says_so_and_skips() {
    let bash = Command::new("bash")
        .arg(project("tests/slurm.sh"))
        .arg(env!("CARGO_BIN_EXE_pd"))
        .env("SLURM_CONF", "/nonexistent")
        .output();
    let output = bash.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(SKIPPED), "{said}");
    assert!(said.contains("skipped"), "{said}");
}
