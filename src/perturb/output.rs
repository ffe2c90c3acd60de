//! The directory of a run. `options.json` says which run it is: another one is never written over it.

use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::images::{RgbImage, write_png, write_png_bytes};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const OPTIONS: &str = "options.json";
const SUMMARY: &str = "summary.json";
/// A row per perturbed image.
pub(super) const SAMPLES: &str = "samples.csv";
/// The perturbed latents, in the order of the rows.
pub(super) const LATENTS: &str = "latents.npy";
/// A picture of some samples in both directions.
pub(super) const GRID: &str = "grid.png";
/// Where the unperturbed images are.
pub(super) const ORIGINALS: &str = "original";

/// A directory that belongs to one run.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
}

impl Output {
    /// Makes the directory, or takes one that the same run (the same `options`) began before.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds something else; [`Error::Io`].
    pub fn create(dir: &Path, options: &serde_json::Value) -> Result<Self> {
        let path = dir.join(OPTIONS);
        if dir.exists() {
            let holds_something = fs::read_dir(dir).map_err(Error::io("read", dir))?.next().is_some();
            let same = || {
                let text = fs::read(&path).ok()?;
                Some(serde_json::from_slice::<serde_json::Value>(&text).ok()? == *options)
            };
            if holds_something && same() != Some(true) {
                return Err(Error::usage(
                    format!("{} holds something else than this run", dir.display()),
                    "give another directory with -o, or remove it first",
                ));
            }
        }
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let output = Self { dir: dir.to_path_buf() };
        output.write_json(OPTIONS, options)?;
        Ok(output)
    }

    /// A directory that somebody else takes care of: a part, or where parts are merged.
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// Says which run it is, for one that is merged from parts.
    pub(super) fn write_options(&self, options: &serde_json::Value) -> Result<()> {
        self.write_json(OPTIONS, options)
    }

    /// A file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes `folder/name.png`, in one channel where the generator is `gray`, and returns that name.
    pub(super) fn write_image(
        &self,
        folder: &str,
        name: &str,
        image: &RgbImage,
        gray: bool,
    ) -> Result<String> {
        let to = self.dir.join(folder);
        // Not with its parents: what was merged and removed under a process that had been cut off is not begun anew.
        match fs::create_dir(&to) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &to)(e));
            }
            _ => {}
        }
        let file = format!("{folder}/{name}.png");
        let path = self.path(&file);
        if gray {
            write_png(&path, image)?
        } else {
            write_rgb(&path, image)?
        }
        Ok(file)
    }

    /// Writes the sheet of some samples in both directions.
    pub(super) fn write_grid(&self, grid: &RgbImage) -> Result<()> {
        write_rgb(&self.path(GRID), grid)
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_summary(&self, summary: &serde_json::Value) -> Result<()> {
        self.write_json(SUMMARY, summary)
    }

    fn write_json(&self, name: &str, value: &serde_json::Value) -> Result<()> {
        write_atomic(self.path(name), |out| writeln!(out, "{value:#}"))
    }
}

/// In three channels, whatever the colours are.
fn write_rgb(path: &Path, image: &RgbImage) -> Result<()> {
    write_png_bytes(path, &image.pixels, (image.width, image.height), 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_another_run_is_refused_and_that_of_the_same_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let options = serde_json::json!({"eps": [0.1], "seeds": "0-3"});
        Output::create(&dir, &options).unwrap();
        Output::create(&dir, &options).unwrap();
        let error = Output::create(&dir, &serde_json::json!({"eps": [0.2]})).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        fs::write(root.path().join("photo.png"), "").unwrap();
        assert!(Output::create(root.path(), &options).is_err());
        fs::write(dir.join(OPTIONS), "{").unwrap();
        assert!(Output::create(&dir, &options).is_err());
    }
}
