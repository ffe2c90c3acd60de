//! What commands say of their inputs, and how a reference follows its images: by content, whatever the files are called.

use crate::support::{content, pd, rows};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use tempfile::TempDir;

/// A picture of 16 by 16 pixels that no other number has.
fn picture(number: u32) -> image::RgbImage {
    let mix = |x: u32, y: u32, c: u32| {
        let n = (x / 4 + 4 * (y / 4) + 16 * c)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(number.wrapping_mul(40_503));
        (n.wrapping_mul(n) >> 16) as u8
    };
    image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([0, 1, 2].map(|c| mix(x, y, c))))
}

fn encoded(number: u32, format: image::ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture(number).write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn png(number: u32) -> Vec<u8> {
    encoded(number, image::ImageFormat::Png)
}

fn jpeg(number: u32) -> Vec<u8> {
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(16, 16);
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(picture(number).as_raw()).unwrap();
    started.finish().unwrap()
}

/// A large picture.
fn large_jpeg(number: u32) -> Vec<u8> {
    let large = image::imageops::resize(&picture(number), 400, 300, image::imageops::FilterType::Triangle);
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(400, 300);
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(large.as_raw()).unwrap();
    started.finish().unwrap()
}

fn put(dir: &TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn photos(dir: &TempDir, count: u32) {
    (0..count).for_each(|i| put(dir, &format!("photos/{i:02}.png"), &png(i)));
}

fn tar_of(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0\0\0\0\0";

fn json_of(dir: &TempDir, words: &str) -> Value {
    let out = pd(dir).args(words.split_whitespace()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn run(dir: &TempDir, words: &str) -> assert_cmd::assert::Assert {
    pd(dir).args(words.split_whitespace()).assert()
}

#[test]
fn files_are_known_by_their_content_and_what_is_left_out_is_counted_by_kind() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 12);
    put(&dir, "photos/saved.jfif", &jpeg(12));
    put(&dir, "photos/IMG_99.HEIC", &jpeg(13));
    put(&dir, "photos/no-extension", &png(14));
    put(&dir, "photos/IMG_1.HEIC", HEIC);
    put(&dir, "photos/IMG_2.heic", HEIC);
    put(&dir, "photos/notes.txt", b"BM and P6 are no images here");
    put(&dir, "photos/old.zip", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    put(&dir, "photos/__MACOSX/._00.png", &png(3));
    put(&dir, "photos/sub/@eaDir/00.png", &png(3));
    put(&dir, "photos/.ipynb_checkpoints/00-checkpoint.png", &png(3));
    put(&dir, "photos/bad.png", b"no image");
    let line = "left out: 2 .heic, 1 archive (old.zip), 3 leftovers of the system, 1 other file";
    run(&dir, "embed photos -o ref").success().stdout(contains("15 images, 1 skipped, ").and(contains(line)));
    let paths: BTreeSet<String> =
        rows(&dir.path().join("ref/images.csv")).into_iter().map(|row| row["path"].clone()).collect();
    assert!(paths.contains("saved.jfif") && paths.contains("IMG_99.HEIC") && paths.contains("no-extension"));
    let expected = serde_json::json!({"images": {"heic": 2}, "archives": 1, "system": 3, "other": 1});
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.path().join("ref/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["left_out"], expected);
    let inputs = serde_json::json!({"used": 15, "skipped": 1, "left_out": expected});
    for words in ["embed photos -o ref --json", "score photos --k 3 --json"] {
        assert_eq!(json_of(&dir, words)["inputs"], inputs, "{words}");
    }
    run(&dir, "score photos --k 3")
        .success()
        .stdout(contains("15 images used, 1 skipped, ").and(contains(line)));
    run(&dir, "score photos --k 3 -o s.csv").success().stderr(contains(line));
    assert_eq!(
        json_of(&dir, "eval --real photos --generated photos --metrics fd --json")["inputs"]["photos"],
        inputs
    );
    // Every image and every archive has to be read; other files are only counted.
    run(&dir, "embed photos -o strict --strict").failure().code(3);
    fs::remove_file(dir.path().join("photos/bad.png")).unwrap();
    run(&dir, "embed photos -o strict --strict")
        .failure()
        .code(3)
        .stderr(contains("IMG_1.HEIC").and(contains("magick")));
    for name in ["IMG_1.HEIC", "IMG_2.heic"] {
        fs::remove_file(dir.path().join("photos").join(name)).unwrap();
    }
    run(&dir, "embed photos -o strict --strict").failure().code(3).stderr(contains("old.zip"));
    fs::remove_file(dir.path().join("photos/old.zip")).unwrap();
    run(&dir, "embed photos -o strict --strict").success();
}

#[test]
fn a_folder_of_images_that_are_not_read_says_so() {
    let dir = TempDir::new().unwrap();
    put(&dir, "photos/a.heic", HEIC);
    put(&dir, "photos/b.avif", b"\0\0\0\x1Cftypavif\0\0\0\0avifmif1miaf");
    run(&dir, "score photos").failure().code(1).stderr(
        contains("no image in it that can be read")
            .and(contains("1 .avif, 1 .heic"))
            .and(contains("convert them")),
    );
}

/// A reference is what a new run would make of the images as they are now.
fn as_new(dir: &TempDir, reference: &str) {
    run(dir, "embed photos -o new").success();
    assert_eq!(content(&dir.path().join(reference)), content(&dir.path().join("new")));
    fs::remove_dir_all(dir.path().join("new")).unwrap();
}

#[test]
fn embed_brings_a_reference_up_to_date_with_the_bytes_of_a_new_run() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 40);
    put(&dir, "photos/bad.png", b"no image");
    run(&dir, "embed photos -o ref").success();
    run(&dir, "embed photos -o ref")
        .success()
        .stdout(contains("Nothing to do: 40 images are embedded already"));
    assert_eq!(json_of(&dir, "embed photos -o ref --json")["nothing_to_do"], true);
    run(&dir, "index ref --k 5").success();

    // Another picture of the same name and the same number of bytes, as BMP files of one size have.
    let bmp = |i| encoded(i, image::ImageFormat::Bmp);
    put(&dir, "photos/05.png", &bmp(5));
    run(&dir, "embed photos -o ref").success().stdout(contains("1 changed, 0 new, 0 gone; 39 as they were"));
    assert!(!dir.path().join("ref/scores.csv").exists(), "densities of other images were kept");
    as_new(&dir, "ref");
    put(&dir, "photos/05.png", &bmp(105));
    run(&dir, "embed photos -o ref").success().stdout(contains("1 changed"));
    as_new(&dir, "ref");

    // Touched, and otherwise as it was.
    let same = fs::read(dir.path().join("photos/06.png")).unwrap();
    put(&dir, "photos/06.png", &same);
    run(&dir, "embed photos -o ref").success().stdout(contains("Nothing to do"));

    put(&dir, "photos/00a.png", &png(77));
    put(&dir, "photos/zz/last.png", &png(78));
    fs::remove_file(dir.path().join("photos/11.png")).unwrap();
    put(&dir, "photos/bad.png", &png(79));
    put(&dir, "photos/bad2.png", b"no image");
    run(&dir, "embed photos -o ref").success().stdout(contains("0 changed, 3 new, 1 gone; 39 as they were"));
    as_new(&dir, "ref");

    // Without the times that the cache keeps, the content is compared.
    fs::remove_dir_all(dir.path().join("cache/times")).unwrap();
    run(&dir, "embed photos -o ref").success().stdout(contains("Nothing to do"));
    put(&dir, "photos/note.txt", b"one more file that is no image");
    run(&dir, "embed photos -o ref").success();
    as_new(&dir, "ref");
}

#[test]
fn a_reference_of_other_images_is_not_written_over() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 12);
    run(&dir, "embed photos -o ref").success();
    let before = content(&dir.path().join("ref"));
    (0..12).for_each(|i| put(&dir, &format!("others/image-{i}.png"), &png(50 + i)));
    run(&dir, "embed others -o ref")
        .failure()
        .code(2)
        .stderr(contains("ref holds a reference of 12 other images"));
    assert_eq!(content(&dir.path().join("ref")), before);
}

#[test]
fn an_update_that_was_interrupted_continues_to_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 12);
    run(&dir, "embed photos -o ref").success();
    let partial = dir.path().join("ref/partial");
    put(&dir, "photos/03.png", &png(90));
    run(&dir, "embed photos -o ref").success();
    as_new(&dir, "ref");
    // What is left when a run ends between its chunks and its manifest: made of an update that was stopped by hand.
    run(&dir, "embed photos -o killed").success();
    let killed = dir.path().join("killed");
    fs::create_dir(killed.join("partial")).unwrap();
    fs::remove_file(killed.join("manifest.json")).unwrap();
    put(&dir, "killed/scores.csv", b"path,pseudo_density\n");
    assert!(!partial.exists());
    run(&dir, "embed photos -o killed").success();
    as_new(&dir, "killed");
}

