//! What `pd dups` found: its table, its summary and its text.

use super::Keep;
use super::actions::MovedFiles;
use crate::cli::checks;
use crate::cli::terminal::Terminal;
use crate::copies::{Checked, Compared, Group, Level, Limit, Measures};
use crate::error::{Error, Result};
use crate::formats::table::{Table, Values};
use crate::reference::Pictures;
use crate::reference::score::{ScoreOptions, score_set};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Groups and pairs that the text shows.
const SHOWN: usize = 5;
/// Pictures of a group that the text names.
const NAMED: usize = 4;

/// A row of the table.
pub(super) struct Row {
    /// Its place among the pictures.
    picture: usize,
    group: Option<usize>,
    path: String,
    keep: bool,
    reason: String,
    other: String,
    score: f64,
}

/// What was found.
pub(super) struct Found {
    /// Pictures that were looked at.
    pub(super) images: usize,
    skipped: usize,
    /// Those that are copies, and the ones of each group that are kept.
    pub(super) rows: Vec<Row>,
    groups: Option<usize>,
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
    /// Copies of other pictures.
    pub(super) fn against(ours: &Pictures, theirs: &Pictures, copies: &[Option<Compared>]) -> Self {
        let rows = copies.iter().flatten().filter_map(|found| {
            let (path, other) = (ours.paths.get(found.row)?.clone(), theirs.paths.get(found.other)?.clone());
            Some(Row {
                picture: found.row,
                group: None,
                path,
                keep: false,
                reason: reason(found),
                other,
                score: found.score,
            })
        });
        Self {
            images: ours.len(),
            skipped: ours.skipped.len(),
            rows: rows.collect(),
            groups: None,
            checks: None,
        }
    }

