//! Results as charts (SVG) and self-contained HTML pages, without scripts, fonts or links.
//! This module shows numbers and computes none. The size of a page is bounded, whatever the size of its subject.
//! Colours are readable on a light and a dark background; every text that comes from a file is escaped.

mod cards;
mod chart;
mod demo;
mod finetune;
mod frontier;
mod page;
mod perturb;
mod pictures;
mod reference;
mod sample;
mod sweep;
mod text;

pub use demo::{Figure, Section, demo_page};
pub use frontier::{Point, frontier_plot};
pub use pictures::Pictures;

use crate::error::{Error, Result};
use crate::reference::{Reference, is_reference};
use std::path::Path;

/// The kind of results that a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// `pd embed` and `pd index`
    Reference,
    /// `pd sample`
    Sample,
    /// `pd sweep`
    Sweep,
    /// `pd perturb`
    Perturb,
    /// `pd finetune`
    Finetune,
}

/// Which command made a directory.
///
/// # Errors
/// [`Error::Malformed`] if it was none, or is not finished yet; [`Error::Io`] if it is not there.
pub fn subject_of(dir: &Path) -> Result<Subject> {
    std::fs::metadata(dir).map_err(Error::io("open", dir))?;
    let holds = |name: &str| dir.join(name).is_file();
    if is_reference(dir) {
        Ok(Subject::Reference)
    } else if holds(sweep::TABLE) {
        Ok(Subject::Sweep)
    } else if holds(sample::TABLE) {
        let table = crate::formats::table::Columns::read(&dir.join(sample::TABLE))?;
        Ok(if table.has("density_before") { Subject::Perturb } else { Subject::Sample })
    } else if holds(finetune::LOG) {
        Ok(Subject::Finetune)
    } else {
        Err(Error::malformed(
            dir,
            "is no finished reference, sample, sweep, perturbation or fine-tuning run",
            "name a directory that pd embed, sample, sweep, perturb or finetune made",
        ))
    }
}

/// A self-contained HTML page about a directory. `real` are the images of the reference, where they can be had; `reference` gives
/// a sample its thresholds.
///
/// # Errors
/// As [`subject_of`]; [`Error::Malformed`] for a damaged file of the directory; [`Error::Usage`] for a part that the subject does
/// not take.
pub fn report(dir: &Path, real: &Pictures, reference: Option<&Reference>) -> Result<String> {
    let subject = subject_of(dir)?;
    let shows_real = matches!(subject, Subject::Reference | Subject::Sample);
    if !shows_real && !real.is_empty() {
        return Err(Error::usage(
            format!("{} shows no images of a reference", dir.display()),
            "leave --images out",
        ));
    }
    if subject != Subject::Sample && reference.is_some() {
        return Err(Error::usage(format!("{} is no sample", dir.display()), "leave --reference out"));
    }
    let page = match subject {
        Subject::Reference => reference::page(&Reference::open(dir)?, real),
        Subject::Sample => sample::page(dir, real, reference),
        Subject::Sweep => sweep::page(dir),
        Subject::Perturb => perturb::page(dir),
        Subject::Finetune => finetune::page(dir),
    }?;
    Ok(page.html())
}

/// The last part of a path, which names the subject of a page: pages hold no absolute paths.
fn name_of(dir: &Path) -> String {
    let whole = dir.canonicalize();
    let name = whole.as_deref().unwrap_or(dir).file_name();
    name.map_or_else(|| "this directory".into(), |name| name.to_string_lossy().into_owned())
}

/// A file of a directory as JSON.
fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::malformed(path, e.to_string(), "run the command that made it again"))
}
