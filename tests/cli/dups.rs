//! `pd dups` as a user meets it: copies among pictures and of other pictures, and moving them away and back.

use crate::support::{column, content, digits_zip, pd, picture, rows, run};
use predicates::str::contains;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `photos` with pictures 0 to 5, and copies of 0 (smaller, in a folder), 1 (mirrored) and 2 (another format).
fn photos(dir: &TempDir) -> PathBuf {
    let photos = dir.path().join("photos");
    fs::create_dir_all(photos.join("edits")).unwrap();
    for seed in 0..6 {
        picture(seed).save(photos.join(format!("p{seed}.png"))).unwrap();
    }
    let small = image::imageops::thumbnail(&picture(0), 100, 88);
    small.save(photos.join("edits/small.png")).unwrap();
    image::imageops::flip_horizontal(&picture(1)).save(photos.join("edits/turned.png")).unwrap();
    picture(2).save(photos.join("same.bmp")).unwrap();
    photos
}

const COPIES: [&str; 3] = ["edits/small.png", "edits/turned.png", "same.bmp"];

fn moved_away(dir: &TempDir) -> Vec<String> {
    let left = content(&dir.path().join("photos"));
    COPIES.into_iter().filter(|path| !left.contains_key(*path)).map(String::from).collect()
}

#[test]
fn copies_are_grouped_and_the_largest_is_kept() {
    let dir = TempDir::new().unwrap();
    photos(&dir);
    run(&dir, "dups photos -o dups.csv --extractor tiny")
        .success()
        .stdout(contains("3 of 9 images are copies (1 to the pixel)"));
    let table = dir.path().join("dups.csv");
    let text = fs::read_to_string(&table).unwrap();
    assert_eq!(text.lines().next().unwrap(), "group,path,keep,reason,other,score");
    let rows = rows(&table);
    let row = |path: &str| rows.iter().find(|row| row["path"] == path).unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!(
        (row("edits/small.png")["other"].as_str(), row("edits/small.png")["reason"].as_str()),
        ("p0.png", "edited")
    );
    assert_eq!((row("p0.png")["keep"].as_str(), row("p0.png")["reason"].as_str()), ("true", "largest"));
    assert_eq!(row("edits/small.png")["group"], row("p0.png")["group"]);
    assert_eq!((row("edits/turned.png")["other"].as_str()), "p1.png");
    let reasons: Vec<&str> = ["edits/turned.png", "p1.png"].map(|path| row(path)["reason"].as_str()).into();
    assert!(reasons.contains(&"edited, mirrored") && reasons.contains(&"largest"));
    assert_eq!((row("same.bmp")["score"].as_str(), row("p2.png")["score"].as_str()), ("1", "1"));

    // Any number of threads gives the same bytes.
    run(&dir, "dups photos -o again.csv --extractor tiny --threads 1 --batch 2").success();
    assert_eq!(text, fs::read_to_string(dir.path().join("again.csv")).unwrap());
    let out = run(&dir, "dups photos --extractor tiny --json").success().get_output().stdout.clone();
    let summary: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&summary["images"], &summary["copies"], &summary["groups"]),
        (&9.into(), &3.into(), &3.into())
    );
    run(&dir, "dups photos --extractor tiny --fail-on 4").success();
    run(&dir, "dups photos --extractor tiny --fail-on 3").code(1).stderr(contains("3 of 9"));
}

