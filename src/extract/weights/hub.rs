//! Fetching from the model hub with its own client, which knows mirrors (`HF_ENDPOINT`), tokens and proxies.

use super::cache::Cache;
use super::sources::HubFile;
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::progress::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use std::fs;
use std::path::{Path, PathBuf};

/// How often a broken connection is taken up again.
const RESUMPTIONS: usize = 5;

/// What a server answers when the part file is already complete.
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// The hub to use.
#[derive(Debug, Clone, Default)]
pub(super) struct Hub {
    /// Its address, where it is not the one that the client knows.
    pub(super) endpoint: Option<String>,
}

/// Downloads a file, continuing one that was interrupted, and gives the path of the copy that is to be moved away.
pub(super) fn download(
    cache: &Cache,
    name: &str,
    wanted: &HubFile,
    hub: &Hub,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let failed = |e: ApiError| {
        let reason = format!("cannot fetch {} of {} from the model hub: {e}", wanted.file, wanted.repository);
        Error::data(reason, cache.by_hand(name))
    };
    // The client asserts that the directory is absolute or relative throughout.
    let directory = directory(cache, name);
    let directory = std::path::absolute(&directory).map_err(Error::io("create", &directory))?;
    // Its own retries are off: after a resumed start they append the whole file to the part that was there.
    let mut builder =
        ApiBuilder::from_env().with_cache_dir(directory.clone()).with_retries(0).with_progress(false);
    if let Some(endpoint) = &hub.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let api = builder.build().map_err(failed)?;
    let mut resumed = 0;
    let pointer = loop {
        match attempt(&api, name, wanted, progress) {
            Ok(pointer) => break pointer,
            Err(e) if resumed < RESUMPTIONS && (is_broken(&e) || is_stuck(&e)) => {
                if is_stuck(&e) {
                    clear(cache, name);
                }
                resumed += 1;
            }
            Err(e) => return Err(failed(e)),
        }
    };
    let blob = fs::canonicalize(&pointer).map_err(Error::io("read", &pointer))?;
    let file = directory.join(Path::new(wanted.file).file_name().unwrap_or_default());
    let promised = blob.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    fs::rename(&blob, &file).map_err(Error::io("write", &file))?;
    check_promise(&file, &promised)?;
    Ok(file)
}

/// The hub names large files by their SHA-256, and the client stores them under that name.
fn check_promise(file: &Path, promised: &str) -> Result<()> {
    let is_digest = promised.len() == DIGEST_DIGITS && promised.bytes().all(|b| b.is_ascii_hexdigit());
    if is_digest {
        let digest = sha256_of_file(file)?;
        if digest != promised.to_ascii_lowercase() {
            let reason = format!("has the SHA-256 {digest} where the hub promised {promised}");
            return Err(Error::malformed(file, reason, "it is not used; fetch it again"));
        }
    }
    Ok(())
}

/// Removes what is left of a download.
pub(super) fn clear(cache: &Cache, name: &str) {
    let _ = fs::remove_dir_all(directory(cache, name));
}

/// Each extractor has its own download directory, so that it can be removed whole.
fn directory(cache: &Cache, name: &str) -> PathBuf {
    cache.downloads_directory().join(name)
}

fn attempt(
    api: &Api,
    name: &str,
    wanted: &HubFile,
    progress: &dyn Progress,
) -> std::result::Result<PathBuf, ApiError> {
    let bar = Bar { progress, name, started: false };
    let file = api.model(wanted.repository.into()).download_with_progress(wanted.file, bar);
    progress.finish();
    file
}

/// Whether the connection broke within the file.
fn is_broken(error: &ApiError) -> bool {
    matches!(error, ApiError::IoError(_))
}

/// Whether a part file stands in the way: complete but not renamed, or longer than the file has become.
fn is_stuck(error: &ApiError) -> bool {
    match error {
        ApiError::InvalidResume => true,
        ApiError::RequestError(e) => e.to_string().contains(&format!("status code {RANGE_NOT_SATISFIABLE}")),
        _ => false,
    }
}

/// The client's progress, told to ours.
struct Bar<'p> {
    progress: &'p dyn Progress,
    name: &'p str,
    started: bool,
}

impl hf_hub::api::Progress for Bar<'_> {
    fn init(&mut self, size: usize, _: &str) {
        // The client begins anew with every attempt, and tells what is already there as the first update.
        if !self.started {
            self.started = true;
        } else {
            self.progress.start(&format!("fetch {}", self.name), size as u64, "bytes");
        }
    }

    fn update(&mut self, size: usize) {
        self.progress.advance(size as u64);
    }

    fn finish(&mut self) {}
}
