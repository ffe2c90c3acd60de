//! The model hub: its address or that of a mirror (`HF_ENDPOINT`), the user's token (`HF_TOKEN`), and what it promises of a file.

use super::download::{Connections, Remote};
use super::sources::HubFile;
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::progress::Progress;
use crate::remedy::Remedy;
use std::env;
use std::path::{Path, PathBuf};

/// The hub itself.
const ENDPOINT: &str = "https://huggingface.co";
/// Names a mirror.
const ENDPOINT_VARIABLE: &str = "HF_ENDPOINT";
const TOKEN_VARIABLE: &str = "HF_TOKEN";

/// Headers that name a file's content, by its SHA-256 where the file is large.
const PROMISES: [&str; 2] = ["X-Linked-ETag", "ETag"];
/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// The hub to use.
#[derive(Debug, Clone, Default)]
pub(super) struct Hub {
    /// Its address, where it is not the one that the environment names or the hub's own.
    pub(super) endpoint: Option<String>,
    /// How it is spoken to.
    pub(super) connections: Connections,
}

/// Downloads a file into a directory that no other process writes, and checks it against what the hub says of it.
///
/// # Errors
/// [`Error::Data`] if it cannot be had; [`Error::Malformed`] if it is another file than the hub promised; [`Error::Interrupted`].
pub(super) fn download(
    name: &str,
    wanted: &HubFile,
    hub: &Hub,
    directory: &Path,
    otherwise: &Remedy,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = hub.endpoint.clone().or_else(|| variable(ENDPOINT_VARIABLE));
    let endpoint = endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/');
    let url = format!("{endpoint}/{}/resolve/main/{}", wanted.repository, wanted.file);
    let token = variable(TOKEN_VARIABLE);
    let remote = Remote {
        url: &url,
        at_most: wanted.at_most,
        token: token.as_deref(),
        otherwise,
        connections: hub.connections,
    };
    let promised = remote.header(&PROMISES, progress)?;
    let file = remote.download(&format!("fetch {name}"), directory, progress)?;
    check_promise(&file, promised.as_deref().unwrap_or_default())?;
    Ok(file)
}

fn check_promise(file: &Path, promised: &str) -> Result<()> {
    let promised = promised.trim_matches('"').to_ascii_lowercase();
    let is_digest = promised.len() == DIGEST_DIGITS && promised.bytes().all(|b| b.is_ascii_hexdigit());
    if is_digest {
        let digest = sha256_of_file(file)?;
        if digest != promised {
            let reason = format!("has the SHA-256 {digest} where the hub promised {promised}");
            return Err(Error::malformed(file, reason, "it is not used; fetch it again"));
        }
    }
    Ok(())
}
