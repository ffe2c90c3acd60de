//! `pd resample` as a user meets it: digits to train on, and a reference of the same digits.

use crate::support::{column, content, digits, pd, rows, run};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Digits, ten of each kind, and a reference `ref` of them.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, 10);
    run(&dir, "embed digits -o ref").success();
    run(&dir, "index ref --k 5 --no-predictor").success();
    dir
}

fn summary(dir: &TempDir, out: &str) -> Value {
    serde_json::from_slice(&fs::read(dir.path().join(out).join("summary.json")).unwrap()).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let below = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => files(&entry.path()),
        false => vec![entry.path()],
    };
    fs::read_dir(dir).unwrap().flat_map(|entry| below(entry.unwrap())).collect()
}

/// Subsets of a `dataset.toml`, the keys and values of each.
fn subsets(text: &str) -> Vec<BTreeMap<String, String>> {
    let subset = |text: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key.trim().into(), value.trim_matches('"').into())).collect()
    };
    text.split("[[datasets.subsets]]").skip(1).map(subset).collect()
}

#[test]
fn kohya_gets_a_folder_for_each_level_with_captions_and_frequencies_as_the_weights_say() {
    let dir = stage();
    let photos = dir.path().join("digits");
    let captioned = files(&photos);
    for image in captioned.iter().skip(1) {
        fs::write(image.with_extension("txt"), image.display().to_string()).unwrap();
    }
    run(&dir, "resample digits --reference ref --bias fidelity --for kohya -o set")
        .success()
        .stdout(contains("99 captions went along; 1 photographs have none: `photo` is theirs"))
        .stderr(contains("their features are taken from it"));
    let set = dir.path().join("set");
    let found = subsets(&fs::read_to_string(set.join("dataset.toml")).unwrap());
    let repeats: Vec<&str> = found.iter().map(|subset| subset["num_repeats"].as_str()).collect();
    assert_eq!(repeats, ["1", "33"]);
    // The frequency of each photograph among all, as the trainer counts: what is in a folder, as often as its subset says.
    let mut times: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for subset in &found {
        let images = files(&set.join(&subset["image_dir"]));
        for image in images.iter().filter(|path| path.extension().unwrap() == "png") {
            *times.entry(fs::read(image).unwrap()).or_default() +=
                subset["num_repeats"].parse::<u64>().unwrap();
        }
    }
    let table = rows(&set.join("weights.csv"));
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    let total: u64 = times.values().sum();
    let weights: f64 = table.iter().map(|row| number(row, "weight")).sum();
    for row in &table {
        let bytes = fs::read(photos.join(&row["path"])).unwrap();
        assert_eq!(fs::read(set.join(&row["file"])).unwrap(), bytes);
        let (share, wanted) = (times[&bytes] as f64 / total as f64, number(row, "weight") / weights);
        assert!((share / wanted - 1.0).abs() < 1e-9, "{}: {share}, {wanted}", row["path"]);
        let caption = set.join(&row["file"]).with_extension("txt");
        let original = photos.join(&row["path"]).with_extension("txt");
        assert_eq!(fs::read(caption).ok(), fs::read(original).ok());
    }
    // A finished run is not done again, threads change nothing, and another run is refused.
    let words = "resample digits --reference ref --bias fidelity --for kohya -o";
    run(&dir, &format!("{words} set")).success().stderr(contains("finished already"));
    run(&dir, &format!("{words} again --threads 1 --batch 7")).success();
    assert_eq!(content(&dir.path().join("again")), content(&set));
    run(&dir, &format!("{words} set --repeats 40")).code(2).stderr(contains("another run"));
    fs::write(captioned[1].with_extension("txt"), "another").unwrap();
    run(&dir, &format!("{words} set")).code(2).stderr(contains("captions is"));
}

