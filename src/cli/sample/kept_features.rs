//! Features of a pool's images, kept in the cache by the content of the images and by what made them: choosing again from the same pool
//! makes none again. A pool that fills much of the space is not kept.

use crate::cli::common::ExtractorArgs;
use crate::cli::input::Input;
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::extract::weights::Cache;
use crate::formats::atomic::remove_directory;
use crate::formats::digest::sha256;
use crate::images::{ImageSet, Inputs};
use crate::progress::{Progress as _, check_stop};
use crate::reference::embed::embed_into;
use crate::reference::{Reference, is_reference, read_skipped};
use rayon::prelude::*;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where in the cache the features are, a directory for each pool.
const POOLS: &str = "pools";
/// Most bytes of all of them; help says so.
const MOST_BYTES: u64 = 2 << 30;
/// Most bytes of one pool, so that it does not push out all others.
const MOST_BYTES_OF_ONE: u64 = MOST_BYTES / 2;
/// Images whose content is read between two looks at whether to stop.
const READ_TOGETHER: usize = 256;
/// Characters of a digest that tell two pools apart.
const DIGEST_LENGTH: usize = 32;
/// Changed whenever a directory is used.
const USED: &str = "manifest.json";

/// The features of the images of a pool, made by `extractor`; `None` if they are not to be kept: too many, or there is no cache.
pub(super) fn features(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    args: &ExtractorArgs,
    terminal: &Terminal,
) -> Result<Option<Input>> {
    let bytes = (set.len() * extractor.identity().dimension * size_of::<f32>()) as u64;
    let Some(root) = Cache::from_env().ok().map(|cache| cache.root().join(POOLS)) else { return Ok(None) };
    if set.is_empty() || bytes > MOST_BYTES_OF_ONE || fs::create_dir_all(&root).is_err() {
        return Ok(None);
    }
    let dir = root.join(key(set, extractor, terminal)?);
    let known = is_reference(&dir);
    if known {
        terminal
            .say(&format!("{} images of the pool are as before: their features are in the cache", set.len()));
    } else {
        make_room(&root, bytes, &dir)?;
        embed_into(&dir, set, extractor, args.embed_options(), terminal)?;
    }
    let kept = Reference::open(&dir)?;
    let (features, paths) = (kept.features()?, kept.paths()?);
    let inputs = Inputs { used: paths.len(), skipped: read_skipped(&dir)?, left_out: set.left_out().clone() };
    if args.strict {
        inputs.check_strict()?;
    }
    // The oldest are removed first; where that cannot be noted, it matters little.
    let _ = File::options()
        .append(true)
        .open(dir.join(USED))
        .and_then(|file| file.set_modified(SystemTime::now()));
    Ok(Some(Input {
        features,
        paths,
        images: Vec::new(),
        identity: kept.manifest.identity,
        descriptors: None,
        measures: None,
        inputs: Some(inputs),
    }))
}

/// The name of a pool: a digest of the names and bytes of its images, and of what features are made with.
fn key(set: &ImageSet, extractor: &LoadedExtractor, terminal: &Terminal) -> Result<String> {
    let made = serde_json::to_string(extractor.identity()).map_err(|e| Error::data(e.to_string(), ""))?;
    let mut digests = sha256(made.as_bytes());
    terminal.start("looking at the pool", set.len() as u64, "images");
    let numbers: Vec<usize> = (0..set.len()).collect();
    for numbers in numbers.chunks(READ_TOGETHER) {
        check_stop(terminal, || "the same command continues".into())?;
        let digest = |&i: &usize| match set.sha256(i) {
            Ok(content) => sha256(format!("{} {content}", set.path(i)).as_bytes()),
            Err(reason) => sha256(format!("{}: {reason}", set.path(i)).as_bytes()),
        };
        digests.extend(numbers.par_iter().map(digest).collect::<Vec<_>>());
        terminal.advance(numbers.len() as u64);
    }
    terminal.finish();
    let unlisted = set.unreadable().iter().map(|s| format!("{}: {}", s.path, s.reason));
    unlisted.for_each(|line| digests.push_str(&sha256(line.as_bytes())));
    let digest = sha256(digests.as_bytes());
    Ok(digest.get(..DIGEST_LENGTH).unwrap_or(&digest).to_owned())
}

/// Removes what was not used for longest, until `bytes` more fit. `own` stays: an interrupted run continues in it.
fn make_room(root: &Path, bytes: u64, own: &Path) -> Result<()> {
    let mut pools: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
        let path = entry.map_err(Error::io("read", root))?.path();
        let used = fs::metadata(path.join(USED)).or_else(|_| fs::metadata(&path)).and_then(|m| m.modified());
        pools.push((used.unwrap_or(SystemTime::UNIX_EPOCH), bytes_in(&path), path));
    }
    pools.sort();
    let mut total: u64 = pools.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, of_pool, path) in pools.iter().filter(|(_, _, path)| path != own) {
        if total + bytes <= MOST_BYTES {
            break;
        }
        remove_directory(path)?;
        total -= of_pool;
    }
    Ok(())
}

/// Bytes of the files directly in a directory.
fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_makes_room() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for (name, age) in [("old", 300), ("new", 100), ("own", 500)] {
            fs::create_dir(root.join(name)).unwrap();
            let file = File::create(root.join(name).join(USED)).unwrap();
            file.set_len(MOST_BYTES / 4).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        let left = || ["old", "new", "own"].map(|name| root.join(name).is_dir());
        make_room(root, MOST_BYTES / 4, &root.join("own")).unwrap();
        assert_eq!(left(), [true, true, true]);
        make_room(root, MOST_BYTES / 2, &root.join("own")).unwrap();
        assert_eq!(left(), [false, true, true]);
        make_room(root, MOST_BYTES, &root.join("own")).unwrap();
        assert_eq!(left(), [false, false, true]);
    }
}
