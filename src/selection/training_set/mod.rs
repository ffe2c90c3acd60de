//! Training sets that other people's trainers read: each image as often as it was told, in the layout of the trainer.

mod captions;
mod image_folder;
mod kohya;
mod metadata;
mod names;

pub(crate) use captions::{CaptionCounts, Captions};
pub(crate) use kohya::KohyaFolders;
pub(crate) use names::SetName;

use crate::candidates::{CandidateImage, PoolSource};
use crate::error::{Error, Result};
use crate::formats::atomic::link_to;
use crate::images::Alpha;
use crate::progress::{Progress, check_stop};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The programs that training sets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub(crate) enum TrainerFormat {
    /// Folders for torchvision's ImageFolder and Hugging Face's imagefolder: each photograph as many times as it has repeats, in its folder of PHOTOS; captions (.txt, metadata.jsonl, metadata.csv) go along in metadata.jsonl
    #[cfg_attr(feature = "cli", value(name = "imagefolder"))]
    ImageFolder,
    /// Folders N_NAME for kohya's sd-scripts, each with the photographs of N repeats and their captions (.txt), and dataset.toml; with --in-place metadata files N_NAME.json instead
    Kohya,
    /// Only weights.csv, with path, weight and repeats: for WeightedRandomSampler of PyTorch, as below
    Csv,
}

impl TrainerFormat {
    /// Extensions of the files that the trainer takes for images, in lower case. `None` where no images are written.
    pub(crate) fn extensions(self) -> Option<&'static [&'static str]> {
        match self {
            Self::ImageFolder => Some(&image_folder::EXTENSIONS),
            Self::Kohya => Some(&kohya::EXTENSIONS),
            Self::Csv => None,
        }
    }
}

/// How a training set is written.
#[derive(Debug, Clone)]
pub(crate) struct SetOptions {
    /// Which program reads it.
    pub format: TrainerFormat,
    /// What its folders are called.
    pub name: SetName,
    /// Where the trainer finds the set; `None` where it is started in it.
    pub root: Option<String>,
    /// Whether files are linked instead of copied.
    pub link: bool,
    /// Whether the photographs stay where they are, and metadata files name them.
    pub in_place: bool,
    /// Whether the first caption that cannot be used ends it.
    pub strict: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct WrittenSet {
    /// The file of each image, the first of its repeats, from the directory of the set; `None` where there are no files. `[N]`.
    pub files: Vec<Option<String>>,
    /// Images that were written as PNG, as the trainer knows no files of their kind.
    pub converted: usize,
    /// What became of captions, where the trainer reads them.
    pub captions: Option<CaptionCounts>,
}

/// Writes the images of `source` into `dir`, each as often as `repeats` `[N]` says, with their `captions`. What is there already is written
/// again.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for an image that is no longer there; [`Error::Strict`] where that was asked for;
/// [`Error::Interrupted`] on request.
pub(crate) fn write_training_set(
    source: &PoolSource,
    captions: &Captions,
    dir: &Path,
    repeats: &[u32],
    options: &SetOptions,
    progress: &dyn Progress,
) -> Result<WrittenSet> {
    match options.format {
        TrainerFormat::ImageFolder => image_folder::write(source, captions, dir, repeats, options, progress),
        TrainerFormat::Kohya => kohya::write(source, captions, dir, repeats, options, progress),
        TrainerFormat::Csv => Ok(WrittenSet { files: vec![None; repeats.len()], ..WrittenSet::default() }),
    }
}

/// Calls `write` for each image by its row.
fn each_image(
    count: usize,
    progress: &dyn Progress,
    mut write: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    progress.start("writing the set", count as u64, "images");
    for row in 0..count {
        check_stop(progress, || "the same command writes the set again".into())?;
        write(row)?;
        progress.advance(1);
    }
    progress.finish();
    Ok(())
}

/// Copies, links or, with `convert`, rewrites the image of a row.
fn put(source: &PoolSource, row: usize, target: &Path, convert: bool, link: bool) -> Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    if link && !convert {
        let file = source.place().join(source.paths().get(row).map_or("", String::as_str));
        // The images of a directory may lie in archives.
        return link_to(&fs::canonicalize(&file).map_err(Error::io("link", &file))?, target);
    }
    let image = source.image(row)?;
    match convert {
        true => CandidateImage::Pixels(image.pixels(Alpha::default())?.into_owned()).write(target),
        false => image.write(target),
    }
}
