//! The files of a run of `pd perturb`.

use crate::error::{Error, Result};
use crate::images::{RgbImage, write_png, write_png_bytes};
use crate::runs::{Record, RunDir, RunIdentity};
use std::fs;
use std::path::{Path, PathBuf};

/// A row per perturbed image.
pub(super) const SAMPLES: &str = "samples.csv";
/// The perturbed latents, in the order of the rows.
pub(super) const LATENTS: &str = "latents.npy";
/// A picture of some samples in both directions.
pub(super) const GRID: &str = "grid.png";
/// Where the unperturbed images are.
pub(super) const ORIGINALS: &str = "original";

/// The subcommand.
pub(crate) const PERTURB: &str = "perturb";

/// What tells a run of these settings from others.
pub fn perturb_run(settings: serde_json::Value) -> RunIdentity {
    RunIdentity::new(PERTURB, Record::Options, settings)
}

/// A directory that the files of a run are written to.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
    /// Held where the directory is that of one run.
    _run: Option<RunDir>,
}

impl Output {
    /// Makes the directory, or takes one that the same run began before.
    ///
    /// # Errors
    /// As [`RunDir::open`].
    pub fn create(dir: &Path, run: &RunIdentity) -> Result<Self> {
        Ok(Self { _run: Some(RunDir::begin_or_continue(dir, run)?), ..Self::at(dir) })
    }

    /// A directory that somebody else takes care of: a part, or where parts are merged.
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), _run: None }
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
}

/// In three channels, whatever the colours are.
fn write_rgb(path: &Path, image: &RgbImage) -> Result<()> {
    write_png_bytes(path, &image.pixels, (image.width, image.height), 3)
}
