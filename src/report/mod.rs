//! Results as charts (SVG) and self-contained HTML pages: one file each, with a script of its own and nothing from a network.
//! This module shows numbers and computes none. The size of a page is bounded, whatever the size of its subject.
//! Colours are readable on a light and a dark background; every text that comes from a file is escaped.

mod album;
mod chart;
mod columns;
mod copies;
mod demo;
mod finetune;
mod foot;
mod frontier;
mod page;
mod perturb;
mod pictures;
mod reference;
mod resample;
mod rows;
mod sample;
mod score;
mod select;
mod sheet;
mod sweep;
mod text;

pub(crate) use demo::{Figure, Section, demo_page};
pub(crate) use frontier::{Point, frontier_plot};
pub(crate) use page::Place;
pub(crate) use pictures::Pictures;

use crate::error::{Error, Result};
use crate::formats::table::Columns;
use crate::progress::Progress;
use crate::reference::{Reference, is_reference};
use crate::runs::command_of;
use std::path::{Path, PathBuf};

/// The kind of results that a directory or a table holds.
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
    /// `pd resample`
    Resample,
    /// `pd finetune`
    Finetune,
    /// The table of `pd score`
    Scores,
    /// The table of `pd dups`
    Copies,
}

impl Subject {
    /// Those that are directories.
    const DIRECTORIES: [Subject; 7] = [
        Subject::Reference,
        Subject::Sweep,
        Subject::Select,
        Subject::Sample,
        Subject::Perturb,
        Subject::Resample,
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
            Subject::Resample => "resample",
            Subject::Finetune => "finetune",
            Subject::Scores => "score",
            Subject::Copies => "dups",
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
            Subject::Resample => holds(resample::TABLE),
            Subject::Finetune => holds(finetune::LOG),
            Subject::Scores | Subject::Copies => false,
        }
    }

    /// Whether its page shows images that lie elsewhere.
    pub(crate) fn shows_other_images(self) -> bool {
        matches!(
            self,
            Subject::Reference
                | Subject::Sample
                | Subject::Select
                | Subject::Resample
                | Subject::Scores
                | Subject::Copies
        )
    }

    /// Whether it is a table, whose images lie anywhere.
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Subject::Scores | Subject::Copies)
    }
}

/// Which command made a directory or a table. A directory says so itself; where an earlier version did not write that, it is the first
/// kind whose files are there.
///
/// # Errors
/// [`Error::Malformed`] if it was none, or is not finished yet; [`Error::Io`] if it is not there.
pub(crate) fn subject_of(path: &Path) -> Result<Subject> {
    if std::fs::metadata(path).map_err(Error::io("open", path))?.is_file() {
        return subject_of_table(path);
    }
    let said = command_of(path);
    let is_said = |subject: &Subject| said.as_deref().is_none_or(|command| command == subject.command());
    match Subject::DIRECTORIES.into_iter().filter(is_said).find(|subject| subject.is_in(path)) {
        // The samples of both commands have the same name.
        Some(Subject::Sample) if said.is_none() => {
            let table = Columns::read(&path.join(sample::TABLE))?;
            Ok(if table.has("density_before") { Subject::Perturb } else { Subject::Sample })
        }
        Some(subject) => Ok(subject),
        None => Err(Error::malformed(
            path,
            "is no finished reference, sample, selection, sweep, perturbation, training set or fine-tuning run",
            "name a directory that pd embed, sample, select, sweep, perturb, resample or finetune made, or a table of pd score or pd dups",
        )),
    }
}

fn subject_of_table(path: &Path) -> Result<Subject> {
    let hint = "name a .csv file that pd score or pd dups wrote, or the directory of another result";
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("csv")) {
        return Err(Error::malformed(path, "is no .csv table", hint));
    }
    let table = Columns::read(path)?;
    match ["path", "other", "score"].iter().all(|name| table.has(name)) {
        true => Ok(Subject::Copies),
        false if table.has("path") && table.has("pseudo_density") && !table.has("decision") => {
            Ok(Subject::Scores)
        }
        false => Err(Error::malformed(path, "is no table of scores or copies", hint)),
    }
}

/// The images of a table, where they lie beside it; none where its first image does not.
///
/// # Errors
/// [`Error::Malformed`] for a damaged table; as [`Pictures::open`].
pub(crate) fn images_beside(table: &Path, progress: &dyn Progress) -> Result<Pictures> {
    let folder = match table.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let columns = Columns::read(table)?;
    match columns.text("path")?.first() {
        Some(first) if folder.join(first).is_file() => Pictures::open(&folder, progress),
        _ => Ok(Pictures::none()),
    }
}

/// What a page is made of.
pub(crate) struct Request<'a> {
    /// The directory or the table.
    pub path: &'a Path,
    /// The images of a reference, of a table or of a training set that does not hold them; those of the reference behind a sample or a selection.
    pub images: &'a Pictures,
    /// The images that those of a table were compared with, where these are others.
    pub against: &'a Pictures,
    /// Gives a sample its thresholds.
    pub reference: Option<&'a Reference>,
}

/// A self-contained HTML page that will lie at `place`.
///
/// # Errors
/// As [`subject_of`]; [`Error::Malformed`] for a damaged file of the directory; [`Error::Usage`] for a part that the subject does
/// not take; [`Error::Interrupted`].
pub(crate) fn report(request: &Request, place: Place) -> Result<String> {
    let &Request { path, images, against, reference } = request;
    let subject = subject_of(path)?;
    let refused = |what: &str, hint: &str| Err(Error::usage(format!("{} {what}", path.display()), hint));
    if !subject.shows_other_images() && !images.is_empty() {
        return refused("shows no images of a reference", "leave --images out");
    }
    if !subject.is_table() && !against.is_empty() {
        return refused("is no table", "leave --against out; --images names the real images");
    }
    if subject != Subject::Sample && reference.is_some() {
        return refused("is no sample", "leave --reference out");
    }
    let page = match subject {
        Subject::Reference => reference::page(&Reference::open(path)?, images, place),
        Subject::Sample => sample::page(path, images, reference, place),
        Subject::Select => select::page(path, images, place),
        Subject::Sweep => sweep::page(path, place),
        Subject::Perturb => perturb::page(path, place),
        Subject::Resample => resample::page(path, images, place),
        Subject::Finetune => finetune::page(path, place),
        Subject::Scores => score::page(path, images, against, place),
        Subject::Copies => copies::page(path, images, against, place),
    }?;
    Ok(page.html())
}

/// Whether a page has pictures, whichever version made it.
pub(crate) fn has_pictures(html: &str) -> bool {
    html.contains(";base64,")
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
