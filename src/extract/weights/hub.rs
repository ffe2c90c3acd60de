//! Fetching from the model hub with its own client, which knows mirrors (`HF_ENDPOINT`), tokens and proxies.

use super::cache::Cache;
use super::sources::HubFile;
use crate::error::{Error, Result};
use crate::progress::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use std::fs;
use std::path::{Path, PathBuf};

/// How often a broken connection is taken up again.
const RETRIES: usize = 3;

/// What a server answers when the part file is already complete.
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Downloads a file, continuing one that was interrupted, and gives the path of the copy that is to be moved away.
pub(super) fn download(
    cache: &Cache,
    name: &str,
    wanted: &HubFile,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let failed = |e: ApiError| {
        let reason = format!("cannot fetch {} of {} from the model hub: {e}", wanted.file, wanted.repository);
        Error::data(reason, cache.by_hand(name))
    };
    // The client asserts that the directory is absolute or relative throughout.
    let directory = directory(cache, name);
    let directory = std::path::absolute(&directory).map_err(Error::io("create", &directory))?;
    let api = ApiBuilder::from_env()
        .with_cache_dir(directory.clone())
        .with_retries(RETRIES)
        .with_progress(false)
        .build()
        .map_err(failed)?;
    match attempt(&api, name, wanted, progress) {
        Err(e) if is_stuck(&e) => {
            clear(cache, name);
            attempt(&api, name, wanted, progress)
        }
        other => other,
    }
    .and_then(|pointer| Ok(fs::canonicalize(pointer)?))
    .and_then(|blob| with_extension(&directory, &blob, wanted.file))
    .map_err(failed)
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

/// Whether a part file stands in the way: complete but not renamed, or longer than the file has become.
fn is_stuck(error: &ApiError) -> bool {
    match error {
        ApiError::InvalidResume => true,
        ApiError::TooManyRetries(inner) => is_stuck(inner),
        ApiError::RequestError(e) => e.to_string().contains(&format!("status code {RANGE_NOT_SATISFIABLE}")),
        _ => false,
    }
}

/// The client stores a file under its digest; this gives it the extension it was published with.
fn with_extension(directory: &Path, blob: &Path, file: &str) -> std::result::Result<PathBuf, ApiError> {
    let named = directory.join(Path::new(file).file_name().unwrap_or_default());
    fs::rename(blob, &named)?;
    Ok(named)
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
