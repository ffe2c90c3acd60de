//! `pd doctor`, `pd completions` and `pd man` as a user meets them.

use crate::support::pd;
use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn report(command: &mut Command) -> (serde_json::Value, i32) {
    let out = command.args(["doctor", "--json"]).output().unwrap();
    (serde_json::from_slice(&out.stdout).unwrap(), out.status.code().unwrap())
}

/// A file in the cache with the digest it is recorded with.
fn cache(dir: &TempDir, name: &str, content: &[u8], digest: Option<&str>) {
    let weights = dir.path().join("cache/weights");
    fs::create_dir_all(&weights).unwrap();
    fs::write(weights.join(name), content).unwrap();
    if let Some(digest) = digest {
        fs::write(weights.join(format!("{name}.sha256")), format!("{digest}  {name}\n")).unwrap();
    }
}

#[test]
fn a_fresh_machine_is_well_and_the_embedded_extractor_works() {
    let dir = TempDir::new().unwrap();
    pd(&dir).arg("doctor").assert().success().stdout(
        contains("all is well")
            .and(contains("not compiled in"))
            .and(contains("kernels"))
            .and(contains("GB free").or(contains("MB free")).or(contains("TB free"))),
    );
    let (report, code) = report(&mut pd(&dir));
    assert_eq!(code, 0);
    assert_eq!(report["extractors"].as_array().unwrap().len(), 1);
    assert_eq!(report["extractors"][0]["name"], "tiny");
    assert_eq!(report["extractors"][0]["works"], true);
    assert!(report["cache"]["free_bytes"].as_u64().unwrap() > 0);
    assert!(report["cuda"].as_str().unwrap().contains("not compiled in"));
    assert!(!dir.path().join("cache").exists(), "looking changes nothing");
}

#[test]
fn each_instruction_set_can_be_forced_and_a_wrong_one_is_refused() {
    let dir = TempDir::new().unwrap();
    let (free, _) = report(pd(&dir).env_remove("PD_SIMD"));
    let available: Vec<&str> =
        free["simd_available"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(free["simd"], available[0], "the fastest comes first");
    assert_eq!(free["simd_forced"], false);
    assert!(free["jpeg_simd"].is_boolean());
    assert_eq!(*available.last().unwrap(), "portable");
    for name in available {
        let (forced, code) = report(pd(&dir).env("PD_SIMD", name));
        assert_eq!((code, &forced["simd"], &forced["simd_forced"]), (0, &name.into(), &true.into()));
    }
    for command in [&["doctor"][..], &["score", "x.npy"]] {
        let refused = pd(&dir).args(command).env("PD_SIMD", "sse9").assert();
        refused.code(2).stderr(contains("PD_SIMD=sse9").and(contains("portable")));
    }
}

/// Builds without CUDA have no device but the processor; builds with it are tried by `benches/gpu.sh`.
#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_this_build_lacks_is_refused_with_the_way_to_build_it_and_auto_is_silent() {
    let dir = TempDir::new().unwrap();
    let features = dir.path().join("x.npy");
    let rows = ndarray::Array2::from_shape_fn((30, 4), |(i, j)| ((i * 31 + j * 17) % 23) as f32);
    pseudo_density::internals::formats::npy::write_npy(&features, &rows).unwrap();
    let score = |device: &str| {
        let mut command = pd(&dir);
        command.args(["score", "x.npy", "--device", device]);
        command.assert()
    };
    score("cuda").code(2).stderr(contains("built without CUDA").and(contains("--features cuda")));
    score("cuda:1").code(2).stderr(contains("built without CUDA"));
    score("gpu").code(2).stderr(contains("auto, cpu, cuda"));
    score("auto").success().stderr("");
    score("cpu").success().stderr("");
    pd(&dir)
        .args(["score", ".", "--dtype", "bf16"])
        .assert()
        .code(2)
        .stderr(contains("CUDA devices only").and(contains("--dtype f32")));
}

#[test]
fn weights_that_changed_are_found_and_come_with_the_remedy() {
    let dir = TempDir::new().unwrap();
    cache(&dir, "resnet18.safetensors", b"changed", Some(&"0".repeat(64)));
    pd(&dir)
        .arg("doctor")
        .assert()
        .code(1)
        .stdout(contains("digest differs").and(contains("BROKEN")))
        .stderr(contains("its SHA-256 differs").and(contains("pd weights fetch resnet18")));
    let (report, code) = report(&mut pd(&dir));
    assert_eq!(code, 1);
    assert_eq!(report["weights"][0]["digest"], "differs");
    assert_eq!(report["problems"].as_array().unwrap().len(), 1);
}

#[test]
fn weights_that_do_not_fit_their_network_are_found_by_trying_them() {
    let dir = TempDir::new().unwrap();
    cache(&dir, "lenet5.safetensors", b"no weights at all", None);
    let (report, code) = report(&mut pd(&dir));
    assert_eq!(code, 1);
    assert_eq!(report["weights"][0]["digest"], "not recorded");
    let lenet = &report["extractors"][1];
    assert_eq!((lenet["name"].as_str(), lenet["works"].as_bool()), (Some("lenet5"), Some(false)));
    let problem = &report["problems"][0];
    assert!(problem["what"].as_str().unwrap().contains("lenet5 does not work"));
    assert!(problem["remedy"].as_str().unwrap().contains("lenet5.safetensors"));
}

#[test]
fn a_file_of_no_extractor_is_only_warned_about() {
    let dir = TempDir::new().unwrap();
    cache(&dir, "elsewhere.bin", b"?", None);
    let (report, code) = report(&mut pd(&dir));
    assert_eq!(code, 0);
    assert!(report["warnings"][0].as_str().unwrap().contains("belongs to no extractor"));
}

#[test]
fn completions_know_the_commands_and_their_options() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        pd(&dir)
            .args(["completions", shell])
            .assert()
            .success()
            .stdout(contains("doctor").and(contains("extractor")));
    }
    pd(&dir).args(["completions", "dos"]).assert().code(2).stderr(contains("bash"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let dir = TempDir::new().unwrap();
    pd(&dir).args(["man", "deep/man1"]).assert().success().stdout(contains("pages in"));
    let page = |name: &str| fs::read_to_string(dir.path().join("deep/man1").join(name)).unwrap();
    assert!(page("pd.1").contains("pd\\-score"));
    assert!(page("pd-score.1").contains("\\-\\-extractor"));
    assert!(page("pd-weights-fetch.1").contains("\\-\\-from"));
    let blocked = Path::new("file");
    fs::write(dir.path().join(blocked), "").unwrap();
    pd(&dir).args(["man", "file/below"]).assert().code(1).stderr(contains("cannot create file/below"));
}
