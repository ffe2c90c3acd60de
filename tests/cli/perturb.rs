//! `pd perturb` as a user meets it: run as a process on a small DCGAN, a small diffusion model and digits.

use crate::support::{content, digits_zip, generator_fixture, pd, rows, shared_reference};
use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::formats::npy::{read_npy, read_npy_array, write_npy};
use pseudo_density::internals::generate::RandomState;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

const COLUMNS: &str =
    "file,seed,eps,density_before,density_after,predictor_before,predictor_after,feature_distance,improved";

/// A reference of some of the bundled digits, made once.
fn reference() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("perturb-images");
        fs::create_dir_all(&images).unwrap();
        let zip = fs::File::open(digits_zip()).unwrap();
        let mut archive = zip::ZipArchive::new(zip).unwrap();
        for i in (0..archive.len()).step_by(9) {
            let mut entry = archive.by_index(i).unwrap();
            if entry.is_file() {
                let name = entry.name().unwrap().replace('/', "-");
                std::io::copy(&mut entry, &mut fs::File::create(images.join(name)).unwrap()).unwrap();
            }
        }
        shared_reference("perturb-reference", &images, &[])
    })
}

fn perturb(dir: &TempDir, generator: &str, out: &str, more: &[&str]) -> Command {
    let mut command = pd(dir);
    command.arg("perturb").arg("--generator").arg(generator_fixture(generator));
    command.arg("--reference").arg(reference()).args(["-o", out]).args(more);
    command
}

const DCGAN: &str = "dcgan/weights.safetensors";
const DIFFUSION: &str = "diffusers-ddpm/pipeline";

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {row:?}"))
}

#[test]
fn samples_move_the_asked_way_within_the_ball_and_score_as_the_table_says() {
    let dir = TempDir::new().unwrap();
    for (bias, sign) in [("fidelity", 1.0), ("diversity", -1.0)] {
        let args = ["--bias", bias, "--seeds", "0-3,9", "--eps", "0.05,0.2", "--steps", "4", "--grid", "2"];
        perturb(&dir, DCGAN, bias, &args).assert().success().stdout(contains("5 images towards"));
        let out = dir.path().join(bias);
        let text = fs::read_to_string(out.join("samples.csv")).unwrap();
        assert_eq!(text.lines().next().unwrap(), COLUMNS);
        let table = rows(&out.join("samples.csv"));
        assert_eq!(table.len(), 10);
        let moved = |row: &BTreeMap<String, String>| {
            sign * (number(row, "density_after") - number(row, "density_before"))
        };
        for row in &table {
            assert_eq!(row["improved"] == "true", moved(row) > 0.0, "{row:?}");
            assert!(moved(row) >= 0.0);
        }
        assert!(table.iter().filter(|row| moved(row) > 0.0).count() >= 9, "{table:?}");

        // The table holds what anyone finds who scores the written files.
        let score = |folder: &str| {
            let scores = dir.path().join("scores.csv");
            let mut command = pd(&dir);
            command.arg("score").arg(out.join(folder)).arg("--reference").arg(reference());
            command.arg("-o").arg(&scores).assert().success();
            let scores = rows(&scores).into_iter();
            scores
                .map(|row| (format!("{folder}/{}", row["path"]), row["pseudo_density"].clone()))
                .collect::<BTreeMap<_, _>>()
        };
        let (originals, weak, strong) = (score("original"), score("eps-0.05"), score("eps-0.2"));
        for row in &table {
            let file = &row["file"];
            let after = weak.get(file).or(strong.get(file)).unwrap();
            assert_eq!(after, &row["density_after"]);
            let name = file.split('/').nth(1).unwrap();
            assert_eq!(originals[&format!("original/{name}")], row["density_before"]);
        }

        let latents = read_npy(out.join("latents.npy")).unwrap();
        assert_eq!(latents.dim(), (10, 16));
        for (latent, row) in latents.outer_iter().zip(&table) {
            let seed: u32 = row["seed"].parse().unwrap();
            let drawn: Vec<f64> = RandomState::new(seed).randn().take(16).collect();
            let (eps, improved) = (number(row, "eps"), row["improved"] == "true");
            let offsets: Vec<f64> = latent
                .iter()
                .zip(drawn)
                .map(|(&z, z0)| (f64::from(z) - f64::from(z0 as f32)).abs())
                .collect();
            assert!(offsets.iter().all(|&offset| offset <= eps), "{offsets:?}");
            assert_eq!(offsets.iter().any(|&offset| offset > 0.0), improved);
        }
        let grid = image_size(&out.join("grid.png"));
        assert!(grid.0 > 2 * 64 && grid.1 > 3 * 64, "{grid:?}");
        let summary: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        assert_eq!((summary["images"].as_u64(), summary["bias"].as_str()), (Some(5), Some(bias)));
        assert!(sign * summary["strengths"][1]["mean_relative_change"].as_f64().unwrap() > 0.0);
        assert!(!text.contains(dir.path().to_str().unwrap()) && !summary.to_string().contains("/tmp"));
    }
}

