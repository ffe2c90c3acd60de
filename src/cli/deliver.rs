//! The files of chosen images, in the directory of a result, and what is said where there are fewer than were asked for.

use super::terminal::Terminal;
use crate::candidates::{CandidateSource as _, Delivered, PoolSource};
use crate::error::{Error, Result};
use crate::formats::atomic::link_to;
use crate::progress::{Progress as _, Unreported};
use std::path::{Component, Path, PathBuf};

/// Copies, or links, images of a pool into `dir`, under their own relative paths: those that `is_chosen` names by their row.
pub(super) fn deliver(
    source: &PoolSource,
    dir: &Path,
    is_chosen: impl Fn(usize) -> bool,
    link: bool,
    terminal: &Terminal,
) -> Result<()> {
    if link {
        check_link(source.place())?;
    }
    for (row, path) in source.paths().iter().enumerate().filter(|(row, _)| is_chosen(*row)) {
        let target = inside(dir, path)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        if link {
            let file = source.place().join(path);
            // The images of a directory may lie in archives.
            link_to(&std::fs::canonicalize(&file).map_err(Error::io("link", &file))?, &target)?;
        } else {
            let mut write = |images: Vec<Delivered>| images.iter().try_for_each(|it| it.image.write(&target));
            source.images(row..row + 1, &mut write, &Unreported(terminal))?;
        }
    }
    Ok(())
}

/// What helps where a pool has fewer images than were asked for.
pub(super) const FEWER_OF_POOL: &str =
    "ask for fewer images with -n, add candidates, or lower --distinct and --novel";

/// Says that a run found fewer images than were wanted.
///
/// # Errors
/// [`Error::Incomplete`] if the run is `strict`; [`Error::Data`] if it found none.
pub(super) fn fewer(
    kept: usize,
    reason: String,
    hint: &str,
    strict: bool,
    terminal: &Terminal,
) -> Result<()> {
    match (kept, strict) {
        (_, true) => Err(Error::Incomplete { reason, remedy: hint.into() }),
        (0, false) => Err(Error::data(reason, hint)),
        (_, false) => {
            terminal.warn(&format!("{reason}; {hint}"));
            Ok(())
        }
    }
}

/// # Errors
/// [`Error::Usage`] if a pool has no files to link to.
pub(super) fn check_link(pool: &Path) -> Result<()> {
    match pool.is_dir() {
        true => Ok(()),
        false => Err(Error::usage(
            format!("{} is an archive: there are no files to link to", pool.display()),
            "leave --link out",
        )),
    }
}

/// `dir/path`, unless the path (which an archive may have made up) leads out of it.
fn inside(dir: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    if relative.components().all(|c| matches!(c, Component::Normal(_))) {
        return Ok(dir.join(relative));
    }
    Err(Error::malformed(path, "leads out of the directory it belongs to", "rename it in the archive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_an_archive_leads_out_of_the_directory() {
        assert_eq!(inside(Path::new("out"), "a/b.png").unwrap(), Path::new("out/a/b.png"));
        for path in ["../a.png", "/etc/a.png", "a/../../b.png", "./a.png"] {
            let found = inside(Path::new("out"), path);
            assert!(found.is_err(), "{path}");
        }
    }
}
