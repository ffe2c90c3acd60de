//! `pd dups`: groups of copies, or copies of other pictures, and what is done with them.

mod actions;
mod found;
mod side;

use super::bundled::Bundled;
use super::common::{ExtractorArgs, RunArgs};
use super::network;
use super::output::{self, Results};
use super::tables::TableArgs;
use super::terminal::Terminal;
use crate::copies::{Level, restore};
use crate::error::{Error, Result};
use crate::reference::{CopyRows, Keep, is_reference};
use actions::{Action, refuse_archives};
use clap::Args;
use found::Found;
use side::{Side, network_of, read};
use std::path::{Path, PathBuf};

/// Find copies among pictures (recompressed, resized, mirrored, cropped, recoloured), and set aside those not worth keeping
///
/// Each picture is compared with the few that are nearest to it in features. Features are those of efficientnet-lite0 where its weights
/// are cached, else of tiny, and with a reference those of its network; --extractor names another. Nothing is moved without --move or --delete.
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd dups photos/ -o dups.csv
  pd dups generated/ --against ref/ --move copies/")]
pub(super) struct Dups {
    /// Pictures: a directory (searched recursively), .zip, .tar or image file; or a reference directory, of whose pictures nothing is made again [default: the built-in demonstration]
    #[arg(value_name = "IMAGES")]
    images: Option<PathBuf>,
    /// Find the pictures of IMAGES that are copies of pictures in OTHER (pictures, or a reference directory), instead of copies within IMAGES
    #[arg(long, value_name = "OTHER")]
    against: Option<PathBuf>,
    /// What counts as a copy
    #[arg(long, default_value = "edited")]
    level: Level,
    /// Which picture of a group of copies is kept
    #[arg(long, default_value = "largest", conflicts_with = "against")]
    keep: Keep,
    /// Write a row for each copy to FILE (.csv, .jsonl, .json, .parquet): group, path, keep, reason, other, score; with --against: path, other, score (0 to 1)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say what may be wrong with the pictures of IMAGES: blurred, dark, bright, low_information, odd_size, odd_aspect, or gray among coloured ones, by limits that these pictures teach; with -o as columns: sharpness, brightness, contrast, entropy, colour, width, height, flags
    #[arg(long)]
    checks: bool,
    /// Exit with code 1 if there are N copies or more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    fail_on: Option<u64>,
    /// Move the copies that are not kept to DIR; `pd dups --undo DIR` puts them back
    #[arg(long, value_name = "DIR", conflicts_with = "delete")]
    r#move: Option<PathBuf>,
    /// Move the copies that are not kept to the directory IMAGES.trash, beside IMAGES; nothing is erased until you remove it
    #[arg(long)]
    delete: bool,
    /// With --move or --delete: only say which files would be moved
    #[arg(long)]
    dry_run: bool,
    /// Put back what --move or --delete moved to DIR
    #[arg(long, value_name = "DIR", conflicts_with_all = ["images", "against", "output", "fail_on", "move", "delete", "dry_run"])]
    undo: Option<PathBuf>,
    #[command(flatten)]
    tables: TableArgs,
    #[command(flatten)]
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Dups {
    /// # Errors
    /// [`Error::Usage`] for what needs files, where the pictures are those of a reference.
    fn refuse_for_references(&self, reference: &Path, moves: bool) -> Result<()> {
        if !moves && !self.checks && !matches!(self.keep, Keep::Oldest | Keep::Sharpest) {
            return Ok(());
        }
        Err(Error::usage(
            format!(
                "{} keeps small pictures and no files, which moving, dating and checking them needs",
                reference.display()
            ),
            "name the folder of its pictures, or leave out --move, --delete, --checks, --keep oldest and --keep sharpest",
        ))
    }

    pub(super) fn run(self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
        self.tables.check(false, self.output.is_some())?;
        if let Some(from) = &self.undo {
            return undo(from, &terminal, self.run.json);
        }
        let images = &match &self.images {
            Some(images) => images.clone(),
            None if self.against.is_some() || self.r#move.is_some() || self.delete => {
                return Err(Error::usage("no pictures were named", "pd dups IMAGES"));
            }
            None => Bundled::photographs("a pool of pictures of garments", "name IMAGES", &terminal)?.pool(),
        };
        if let Some(output) = &self.output {
            output::check_table_path(output)?;
        }
        let action = Action::asked(images, self.r#move.as_deref(), self.delete, self.dry_run)?;
        self.extractor.refuse_key()?;
        if is_reference(images) {
            self.refuse_for_references(images, action.is_some())?;
        } else if action.is_some() || self.keep == Keep::Oldest {
            refuse_archives(images)?;
        }
        network::check(&self.extractor, &terminal)?;
        let side = Side::open(images, &terminal)?;
        let open = |against| Side::open(against, &terminal).map(|side| (against, side));
        let other = self.against.as_deref().map(open).transpose()?;
        // Exact copies are found without a network.
        let with_features = self.level != Level::Exact || self.keep == Keep::MostTypical;
        let extractor = match with_features {
            true => network_of(&side, other.as_ref().map(|other| &other.1), &self.extractor, &terminal)?,
            false => None,
        };
        let read = |side: &Side| read(side, extractor.as_ref(), with_features, &self.extractor, &terminal);
        let ours = read(&side)?;
        let found = match &other {
            Some((against, other)) => {
                let theirs = read(other)?;
                let same = |row: usize, place: usize| {
                    ours.paths
                        .get(row)
                        .zip(theirs.paths.get(place))
                        .is_some_and(|(a, b)| side.is_itself((images, a), other, (against, b)))
                };
                CopyRows::against(&ours, &theirs, self.level, same, terminal.device(), &terminal)?
            }
            None => {
                let kept = (self.keep, Some(images.as_path()));
                CopyRows::among(&ours, self.level, kept, terminal.device(), &terminal)?
            }
        };
        let found = Found::new(&ours, found);
        let found = if self.checks { found.checked(&ours) } else { found };
        if let Some(path) = &self.output {
            output::write_table_for_user(path, &found.table()?, self.tables)?;
            terminal.say(&format!("wrote {} rows to {}", found.rows().len(), path.display()));
            if let Some(beside) = output::write_skipped_beside(path, &ours.skipped, self.tables)? {
                terminal.say(&format!("wrote {} skipped inputs to {}", ours.skipped.len(), beside.display()));
            }
        }
        let moved = action.map(|action| action.carry_out(&found.copies(), &terminal)).transpose()?;
        let text = match self.run.json {
            true => output::json_text(&found.summary(self.level, moved.as_ref()))?,
            false => found.text(self.level, moved.as_ref(), self.output.is_some()),
        };
        terminal.print(&text)?;
        match self.fail_on {
            Some(limit) if found.count() as u64 >= limit => Err(Error::data(
                format!(
                    "{} of {} pictures are copies; from {limit} on this is a failure",
                    found.count(),
                    found.images
                ),
                "",
            )),
            _ => Ok(()),
        }
    }
}

fn undo(from: &Path, terminal: &Terminal, json: bool) -> Result<()> {
    let restored = restore(from)?;
    for (path, reason) in &restored.left {
        terminal.say(&format!("left {}: {reason}", path.display()));
    }
    let text = match json {
        true => output::json_text(
            &serde_json::json!({ "restored": restored.files, "left": restored.left.len() }),
        )?,
        false => {
            format!("{} files are back where they were, {} are left\n", restored.files, restored.left.len())
        }
    };
    terminal.print(&text)?;
    match restored.left.len() {
        0 => Ok(()),
        left => Err(Error::data(
            format!("{left} files could not be put back"),
            "nothing is written over: move what is in their place",
        )),
    }
}