#[test]
fn compressed_archives_and_archives_in_folders_are_read_and_bad_ones_named() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 12);
    let entries: Vec<(String, Vec<u8>)> = (0..12).map(|i| (format!("{i:02}.png"), png(i))).collect();
    let tar = tar_of(&entries);
    put(&dir, "set.tar.gz", &gzip(&tar));
    put(&dir, "called.tar", &gzip(&tar));
    run(&dir, "embed photos -o ref").success();
    let features = |name: &str| fs::read(dir.path().join(name).join("features.npy")).unwrap();
    for archive in ["set.tar.gz", "called.tar"] {
        let out = format!("of-{archive}");
        run(&dir, &format!("embed {archive} -o {out}")).success().stdout(contains("12 images, 0 skipped"));
        assert_eq!(features(&out), features("ref"));
    }
    // Shards of a folder without images, the second of which is damaged, and one lies below.
    put(&dir, "shards/a.tar", &tar_of(&entries[..4]));
    put(&dir, "shards/b.tar", &vec![b'x'; 4096]);
    put(&dir, "shards/c.tar", &[0; 10_240]);
    put(&dir, "shards/below/d.tgz", &gzip(&tar_of(&entries[4..])));
    put(&dir, "shards/a.json", b"{}");
    run(&dir, "embed shards -o of-shards")
        .success()
        .stdout(contains("12 images, 2 skipped").and(contains("left out: 1 other file")))
        .stderr(
            contains("skipped b.tar: not a readable tar archive").and(contains("c.tar: holds no entries")),
        );
    run(&dir, "embed shards -o strict --strict").failure().code(3);
    // Cut between two entries: nothing but the missing end tells.
    let end = tar.len() - 1024;
    let cut = tar[..end].len() / 512 * 512;
    put(&dir, "cut.tar", &tar[..cut - 1024]);
    run(&dir, "embed cut.tar -o cut").success().stderr(contains("cut short"));
    run(&dir, "embed cut.tar -o cut-strict --strict").failure().code(3);
    let packed = gzip(&tar);
    put(&dir, "cut.tar.gz", &packed[..packed.len() / 2]);
    run(&dir, "embed cut.tar.gz -o cut-gz").success().stderr(contains("damaged or cut short"));
}

