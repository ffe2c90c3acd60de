//! `--novel`, `--distinct` and `--level` as a user meets them: copies are refused where pictures are chosen.

use crate::support::{column, content, picture, rows, run};
use image::imageops::{flip_horizontal, thumbnail};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use tempfile::TempDir;

/// `catalogue` with pictures 0 to 13, `ref` of it, and `pool`: new pictures, edited copies of the catalogue and repeats of the new ones.
fn stage() -> TempDir {
    let dir = TempDir::new().unwrap();
    let place = |name: &str| dir.path().join(name);
    fs::create_dir_all(place("catalogue")).unwrap();
    fs::create_dir_all(place("pool")).unwrap();
    for seed in 0..14 {
        picture(seed).save(place("catalogue").join(format!("c{seed:02}.png"))).unwrap();
    }
    for seed in 100..104 {
        picture(seed).save(place("pool").join(format!("new{seed}.png"))).unwrap();
    }
    for (seed, name) in [(3, "copy-of-03"), (100, "repeat-of-100")] {
        thumbnail(&picture(seed), 100, 88).save(place("pool").join(format!("{name}-small.png"))).unwrap();
        flip_horizontal(&picture(seed)).save(place("pool").join(format!("{name}-turned.png"))).unwrap();
        picture(seed).save(place("pool").join(format!("{name}-same.bmp"))).unwrap();
    }
    run(&dir, "embed catalogue -o ref --extractor tiny").success();
    run(&dir, "index ref").success();
    dir
}

/// Whether the names are those of all new pictures, the first of them itself or as one of its repeats, and of nothing else.
fn are_the_new_pictures(mut names: Vec<String>) -> bool {
    names.retain(|name| !name.is_empty());
    names.sort();
    let rest = ["new101.png", "new102.png", "new103.png"];
    let first: Vec<&String> = names.iter().filter(|name| !rest.contains(&name.as_str())).collect();
    names.len() == 4
        && matches!(&first[..], [one] if one.starts_with("new100") || one.starts_with("repeat-of-100"))
}

fn summary(dir: &TempDir, out: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(dir.path().join(out).join("summary.json")).unwrap()).unwrap()
}

#[test]
fn a_sample_of_a_pool_has_no_copies_of_the_catalogue_and_no_repeats() {
    let dir = stage();
    run(&dir, "sample --pool pool --reference ref -n all --novel --distinct -o chosen")
        .success()
        .stdout(contains("refused: 3 copies of a real one, 3 copies of another chosen one"));
    let table = dir.path().join("chosen/samples.csv");
    assert!(are_the_new_pictures(column(&table, "file")));
    let (paths, copy_of) = (column(&table, "path"), column(&table, "copy_of"));
    for (path, copy_of) in paths.iter().zip(&copy_of) {
        match path {
            path if path.starts_with("copy-of-03") => assert_eq!(copy_of, "c03.png", "{path}"),
            path if path.contains("100") && !copy_of.is_empty() => assert!(copy_of.contains("100"), "{path}"),
            _ => assert_eq!(copy_of, "", "{path}"),
        }
    }
    let found = summary(&dir, "chosen");
    assert_eq!((&found["copies_of_real"], &found["copies_of_kept"]), (&3.into(), &3.into()));
    assert_eq!((&found["not_novel"], &found["not_distinct"]), (&3.into(), &3.into()));
    // Another number of threads gives the same files.
    run(&dir, "sample --pool pool --reference ref -n all --novel --distinct -o again --threads 1").success();
    assert_eq!(content(&dir.path().join("chosen")), content(&dir.path().join("again")));
    // Only what is the same to the pixel counts at the level `exact`.
    run(&dir, "sample --pool pool --reference ref -n all --novel --distinct --level exact -o exact")
        .success()
        .stdout(contains("refused: 1 copies of a real one, 1 copies of another chosen one"));
    // With replacement copies of real pictures are refused too.
    run(&dir, "sample --pool pool --reference ref -n 30 --novel --replace -o replaced").success();
    let chosen = column(&dir.path().join("replaced/samples.csv"), "file");
    assert!(chosen.iter().all(|name| !name.starts_with("copy-of")), "{chosen:?}");
}

