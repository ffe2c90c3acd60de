//! An output directory that belongs to one run: finished, begun or new, and never another's.

use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::runs::PARTIAL;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const SUMMARY: &str = "summary.json";

/// What an output directory is to a run.
pub enum RunDir {
    /// The very run was finished there, with this summary.
    Finished(Value),
    /// To be filled, or gone on with.
    New(PathBuf),
}

impl RunDir {
    /// Makes the directory, or says whose it is.
    pub fn open(dir: &Path, run: &Value) -> Result<Self> {
        let path = dir.join(SUMMARY);
        match fs::read(&path) {
            Ok(text) => {
                let summary: Value = serde_json::from_slice(&text)
                    .map_err(|e| Error::malformed(&path, e.to_string(), "remove it"))?;
                let complete = summary.get("complete").and_then(Value::as_bool).unwrap_or(false);
                if summary.get("run") == Some(run) && complete {
                    return Ok(RunDir::Finished(summary));
                }
                Err(Error::malformed(
                    dir,
                    "already holds the result of another command",
                    "choose another -o, or remove it",
                ))
            }
            Err(_) => {
                fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
                let mut entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
                if entries.next().is_some() && !dir.join(PARTIAL).is_dir() {
                    return Err(Error::malformed(
                        dir,
                        "holds files that are not of this command",
                        "choose another -o, or an empty directory",
                    ));
                }
                Ok(RunDir::New(dir.to_path_buf()))
            }
        }
    }

    /// Writes the summary, with what tells this run from others: the last file of a run.
    pub fn finish(dir: &Path, summary: &impl Serialize, run: &Value) -> Result<()> {
        let wrong = |e: serde_json::Error| Error::data(e.to_string(), "");
        let mut value = serde_json::to_value(summary).map_err(wrong)?;
        if let Value::Object(object) = &mut value {
            object.insert("run".into(), run.clone());
        }
        let text = serde_json::to_string_pretty(&value).map_err(wrong)?;
        write_atomic(dir.join(SUMMARY), |out| writeln!(out, "{text}"))
    }
}