#[test]
fn folders_that_are_for_kohya_already_name_the_set() {
    let dir = stage();
    let digits = dir.path().join("digits");
    let folders: Vec<PathBuf> = fs::read_dir(&digits).unwrap().map(|entry| entry.unwrap().path()).collect();
    for (at, folder) in folders.iter().enumerate() {
        fs::rename(folder, digits.join(format!("{}_sks digit", at + 1))).unwrap();
    }
    run(&dir, "resample digits --reference ref --bias fidelity --for kohya -o set")
        .success()
        .stdout(contains("`sks digit` is theirs"))
        .stderr(contains("the weights alone decide now"));
    assert!(dir.path().join("set/33_sks digit").is_dir());
    fs::rename(digits.join("1_sks digit"), digits.join("1_second")).unwrap();
    run(&dir, "resample digits --reference ref --bias fidelity --for kohya -o two")
        .code(2)
        .stderr(contains("folders of 2 names"));
    run(&dir, "resample digits --reference ref --bias fidelity --for kohya --name a -o two").success();
    assert!(dir.path().join("two/33_a").is_dir());
}

#[test]
fn image_folder_gets_each_photograph_as_often_as_it_is_repeated_in_its_class() {
    let dir = stage();
    for (words, linked) in [("-o set", false), ("-o links --link", true)] {
        run(&dir, &format!("resample digits --reference ref --rule power:2 --for imagefolder {words}"))
            .success();
        let set = dir.path().join(words.split_whitespace().nth(1).unwrap());
        let classes = files(&set).into_iter().filter(|path| path.parent() != Some(&set));
        let mut copies: BTreeMap<(String, Vec<u8>), u64> = BTreeMap::new();
        for path in classes {
            assert_eq!(fs::symlink_metadata(&path).unwrap().is_symlink(), linked && cfg!(unix));
            let class = path.parent().unwrap().strip_prefix(&set).unwrap().to_str().unwrap().to_owned();
            *copies.entry((class, fs::read(&path).unwrap())).or_default() += 1;
        }
        let table = rows(&set.join("weights.csv"));
        assert_eq!(copies.len(), table.len());
        for row in table {
            let class = row["path"].split_once('/').unwrap().0.to_owned();
            let bytes = fs::read(dir.path().join("digits").join(&row["path"])).unwrap();
            assert_eq!(copies[&(class, bytes)].to_string(), row["repeats"]);
        }
        let summary = summary(&dir, set.file_name().unwrap().to_str().unwrap());
        assert!(summary["largest_error"].as_f64().unwrap() <= 0.05, "{summary}");
        assert!(summary["misplaced"].as_f64().unwrap() <= 0.05, "{summary}");
        assert!(summary["levels"].as_array().unwrap().len() > 2);
    }
}