#[test]
fn a_folder_may_be_called_like_a_file_of_features() {
    let dir = TempDir::new().unwrap();
    for name in ["run.npy", "run.zip", "run.tar"] {
        (0..8).for_each(|i| put(&dir, &format!("{name}/{i}.png"), &png(i)));
        run(&dir, &format!("score {name} --k 3")).success().stdout(contains("8 images"));
    }
}

#[test]
fn a_table_of_skipped_inputs_goes_when_none_is_skipped() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 8);
    put(&dir, "photos/bad.png", b"no image");
    let beside = dir.path().join("s.skipped.csv");
    run(&dir, "score photos --k 3 -o s.csv").success();
    assert!(beside.is_file());
    fs::remove_file(dir.path().join("photos/bad.png")).unwrap();
    run(&dir, "score photos --k 3 -o s.csv").success();
    assert!(!beside.exists());
}

#[test]
fn what_cannot_work_is_said_before_the_work() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 8);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let quick = |words: &str, said: &str| {
        // Nothing was embedded: what images are skipped is said only afterwards.
        run(&dir, words).failure().stderr(contains(said).and(contains("skipped").not()));
    };
    put(&dir, "photos/bad.png", b"no image");
    quick("eval --real photos --generated empty", "no image in it");
    put(&dir, "file", b"");
    quick("embed photos -o file/ref", "file is no directory");
    #[cfg(target_os = "linux")]
    if Path::new("/proc/self").is_dir() {
        quick("score photos --k 3 -o /proc/self/scores.csv", "cannot write into /proc/self");
    }
}

#[test]
fn images_that_become_one_colour_are_said() {
    let dir = TempDir::new().unwrap();
    for i in 0..8u32 {
        let drawing = image::RgbaImage::from_fn(16, 16, |x, y| {
            image::Rgba([255, 255, 255, if (x / 4 * 7 + y / 4 * 5 + i) % 3 == 0 { 255 } else { 0 }])
        });
        let mut file = Cursor::new(Vec::new());
        drawing.write_to(&mut file, image::ImageFormat::Png).unwrap();
        put(&dir, &format!("icons/{i}.png"), &file.into_inner());
    }
    run(&dir, "embed icons -o white")
        .success()
        .stderr(contains("8 images are of one colour").and(contains("--alpha")));
    run(&dir, "embed icons --alpha black -o black").success().stderr(contains("one colour").not());
}

