//! Where a path leads.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The absolute path of what may not exist yet, links resolved as far as it does.
///
/// # Errors
/// [`Error::Io`] for an empty path.
pub(crate) fn resolved(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(Error::io("open", path))?;
    let existing = absolute.ancestors().find_map(|part| Some((part.canonicalize().ok()?, part)));
    Ok(match existing {
        Some((resolved, part)) => resolved.join(absolute.strip_prefix(part).unwrap_or(Path::new(""))),
        None => absolute,
    })
}