/// Width and height from the header of a PNG file.
fn image_size(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!(bytes.starts_with(b"\x89PNG"));
    (number(16), number(20))
}

#[test]
fn no_byte_depends_on_the_batch_the_threads_or_the_run() {
    let dir = TempDir::new().unwrap();
    for (density, more) in [("knn", "--random-start"), ("predictor", "--control")] {
        let run = |out: &str, batch: &str, threads: &str| {
            let args = [
                "--bias",
                "diversity",
                "--seeds",
                "0-4",
                "--steps",
                "3",
                "--grid",
                "3",
                "--density",
                density,
                more,
                "--batch",
                batch,
                "--threads",
                threads,
            ];
            perturb(&dir, DCGAN, out, &args).assert().success();
            content(&dir.path().join(out))
        };
        let name = |n: u8| format!("{density}-{n}");
        let whole = run(&name(0), "32", "2");
        assert_eq!(whole.len(), 5 + 5 + 5);
        assert_eq!(run(&name(1), "1", "1"), whole);
        assert_eq!(run(&name(2), "2", "3"), whole);
        assert_eq!(run(&name(0), "3", "2"), whole, "a run into its own directory");
    }
}

#[test]
fn the_predictor_can_be_followed_and_both_densities_are_told_beside_the_control() {
    let dir = TempDir::new().unwrap();
    let args = [
        "--bias",
        "fidelity",
        "--seeds",
        "3-6",
        "--density",
        "predictor",
        "--control",
        "--norm",
        "l2",
        "--eps",
        "0.5",
        "--json",
    ];
    let out = perturb(&dir, DCGAN, "out", &args).output().unwrap();
    assert!(out.status.success());
    let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let strength = &summary["strengths"][0];
    assert!(strength["predictor_mean_relative_change"].as_f64().unwrap() > 0.0);
    assert!(strength["control_mean_relative_change"].is_f64());
    let table = rows(&dir.path().join("out/samples.csv"));
    for row in &table {
        let improved = number(row, "predictor_after") > number(row, "predictor_before");
        assert_eq!(improved, row["improved"] == "true");
        assert!(number(row, "control_density") > 0.0 && number(row, "feature_distance") >= 0.0);
    }
    assert!(table.iter().any(|row| row["improved"] == "true"));
}

