//! The directory in which an unfinished run keeps its finished chunks.

use super::identity::{another_run, differences};
use crate::error::{Error, Result};
use crate::formats::atomic::{remove_directory, remove_directory_in_use, write_atomic};
use crate::formats::scratch::remove_leftovers;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where in its output directory an unfinished run keeps its chunks.
pub(crate) const PARTIAL: &str = "partial";
const RUN: &str = "run.json";
const CHUNK: &str = "chunk-";

/// Finished chunks of one run, each a data file (optional) and a record.
pub(crate) struct Partial {
    dir: PathBuf,
}

impl Partial {
    /// Opens or creates `dir` for a run described by `run`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first setting that differs, if `dir` holds chunks of another run.
    pub(crate) fn open(dir: PathBuf, run: &impl Serialize) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        remove_leftovers(&dir);
        let wanted = serde_json::to_string_pretty(run).map_err(|e| Error::data(e.to_string(), ""))?;
        let path = dir.join(RUN);
        match fs::read_to_string(&path) {
            Ok(found) if found == wanted => {}
            // A run that failed before its first chunk has nothing to lose, and leaves nothing to another.
            Ok(_) if !has_records(&dir)? => {
                remove_directory(&dir)?;
                fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
                write_atomic(&path, |out| out.write_all(wanted.as_bytes()))?;
            }
            Ok(found) => {
                let parsed = |text: &str| {
                    serde_json::from_str(text).map_err(|e| {
                        Error::malformed(&path, e.to_string(), format!("remove {}", dir.display()))
                    })
                };
                if let Some(difference) = differences(&parsed(&wanted)?, &parsed(&found)?).first() {
                    return Err(another_run(&dir, difference));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_atomic(&path, |out| out.write_all(wanted.as_bytes()))?;
            }
            Err(e) => return Err(Error::io("read", &path)(e)),
        }
        Ok(Self { dir })
    }

    /// Where another file that waits for the end of the run belongs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the data of a chunk belongs.
    pub(crate) fn data(&self, chunk: usize) -> PathBuf {
        self.dir.join(format!("{CHUNK}{chunk:06}.npy"))
    }

    /// Where data of another format belongs.
    pub(crate) fn data_as(&self, chunk: usize, extension: &str) -> PathBuf {
        self.data(chunk).with_extension(extension)
    }

    fn record(&self, chunk: usize) -> PathBuf {
        self.dir.join(format!("{CHUNK}{chunk:06}.json"))
    }

    /// Whether a chunk is finished.
    pub(crate) fn has(&self, chunk: usize) -> bool {
        self.record(chunk).is_file()
    }

    /// Marks a chunk finished; its data must be in place.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub(crate) fn finish(&self, chunk: usize, record: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| Error::data(e.to_string(), ""))?;
        write_atomic(self.record(chunk), |out| out.write_all(&text))
    }

    /// The record of a finished chunk.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is damaged.
    pub(crate) fn read<T: DeserializeOwned>(&self, chunk: usize) -> Result<T> {
        let path = self.record(chunk);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::malformed(&path, e.to_string(), "remove this file and run the command again"))
    }

    /// Removes everything: the run is complete.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        remove_directory_in_use(&self.dir)
    }
}

/// Whether a directory is one of chunks, and not one of images that happens to have its name.
pub(super) fn holds_chunks(dir: &Path) -> bool {
    dir.join(RUN).is_file()
}

/// Whether any chunk is finished.
fn has_records(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let name = entry.map_err(Error::io("read", dir))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(CHUNK) && name.ends_with(".json") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_another_run_are_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("partial");
        let partial = Partial::open(place.clone(), &"one").unwrap();
        partial.finish(3, &vec![1, 2]).unwrap();
        assert!(Partial::open(place.clone(), &"two").is_err());
        let again = Partial::open(place, &"one").unwrap();
        assert!(again.has(3) && !again.has(2));
        assert_eq!(again.read::<Vec<i32>>(3).unwrap(), [1, 2]);
    }

    #[test]
    fn a_run_that_finished_no_chunk_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("partial");
        let left = Partial::open(place.clone(), &"one").unwrap().path("seed0000.png");
        fs::write(&left, "an image of that run").unwrap();
        Partial::open(place.clone(), &"one").unwrap();
        assert!(left.exists());
        Partial::open(place.clone(), &"two").unwrap().finish(0, &1).unwrap();
        assert!(!left.exists());
        assert!(Partial::open(place, &"one").is_err());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::open(dir.path().into(), &1).unwrap();
        fs::write(partial.record(0), "{").unwrap();
        assert!(partial.read::<Vec<i32>>(0).unwrap_err().to_string().contains("chunk-000000.json"));
    }
}
