//! Files of the project.

use std::path::{Path, PathBuf};

/// The file at this path from the project's root.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file or directory of `tests/fixtures/generators`.
pub fn generator_fixture(name: &str) -> PathBuf {
    project("tests/fixtures/generators").join(name)
}