#[test]
fn a_diffusion_model_is_perturbed_in_its_noise_and_latents_come_from_a_file() {
    let dir = TempDir::new().unwrap();
    let args = ["--bias", "diversity", "--ddim-steps", "3", "--seeds", "1,2", "--steps", "2"];
    perturb(&dir, DIFFUSION, "out", &args).assert().success();
    let out = dir.path().join("out");
    let table = rows(&out.join("samples.csv"));
    assert!(table.iter().all(|row| number(row, "density_after") <= number(row, "density_before")));
    assert!(table.iter().any(|row| row["improved"] == "true"), "{table:?}");
    let latents = read_npy_array(out.join("latents.npy")).unwrap();
    assert_eq!(latents.shape(), [2, 3, 32, 32]);

    let args = ["--bias", "diversity", "--ddim-steps", "3", "--latents", "out/latents.npy", "--steps", "1"];
    perturb(&dir, DIFFUSION, "again", &args).assert().success();
    for (row, first) in rows(&dir.path().join("again/samples.csv")).iter().zip(&table) {
        assert_eq!(row["density_before"], first["density_after"], "an image is that of its kept latent");
        assert_eq!(row["seed"], "");
    }
    write_npy(dir.path().join("z.npy"), &ndarray::Array2::<f32>::zeros((2, 7))).unwrap();
    perturb(&dir, DIFFUSION, "no", &["--bias", "fidelity", "--latents", "z.npy"])
        .assert()
        .failure()
        .stderr(contains("[2, 7]").and(contains("[n, 3, 32, 32]")));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let dir = TempDir::new().unwrap();
    let refused = |args: &[&str], says: &str| {
        perturb(&dir, DCGAN, "out", args).assert().code(2).stderr(contains(says));
        assert!(!dir.path().join("out").exists());
    };
    refused(&["--bias", "match"], "fidelity");
    refused(&["--bias", "fidelity", "--eps", "0"], "above 0");
    refused(&["--bias", "fidelity", "--eps", "0.1,0.1"], "twice");
    refused(&["--bias", "fidelity", "--eps", "NaN"], "above 0");
    refused(&["--bias", "fidelity", "--step-size", "0"], "above 0");
    refused(&["--bias", "fidelity", "--space", "w"], "known are z");
    refused(&["--bias", "fidelity", "--ddim-steps", "5"], "no diffusion model");
    refused(&["--bias", "fidelity", "--seeds", "0", "--latents", "z.npy"], "--latents");
    refused(&["--bias", "fidelity", "--class", "1"], "no classes");
    let mut without = pd(&dir);
    without.args(["perturb", "--bias", "fidelity", "--reference"]).arg(reference());
    without.assert().code(2).stderr(contains("--generator"));
}

#[test]
fn a_directory_of_another_run_is_not_written_over() {
    let dir = TempDir::new().unwrap();
    let run = |more: &[&str]| {
        perturb(&dir, DCGAN, "out", &[&["--seeds", "0", "--steps", "1"], more].concat()).assert()
    };
    run(&["--bias", "fidelity"]).success();
    let before = content(&dir.path().join("out"));
    run(&["--bias", "diversity"])
        .code(2)
        .stderr(contains(r#"holds another run: perturb.bias is "fidelity" there, "diversity" here"#));
    run(&["--bias", "fidelity", "--eps", "0.2"]).code(2);
    assert_eq!(content(&dir.path().join("out")), before);
    run(&["--bias", "fidelity", "--batch", "7"]).success();
}

#[test]
fn a_run_that_is_killed_goes_on_behind_its_finished_latents_to_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let args =
        ["--bias", "diversity", "--seeds", "0-9", "--steps", "4", "--grid", "3", "--batch", "1", "--control"];
    perturb(&dir, DCGAN, "whole", &args).assert().success();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("pd"));
    child.current_dir(dir.path()).env("PD_CACHE", dir.path().join("cache"));
    child.args(["perturb", "-o", "killed", "--reference"]).arg(reference());
    child.arg("--generator").arg(generator_fixture(DCGAN)).args(args).stderr(std::process::Stdio::null());
    let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
    let parts = dir.path().join("killed/parts");
    let finished = |name: &str| {
        let chunks = fs::read_dir(&parts).into_iter().flatten().flatten().map(|entry| entry.path());
        chunks.filter(|path| path.join(name).is_file()).count() > 0
    };
    while !finished("chunk-000004.json") && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    perturb(&dir, DCGAN, "killed", &args).assert().success();
    assert_eq!(content(&dir.path().join("killed")), content(&dir.path().join("whole")));
}
