//! What `pd dups` found: its table, its summary and its text.

use super::actions::MovedFiles;
use crate::cli::checks;
use crate::copies::{Checked, Level, Limit, Measures};
use crate::error::Result;
use crate::formats::table::Table;
use crate::reference::{CopyRow, CopyRows, Pictures};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Groups and pairs that the text shows.
const SHOWN: usize = 5;
/// Pictures of a group that the text names.
const NAMED: usize = 4;

/// What was found.
pub(super) struct Found {
    /// Pictures that were looked at.
    pub(super) images: usize,
    skipped: usize,
    found: CopyRows,
    /// What was measured of all pictures, where checks were asked for.
    checks: Option<(Vec<Measures>, Checked)>,
}

#[derive(Serialize)]
pub(super) struct DupsSummary<'a> {
    images: usize,
    skipped: usize,
    copies: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<usize>,
    level: &'static str,
    exact: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved: Option<&'a MovedFiles>,
    #[serde(skip_serializing_if = "<[Limit]>::is_empty")]
    checks: &'a [Limit],
}

impl Found {
    /// Copies among `pictures`.
    pub(super) fn new(pictures: &Pictures, copies: CopyRows) -> Self {
        Self { images: pictures.len(), skipped: pictures.skipped.len(), found: copies, checks: None }
    }

    /// Those that are copies, and the ones of each group that are kept.
    pub(super) fn rows(&self) -> &[CopyRow] {
        &self.found.rows
    }

    /// With what may be wrong with the pictures.
    pub(super) fn checked(self, pictures: &Pictures) -> Self {
        let measures = pictures.measures.clone();
        let checked = Checked::of(&measures);
        Self { checks: Some((measures, checked)), ..self }
    }

    /// The pictures that are copies and not kept.
    pub(super) fn copies(&self) -> Vec<String> {
        self.rows().iter().filter(|row| !row.keep).map(|row| row.path.clone()).collect()
    }

    /// How many pictures are copies and not kept.
    pub(super) fn count(&self) -> usize {
        self.rows().iter().filter(|row| !row.keep).count()
    }

    pub(super) fn table(&self) -> Result<Table> {
        let mut table = self.found.table()?;
        if let Some((measures, checked)) = &self.checks {
            let rows: Vec<usize> = self.rows().iter().map(|row| row.picture).collect();
            checks::push_columns(&mut table, measures, checked, &rows)?;
        }
        Ok(table)
    }

    pub(super) fn summary<'a>(&'a self, level: Level, moved: Option<&'a MovedFiles>) -> DupsSummary<'a> {
        let exact = self.rows().iter().filter(|row| !row.keep && row.reason == Level::Exact.name()).count();
        DupsSummary {
            images: self.images,
            skipped: self.skipped,
            copies: self.count(),
            groups: self.found.groups,
            level: level.name(),
            exact,
            moved,
            checks: self.checks.as_ref().map_or(&[], |(_, checked)| &checked.limits),
        }
    }

    /// What a person reads.
    pub(super) fn text(&self, level: Level, moved: Option<&MovedFiles>, written: bool) -> String {
        let summary = self.summary(level, moved);
        let mut text = match self.found.groups {
            Some(groups) => format!(
                "{} of {} images are copies ({} to the pixel) of one that is kept, in {groups} group{}\n",
                summary.copies,
                self.images,
                summary.exact,
                if groups == 1 { "" } else { "s" }
            ),
            None => format!(
                "{} of {} images are copies ({} to the pixel) of one of the others\n",
                summary.copies, self.images, summary.exact
            ),
        };
        if self.skipped > 0 {
            text += &format!("{} inputs were skipped\n", self.skipped);
        }
        match self.found.groups {
            Some(groups) => {
                for number in 1..=groups.min(SHOWN) {
                    let of_group: Vec<&CopyRow> =
                        self.rows().iter().filter(|row| row.group == Some(number)).collect();
                    let kept = of_group.iter().find(|row| row.keep).map_or("", |row| &row.path);
                    let others: Vec<String> = of_group
                        .iter()
                        .filter(|row| !row.keep)
                        .map(|row| format!("{} ({}, {:.2})", row.path, row.reason, row.score))
                        .collect();
                    let more = others.len().saturating_sub(NAMED);
                    let named = others.get(..others.len().min(NAMED)).unwrap_or_default().join(", ");
                    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                    text += &format!("  group {number}: keep {kept}; copies: {named}{more}\n");
                }
                if groups > SHOWN {
                    text += &format!("  and {} groups more\n", groups - SHOWN);
                }
            }
            None => {
                for row in self.rows().iter().take(SHOWN) {
                    text += &format!(
                        "  {} is a copy of {} ({}, {:.2})\n",
                        row.path, row.other, row.reason, row.score
                    );
                }
                if self.rows().len() > SHOWN {
                    text += &format!("  and {} more\n", self.rows().len() - SHOWN);
                }
            }
        }
        if let Some((_, checked)) = &self.checks {
            text += &checks::text(&checked.limits);
        }
        match moved {
            Some(moved) if moved.dry_run => {
                text += &format!("{} files would be moved to {}\n", moved.files, moved.to)
            }
            Some(moved) => {
                text += &format!(
                    "{} files were moved to {}; `pd dups --undo {}` puts them back\n",
                    moved.files, moved.to, moved.to
                );
            }
            None if summary.copies > 0 && !written => {
                text += "all of them: -o dups.csv; to move them away: --move DIR\n";
            }
            None => {}
        }
        text
    }
}

/// Whether a picture of one set and one of another are the same file, or the same entry of the same archive.
pub(super) fn is_itself((set, path): (&Path, &str), (other_set, other): (&Path, &str)) -> bool {
    let place = |set: &Path, path: &str| -> Option<PathBuf> {
        let set = set.canonicalize().ok()?;
        match set.is_dir() {
            true => set.join(path).canonicalize().ok(),
            false if set.file_name().is_some_and(|name| name == path) => Some(set),
            false => Some(set.join(path)),
        }
    };
    // Cheap first: the same file has the same name.
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    name(path) == name(other) && place(set, path).is_some_and(|here| place(other_set, other) == Some(here))
}
