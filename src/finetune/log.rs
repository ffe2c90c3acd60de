//! `log.jsonl`: one object for each step that was reported, and the same numbers for TensorBoard. A resumed run takes back what was
//! logged after the state that it goes on from.

use super::events::EventFile;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use serde_json::{Map, Value};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const FILE: &str = "log.jsonl";

/// The log of a run.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    events: EventFile,
    lines: Vec<Map<String, Value>>,
}

impl Log {
    /// Opens the log of a run directory that goes on after `resumed` steps: later lines are taken back, all of them if it begins.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] for a line within the kept part that is no JSON object.
    pub(super) fn open(directory: &Path, resumed: Option<u64>) -> Result<Self> {
        let path = directory.join(FILE);
        let mut lines = match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            text => lines_of(&text.map_err(Error::io("read", &path))?, &path)?,
        };
        lines.retain(|line| resumed.is_some_and(|step| step_of(line) <= step));
        write_atomic(&path, |out| lines.iter().try_for_each(|line| writeln!(out, "{}", text_of(line))))?;
        let mut events = EventFile::create(directory)?;
        for line in &lines {
            events.append(step_of(line), &numbers(line))?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io("write", &path))?;
        Ok(Self { path, file, events, lines })
    }

    /// Adds the line of a step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn append(&mut self, step: u64, batch: usize, scalars: &[(&'static str, f64)]) -> Result<()> {
        const IMAGES_PER_KIMG: f64 = 1000.0;
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.insert("kimg".into(), ((step * batch as u64) as f64 / IMAGES_PER_KIMG).into());
        line.extend(scalars.iter().map(|&(name, value)| (name.to_owned(), value.into())));
        writeln!(self.file, "{}", text_of(&line)).map_err(Error::io("write", &self.path))?;
        self.events.append(step, &numbers(&line))?;
        self.lines.push(line);
        Ok(())
    }

    /// The values of a column so far, with their steps.
    pub(super) fn column(&self, name: &str) -> Vec<(u64, f64)> {
        column_of(&self.lines, name)
    }
}

/// The last value of a column in the log of a run.
///
/// # Errors
/// [`Error::Io`] if there is no log; [`Error::Malformed`] for a line that is no JSON object.
pub(crate) fn last_in_log(run: &Path, name: &str) -> Result<Option<f64>> {
    let path = run.join(FILE);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Ok(column_of(&lines_of(&text, &path)?, name).last().map(|(_, value)| *value))
}

/// The whole lines of a log. A last line without its end is what a kill left.
fn lines_of(text: &str, path: &Path) -> Result<Vec<Map<String, Value>>> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).map_err(|e| Error::malformed(path, e.to_string(), "")))
        .collect()
}

fn column_of(lines: &[Map<String, Value>], name: &str) -> Vec<(u64, f64)> {
    let value = |line: &Map<String, Value>| Some((step_of(line), line.get(name)?.as_f64()?));
    lines.iter().filter_map(value).collect()
}

fn step_of(line: &Map<String, Value>) -> u64 {
    line.get("step").and_then(Value::as_u64).unwrap_or(0)
}

fn text_of(line: &Map<String, Value>) -> String {
    Value::Object(line.clone()).to_string()
}

/// Everything but the step itself.
fn numbers(line: &Map<String, Value>) -> Vec<(String, f64)> {
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_f64()?));
    line.iter().filter(|(name, _)| *name != "step").filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_logged_after_the_state_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let fill = |log: &mut Log, steps: std::ops::Range<u64>| {
            for step in steps {
                log.append(step, 64, &[("d_loss", step as f64 / 3.0)]).unwrap();
            }
        };
        let content = || {
            let mut files: Vec<_> =
                fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
            files.sort();
            files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
        };
        fill(&mut Log::open(directory.path(), None).unwrap(), 1..8);
        let whole = content();
        let path = directory.path().join(FILE);
        let mut cut = fs::read(&path).unwrap();
        cut.truncate(cut.len() - 5);
        fs::write(&path, cut).unwrap();
        let mut log = Log::open(directory.path(), Some(4)).unwrap();
        assert_eq!(log.column("d_loss").last(), Some(&(4, 4.0 / 3.0)));
        fill(&mut log, 5..8);
        assert_eq!(content(), whole);
        fs::write(&path, "{\n").unwrap();
        assert!(Log::open(directory.path(), Some(4)).is_err());
    }
}
