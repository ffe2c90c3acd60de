//! `pd eval` in several feature spaces, and by the protocols of others.

use crate::made_up_weights::made_up_weights;
use crate::support::{digits, made_up_images, pd};
use ndarray::Array2;
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::formats::npy::write_npy;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// Two sets of digits, `a/CLASS/…` and `b/CLASS/…`, one of them with a damaged file.
fn two_sets(dir: &TempDir) {
    for entry in fs::read_dir(digits(dir, 6)).unwrap() {
        let class = entry.unwrap();
        let mut files: Vec<_> = fs::read_dir(class.path()).unwrap().map(|file| file.unwrap()).collect();
        files.sort_by_key(|file| file.file_name());
        for (i, file) in files.iter().enumerate() {
            let to = dir.path().join(if i % 2 == 0 { "a" } else { "b" }).join(class.file_name());
            fs::create_dir_all(&to).unwrap();
            fs::rename(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    fs::write(dir.path().join("b/0/broken.png"), "no image").unwrap();
}

const SETS: [&str; 5] = ["eval", "--real", "a", "--generated", "b"];

fn json(dir: &TempDir, args: &[&str]) -> Value {
    let out = pd(dir).args(SETS).args(args).args(["--json", "--quiet"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn in_several_spaces_every_value_is_that_of_the_space_alone() {
    let dir = TempDir::new().unwrap();
    two_sets(&dir);
    made_up_weights(dir.path(), "lenet5");
    let spaces = ["--spaces", "tiny,lenet5", "--weights-of", "lenet5=lenet5.safetensors"];
    let chosen =
        ["--metrics", "fd,kid,precision,vendi", "--groups", "folder", "--k", "2", "--k-density", "2"];
    let found = json(&dir, &[&spaces[..], &chosen].concat());
    let alone = [
        json(&dir, &[&["--extractor", "tiny"][..], &chosen].concat()),
        json(&dir, &[&["--extractor", "lenet5", "--weights", "lenet5.safetensors"][..], &chosen].concat()),
    ];
    for (space, (name, alone)) in
        found["spaces"].as_array().unwrap().iter().zip(["tiny", "lenet5"].iter().zip(alone))
    {
        assert_eq!((&space["space"], &space["extractor"]), (&(*name).into(), &(*name).into()));
        assert!(space["features"].as_str().unwrap().contains("-d), "), "{space}");
        assert_eq!(space["generated"], alone["generated"], "{name}");
        assert_eq!(space["real"], alone["real"]);
        let groups = space["generated"][0]["groups"].as_array().unwrap();
        assert!(groups.len() == 10 && groups[0]["kid"].is_number(), "{groups:?}");
        assert_eq!(found["inputs"], alone["inputs"]);
    }
    assert_eq!(found["inputs"]["b"]["skipped"], 1);
    let run = |args: &[&str]| pd(&dir).args(SETS).args(spaces).args(["--metrics", "fd"]).args(args).assert();
    run(&[]).success().stdout(
        contains("extractor: tiny").and(contains("extractor: lenet5 (84-d)")).and(contains("- fd:").count(1)),
    );
    run(&["-o", "out.csv"]).success();
    let table = fs::read_to_string(dir.path().join("out.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "space,path,set,n,fd");
    assert!(lines.len() == 3 && lines[2].starts_with("lenet5,b,generated,30,"), "{table}");
    run(&["--threads", "1", "-o", "one.json"]).success();
    run(&["--batch", "7", "-o", "two.json"]).success();
    let bytes = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(bytes("one.json"), bytes("two.json"));
}

#[test]
fn spaces_are_refused_where_they_cannot_be_computed() {
    let dir = TempDir::new().unwrap();
    two_sets(&dir);
    write_npy(dir.path().join("x.npy"), &Array2::<f32>::eye(8)).unwrap();
    let refused = |args: &[&str], because: &str| {
        pd(&dir)
            .args(SETS)
            .args(args)
            .assert()
            .code(2)
            .stderr(contains(because).and(contains("a: 30").not()));
    };
    refused(&["x.npy", "--spaces", "tiny,lenet5"], "x.npy holds features");
    pd(&dir)
        .args(["eval", "--real", "x.npy", "--generated", "x.npy", "--spaces", "tiny,lenet5"])
        .assert()
        .code(2)
        .stderr(contains("--spaces embeds images, and x.npy holds features already"));
    refused(&["--spaces", "tiny,lenet5", "--shard", "0/2", "-o", "out"], "cannot be used with");
    refused(&["--spaces", "tiny,lenet5", "--per-sample", "x.csv"], "cannot be used with");
    refused(&["--spaces", "tiny,no-such"], "Known are");
    refused(&["--spaces", "tiny,tiny"], "named twice");
    refused(&["--spaces", "tiny", "--weights-of", "vgg16=x.pth"], "none of the spaces");
    refused(&["--weights-of", "vgg16=x.pth"], "is for --spaces and --preset");
    refused(
        &["--spaces", "tiny,lenet5", "--metrics", "fd,inception-score"],
        "which none of the spaces gives",
    );
    refused(&["--metrics", "inception-score"], "from class scores, and `tiny` gives others");
    refused(&["--metrics", "sfid"], "--extractor inception-spatial");
    refused(
        &["--spaces", "tiny,lenet5", "--save-stats", "x.npz"],
        "of one feature space, and 2 are asked for",
    );
    pd(&dir)
        .args(SETS)
        .args(["--spaces", "tiny,lenet5"])
        .assert()
        .code(2)
        .stderr(contains("--weights-of lenet5=FILE"));
}

#[test]
fn a_preset_settles_resizing_metrics_and_parameters_and_says_so() {
    let dir = TempDir::new().unwrap();
    two_sets(&dir);
    // Of the same layers, and one more.
    made_up_weights(dir.path(), "inception-logits");
    for folder in ["a", "b"] {
        for class in 2..10 {
            fs::remove_dir_all(dir.path().join(folder).join(class.to_string())).unwrap();
        }
    }
    let weights = ["--weights-of", "inception-fid=inception-logits.safetensors"];
    let found = json(&dir, &[&["--preset", "adm", "--metrics", "precision,recall"][..], &weights].concat());
    assert_eq!(found["preset"], "adm");
    let space = &found["spaces"][0];
    let features = space["features"].as_str().unwrap();
    assert!(features.contains("interpolate-tf1") && features.contains("transparency dropped"), "{features}");
    let row = &space["generated"][0];
    assert!(row["precision"].is_number() && row["recall"].is_number() && row["fid"].is_null(), "{row}");
    assert_eq!((&space["k"], &space["boundary"]), (&3.into(), &"included".into()));
    // A statistics file, as those that are published with ADM.
    let wide = Array2::from_shape_fn((8, 2048), |(row, column)| ((row * 31 + column * 17) % 23) as f32);
    write_npy(dir.path().join("wide.npy"), &wide).unwrap();
    pd(&dir)
        .args(["eval", "--real", "wide.npy", "--generated", "wide.npy", "--metrics", "precision"])
        .args(["--save-stats", "stats.npz"])
        .assert()
        .success();
    pd(&dir)
        .args(["eval", "--real", "stats.npz", "--generated", "b", "--preset", "adm"])
        .args(weights)
        .assert()
        .success()
        .stdout(contains("preset: adm\n").and(contains(" fid")).and(contains("recall").not()))
        .stderr(
            contains("the Frechet distance alone")
                .and(contains("b has 7 images; published values are of 50000")),
        );
    let refused = |args: &[&str], because: &str| {
        pd(&dir).args(SETS).args(args).assert().code(2).stderr(contains(because));
    };
    refused(&["--preset", "adm", "--k", "5"], "cannot be used with");
    refused(&["--preset", "adm", "--spaces", "tiny"], "cannot be used with");
    refused(&["--preset", "adm", "--fit", "crop"], "cannot be used with");
    refused(&["--preset", "pytorch-fid", "--metrics", "vendi"], "has no vendi");
    refused(&["--preset", "pytorch"], "pytorch-fid");
    let of_two = [&weights[..], &["--preset", "torch-fidelity"]].concat();
    refused(&of_two, "kid-subsets needs at least 1000 images, and a has 6 images");
}

/// The value of a metric of the first generated set, in whichever space it is computed.
fn value(found: &Value, metric: &str) -> f64 {
    let spaces = found["spaces"].as_array().unwrap();
    let mut values = spaces.iter().filter_map(|space| space["generated"][0][metric].as_f64());
    values.next().unwrap_or_else(|| panic!("{metric}: {found}"))
}

#[test]
fn the_network_of_fid_sfid_and_inception_score_runs_once_and_its_statistics_read_back_as_adm_has_them() {
    let dir = TempDir::new().unwrap();
    two_sets(&dir);
    for folder in ["a", "b"] {
        for class in 2..10 {
            fs::remove_dir_all(dir.path().join(folder).join(class.to_string())).unwrap();
        }
    }
    made_up_weights(dir.path(), "inception-logits");
    let weights = ["--weights-of", "inception-fid=inception-logits.safetensors"];
    let all = json(&dir, &[&["--preset", "adm", "--save-stats", "ref.npz"][..], &weights].concat());
    let names: Vec<&str> =
        all["spaces"].as_array().unwrap().iter().map(|space| space["space"].as_str().unwrap()).collect();
    assert_eq!(names, ["inception-fid", "inception-spatial", "inception-logits"]);
    assert_eq!(all["spaces"][1]["dimension"], 2023);
    assert!(value(&all, "sfid") > 0.0 && value(&all, "inception_score") >= 1.0);
    // Alone, each has the same value.
    for (metric, column) in [("fid", "fid"), ("sfid", "sfid"), ("inception-score", "inception_score")] {
        let alone = json(&dir, &[&["--preset", "adm", "--metrics", metric][..], &weights].concat());
        assert_eq!(alone["spaces"].as_array().unwrap().len(), 1);
        assert_eq!(value(&alone, column), value(&all, column), "{metric}");
    }
    // The file of statistics serves both distances, in the preset and in one space.
    let run = |args: &[&str]| {
        let out = pd(&dir)
            .args(["eval", "--real", "ref.npz", "--generated", "b", "--json", "--quiet"])
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    let found = run(&[&["--preset", "adm"][..], &weights].concat());
    for column in ["fid", "sfid"] {
        // With the rows at hand, so few of them are compared by another decomposition.
        let (of_file, of_rows) = (value(&found, column), value(&all, column));
        assert!((of_file / of_rows - 1.0).abs() < 1e-6, "{column}: {of_file} {of_rows}");
    }
    // Beside pixels, as in ADM's reference files, it serves the distances, and the pixels all else.
    made_up_images(&dir, "others", 9, 16);
    add_arrays(&dir, "ref.npz", "others.npz");
    let values = |found: &Value| ["fid", "sfid", "precision", "recall"].map(|column| value(found, column));
    let of_reals = |real: &str| {
        let all = ["eval", "--real", real, "--generated", "b", "--preset", "adm", "--json"];
        let out = pd(&dir).args(all).args(weights).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{told}");
        (values(&serde_json::from_slice(&out.stdout).unwrap()), told)
    };
    let ([fid, sfid, precision, recall], told) = of_reals("others.npz");
    assert_eq!([fid, sfid], ["fid", "sfid"].map(|column| value(&found, column)));
    assert_eq!([precision, recall], of_reals("others").0[2..]);
    assert!(told.contains("the Frechet distance in inception-fid is of its mean and covariance"), "{told}");
    let others = ["eval", "--real", "others.npz", "--generated", "b", "--extractor", "inception-fid"];
    let file = ["--weights", "inception-logits.safetensors"];
    let alone = pd(&dir).args(others).args(file).args(["--metrics", "fid", "--json"]).output().unwrap();
    let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert!(alone["generated"][0]["fid"].as_f64().unwrap() > 0.0 && alone["real"]["n"] == 9, "{alone}");
    pd(&dir)
        .args(others)
        .args(file)
        .args(["--shard", "0/2", "-o", "parts"])
        .assert()
        .code(2)
        .stderr(contains("others.npz holds mean and covariance beside pixels"));
    let file = ["--extractor", "inception-spatial", "--weights", "inception-logits.safetensors"];
    let found = run(&file);
    assert_eq!(found["generated"][0].as_object().unwrap().len(), 3, "{found}");
    assert!(found["generated"][0]["sfid"].as_f64().unwrap() > 0.0);
}

/// Adds the arrays of one `.npz` file to another.
fn add_arrays(dir: &TempDir, from: &str, to: &str) {
    let mut from = zip::ZipArchive::new(fs::File::open(dir.path().join(from)).unwrap()).unwrap();
    let to = fs::File::options().read(true).write(true).open(dir.path().join(to)).unwrap();
    let mut to = zip::ZipWriter::new_append(to).unwrap();
    for i in 0..from.len() {
        to.raw_copy_file(from.by_index_raw(i).unwrap()).unwrap();
    }
    to.finish().unwrap();
}

#[test]
fn the_features_of_a_real_set_are_kept_until_an_image_changes() {
    let dir = TempDir::new().unwrap();
    two_sets(&dir);
    made_up_weights(dir.path(), "lenet5");
    fs::write(dir.path().join("a/0/broken.png"), "no image").unwrap();
    let run = |args: &[&str], kept: bool| {
        let out = pd(&dir).args(SETS).args(args).arg("--json").output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{told}");
        assert_eq!(told.contains("real images are as before"), kept, "{told}");
        assert_eq!(told.matches("skipped 0/broken.png").count(), 2, "{told}");
        out.stdout
    };
    let spaces =
        ["--spaces", "tiny,lenet5", "--weights-of", "lenet5=lenet5.safetensors", "--metrics", "fd,kid"];
    let first = run(&spaces, false);
    assert!(String::from_utf8_lossy(&first).contains("\"skipped\": 1"));
    assert_eq!(first, run(&spaces, true));
    // One space alone takes what several made.
    let alone = run(&["--metrics", "fd,kid"], true);
    let (all, alone): (Value, Value) =
        (serde_json::from_slice(&first).unwrap(), serde_json::from_slice(&alone).unwrap());
    assert_eq!(all["spaces"][0]["generated"], alone["generated"]);
    assert_eq!(all["inputs"], alone["inputs"]);
    run(&["--metrics", "fd,kid", "--extractor", "tiny", "--fit", "crop"], false);
    // A damaged copy is made again, and so is that of another set.
    for entry in fs::read_dir(dir.path().join("cache/real-sets")).unwrap() {
        fs::write(entry.unwrap().path().join("features.npy"), "").unwrap();
    }
    assert_eq!(first, run(&spaces, false));
    let class = fs::read_dir(dir.path().join("a/1")).unwrap().next().unwrap().unwrap();
    fs::copy(dir.path().join("a/2").join(first_name(&dir, "a/2")), class.path()).unwrap();
    assert_ne!(first, run(&spaces, false));
}

fn first_name(dir: &TempDir, folder: &str) -> String {
    let mut names: Vec<String> = fs::read_dir(dir.path().join(folder))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.swap_remove(0)
}

#[test]
fn the_spread_by_seeds_and_parts_stands_in_text_table_and_json() {
    let dir = TempDir::new().unwrap();
    two_sets(&dir);
    let how =
        ["--metrics", "fd,kid-subsets", "--kid-subset-size", "6", "--kid-subsets", "4", "--spread", "3"];
    let found = json(&dir, &how);
    let row = &found["generated"][0];
    assert_eq!((&found["spread"], &row["n_of_part"]), (&3.into(), &10.into()));
    let spread = &row["spread"];
    assert!(spread["fd"]["parts"].as_f64().unwrap() > 0.0 && spread["fd"]["seeds"].is_null(), "{spread}");
    assert!(spread["kid_subsets"]["seeds"].as_f64().unwrap() > 0.0, "{spread}");
    let run = |args: &[&str]| pd(&dir).args(SETS).args(how).args(args).assert().success();
    run(&[]).stdout(contains("+- seeds").and(contains("+- parts").and(contains("3 disjoint parts"))));
    run(&["-o", "out.csv"]);
    let table = fs::read_to_string(dir.path().join("out.csv")).unwrap();
    let header = "path,set,n,fd,fd_sd_parts,kid_subsets,kid_subsets_sd_seeds,kid_subsets_sd_parts,";
    assert!(table.starts_with(header), "{table}");
}
