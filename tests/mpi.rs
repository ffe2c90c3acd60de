//! `pd finetune` on several ranks under `mpirun`: `cargo test --features mpi --test mpi`.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const GAN: &str = r#"{"family": "dcgan",
    "generator": {"z_dim": 8, "channels": [16, 12], "image_channels": 1},
    "discriminator": {"image_channels": 1, "channels": [12, 16]}}"#;

fn pd() -> PathBuf {
    assert_cmd::cargo::cargo_bin("pd")
}

fn place() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("gan.json"), GAN).unwrap();
    dir
}

/// The options of a fine-tuning of digits.
fn with_options<'a>(command: &'a mut Command, dir: &TempDir, options: &str) -> &'a mut Command {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits.zip");
    command.current_dir(dir.path()).env("PD_CACHE", dir.path().join("cache"));
    command.args(["finetune", "--init", "gan.json", "--batch", "8", "--log-every", "1", "--sheet", "2"]);
    command.arg("--data").arg(digits).args(options.split_whitespace())
}

/// `mpirun` of this many ranks on this machine, however few cores it has and whoever runs it.
fn mpirun(ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", &ranks.to_string()]).arg(pd());
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_btl", "self,tcp").env("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    command
}

fn succeeded(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read(dir: &TempDir, path: &str) -> Vec<u8> {
    fs::read(dir.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn two_ranks_train_as_one_and_give_the_same_bytes_each_time() {
    let dir = place();
    let alone = with_options(&mut Command::new(pd()), &dir, "--steps 20 -q -o alone").output().unwrap();
    succeeded(alone);
    for run in ["first", "second"] {
        let output =
            with_options(&mut mpirun(2), &dir, &format!("--steps 20 --json -o {run}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        succeeded(output);
        // One rank speaks.
        let summary: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!((&summary["steps"], &summary["images"]), (&20.into(), &160.into()));
    }
    for file in
        ["options.json", "log.jsonl", "snapshot-000020/g_ema.safetensors", "snapshot-000020/d.safetensors"]
    {
        assert!(read(&dir, &format!("first/{file}")) == read(&dir, &format!("second/{file}")), "{file}");
    }
    assert!(read(&dir, "alone/options.json") == read(&dir, "first/options.json"));
    let log = |run: &str| -> Vec<Value> {
        let text = String::from_utf8(read(&dir, &format!("{run}/log.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (alone, two) = (log("alone"), log("first"));
    assert_eq!(alone.len(), 20);
    for (one, two) in alone.iter().zip(&two) {
        for name in ["kimg", "d_loss", "g_loss", "d_real", "d_fake"] {
            let (one, two) = (one[name].as_f64().unwrap(), two[name].as_f64().unwrap());
            assert!((one - two).abs() < 1e-4 * one.abs().max(1e-2), "{name}: {one} and {two}");
        }
    }
}

#[test]
fn ranks_that_are_told_to_stop_save_one_state_and_go_on_to_the_same_bytes() {
    let dir = place();
    let options = "--steps 120 --snap 60 -q";
    succeeded(with_options(&mut mpirun(2), &dir, &format!("{options} -o whole")).output().unwrap());
    let broken = format!("{options} -o broken");
    let mut launcher = mpirun(2);
    with_options(&mut launcher, &dir, &broken).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = launcher.spawn().unwrap();
    let log = dir.path().join("broken/log.jsonl");
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 20 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // mpirun hands this one on to its ranks.
    let told = Command::new("kill").args(["-USR1", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("is saved in broken"), "{said}");
    succeeded(with_options(&mut mpirun(2), &dir, &broken).output().unwrap());
    for file in ["log.jsonl", "snapshot-000120/g.safetensors", "snapshot-000120/g_ema.safetensors"] {
        assert!(read(&dir, &format!("whole/{file}")) == read(&dir, &format!("broken/{file}")), "{file}");
    }
}

#[test]
fn what_one_rank_fails_by_ends_all() {
    let dir = place();
    let fails = |ranks: usize, options: &str, code: i32, says: &str| {
        let output = with_options(&mut mpirun(ranks), &dir, options).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    };
    fails(3, "--steps 2 -o run", 2, "a batch of 8 cannot be split evenly over 3 ranks");
    assert!(!dir.path().join("run").exists());
    // Only the root rank opens the directory and watches the losses.
    fs::create_dir(dir.path().join("taken")).unwrap();
    fs::write(dir.path().join("taken/file"), "").unwrap();
    fails(2, "--steps 2 -o taken", 2, "holds something else");
    fails(2, "--steps 200 --lr 1e30 -o diverging", 1, "diverged");
}
