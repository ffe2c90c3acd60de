//! `pd dups`: groups of copies, or copies of other pictures, and what is done with them.

mod actions;
mod found;

use super::bundled::Bundled;
use super::common::{ExtractorArgs, RunArgs};
use super::network;
use super::output::{self, Results};
use super::terminal::Terminal;
use crate::copies::{Level, restore};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::formats::is_features_file;
use crate::images::ImageSet;
use crate::reference::embed::EmbedOptions;
use crate::reference::{Pictures, is_reference};
use actions::{Action, refuse_archives};
use clap::{Args, ValueEnum};
use found::{Found, is_itself};
use std::path::{Path, PathBuf};

/// Find copies among pictures (recompressed, resized, mirrored, cropped, recoloured), and set aside those not worth keeping
///
/// Each picture is compared with the few that are nearest to it in features. Features are those of efficientnet-lite0 where its weights
/// are cached, else of tiny; --extractor names another network. Nothing is moved without --move or --delete.
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd dups photos/ -o dups.csv
  pd dups generated/ --against catalogue/ --move copies/")]
pub(super) struct Dups {
    /// Pictures: a directory (searched recursively), .zip, .tar or image file [default: the built-in demonstration]
    #[arg(value_name = "IMAGES")]
    images: Option<PathBuf>,
    /// Find the pictures of IMAGES that are copies of pictures in OTHER, instead of copies within IMAGES
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
    /// Put an apostrophe before names that a spreadsheet would take for a formula; without it names are written as they are
    #[arg(long, requires = "output")]
    csv_safe: bool,
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
    extractor: ExtractorArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Which picture of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// The one with the most pixels; of those the largest file
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

impl Dups {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let terminal = self.run.start(results)?;
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
        for path in [Some(images), self.against.as_ref()].into_iter().flatten() {
            refuse_what_has_no_pictures(path)?;
        }
        self.extractor.refuse_key()?;
        if action.is_some() || self.keep == Keep::Oldest {
            refuse_archives(images)?;
        }
        network::check(&self.extractor, &terminal)?;
        let set = ImageSet::open(images, &terminal)?;
        // Exact copies are found without a network.
        let extractor = match self.level == Level::Exact && self.keep != Keep::MostTypical {
            true => None,
            false => Some(network::for_images(&self.extractor, &set, None, &terminal)?),
        };
        let options = self.extractor.embed_options();
        let ours = read(&set, extractor.as_ref(), options, &terminal)?;
        let found = match &self.against {
            Some(against) => {
                let against_set = ImageSet::open(against, &terminal)?;
                let theirs = read(&against_set, extractor.as_ref(), options, &terminal)?;
                let same = |row: usize, other: usize| {
                    ours.paths
                        .get(row)
                        .zip(theirs.paths.get(other))
                        .is_some_and(|(a, b)| is_itself((images, a), (against, b)))
                };
                let copies = ours.copies_of(&theirs, self.level, same, terminal.device(), &terminal)?;
                Found::against(&ours, &theirs, &copies)
            }
            None => {
                let groups = ours.groups(self.level, terminal.device(), &terminal)?;
                Found::groups(&ours, groups, self.keep, images, &terminal)?
            }
        };
        if let Some(path) = &self.output {
            output::write_table_for_user(path, found.table()?, self.csv_safe)?;
            terminal.say(&format!("wrote {} rows to {}", found.rows.len(), path.display()));
            if let Some(beside) = output::write_skipped_beside(path, &ours.skipped, self.csv_safe)? {
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

fn read(
    set: &ImageSet,
    extractor: Option<&LoadedExtractor>,
    options: EmbedOptions,
    terminal: &Terminal,
) -> Result<Pictures> {
    let pictures = Pictures::read(set, extractor, options, terminal)?;
    terminal.report_skipped(&pictures.skipped);
    Ok(pictures)
}

/// # Errors
/// If `path` holds features: copies are decided by looking at pictures.
fn refuse_what_has_no_pictures(path: &Path) -> Result<()> {
    if is_features_file(path) || is_reference(path) {
        return Err(Error::usage(
            format!("{} holds features, and copies are told by the pictures themselves", path.display()),
            "name the folder or the archive of its pictures",
        ));
    }
    Ok(())
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
