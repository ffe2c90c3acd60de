//! What the tests of published generators share: the binary in a directory of its own, files of the project, pixels of what was
//! written.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `pd` in `dir`, with a cache of its own.
pub fn pd(dir: &TempDir) -> Command {
    let mut command = Command::cargo_bin("pd").unwrap();
    command.env("PD_CACHE", dir.path().join("cache")).current_dir(dir.path());
    command
}

/// `pd` with these words.
pub fn run(dir: &TempDir, args: &str) -> Assert {
    pd(dir).args(args.split_whitespace()).assert()
}

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Pixels of the images of a directory, in the order of their names.
pub fn pixels(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "png"));
    paths.sort();
    paths.iter().map(|path| image::open(path).unwrap().to_rgb8().into_raw()).collect()
}