#[test]
fn the_best_together_are_no_copies_either() {
    let dir = stage();
    run(&dir, "select pool -n 4 --reference ref --novel --distinct -o best")
        .success()
        .stdout(contains("copies found and replaced"));
    assert!(are_the_new_pictures(column(&dir.path().join("best/selected.csv"), "file")));
    let found = summary(&dir, "best");
    assert!(found["copies_of_real"].as_u64().unwrap() <= 3 && found["complete"] == true, "{found}");
    run(&dir, "select pool -n 5 --reference ref --novel --distinct -o more")
        .success()
        .stderr(contains("copies of a real image"));
    // Without a reference, and beside a picture that is in the set already.
    fs::create_dir(dir.path().join("range")).unwrap();
    picture(101).save(dir.path().join("range/have.png")).unwrap();
    run(&dir, "select pool -n 4 --must range --distinct --extractor tiny -o beside").success();
    let chosen = column(&dir.path().join("beside/selected.csv"), "file");
    assert!(!chosen.contains(&"new101.png".to_owned()), "{chosen:?}");
    let of = |part: &str| chosen.iter().filter(|name| name.contains(part)).count();
    assert!(of("100") <= 1 && of("copy-of-03") <= 1, "{chosen:?}");
}

#[test]
fn where_there_are_no_pictures_refusing_copies_is_an_error_that_names_the_way_out() {
    let dir = stage();
    let refused = |words: &str, by: &str| {
        run(&dir, words).code(2).stderr(contains(by));
    };
    fs::copy(dir.path().join("ref/features.npy"), dir.path().join("features.npy")).unwrap();
    run(&dir, "embed features.npy -o plain").success();
    run(&dir, "index plain").success();
    for command in ["sample --pool", "select"] {
        refused(&format!("{command} ref -n 2 --reference ref --novel -o x"), "these candidates are features");
        let distances = format!("{command} ref -n 2 --reference ref --novel 5 --level similar");
        run(&dir, &format!("{distances} -o {}", command.len())).success();
        refused(&format!("{command} pool -n 2 --reference ref --novel --level similar -o x"), "--novel 5");
    }
    // A reference of an earlier version lacks the descriptors.
    let manifest = dir.path().join("ref/manifest.json");
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("descriptors").is_some());
    fs::write(&manifest, old.to_string()).unwrap();
    refused("sample --pool pool -n 2 --reference ref --novel -o x", "does not hold its pictures");
    run(&dir, "sample --pool pool -n 2 --reference ref --distinct -o of-kept").success();
    // Embedding again makes them, and then there is nothing to do.
    run(&dir, "embed catalogue -o ref --extractor tiny").success();
    run(&dir, "embed catalogue -o ref --extractor tiny").success().stdout(contains("Nothing to do"));
    run(&dir, "index ref").success();
    run(&dir, "sample --pool pool -n 2 --reference ref --novel -o whole").success();
}

#[test]
fn a_damaged_descriptor_is_an_error_that_names_the_reference() {
    let dir = stage();
    let path = dir.path().join("ref/descriptors.npy");
    let mut bytes = fs::read(&path).unwrap();
    let start = bytes.len() - 14 * 2048;
    for row in bytes[start..].chunks_mut(2048) {
        // The length of the small picture.
        row[88..90].copy_from_slice(&u16::MAX.to_le_bytes());
    }
    fs::write(&path, &bytes).unwrap();
    let words = "sample --pool pool -n 2 --reference ref --novel -o x";
    run(&dir, words).code(1).stderr(contains("ref").and(contains("damaged")));
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    run(&dir, words).code(1).stderr(contains("descriptors.npy").and(contains("cut short")));
}