/// The objects of a file of lines.
fn lines(path: &Path) -> Vec<BTreeMap<String, Value>> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn image_folder_gets_a_line_of_metadata_for_each_file_with_what_was_written_of_its_photograph() {
    let dir = stage();
    let photos = dir.path().join("digits");
    let all = "resample digits --reference ref --rule power:2 --for imagefolder --name digit -o";
    run(&dir, &format!("{all} plain")).success();
    assert!(!dir.path().join("plain/metadata.jsonl").exists());
    // Class 0 has a table, class 1 files beside the images; the first image of class 2 is named from above.
    let names = |class: &str| {
        let mut names: Vec<String> = files(&photos.join(class))
            .iter()
            .map(|path| path.strip_prefix(photos.join(class)).unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let table: Vec<String> =
        names("0").iter().enumerate().map(|(i, name)| format!("{name},\"zero, {i}\",{i}\n")).collect();
    fs::write(photos.join("0/metadata.csv"), format!("file_name,text,n\n{}", table.concat())).unwrap();
    for name in names("1") {
        fs::write(photos.join("1").join(name).with_extension("txt"), "one\n").unwrap();
    }
    let first = format!("2/{}", names("2")[0]);
    let line = serde_json::json!({"file_name": first, "text": "two", "box": [1, {"a": null}]});
    fs::write(photos.join("metadata.jsonl"), line.to_string()).unwrap();
    run(&dir, &format!("{all} set")).success().stdout(
        contains("21 captions went along; 79 photographs have none: `digit` is theirs")
            .and(contains("load_dataset(\"imagefolder\", data_files={\"train\": \"set/**\"})")),
    );
    let set = dir.path().join("set");
    let found = lines(&set.join("metadata.jsonl"));
    let mut named: Vec<String> =
        found.iter().map(|line| line["file_name"].as_str().unwrap().into()).collect();
    named.sort();
    let mut pictures: Vec<String> = content(&set).into_keys().filter(|name| name.contains('/')).collect();
    pictures.sort();
    assert_eq!(named, pictures);
    let table = rows(&set.join("weights.csv"));
    let total: usize = table.iter().map(|row| row["repeats"].parse::<usize>().unwrap()).sum();
    assert_eq!(found.len(), total);
    for line in &found {
        let name = line["file_name"].as_str().unwrap();
        let row =
            table.iter().find(|row| name.starts_with(row["file"].trim_end_matches("0001.png"))).unwrap();
        let text = line["text"].as_str().unwrap();
        match row["path"].split_once('/').unwrap() {
            ("0", image) => {
                let at = names("0").iter().position(|name| name == image).unwrap();
                assert_eq!((text, &line["n"]), (format!("zero, {at}").as_str(), &Value::from(at)));
            }
            ("1", _) => assert_eq!(text, "one"),
            _ if row["path"] == first => assert_eq!((text, &line["box"][0]), ("two", &Value::from(1))),
            _ => assert_eq!((text, line.len()), ("digit", 2)),
        }
    }
    // Other captions are another set.
    run(&dir, &format!("{all} set")).success().stderr(contains("finished already"));
    fs::write(photos.join("metadata.jsonl"), "{\"file_name\": 3}\n{").unwrap();
    run(&dir, &format!("{all} set")).code(1).stderr(contains("metadata.jsonl").and(contains("line 2")));
    fs::remove_file(photos.join("metadata.jsonl")).unwrap();
    run(&dir, &format!("{all} set")).code(2).stderr(contains("captions is"));
}

#[test]
fn kohya_gets_a_metadata_file_for_each_level_where_photographs_stay() {
    let dir = stage();
    let photos = dir.path().join("digits");
    let captioned = files(&photos);
    fs::write(captioned[0].with_extension("txt"), " a digit \n\nof ten\n").unwrap();
    let words = "resample digits --reference ref --bias fidelity --for kohya --in-place --name digit -o";
    run(&dir, &format!("{words} sets/one"))
        .success()
        .stdout(contains("--dataset_config dataset.toml").and(contains("--train_data_dir").not()));
    let set = dir.path().join("sets/one");
    let mut there: Vec<String> = content(&set).into_keys().collect();
    there.sort();
    assert_eq!(there, ["1_digit.json", "33_digit.json", "dataset.toml", "summary.json", "weights.csv"]);
    let config = fs::read_to_string(set.join("dataset.toml")).unwrap();
    // Trainers that know metadata files alone refuse what is for captions beside images.
    assert!(!config.contains("caption_extension") && !config.contains("class_tokens"), "{config}");
    let mut repeats = BTreeMap::new();
    for subset in subsets(&config) {
        assert_eq!(
            fs::canonicalize(set.join(&subset["image_dir"])).unwrap(),
            fs::canonicalize(&photos).unwrap()
        );
        let text = fs::read(set.join(&subset["metadata_file"])).unwrap();
        let images: BTreeMap<String, Value> = serde_json::from_slice(&text).unwrap();
        for (path, image) in images {
            let is_captioned = photos.join(&path) == captioned[0];
            assert_eq!(image["caption"], if is_captioned { "a digit\nof ten" } else { "digit" });
            assert!(repeats.insert(path, subset["num_repeats"].clone()).is_none());
        }
    }
    let table = rows(&set.join("weights.csv"));
    let wanted: BTreeMap<String, String> =
        table.iter().map(|row| (row["path"].clone(), row["repeats"].clone())).collect();
    assert_eq!(repeats, wanted);
    assert!(table.iter().all(|row| row["file"].is_empty()));
    run(&dir, &format!("{words} rooted --root /train/set")).success();
    let rooted = fs::read_to_string(dir.path().join("rooted/dataset.toml")).unwrap();
    assert!(rooted.contains("image_dir = \"/train/set/../digits\""), "{rooted}");
    run(&dir, &format!("{words} no --link")).code(2).stderr(contains("--link"));
}

#[test]
fn what_the_generator_makes_too_rarely_comes_more_often() {
    let dir = stage();
    // The generator knows the first five digits alone.
    let pool = dir.path().join("pool");
    let made = tempfile::tempdir().unwrap();
    for image in files(&digits(&made, 30)) {
        let class = image.parent().unwrap().file_name().unwrap().to_owned();
        if class.to_str().unwrap() < "5" {
            fs::create_dir_all(pool.join(&class)).unwrap();
            fs::copy(&image, pool.join(&class).join(image.file_name().unwrap())).unwrap();
        }
    }
    run(&dir, "resample digits --reference ref --pool pool --for csv -o set").success();
    let set = dir.path().join("set");
    assert_eq!(summary(&dir, "set")["run"]["weights"]["rule"], "ratio:0");
    let mean = |known: bool| {
        let table = rows(&set.join("weights.csv"));
        let of = table.iter().filter(|row| (row["path"].as_str() < "5") == known);
        let weights: Vec<f64> = of.map(|row| row["weight"].parse().unwrap()).collect();
        weights.iter().sum::<f64>() / weights.len() as f64
    };
    assert!(mean(false) > 2.0 * mean(true), "{} and {}", mean(false), mean(true));
    assert!(column(&set.join("weights.csv"), "file").iter().all(String::is_empty));
    // Features do as well, and are all that a table needs.
    run(&dir, "resample ref --reference ref --pool pool --bias match --for csv -o features").success();
    assert_eq!(
        column(&dir.path().join("features/weights.csv"), "weight"),
        column(&set.join("weights.csv"), "weight")
    );
}

#[test]
fn what_cannot_be_is_said_with_what_can() {
    let dir = stage();
    for (words, code, says, hint) in [
        ("--for csv", 2, "which photographs", "--pool GENERATED"),
        ("--for csv --bias match", 2, "no generated images", "--pool"),
        ("--for csv --rule ratio:2", 2, "--rule ratio:2", "--pool"),
        (
            "--for csv --rule power:2 --pool digits",
            2,
            "does not look at generated images",
            "leave --pool out",
        ),
        ("--for csv --bias fidelity --clip 3", 2, "--clip", "leave it out"),
        ("--for csv --bias fidelity --name x", 2, "--name", "leave it out"),
        ("--for imagefolder --bias fidelity --root /x", 2, "--root", "leave it out"),
        ("--for imagefolder --bias fidelity --in-place", 2, "--in-place", "leave it out"),
        ("--for kohya --bias fidelity --name a/b", 2, "folder's name", "help"),
    ] {
        run(&dir, &format!("resample digits --reference ref {words} -o no"))
            .code(code)
            .stderr(contains(says).and(contains(hint)));
    }
    run(&dir, "resample digits --bias fidelity --for csv -o no").code(2).stderr(contains("--reference"));
    run(&dir, "resample ref --reference ref --bias fidelity --for kohya -o no")
        .code(2)
        .stderr(contains("holds features").and(contains("--for csv")));
    assert!(!dir.path().join("no").exists());
}

#[test]
fn too_few_repeats_are_told_with_those_that_are_enough() {
    let dir = stage();
    let words = "resample digits --reference ref --bias diversity --for csv --json";
    run(&dir, &format!("{words} --repeats 5 -o few")).success();
    let few = summary(&dir, "few");
    assert!(few["largest_error"].as_f64().unwrap() > 0.05);
    let enough = few["enough_repeats"].as_u64().unwrap();
    run(&dir, &format!("{words} --repeats {enough} -o enough")).success();
    let enough = summary(&dir, "enough");
    assert!(enough["largest_error"].as_f64().unwrap() <= 0.05 && enough["enough_repeats"].is_null());
    run(&dir, "resample digits --reference ref --bias diversity --for csv --repeats 5 -o text")
        .success()
        .stdout(contains("would keep both below it"));
}

#[test]
fn pictures_and_captions_that_the_trainer_would_not_read_are_converted_or_left_out() {
    let dir = stage();
    let image = files(&dir.path().join("digits")).remove(0);
    let photos = dir.path().join("photos");
    fs::create_dir_all(&photos).unwrap();
    let picture = image::open(&image).unwrap();
    picture.save(photos.join("a.pgm")).unwrap();
    picture.save(photos.join("b.PNG")).unwrap();
    fs::write(photos.join("=b.png"), fs::read(&image).unwrap()).unwrap();
    fs::write(photos.join("c.jpg"), "no picture").unwrap();
    fs::write(photos.join("a.txt"), "a four").unwrap();
    fs::write(photos.join("b.txt"), b"\xff").unwrap();
    let words = "resample photos --reference ref --bias diversity --for kohya --name digit";
    run(&dir, &format!("{words} --csv-safe -o set"))
        .success()
        .stderr(contains("skipped c.jpg").and(contains("b.txt is not UTF-8")));
    let set = dir.path().join("set");
    let table = rows(&set.join("weights.csv"));
    let converted = table.iter().find(|row| row["path"] == "a.pgm").unwrap();
    let written = image::open(set.join(&converted["file"])).unwrap().to_rgb8();
    assert_eq!(written, picture.to_rgb8());
    assert_eq!(fs::read_to_string(set.join(&converted["file"]).with_extension("txt")).unwrap(), "a four");
    assert!(table.iter().any(|row| row["path"] == "'=b.png"));
    assert!(table.iter().all(|row| row["file"].ends_with(".png") && row["file"].contains("_digit/")));
    assert_eq!(rows(&set.join("weights.skipped.csv"))[0]["path"], "c.jpg");
    assert_eq!(summary(&dir, "set")["captions"], serde_json::json!({"with": 1, "without": 1, "unusable": 1}));
    fs::remove_file(photos.join("c.jpg")).unwrap();
    run(&dir, &format!("{words} --strict -o strict")).code(3).stderr(contains("b.txt"));
}

#[test]
fn a_set_that_was_cut_off_is_written_again_to_the_same_bytes() {
    let dir = stage();
    let words = "resample digits --reference ref --bias fidelity --for imagefolder -o";
    run(&dir, &format!("{words} whole")).success();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    run(&dir, &format!("{words} cut")).success();
    let finished = summary(&dir, "cut");
    fs::remove_file(cut.join("summary.json")).unwrap();
    fs::remove_file(cut.join("weights.csv")).unwrap();
    let some = files(&cut);
    some.iter().step_by(2).for_each(|path| fs::remove_file(path).unwrap());
    let begun = serde_json::json!({"command": finished["command"], "run": finished["run"]});
    fs::write(cut.join(".begun.json"), begun.to_string()).unwrap();
    run(&dir, &format!("{words} cut --repeats 9")).code(2).stderr(contains("another run"));
    pd(&dir).args(words.split_whitespace()).arg("cut").assert().success();
    assert_eq!(content(&cut), content(&whole));
}