#[test]
fn each_way_of_keeping_keeps_another() {
    let dir = TempDir::new().unwrap();
    let photos = photos(&dir);
    let kept = |keep: &str| -> Vec<String> {
        run(&dir, &format!("dups photos -o k.csv --extractor tiny --keep {keep}")).success();
        let rows = rows(&dir.path().join("k.csv"));
        rows.iter().filter(|row| row["keep"] == "true").map(|row| row["path"].clone()).collect()
    };
    assert_eq!(kept("first"), ["edits/small.png", "edits/turned.png", "p2.png"]);
    for path in ["p0.png", "p1.png", "p2.png", "same.bmp", "edits/small.png"] {
        let time = if path == "same.bmp" { 1_000 } else { 2_000 };
        let file = fs::File::options().write(true).open(photos.join(path)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
    }
    assert!(kept("oldest").contains(&"same.bmp".to_string()));
    assert_eq!(kept("sharpest").len(), 3);
    assert_eq!(kept("most-typical").len(), 3);
}

#[test]
fn exact_copies_are_found_without_a_network() {
    let dir = TempDir::new().unwrap();
    photos(&dir);
    run(&dir, "dups photos --level exact -o e.csv").success().stdout(contains("1 of 9 images"));
    assert_eq!(column(&dir.path().join("e.csv"), "path"), ["p2.png", "same.bmp"]);
}

#[test]
fn copies_of_other_pictures_are_named_and_nothing_is_a_copy_of_itself() {
    let dir = TempDir::new().unwrap();
    photos(&dir);
    let generated = dir.path().join("generated");
    fs::create_dir(&generated).unwrap();
    image::imageops::flip_horizontal(&picture(3)).save(generated.join("g0.png")).unwrap();
    picture(77).save(generated.join("g1.png")).unwrap();
    run(&dir, "dups generated --against photos -o g.csv --extractor tiny")
        .success()
        .stdout(contains("1 of 2 images"));
    let text = fs::read_to_string(dir.path().join("g.csv")).unwrap();
    assert!(text.starts_with("path,other,score\ng0.png,p3.png,"), "{text}");
    // The pictures against themselves: only the pairs of copies, each seen from both sides.
    run(&dir, "dups photos --against photos -o self.csv --extractor tiny").success();
    assert_eq!(column(&dir.path().join("self.csv"), "path").len(), 6);
}

#[test]
fn what_is_moved_can_be_put_back() {
    let dir = TempDir::new().unwrap();
    let before = content(&photos(&dir));
    run(&dir, "dups photos --extractor tiny --move away --dry-run")
        .success()
        .stderr(contains("would move p2.png"));
    assert_eq!(content(&dir.path().join("photos")), before);
    assert!(!dir.path().join("away").exists());
    run(&dir, "dups photos --extractor tiny --move away").success().stdout(contains("--undo away"));
    assert!(moved_away(&dir).contains(&"edits/small.png".to_string()));
    assert_eq!(content(&dir.path().join("photos")).len(), 6);
    run(&dir, "dups --undo away").success().stdout(contains("3 files are back"));
    assert_eq!(content(&dir.path().join("photos")), before);
    run(&dir, "dups photos --extractor tiny --delete").success();
    assert_eq!(content(&dir.path().join("photos.trash")).len(), 4);
    run(&dir, "dups --undo photos.trash").success();
    assert_eq!(content(&dir.path().join("photos")), before);
}

#[test]
fn what_cannot_be_done_is_said_before_the_work() {
    let dir = TempDir::new().unwrap();
    photos(&dir);
    let digits = digits_zip();
    let digits = digits.to_str().unwrap();
    run(&dir, &format!("dups {digits} --delete")).code(2).stderr(contains("unpack it"));
    run(&dir, "dups photos --dry-run").code(2).stderr(contains("--move DIR"));
    run(&dir, "dups photos --move photos/copies --extractor tiny")
        .code(2)
        .stderr(contains("choose a directory outside"));
    run(&dir, "dups --delete").code(2);
    run(&dir, "dups --undo photos").code(1);
    fs::write(dir.path().join("f.npy"), "").unwrap();
    run(&dir, "dups f.npy").code(2).stderr(contains("folder"));
    assert_eq!(content(Path::new(&dir.path().join("photos"))).len(), 9);
    fs::write(dir.path().join("photos/broken.png"), "no image").unwrap();
    run(&dir, "dups photos --extractor tiny -o d.csv").success().stderr(contains("skipped broken.png"));
    run(&dir, "dups photos --extractor tiny --strict").code(3);
    pd(&dir).args(["dups", "photos", "--keep", "best"]).assert().code(2);
}

#[test]
fn a_reference_is_searched_and_searched_in_without_its_pictures() {
    let dir = TempDir::new().unwrap();
    let photos = photos(&dir);
    let table = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    run(&dir, "embed photos -o ref --extractor tiny").success();
    run(&dir, "dups photos -o photos.csv --extractor tiny").success();
    run(&dir, "dups photos --against photos -o itself.csv --extractor tiny").success();
    // A picture of the reference is no copy of itself.
    run(&dir, "dups photos --against ref -o against.csv")
        .success()
        .stdout(contains("6 of 9 images are copies"));
    assert_eq!(table("itself.csv"), table("against.csv"));
    fs::rename(photos, dir.path().join("elsewhere")).unwrap();
    run(&dir, "dups ref -o ref.csv").success().stdout(contains("3 of 9 images are copies (1 to the pixel)"));
    assert_eq!(table("photos.csv"), table("ref.csv"));
    let generated = dir.path().join("generated");
    fs::create_dir(&generated).unwrap();
    picture(70).save(generated.join("new.png")).unwrap();
    image::imageops::flip_horizontal(&picture(4)).save(generated.join("turned.png")).unwrap();
    run(&dir, "dups generated --against ref -o g.csv").success();
    let found = rows(&dir.path().join("g.csv"));
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["path"][..], &found[0]["other"][..]), ("turned.png", "p4.png"));
    run(&dir, "dups ref --against generated").success().stdout(contains("1 of 9 images are copies"));
    for words in ["--move away", "--delete", "--keep oldest", "--keep sharpest"] {
        run(&dir, &format!("dups ref {words}")).code(2).stderr(contains("no files"));
    }
    run(&dir, "dups ref --level exact").success().stdout(contains("1 of 9 images are copies"));
    // What an earlier version made lacks what is needed.
    let manifest = dir.path().join("ref/manifest.json");
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("descriptors").is_some());
    fs::write(&manifest, old.to_string()).unwrap();
    run(&dir, "dups ref").code(1).stderr(contains("pd embed"));
}
