//! Copies among pictures as the rows of a table, and which picture of each group of copies is kept.

use super::pictures::Pictures;
use super::score::score_set;
use super::scores::ScoreOptions;
use crate::copies::{Compared, Group, Level};
use crate::error::{Error, Result};
use crate::formats::table::{Table, Values};
use crate::progress::Progress;
use candle_core::Device;
use std::path::Path;
use std::time::SystemTime;

/// Which picture of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Keep {
    /// The one with the most pixels; of those the largest file
    #[default]
    Largest,
    /// The first in the order of paths
    First,
    /// The one whose file was changed longest ago (directories only)
    Oldest,
    /// The one with the most detail
    Sharpest,
    /// The one with the highest pseudo density in the whole set
    MostTypical,
}

impl Keep {
    /// All of them.
    pub const ALL: [Keep; 5] = [Keep::Largest, Keep::First, Keep::Oldest, Keep::Sharpest, Keep::MostTypical];

    /// The name, as it is typed and written.
    pub fn name(self) -> &'static str {
        match self {
            Keep::Largest => "largest",
            Keep::First => "first",
            Keep::Oldest => "oldest",
            Keep::Sharpest => "sharpest",
            Keep::MostTypical => "most-typical",
        }
    }
}

/// A picture that is a copy, or the one of a group that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRow {
    /// Its place among the pictures.
    pub picture: usize,
    /// The number of its group, from 1; `None` where copies of other pictures were looked for.
    pub group: Option<usize>,
    /// Its name.
    pub path: String,
    /// Whether it is the one of its group that is kept.
    pub keep: bool,
    /// What it is to `other` (`exact`, `edited` or `similar`, and whether mirrored), or why it is kept.
    pub reason: String,
    /// The picture that it is a copy of.
    pub other: String,
    /// How sure that is, from 0.5 to 1 for copies.
    pub score: f64,
}

/// The copies among pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRows {
    /// Those that are copies, and the ones of each group that are kept.
    pub rows: Vec<CopyRow>,
    /// How many groups there are; `None` where copies of other pictures were looked for.
    pub groups: Option<usize>,
}

impl CopyRows {
    /// The copies among `pictures` themselves: groups of those that count at `level`, of which one is kept each. `folder` is where their
    /// files are, which [`Keep::Oldest`] needs.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::Io`] if the time of a file cannot be read; [`Error::Data`] for [`Keep::MostTypical`] without features.
    pub fn among(
        pictures: &Pictures,
        level: Level,
        (keep, folder): (Keep, Option<&Path>),
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let groups = pictures.groups(level, device, progress)?;
        let worth = Worth::new(pictures, keep, folder, device, progress)?;
        let rows =
            (1..).zip(&groups).flat_map(|(number, group)| of_group(number, group, keep, &worth, pictures));
        Ok(Self { rows: rows.collect(), groups: Some(groups.len()) })
    }

    /// The pictures among `ours` that are copies of some of `theirs` at `level`; `is_itself` says of a place here and a place there that
    /// they are one file.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn against(
        ours: &Pictures,
        theirs: &Pictures,
        level: Level,
        is_itself: impl Fn(usize, usize) -> bool,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let copies = ours.copies_of(theirs, level, is_itself, device, progress)?;
        let rows = copies.iter().flatten().filter_map(|found| {
            let (path, other) = (ours.paths.get(found.row)?.clone(), theirs.paths.get(found.other)?.clone());
            Some(CopyRow {
                picture: found.row,
                group: None,
                path,
                keep: false,
                reason: reason(found),
                other,
                score: found.score,
            })
        });
        Ok(Self { rows: rows.collect(), groups: None })
    }

    /// The columns `group`, `path`, `keep`, `reason`, `other`, `score`; of copies of other pictures `path`, `other`, `score`.
    ///
    /// # Errors
    /// If the columns differ in length.
    pub fn table(&self) -> Result<Table> {
        let text =
            |of: fn(&CopyRow) -> &String| Values::Text(self.rows.iter().map(|row| of(row).clone()).collect());
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
        Ok(table)
    }
}

fn of_group<'a>(
    number: usize,
    group: &'a Group,
    keep: Keep,
    worth: &Worth,
    pictures: &'a Pictures,
) -> impl Iterator<Item = CopyRow> + 'a {
    let kept = worth.best(&group.rows);
    let name = |row: usize| pictures.paths.get(row).cloned().unwrap_or_default();
    group.rows.iter().zip(&group.links).map(move |(&row, link)| {
        let keep_it = Some(row) == kept;
        CopyRow {
            picture: row,
            group: Some(number),
            path: name(row),
            keep: keep_it,
            reason: if keep_it { keep.name().to_owned() } else { reason(link) },
            other: name(if link.row == row { link.other } else { link.row }),
            score: link.score,
        }
    })
}

/// `exact`, `edited` or `similar`, and whether it is mirrored.
fn reason(found: &Compared) -> String {
    let level = found.level.map_or("", Level::name);
    if found.mirrored { format!("{level}, mirrored") } else { level.to_owned() }
}

/// By what the kept picture of a group is chosen: the largest of these, then the first path.
struct Worth(Vec<(f64, f64)>);

impl Worth {
    fn new(
        pictures: &Pictures,
        keep: Keep,
        folder: Option<&Path>,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let rows = 0..pictures.len();
        Ok(Self(match keep {
            Keep::Largest => {
                let sizes = pictures.descriptors.iter().zip(&pictures.bytes);
                sizes.map(|(descriptor, &bytes)| (descriptor.area() as f64, bytes as f64)).collect()
            }
            Keep::First => rows.map(|_| (0.0, 0.0)).collect(),
            Keep::Oldest => {
                let folder = folder.unwrap_or(Path::new(""));
                let times = pictures.paths.iter().map(|path| Ok((-seconds(&folder.join(path))?, 0.0)));
                times.collect::<Result<_>>()?
            }
            Keep::Sharpest => pictures.measures.iter().map(|of| (of.sharpness, 0.0)).collect(),
            Keep::MostTypical => {
                let Some(features) = &pictures.features else {
                    return Err(Error::data("the pictures have no features", ""));
                };
                let options = ScoreOptions::default().of_few(features.nrows());
                let scored = score_set(features, options, device, progress)?;
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
