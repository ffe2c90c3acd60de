//! What is kept of each perturbed latent until all of a shard are finished, and the directory that is made of it.

use super::report::{SampleRow, table};
use crate::error::{Error, Result};
use crate::formats::atomic::link_or_copy;
use crate::formats::npy::{read_npy_array, write_npy};
use crate::formats::table::{Columns, Table, Values, concat_csv, write_table};
use crate::images::{RgbImage, write_png, write_png_bytes};
use crate::runs::Partial;
use ndarray::{ArrayD, Axis, concatenate};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A row per perturbed image.
pub(super) const SAMPLES: &str = "samples.csv";
/// The perturbed latents, in the order of the rows.
pub(super) const LATENTS: &str = "latents.npy";
/// Where the unperturbed images are.
const ORIGINALS: &str = "original";
/// Where the images are that were perturbed the other way, for the sheet.
const OPPOSITES: &str = "opposite";
/// A row for each of these.
const OPPOSITE_TABLE: &str = "opposite.csv";

/// The folder of the images of a strength.
fn folder_of(eps: f64) -> String {
    format!("eps-{eps}")
}

/// The file of the unperturbed image of a latent, of which another image is `file`.
pub(super) fn original_of(file: &str) -> String {
    in_folder(ORIGINALS, file)
}

fn in_folder(folder: &str, file: &str) -> String {
    let name = file.split_once('/').map_or(file, |(_, name)| name);
    format!("{folder}/{name}")
}

/// The file of the image of a latent that was perturbed by `eps`.
pub(super) fn perturbed_file(eps: f64, name: &str) -> String {
    format!("{}/{name}.png", folder_of(eps))
}

/// A finished latent.
pub(super) struct FinishedLatent<'a> {
    /// Its image before.
    pub original: &'a RgbImage,
    /// A row and an image for each strength.
    pub perturbed: Vec<(SampleRow, &'a RgbImage)>,
    /// Its latents after, `[E, …]`.
    pub latents: ArrayD<f32>,
    /// Its image perturbed the other way by the largest strength, with the pseudo density of that; `None` for one outside the sheet.
    pub opposite: Option<(&'a RgbImage, f64)>,
}

/// The finished latents of a shard.
pub(super) struct FinishedLatents {
    partial: Partial,
    /// Whether images are written in one channel.
    gray: bool,
}

impl FinishedLatents {
    /// # Errors
    /// If the folders of images cannot be made.
    pub(super) fn new(partial: Partial, epsilons: &[f64], gray: bool) -> Result<Self> {
        let folders = epsilons.iter().copied().map(folder_of);
        for folder in folders.chain([ORIGINALS, OPPOSITES].map(String::from)) {
            create_folder(&partial.path(&folder))?;
        }
        Ok(Self { partial, gray })
    }

    /// The first latent of a range that is not finished: they are finished in order.
    pub(super) fn next(&self, range: Range<usize>) -> usize {
        range.clone().find(|&at| !self.partial.has(at)).unwrap_or(range.end)
    }

    /// Keeps a latent, the `at`-th of all.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn keep(&self, at: usize, latent: FinishedLatent) -> Result<()> {
        let (rows, images): (Vec<SampleRow>, Vec<&RgbImage>) = latent.perturbed.into_iter().unzip();
        for (row, image) in rows.iter().zip(images) {
            self.write(&row.file, image)?;
        }
        let file = rows.first().map_or("", |row| &row.file);
        self.write(&original_of(file), latent.original)?;
        let opposite = latent.opposite.map(|(image, density)| {
            let file = in_folder(OPPOSITES, file);
            self.write(&file, image).map(|()| (file, density))
        });
        write_table(self.partial.data_as(at, "csv"), &table(&rows)?)?;
        write_npy(self.partial.data(at), &latent.latents)?;
        self.partial.finish(at, &opposite.transpose()?)
    }

    /// Makes the directory of a part of the latents of a range, all finished.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn assemble(&self, range: Range<usize>, dir: &Path) -> Result<()> {
        let (mut images, mut opposites): (Vec<String>, Vec<(String, f64)>) = Default::default();
        for at in range.clone() {
            let rows = Columns::read(&self.partial.data_as(at, "csv"))?;
            let files = rows.text("file")?;
            images.extend(files.first().map(|file| original_of(file)));
            images.extend_from_slice(files);
            opposites.extend(self.partial.read::<Option<(String, f64)>>(at)?);
        }
        images.extend(opposites.iter().map(|(file, _)| file.clone()));
        link_files(&images, &|name| self.partial.path(name), dir)?;
        let tables: Vec<PathBuf> = range.clone().map(|at| self.partial.data_as(at, "csv")).collect();
        let latents: Vec<PathBuf> = range.map(|at| self.partial.data(at)).collect();
        join_rows(&tables, &latents, dir)?;
        let (files, densities) = opposites.into_iter().unzip();
        let mut table = Table::new();
        table.push("file", Values::Text(files))?;
        table.push("density", Values::Float(densities))?;
        write_table(dir.join(OPPOSITE_TABLE), &table)
    }

    /// Removes everything.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(self) -> Result<()> {
        self.partial.remove()
    }

    fn write(&self, file: &str, image: &RgbImage) -> Result<()> {
        let path = self.partial.path(file);
        if self.gray {
            write_png(&path, image)
        } else {
            write_png_bytes(&path, &image.pixels, (image.width, image.height), 3)
        }
    }
}

/// The images of a part that were perturbed the other way, each with its pseudo density.
///
/// # Errors
/// If its table cannot be read.
pub(super) fn opposites(dir: &Path) -> Result<Vec<(PathBuf, f64)>> {
    let path = dir.join(OPPOSITE_TABLE);
    let table = Columns::read(&path)?;
    let files = table.text("file")?.iter().map(|file| dir.join(file));
    Ok(files.zip(table.numbers("density")?).collect())
}

/// Whether a file of a part is an image of the result.
pub(super) fn is_image(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, _)| folder != OPPOSITES)
}

/// Links files of one directory into another, by their names.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn link_files(names: &[String], from: &dyn Fn(&str) -> PathBuf, to: &Path) -> Result<()> {
    for name in names {
        let target = to.join(name);
        create_folder(target.parent().unwrap_or(to))?;
        link_or_copy(&from(name), &target)?;
    }
    Ok(())
}

/// Joins tables of rows and their latents to [`SAMPLES`] and [`LATENTS`] of a directory, where there are any.
///
/// # Errors
/// If they do not fit together or cannot be read or written.
pub(super) fn join_rows(tables: &[PathBuf], latents: &[PathBuf], dir: &Path) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    concat_csv(&dir.join(SAMPLES), tables, None)?;
    let arrays: Vec<_> = latents.iter().map(read_npy_array).collect::<Result<_>>()?;
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    let all = concatenate(Axis(0), &views).map_err(|e| Error::malformed(dir, e.to_string(), ""))?;
    write_npy(dir.join(LATENTS), &all)
}

/// Not with its parents: what was merged and removed under a process that had been cut off is not begun anew.
fn create_folder(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("create", path)(e)),
        _ => Ok(()),
    }
}