#[test]
fn scores_and_references_count_copies_that_were_looked_at() {
    let dir = stage();
    let place = |name: &str| dir.path().join(name);
    for (seed, name) in [(3, "turned-03"), (5, "small-05")] {
        let copy =
            if seed == 3 { flip_horizontal(&picture(seed)) } else { thumbnail(&picture(seed), 90, 79) };
        copy.save(place("catalogue").join(format!("{name}.png"))).unwrap();
    }
    fs::copy(place("catalogue/c07.png"), place("catalogue/same-07.png")).unwrap();
    // Within a set, and in a reference made of it: the same.
    run(&dir, "score catalogue --extractor tiny")
        .success()
        .stdout(contains("6 of 17 images are copies of another"));
    run(&dir, "score catalogue --extractor tiny -o within.csv").success();
    run(&dir, "embed catalogue -o ref --extractor tiny").success();
    run(&dir, "index ref").success().stdout(contains("6 of 17 images are copies of another"));
    assert_eq!(fs::read(place("within.csv")).unwrap(), fs::read(place("ref/scores.csv")).unwrap());
    let copies = |table: &str| -> Vec<(String, String)> {
        let (paths, of) = (column(&place(table), "path"), column(&place(table), "copy_of"));
        paths.into_iter().zip(of).filter(|(_, of)| !of.is_empty()).collect()
    };
    let pair = |a: &str, b: &str| (format!("{a}.png"), format!("{b}.png"));
    let both = |a, b| [pair(a, b), pair(b, a)];
    let mut expected: Vec<_> = [("c03", "turned-03"), ("c05", "small-05"), ("c07", "same-07")]
        .into_iter()
        .flat_map(|(a, b)| both(a, b))
        .collect();
    expected.sort();
    assert_eq!(copies("within.csv"), expected);
    let listed = rows(&place("ref/duplicates.csv"));
    assert_eq!(listed.len(), 3);
    assert_eq!((&listed[0]["path"][..], &listed[0]["other"][..]), ("c07.png", "same-07.png"));
    assert_eq!((&listed[0]["score"][..], &listed[0]["distance"][..]), ("1", "0"));
    assert!(listed.iter().all(|row| row["score"].parse::<f64>().unwrap() >= 0.5));
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(place("ref/manifest.json")).unwrap()).unwrap();
    let look = &manifest["density"]["copies"];
    assert_eq!((&look["images"], &look["pairs"], &look["left"]), (&6.into(), &3.into(), &0.into()));
    // The page shows what was looked at and found, and vouches for no more.
    run(&dir, "report ref --images catalogue -o page.html").success();
    let page = fs::read_to_string(place("page.html")).unwrap();
    assert!(page.contains(
        "pairs, near in features or alike from afar, were looked at. 3 of them are pairs of copies"
    ));
    // Against the reference: copies of real images, in one run and in shards; a picture of the reference is no copy of itself.
    run(&dir, "score pool --reference ref -o pool.csv").success();
    let found = copies("pool.csv");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found
            .iter()
            .all(|(path, of)| path.starts_with("copy-of-03") && (of == "c03.png" || of == "turned-03.png"))
    );
    for shard in ["0/2", "1/2"] {
        run(&dir, &format!("score pool --reference ref --shard {shard} -o parts")).success();
    }
    run(&dir, "merge parts").success();
    assert_eq!(fs::read(place("parts/scores.csv")).unwrap(), fs::read(place("pool.csv")).unwrap());
    run(&dir, "score catalogue --reference ref -o own.csv").success();
    assert_eq!(copies("own.csv"), expected);
    // Features alone tell nothing of copies: there is no such column.
    fs::copy(place("ref/features.npy"), place("features.npy")).unwrap();
    run(&dir, "score features.npy --k 3")
        .success()
        .stdout(contains("2 images have the same features as another"));
    run(&dir, "score features.npy --k 3 -o features.csv").success();
    assert!(!rows(&place("features.csv"))[0].contains_key("copy_of"));
}
