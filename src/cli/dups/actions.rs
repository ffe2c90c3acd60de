//! What `pd dups` does with the files of copies: moves them aside.

use crate::cli::terminal::Terminal;
use crate::copies::{JOURNAL, check_moves, move_files};
use crate::error::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Ending of the directory that deleted files go to, beside the pictures.
const TRASH: &str = ".trash";

/// Files that are to be moved.
pub(super) struct Action {
    images: PathBuf,
    to: PathBuf,
    dry_run: bool,
}

/// What was moved, or would be.
#[derive(Debug, Serialize)]
pub(super) struct MovedFiles {
    pub(super) files: usize,
    pub(super) to: String,
    pub(super) dry_run: bool,
}

impl Action {
    /// What the options ask for; `None` where nothing is moved.
    ///
    /// # Errors
    /// [`Error::Usage`] for a dry run of nothing.
    pub(super) fn asked(
        images: &Path,
        to: Option<&Path>,
        delete: bool,
        dry_run: bool,
    ) -> Result<Option<Self>> {
        let to = match (to, delete) {
            (Some(to), _) => to.to_path_buf(),
            (None, true) => trash_of(images)?,
            (None, false) if dry_run => {
                return Err(Error::usage(
                    "nothing is moved that a dry run could show",
                    "add --move DIR or --delete",
                ));
            }
            (None, false) => return Ok(None),
        };
        Ok(Some(Self { images: images.to_path_buf(), to, dry_run }))
    }

    /// Moves the copies, or says which would be.
    pub(super) fn carry_out(&self, copies: &[String], terminal: &Terminal) -> Result<MovedFiles> {
        if self.dry_run {
            check_moves(&self.images, copies, &self.to)?;
            copies.iter().for_each(|path| terminal.say(&format!("would move {path}")));
        } else if !copies.is_empty() {
            move_files(&self.images, copies, &self.to)?;
            terminal.say(&format!("where each was is kept in {}", self.to.join(JOURNAL).display()));
        }
        Ok(MovedFiles { files: copies.len(), to: self.to.display().to_string(), dry_run: self.dry_run })
    }
}

/// `photos.trash` for `photos`.
fn trash_of(images: &Path) -> Result<PathBuf> {
    let resolved = images.canonicalize().map_err(Error::io("open", images))?;
    let Some(name) = resolved.file_name() else {
        return Err(Error::usage(
            format!("{} has no directory beside it", images.display()),
            "use --move DIR",
        ));
    };
    let mut name = name.to_os_string();
    name.push(TRASH);
    Ok(resolved.with_file_name(name))
}

/// # Errors
/// [`Error::Usage`] if the pictures are in an archive: files inside archives are never touched.
pub(super) fn refuse_archives(images: &Path) -> Result<()> {
    // A directory may itself hold archives only, whose pictures have no files either: those are refused when they are moved.
    if images.is_dir() {
        return Ok(());
    }
    Err(Error::usage(
        format!(
            "{} is no directory of pictures, and only files of a directory are moved or dated",
            images.display()
        ),
        "unpack it, or leave out --move, --delete and --keep oldest",
    ))
}
