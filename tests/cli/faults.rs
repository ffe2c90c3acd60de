//! What goes wrong on real machines: bombs, kills, and two processes in one directory.

use crate::support::{column, content, digits, pd, run};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A GIF of 35 bytes that declares a canvas of this side, and draws one pixel of it.
fn gif(side: u16) -> Vec<u8> {
    let [low, high] = side.to_le_bytes();
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend([low, high, low, high, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
    bytes.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;");
    bytes
}

#[test]
fn images_that_need_more_memory_than_there_may_be_are_skipped_in_words() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 2);
    for number in 0..4 {
        fs::write(images.join(format!("bomb-{number}.gif")), gif(18_000)).unwrap();
    }
    fs::write(images.join("large.gif"), gif(1_000)).unwrap();
    run(&dir, "score digits --k 2 --memory 200M --threads 4 -o s.csv").success().stderr(
        contains("skipped bomb-0.gif: decoding it needs about").and(contains("one image may take 100 MB")),
    );
    assert_eq!(column(&dir.path().join("s.csv"), "path").len(), 21);
    run(&dir, "score digits --k 2 --memory 200M --strict").code(3).stderr(contains("bomb-0.gif"));
    for wrong in ["much", "1M", "-3", "4X"] {
        pd(&dir).args(["score", "digits", &format!("--memory={wrong}")]).assert().code(2);
    }
}

#[test]
fn entries_of_an_archive_that_unfold_to_far_more_than_it_holds_are_skipped() {
    let dir = TempDir::new().unwrap();
    let images = digits(&dir, 2);
    let mut zip = zip::ZipWriter::new(File::create(dir.path().join("set.zip")).unwrap());
    let deflated = zip::write::SimpleFileOptions::default();
    for entry in walkdir::WalkDir::new(&images).into_iter().map(|entry| entry.unwrap()) {
        if entry.file_type().is_file() {
            zip.start_file(entry.path().strip_prefix(&images).unwrap().to_str().unwrap(), deflated).unwrap();
            zip.write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    zip.start_file("bomb.png", deflated).unwrap();
    zip.write_all(b"\x89PNG\r\n\x1a\n").unwrap();
    for _ in 0..100 {
        zip.write_all(&vec![0; 1 << 20]).unwrap();
    }
    zip.finish().unwrap();
    run(&dir, "score set.zip --k 2")
        .success()
        .stdout(contains("20 images"))
        .stderr(contains("skipped bomb.png: declares 104857608 bytes, far more than the archive holds"));
}

#[test]
fn every_command_that_writes_a_directory_refuses_one_that_another_process_writes() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 4);
    run(&dir, "embed digits -o ref -q").success();
    run(&dir, "index ref --k 3 -q --no-predictor").success();
    let hold = |name: &str| {
        fs::create_dir_all(dir.path().join(name)).unwrap();
        let lock = File::create(dir.path().join(name).join(".lock")).unwrap();
        lock.lock().unwrap();
        lock
    };
    let _held = [hold("ref"), hold("out")];
    for words in [
        "index ref --k 2",
        "embed digits -o out",
        "sample --pool digits --reference ref --bias fidelity -n 3 -o out",
        "merge out",
    ] {
        run(&dir, words).code(2).stderr(contains("another process is writing"));
    }
    // Reading goes on.
    run(&dir, "score digits --reference ref").success();
}

/// Starts a command, kills it after a while, and runs it again as often as it takes: the result has to be that of a run that was left
/// alone, and nothing else may be there.
#[cfg(unix)]
fn killed_at_any_moment(dir: &TempDir, words: &str, moments: &[u64]) {
    let program = assert_cmd::cargo::cargo_bin("pd");
    let command = |out: &str| {
        let mut command = Command::new(&program);
        command.args(words.split_whitespace()).args(["-q", "-o", out]);
        command.env("PD_CACHE", dir.path().join("cache")).current_dir(dir.path());
        command.stdout(std::process::Stdio::null());
        command
    };
    assert!(command("whole").status().unwrap().success(), "{words}");
    for &moment in moments {
        let mut child = command("killed").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(command("killed").status().unwrap().success(), "{words}");
    assert!(content(&dir.path().join("killed")) == content(&dir.path().join("whole")), "{words}");
    for out in ["whole", "killed"] {
        fs::remove_dir_all(dir.path().join(out)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn commands_that_are_killed_at_any_moment_continue_to_the_same_bytes_and_leave_nothing() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 30);
    run(&dir, "embed digits -o ref -q").success();
    run(&dir, "index ref --k 3 -q").success();
    let moments = [5, 20, 60, 120, 250, 400];
    killed_at_any_moment(&dir, "embed digits", &moments);
    killed_at_any_moment(&dir, "sample --pool digits --reference ref --bias fidelity -n 60", &moments);
}

#[test]
fn a_run_that_was_killed_behind_its_last_step_is_finished_and_tidied() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 4);
    run(&dir, "embed digits -o ref -q").success();
    run(&dir, "index ref --k 3 -q --no-predictor").success();
    let sample = "sample --pool digits --reference ref --bias fidelity -n 3 -o out";
    run(&dir, sample).success();
    let out = dir.path().join("out");
    let whole = content(&out);
    let leave = |name: &str| {
        let path = out.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    };
    for name in [
        ".begun.json",
        "partial/run.json",
        ".partial.removed.pd.tmp/x",
        ".samples.csv.AbCdEf.pd.tmp",
        ".lock",
    ] {
        leave(name);
    }
    run(&dir, sample).success().stderr(contains("is finished already"));
    assert!(content(&out) == whole);
}

/// Fields of protocol buffers.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

fn number(field: u8, mut value: u64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A model of an image input and one node that makes a tensor of `length` zeros.
fn model(length: i64) -> Vec<u8> {
    let node = [field(1, b"shape"), field(2, b"features"), field(4, b"ConstantOfShape")].concat();
    let shape = [
        number(1, 2),
        number(2, 7),
        field(8, b"shape"),
        field(9, &[1i64.to_le_bytes(), length.to_le_bytes()].concat()),
    ]
    .concat();
    let port = |name: &[u8], lengths: &[u64]| {
        let lengths: Vec<u8> = lengths.iter().flat_map(|&length| field(1, &number(1, length))).collect();
        let kind = [number(1, 1), field(2, &lengths)].concat();
        [field(1, name), field(2, &field(1, &kind))].concat()
    };
    let graph = [
        field(1, &node),
        field(2, b"graph"),
        field(5, &shape),
        field(11, &port(b"image", &[1, 3, 8, 8])),
        field(12, &port(b"features", &[1, length as u64])),
    ];
    [number(1, 8), field(7, &graph.concat()), field(8, &number(2, 13))].concat()
}

#[cfg(unix)]
#[test]
fn a_model_that_asks_for_more_memory_than_there_is_is_a_message() {
    let dir = TempDir::new().unwrap();
    digits(&dir, 2);
    let embed = |name: &str, length: i64| {
        fs::write(dir.path().join(name), model(length)).unwrap();
        run(&dir, &format!("embed digits --extractor {name} -o {name}-ref -q"))
    };
    embed("bomb.onnx", 1 << 42)
        .code(1)
        .stderr(contains("bomb.onnx: makes its runtime fail, or take more than"));
    assert!(!Path::new(&dir.path().join("bomb.onnx-ref")).exists());
    embed("small.onnx", 5).success();
    // As a generator it goes through the same trial.
    run(&dir, "sample --generator bomb.onnx -n 2 -o images")
        .code(1)
        .stderr(contains("bomb.onnx: makes its runtime fail, or take more than"));
    assert!(!dir.path().join("images").exists());
}
