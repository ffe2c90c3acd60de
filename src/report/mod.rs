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
mod select;
mod sweep;
mod text;

pub(crate) use demo::{Figure, Section, demo_page};
pub(crate) use frontier::{Point, frontier_plot};
pub(crate) use pictures::Pictures;

use crate::error::{Error, Result};
use crate::reference::{Reference, is_reference};
use crate::runs::command_of;
use std::path::Path;

/// The kind of results that a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// `pd embed` and `pd index`
    Reference,
    /// `pd sample`
    Sample,
    /// `pd select`
    Select,
    /// `pd sweep`
    Sweep,
    /// `pd perturb`
    Perturb,
    /// `pd finetune`
    Finetune,
}

impl Subject {
    const ALL: [Subject; 6] = [
        Subject::Reference,
        Subject::Sweep,
        Subject::Select,
        Subject::Sample,
        Subject::Perturb,
        Subject::Finetune,
    ];

    /// The subcommand that makes it.
    fn command(self) -> &'static str {
        match self {
            Subject::Reference => "embed",
            Subject::Sample => "sample",
            Subject::Select => "select",
            Subject::Sweep => "sweep",
            Subject::Perturb => "perturb",
            Subject::Finetune => "finetune",
        }
    }

    /// Whether a directory holds what its page is made of.
    fn is_in(self, dir: &Path) -> bool {
        let holds = |name: &str| dir.join(name).is_file();
        match self {
            Subject::Reference => is_reference(dir),
            Subject::Sample | Subject::Perturb => holds(sample::TABLE),
            Subject::Select => holds(select::TABLE),
            Subject::Sweep => holds(sweep::TABLE),
            Subject::Finetune => holds(finetune::LOG),
        }
    }
}

/// Which command made a directory: what it says itself, and where an earlier version did not write that, the first kind whose files
/// are there.
///
/// # Errors
/// [`Error::Malformed`] if it was none, or is not finished yet; [`Error::Io`] if it is not there.
pub(crate) fn subject_of(dir: &Path) -> Result<Subject> {
    std::fs::metadata(dir).map_err(Error::io("open", dir))?;
    let said = command_of(dir);
    let is_said = |subject: &Subject| said.as_deref().is_none_or(|command| command == subject.command());
    match Subject::ALL.into_iter().filter(is_said).find(|subject| subject.is_in(dir)) {
        // The samples of both commands have the same name.
        Some(Subject::Sample) if said.is_none() => {
            let table = crate::formats::table::Columns::read(&dir.join(sample::TABLE))?;
            Ok(if table.has("density_before") { Subject::Perturb } else { Subject::Sample })
        }
        Some(subject) => Ok(subject),
        None => Err(Error::malformed(
            dir,
            "is no finished reference, sample, selection, sweep, perturbation or fine-tuning run",
            "name a directory that pd embed, sample, select, sweep, perturb or finetune made",
        )),
    }
}

/// A self-contained HTML page about a directory. `real` are the images of the reference, where they can be had; `reference` gives
/// a sample its thresholds.
///
/// # Errors
/// As [`subject_of`]; [`Error::Malformed`] for a damaged file of the directory; [`Error::Usage`] for a part that the subject does
/// not take.
pub(crate) fn report(dir: &Path, real: &Pictures, reference: Option<&Reference>) -> Result<String> {
    let subject = subject_of(dir)?;
    let shows_real = matches!(subject, Subject::Reference | Subject::Sample | Subject::Select);
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
        Subject::Select => select::page(dir, real),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_says_which_command_made_it_and_an_old_one_is_told_by_its_files() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        assert!(subject_of(dir).is_err());
        write(sample::TABLE, "file,pseudo_density\n");
        assert_eq!(subject_of(dir).unwrap(), Subject::Sample);
        write(sample::TABLE, "file,density_before\n");
        assert_eq!(subject_of(dir).unwrap(), Subject::Perturb);
        write("summary.json", r#"{"command": "sample"}"#);
        assert_eq!(subject_of(dir).unwrap(), Subject::Sample);
        // A run of fine-tuning that has no log yet is not one of samples.
        write("summary.json", r#"{"command": "finetune"}"#);
        assert!(subject_of(dir).is_err());
        write(finetune::LOG, "");
        assert_eq!(subject_of(dir).unwrap(), Subject::Finetune);
    }
}
