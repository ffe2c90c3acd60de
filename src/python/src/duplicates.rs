//! Copies among pictures.

use crate::arguments::one_of;
use crate::call::run;
use crate::embed::Network;
use crate::images::Images;
use crate::table::Table;
use pseudo_density::{CopyRows, Keep, Level, LoadedExtractor, Pictures};
use pyo3::prelude::*;
use std::path::PathBuf;

/// Finds copies among pictures: recompressed, resized, mirrored, cropped, framed, recoloured, blurred or written over.
///
/// `images`: as for `embed`. `against`: other pictures; those of `images` that are copies of them are found, instead of copies within
/// `images`. `level`: `exact`, `edited` or `similar`. `keep`: which picture of a group is kept: `largest`, `first`, `oldest` (images in a
/// directory alone), `sharpest` or `most-typical`. The other arguments are those of `embed`.
///
/// Gives the table of `pd dups -o FILE`: `group`, `path`, `keep`, `reason`, `other`, `score`; with `against` `path`, `other`, `score`.
/// Raises as `embed`.
#[pyfunction]
#[pyo3(signature = (
    images, against=None, *, level="edited", keep="largest", extractor=None, weights=None, batch=None, strict=false,
    device="auto", progress=None,
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn duplicates(
    images: &Bound<'_, PyAny>,
    against: Option<&Bound<'_, PyAny>>,
    level: &str,
    keep: &str,
    extractor: Option<String>,
    weights: Option<PathBuf>,
    batch: Option<usize>,
    strict: bool,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Table> {
    let py = images.py();
    let network = Network::new(py, (extractor, weights), None, batch, strict, device)?;
    let level = one_of("level", level, &Level::ALL, Level::name)?;
    let keep = one_of("keep", keep, &Keep::ALL, Keep::name)?;
    let folder = images.extract::<PathBuf>().ok();
    let images = Images::of(images)?;
    let against = against.map(Images::of).transpose()?;
    let table = run(py, progress, |progress| {
        let set = images.open(progress)?;
        let others = against.map(|against| against.open(progress)).transpose()?;
        // Exact copies are found without a network.
        let extractor: Option<LoadedExtractor> = match level == Level::Exact && keep != Keep::MostTypical {
            true => None,
            false => Some(network.for_images(&set, progress)?),
        };
        let read = |set| Pictures::read(set, extractor.as_ref(), network.options, progress);
        let ours = read(&set)?;
        let found = match &others {
            Some(others) => {
                let theirs = read(others)?;
                CopyRows::against(&ours, &theirs, level, |_, _| false, network.device(), progress)?
            }
            None => CopyRows::among(&ours, level, (keep, folder.as_deref()), network.device(), progress)?,
        };
        found.table()
    })?;
    Ok(Table(table))
}
