//! `.npz` files of pixels, as ADM's samplers write them, wherever images are read.

use crate::support::{content, made_up_images, pd, rows, run};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

#[test]
fn they_are_compared_as_the_same_images_in_a_folder_are() {
    let dir = TempDir::new().unwrap();
    made_up_images(&dir, "real", 30, 12);
    made_up_images(&dir, "made", 24, 12);
    let values = |real: &str, generated: &str| {
        let out = pd(&dir)
            .args(["eval", "--real", real, "--generated", generated, "--json", "--quiet"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let mut found: Value = serde_json::from_slice(&out.stdout).unwrap();
        let mut row = found["generated"][0].take();
        row.as_object_mut().unwrap().remove("path");
        row
    };
    let of_folders = values("real", "made");
    assert_eq!(of_folders["n"], 24);
    for (real, generated) in [("real.npz", "made.npz"), ("real", "made.npz"), ("real.npz", "made")] {
        assert_eq!(values(real, generated), of_folders, "{real} {generated}");
    }
    let parts = "eval --real real.npz --generated made.npz --shard";
    run(&dir, &format!("{parts} 0/2 -o parts")).success();
    run(&dir, &format!("{parts} 1/2 -o parts")).success();
    run(&dir, "merge parts").success();
    let merged: Value =
        serde_json::from_slice(&fs::read(dir.path().join("parts/eval.json")).unwrap()).unwrap();
    assert_eq!(merged["generated"][0]["kid"], of_folders["kid"]);
}

#[test]
fn other_commands_read_them_too() {
    let dir = TempDir::new().unwrap();
    made_up_images(&dir, "real", 40, 12);
    run(&dir, "embed real.npz -o ref").success();
    let images = rows(&dir.path().join("ref/images.csv"));
    assert_eq!((images.len(), images[7]["path"].as_str()), (40, "000007.ppm"));
    run(&dir, "score real.npz -o pixels.csv").success();
    run(&dir, "score real -o folder.csv").success();
    let table = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(table("pixels.csv"), table("folder.csv"));
    run(&dir, "select real.npz -n 3 -o best").success();
    let best = content(&dir.path().join("best"));
    let chosen: Vec<&Vec<u8>> =
        best.iter().filter(|(name, _)| name.ends_with(".ppm")).map(|(_, bytes)| bytes).collect();
    assert_eq!(chosen.len(), 3, "{:?}", best.keys());
    let real = content(&dir.path().join("real"));
    assert!(chosen.iter().all(|bytes| real.values().any(|other| other == *bytes)));
}

#[test]
fn damaged_ones_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    made_up_images(&dir, "real", 12, 12);
    let path = dir.path().join("real.npz");
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], because: &str| {
        fs::write(&path, bytes).unwrap();
        run(&dir, "eval --real real.npz --generated real")
            .code(1)
            .stderr(contains("real.npz").and(contains(because)).and(contains("panicked").not()));
    };
    refused(&whole[..whole.len() / 2], "damaged .npz file");
    let mut longer = whole.clone();
    let at = longer.windows(4).position(|window| window == b"(12,").unwrap();
    longer[at + 1] = b'9';
    refused(&longer, "does not hold what its shape [92, 12, 12, 3] says");
}