    /// Copies among pictures; one of each group is kept.
    pub(super) fn groups(
        pictures: &Pictures,
        groups: Vec<Group>,
        keep: Keep,
        images: &Path,
        terminal: &Terminal,
    ) -> Result<Self> {
        let worth = Worth::new(pictures, keep, images, terminal)?;
        let mut rows = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let kept = worth.best(&group.rows);
            for (&row, link) in group.rows.iter().zip(&group.links) {
                let other = if link.row == row { link.other } else { link.row };
                let name = |row: usize| pictures.paths.get(row).cloned().unwrap_or_default();
                let keep_it = Some(row) == kept;
                rows.push(Row {
                    picture: row,
                    group: Some(number + 1),
                    path: name(row),
                    keep: keep_it,
                    reason: if keep_it { keep.name() } else { reason(link) },
                    other: name(other),
                    score: link.score,
                });
            }
        }
        Ok(Self {
            images: pictures.len(),
            skipped: pictures.skipped.len(),
            rows,
            groups: Some(groups.len()),
            checks: None,
        })
    }

    /// With what may be wrong with the pictures.
    pub(super) fn checked(self, pictures: &Pictures) -> Self {
        let measures = pictures.measures.clone();
        let checked = Checked::of(&measures);
        Self { checks: Some((measures, checked)), ..self }
    }

    /// The pictures that are copies and not kept.
    pub(super) fn copies(&self) -> Vec<String> {
        self.rows.iter().filter(|row| !row.keep).map(|row| row.path.clone()).collect()
    }

    /// How many pictures are copies and not kept.
    pub(super) fn count(&self) -> usize {
        self.rows.iter().filter(|row| !row.keep).count()
    }

    pub(super) fn table(&self) -> Result<Table> {
        let text =
            |of: fn(&Row) -> &String| Values::Text(self.rows.iter().map(|row| of(row).clone()).collect());
        let mut table = Table::new();
        if self.groups.is_some() {
            let groups = self.rows.iter().map(|row| row.group.unwrap_or_default() as i64).collect();
            table.push("group", Values::Int(groups))?;
        }
        table.push("path", text(|row| &row.path))?;
        if self.groups.is_some() {
            table.push("keep", Values::Bool(self.rows.iter().map(|row| row.keep).collect()))?;
            table.push("reason", text(|row| &row.reason))?;
        }
        table.push("other", text(|row| &row.other))?;
        table.push("score", Values::Float(self.rows.iter().map(|row| row.score).collect()))?;
        if let Some((measures, checked)) = &self.checks {
            let rows: Vec<usize> = self.rows.iter().map(|row| row.picture).collect();
            checks::push_columns(&mut table, measures, checked, &rows)?;
        }
        Ok(table)
    }

    pub(super) fn summary<'a>(&'a self, level: Level, moved: Option<&'a MovedFiles>) -> DupsSummary<'a> {
        let exact = self.rows.iter().filter(|row| !row.keep && row.reason == Level::Exact.name()).count();
        DupsSummary {
            images: self.images,
            skipped: self.skipped,
            copies: self.count(),
            groups: self.groups,
            level: level.name(),
            exact,
            moved,
            checks: self.checks.as_ref().map_or(&[], |(_, checked)| &checked.limits),
        }
    }

    /// What a person reads.
    pub(super) fn text(&self, level: Level, moved: Option<&MovedFiles>, written: bool) -> String {
        let summary = self.summary(level, moved);
        let mut text = match self.groups {
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
        match self.groups {
            Some(groups) => {
                for number in 1..=groups.min(SHOWN) {
                    let of_group: Vec<&Row> =
                        self.rows.iter().filter(|row| row.group == Some(number)).collect();
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
                for row in self.rows.iter().take(SHOWN) {
                    text += &format!(
                        "  {} is a copy of {} ({}, {:.2})\n",
                        row.path, row.other, row.reason, row.score
                    );
                }
                if self.rows.len() > SHOWN {
                    text += &format!("  and {} more\n", self.rows.len() - SHOWN);
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

/// `exact`, `edited` or `similar`, and whether it is mirrored.
fn reason(found: &Compared) -> String {
    let level = found.level.map_or("", Level::name);
    if found.mirrored { format!("{level}, mirrored") } else { level.to_owned() }
}

impl Keep {
    fn name(self) -> String {
        match self {
            Keep::Largest => "largest",
            Keep::First => "first",
            Keep::Oldest => "oldest",
            Keep::Sharpest => "sharpest",
            Keep::MostTypical => "most-typical",
        }
        .to_owned()
    }
}

/// By what the kept picture of a group is chosen: the largest of these, then the first path.
struct Worth(Vec<(f64, f64)>);

impl Worth {
    fn new(pictures: &Pictures, keep: Keep, images: &Path, terminal: &Terminal) -> Result<Self> {
        let rows = 0..pictures.len();
        Ok(Self(match keep {
            Keep::Largest => {
                let sizes = pictures.descriptors.iter().zip(&pictures.bytes);
                sizes.map(|(descriptor, &bytes)| (descriptor.area() as f64, bytes as f64)).collect()
            }
            Keep::First => rows.map(|_| (0.0, 0.0)).collect(),
            Keep::Oldest => pictures
                .paths
                .iter()
                .map(|path| Ok((-seconds(&images.join(path))?, 0.0)))
                .collect::<Result<_>>()?,
            Keep::Sharpest => pictures.measures.iter().map(|of| (of.sharpness, 0.0)).collect(),
            Keep::MostTypical => {
                let Some(features) = &pictures.features else {
                    return Err(Error::data("the pictures have no features", ""));
                };
                let options = ScoreOptions::default().of_few(features.nrows());
                let scored = score_set(features, options, terminal.device(), terminal)?;
                scored.scores.pseudo_density.into_iter().map(|density| (density, 0.0)).collect()
            }
        }))
    }

    fn best(&self, rows: &[usize]) -> Option<usize> {
        let worth = |row: usize| self.0.get(row).copied().unwrap_or_default();
        rows.iter().copied().max_by(|&a, &b| {
            let ((a0, a1), (b0, b1)) = (worth(a), worth(b));
            a0.total_cmp(&b0).then(a1.total_cmp(&b1)).then(b.cmp(&a))
        })
    }
}

/// When a file was changed, in seconds since 1970.
fn seconds(path: &Path) -> Result<f64> {
    let modified =
        std::fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(Error::io("read", path))?;
    Ok(match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    })
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
