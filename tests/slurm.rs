//! The shards under a real SLURM: `tests/slurm.sh` does it, where there is one. It takes ten minutes, so it has to be asked for:
//! `cargo test --test slurm -- --ignored`.

use std::path::Path;
use std::process::Command;

/// What the script exits with where there is no SLURM.
const SKIPPED: i32 = 77;

#[test]
#[ignore = "takes ten minutes and a SLURM"]
fn shards_under_slurm() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm.sh");
    let code = Command::new(script).arg(env!("CARGO_BIN_EXE_pd")).status().unwrap().code();
    if code == Some(SKIPPED) {
        eprintln!("skipped: there is no SLURM here");
        return;
    }
    assert_eq!(code, Some(0));
}

#[test]
fn without_slurm_the_script_says_so_and_skips() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm.sh");
    let bash = Command::new("bash")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_pd"))
        .env("SLURM_CONF", "/nonexistent")
        .output();
    let output = bash.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(SKIPPED), "{said}");
    assert!(said.contains("skipped"), "{said}");
}