/// A gray TIFF of 32-bit floating point numbers, tiled into one tile that is larger than the image.
fn float_tiff(values: &[f32; 4]) -> Vec<u8> {
    let tags: [(u16, u16, u32); 11] = [
        (256, 3, 2),
        (257, 3, 2),
        (258, 3, 32),
        (259, 3, 1),
        (262, 3, 1),
        (277, 3, 1),
        (322, 3, 16),
        (323, 3, 16),
        (324, 4, 8 + 2 + 12 * 11 + 4),
        (325, 4, 16 * 16 * 4),
        (339, 3, 3),
    ];
    let mut file = b"II*\0\x08\0\0\0\x0B\0".to_vec();
    for (tag, kind, value) in tags {
        file.extend(
            [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat(),
        );
    }
    file.extend([0; 4]);
    let mut tile = vec![0f32; 16 * 16];
    (tile[0], tile[1], tile[16], tile[17]) = (values[0], values[1], values[2], values[3]);
    file.extend(tile.iter().flat_map(|v| v.to_le_bytes()));
    file
}

#[test]
fn the_range_of_a_tiff_of_floating_point_numbers_is_found_and_noted() {
    let dir = TempDir::new().unwrap();
    put(&dir, "photos/a.tif", &float_tiff(&[0.0, 0.2, 0.4, 1.0]));
    put(&dir, "photos/b.tif", &float_tiff(&[0.0, 51.0, 102.0, 255.0]));
    put(&dir, "photos/c.png", &png(1));
    run(&dir, "embed photos -o ref").success().stdout(contains("3 images, 0 skipped"));
    let notes: Vec<String> =
        rows(&dir.path().join("ref/images.csv")).into_iter().map(|row| row["note"].clone()).collect();
    assert_eq!(notes, ["floating point, range 0 to 1", "floating point, range 0 to 255", ""]);
    let features: ndarray::Array2<f32> =
        pseudo_density::read_npy(dir.path().join("ref/features.npy")).unwrap();
    assert_eq!(features.row(0), features.row(1));
}

#[test]
fn fast_decoding_is_part_of_what_a_reference_is() {
    let dir = TempDir::new().unwrap();
    (0..12).for_each(|i| put(&dir, &format!("photos/{i:02}.jpg"), &large_jpeg(i)));
    fs::copy(dir.path().join("photos/03.jpg"), dir.path().join("photos/12.jpg")).unwrap();
    run(&dir, "embed photos -o whole").success();
    run(&dir, "embed photos --fast-decode -o fast").success().stderr(contains("decoded at a reduced size"));
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.path().join("fast/manifest.json")).unwrap()).unwrap();
    assert!(manifest.to_string().contains(r#""fast_decode":true"#), "{manifest}");
    let sizes = |reference: &str| -> Vec<(String, String)> {
        let table = rows(&dir.path().join(reference).join("images.csv"));
        table.iter().map(|row| (row["width"].clone(), row["height"].clone())).collect()
    };
    assert_eq!(sizes("fast"), sizes("whole"));
    assert_eq!(sizes("fast")[0], ("400".into(), "300".into()));
    let features = |reference: &str| fs::read(dir.path().join(reference).join("features.npy")).unwrap();
    assert_ne!(features("fast"), features("whole"));
    run(&dir, "index fast --k 3").success();
    let copies = fs::read_to_string(dir.path().join("fast/duplicates.csv")).unwrap();
    assert!(copies.contains("03.jpg") && copies.contains("12.jpg"), "{copies}");
    // What comes later is decoded in the same way, and nothing else is asked for.
    run(&dir, "score photos --reference fast").success().stdout(contains("decoded at a reduced size"));
    run(&dir, "score photos --reference fast --fast-decode false")
        .code(2)
        .stderr(contains("the reference was made differently"));
    run(&dir, "embed photos --fast-decode -o whole").code(2).stderr(contains("fast_decode"));
}

#[test]
fn a_graph_grows_with_its_reference() {
    let dir = TempDir::new().unwrap();
    photos(&dir, 100);
    run(&dir, "embed photos -o ref").success();
    run(&dir, "index ref --k 3 --index graph").success().stdout(contains("grown").not());
    (100..104).for_each(|i| put(&dir, &format!("photos/0-{i}.png"), &png(i)));
    run(&dir, "embed photos -o ref").success();
    assert!(dir.path().join("ref/earlier.safetensors").is_file());
    run(&dir, "index ref --k 3 --index graph").success().stdout(contains("grown from one of 100 rows"));
    assert!(!dir.path().join("ref/earlier.safetensors").exists());
    let scores = |reference: &str| fs::read(dir.path().join(reference).join("scores.csv")).unwrap();
    let grown = scores("ref");
    run(&dir, "embed photos -o fresh").success();
    run(&dir, "index fresh --k 3 --index graph").success();
    assert_eq!(grown, scores("fresh"), "so few rows are all found");
}
