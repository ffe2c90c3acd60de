//! The directory of a run: it belongs to one run, new, begun or finished, and one process at a time writes it.

use super::identity::{Record, RunIdentity, another_run, command_of};
use super::lock::{DirectoryLock, LOCK};
use super::partial::{PARTIAL, holds_chunks};
use crate::error::{Error, Result};
use crate::formats::atomic::{remove_directory, remove_directory_in_use, write_json};
use crate::formats::scratch::{
    is_temporary, remove_leftovers, remove_leftovers_below, remove_leftovers_of_owner,
};
use crate::remedy::Remedy;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Beginning and end of the name of a directory that is being written.
const UNFINISHED: &str = ".unfinished-";
const UNFINISHED_END: &str = ".pd.tmp";

/// The settings of a run whose record is written at its end: it is there from the first file to the record.
const BEGUN: &str = ".begun.json";

/// The directory of a run, which no other process writes as long as this lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The file that says that the run has ended, where another one says that it has begun.
    record: Option<&'static str>,
    _lock: Option<DirectoryLock>,
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.record.is_some_and(|record| self.path.join(record).is_file()) {
            let _ = fs::remove_file(self.path.join(BEGUN));
        }
    }
}

/// What a directory is to a run.
#[derive(Debug)]
pub enum Opened {
    /// The run begins.
    New(RunDir),
    /// The same run was begun there before.
    Continue(RunDir),
    /// The same run was finished there, with this record.
    Finished(Value),
}

enum Found {
    Nothing,
    Begun,
    Finished(Value),
}

impl RunDir {
    /// Makes the directory of a run, or opens it where the same run was begun or finished before.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds another run (the first setting that differs is named) or something else, or if another process
    /// writes it; [`Error::Malformed`] if its record is damaged; [`Error::Io`].
    pub fn open(path: &Path, run: &RunIdentity) -> Result<Opened> {
        // What is refused stays untouched, and what is finished may be where nothing can be written.
        if let Found::Finished(record) = examine(path, run)? {
            remove_remains(path);
            return Ok(Opened::Finished(record));
        }
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let mut directory = Self::locked(path)?;
        // Another process may have begun or finished it in between.
        let found = examine(path, run)?;
        // A reference may be made beside other things, which are none of ours.
        if matches!(found, Found::Begun) && run.record != Record::Manifest {
            remove_leftovers_below(path);
        }
        match run.record {
            Record::Options => run.write_options(path)?,
            Record::Summary if !matches!(found, Found::Finished(_)) => {
                write_json(path.join(BEGUN), &run.begun())?;
                directory.record = Some(run.record.file());
            }
            Record::Summary | Record::Manifest => {}
        }
        Ok(match found {
            Found::Finished(record) => Opened::Finished(record),
            Found::Begun => Opened::Continue(directory),
            Found::Nothing => Opened::New(directory),
        })
    }

    /// As [`RunDir::open`], for a run that can always be continued: its record is [`Record::Options`], which says nothing of an end.
    ///
    /// # Errors
    /// As [`RunDir::open`].
    pub fn begin_or_continue(path: &Path, run: &RunIdentity) -> Result<Self> {
        match Self::open(path, run)? {
            Opened::New(directory) | Opened::Continue(directory) => Ok(directory),
            Opened::Finished(_) => Self::locked(path),
        }
    }

    /// The record of this very run where it is finished, without opening the directory.
    ///
    /// # Errors
    /// As [`RunDir::open`].
    pub fn finished(path: &Path, run: &RunIdentity) -> Result<Option<Value>> {
        match examine(path, run)? {
            Found::Finished(record) => Ok(Some(record)),
            Found::Begun | Found::Nothing => Ok(None),
        }
    }

    /// A directory that is there and is added to, whichever run it is of.
    ///
    /// # Errors
    /// As [`DirectoryLock::take`].
    pub fn locked(path: &Path) -> Result<Self> {
        let lock = DirectoryLock::take(path)?;
        // Those who wrote it before are gone.
        remove_leftovers_of_owner(path);
        Ok(Self { path: path.into(), record: None, _lock: Some(lock) })
    }

    /// A directory that another process has opened for this one too: the leader of several ranks.
    pub fn of_leader(path: &Path) -> Self {
        Self { path: path.into(), record: None, _lock: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a directory below this one under another name and renames it, replacing one of that name: what is there is whole.
    ///
    /// # Errors
    /// What `write` returns and [`Error::Io`]; everything else is then as it was.
    pub fn replace(&self, target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let target = self.path.join(target);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = self.path.join(format!("{UNFINISHED}{name}{UNFINISHED_END}"));
        remove_directory(&unfinished)?;
        fs::create_dir(&unfinished).map_err(Error::io("create", &unfinished))?;
        if let Err(error) = write(&unfinished) {
            // What is half written is of no use, and its space may be what is missing.
            let _ = remove_directory(&unfinished);
            return Err(error);
        }
        remove_directory(&target)?;
        fs::rename(&unfinished, &target).map_err(Error::io("create", &target))
    }
}

/// Removes what a run that was killed behind its last step has left beside its results. Where nothing can be written it stays.
fn remove_remains(path: &Path) {
    let chunks = path.join(PARTIAL);
    let remains = path.join(BEGUN).exists() || path.join(LOCK).exists() || holds_chunks(&chunks);
    if !remains {
        return remove_leftovers(path);
    }
    if let Ok(_owner) = RunDir::locked(path) {
        let _ = fs::remove_file(path.join(BEGUN));
        if holds_chunks(&chunks) {
            let _ = remove_directory_in_use(&chunks);
        }
    }
}

/// What a directory holds of this run.
fn examine(path: &Path, run: &RunIdentity) -> Result<Found> {
    let file = path.join(run.record.file());
    let record: Value = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Error::malformed(&file, e.to_string(), Remedy::OtherOutput))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return without_record(path, run),
        Err(e) => return Err(Error::io("read", &file)(e)),
    };
    if let Some(difference) = run.difference(&record) {
        return Err(another_run(path, &difference));
    }
    match run.record {
        Record::Options => Ok(Found::Begun),
        Record::Manifest => Ok(Found::Finished(record)),
        Record::Summary if record.get("complete").and_then(Value::as_bool) == Some(true) => {
            Ok(Found::Finished(record))
        }
        Record::Summary => Err(Error::usage(
            format!("{} holds this run, which ended with fewer images than were asked for", path.display()),
            Remedy::OtherOutput,
        )),
    }
}

/// What a directory holds that does not say of which run it is.
fn without_record(path: &Path, run: &RunIdentity) -> Result<Found> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        entries => entries.map_err(Error::io("read", path))?,
    };
    let mut other = false;
    for entry in entries {
        let name = entry.map_err(Error::io("read", path))?.file_name();
        let is_own = name == LOCK || name == BEGUN || is_temporary(&name);
        // Training keeps no chunks.
        other |= !is_own && (name != PARTIAL || run.record == Record::Options);
    }
    if run.record == Record::Summary
        && let Some(begun) =
            fs::read(path.join(BEGUN)).ok().and_then(|text| serde_json::from_slice(&text).ok())
    {
        match run.difference(&begun) {
            None => return Ok(Found::Begun),
            Some(difference) if other => return Err(another_run(path, &difference)),
            // It has nothing to lose but its chunks.
            Some(_) => {}
        }
    }
    // Whose chunks these are is seen when they are opened.
    if run.record != Record::Options && path.join(PARTIAL).is_dir() {
        return Ok(Found::Begun);
    }
    if let Some(command) = command_of(path).filter(|command| command != run.command) {
        return Err(another_run(path, &format!("command is \"{command}\" there, \"{}\" here", run.command)));
    }
    // A reference may be made beside other things.
    if other && run.record != Record::Manifest {
        return Err(Error::usage(
            format!("{} holds something else than a run", path.display()),
            Remedy::OtherOutput,
        ));
    }
    Ok(Found::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::atomic::write_atomic;
    use crate::runs::SUMMARY;
    use serde_json::json;
    use std::io::Write;

    fn options(settings: Value) -> RunIdentity {
        RunIdentity { may_differ: &["steps"], ..RunIdentity::new("finetune", Record::Options, settings) }
    }

    fn refused(path: &Path, run: &RunIdentity, by: &str) {
        let error = RunDir::open(path, run).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
        assert!(error.to_string().contains(by), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn a_directory_is_new_then_continued_then_finished() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        let run = RunIdentity::new("sample", Record::Summary, json!({"seed": 1}));
        assert!(matches!(RunDir::open(&path, &run).unwrap(), Opened::New(_)));
        fs::create_dir(path.join(PARTIAL)).unwrap();
        assert!(matches!(RunDir::open(&path, &run).unwrap(), Opened::Continue(_)));
        run.write_summary(&path, &json!({"complete": true, "kept": 7})).unwrap();
        let Opened::Finished(record) = RunDir::open(&path, &run).unwrap() else { panic!("not finished") };
        let version = env!("CARGO_PKG_VERSION");
        let found =
            json!({"complete": true, "kept": 7, "run": {"seed": 1}, "command": "sample", "version": version});
        assert_eq!(record, found);
        assert_eq!(command_of(&path).as_deref(), Some("sample"));
        run.write_summary(&path, &json!({"complete": false})).unwrap();
        refused(&path, &run, "fewer images");
    }

    #[test]
    fn a_directory_of_another_run_is_refused_by_the_setting_that_differs() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        RunDir::open(&path, &options(json!({"steps": 10, "lr": 0.1}))).unwrap();
        let opened = RunDir::open(&path, &options(json!({"steps": 20, "lr": 0.1}))).unwrap();
        assert!(matches!(opened, Opened::Continue(_)));
        drop(opened);
        refused(&path, &options(json!({"steps": 20, "lr": 0.2})), "lr is 0.1 there, 0.2 here");
        let perturb = RunIdentity::new("perturb", Record::Options, json!({"steps": 20, "lr": 0.1}));
        refused(&path, &perturb, "command is \"finetune\" there, \"perturb\" here");
        for record in [Record::Summary, Record::Manifest] {
            let other = RunIdentity::new("other", record, json!({}));
            refused(&path, &other, "command is \"finetune\" there, \"other\" here");
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), if cfg!(unix) { 1 } else { 2 });
        fs::write(path.join("options.json"), "{").unwrap();
        let error = RunDir::open(&path, &options(json!({}))).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }

    #[test]
    fn a_run_that_is_killed_at_any_moment_can_be_continued_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let run = |seed| RunIdentity::new("sample", Record::Summary, json!({"seed": seed}));
        // A process that is killed removes nothing but its lock.
        let Opened::New(mut directory) = RunDir::open(&path, &run(1)).unwrap() else { panic!("not new") };
        directory.record = None;
        drop(directory);
        // Nothing is lost: another run may take its place.
        let Opened::New(mut directory) = RunDir::open(&path, &run(2)).unwrap() else { panic!("not new") };
        fs::write(path.join("000000.png"), "").unwrap();
        directory.record = None;
        drop(directory);
        fs::write(path.join(".000001.png.AbCdEf.pd.tmp"), "half").unwrap();
        fs::create_dir(path.join(".partial.removed.pd.tmp")).unwrap();
        refused(&path, &run(1), "seed is 2 there, 1 here");
        let Opened::Continue(mut directory) = RunDir::open(&path, &run(2)).unwrap() else { panic!("lost") };
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
        run(2).write_summary(&path, &json!({"complete": true})).unwrap();
        directory.record = None;
        drop(directory);
        fs::create_dir(path.join(PARTIAL)).unwrap();
        fs::write(path.join(PARTIAL).join("run.json"), "{}").unwrap();
        assert!(matches!(RunDir::open(&path, &run(2)).unwrap(), Opened::Finished(_)));
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["000000.png", "summary.json"]);
    }

    #[test]
    fn what_is_no_run_is_left_alone_but_a_reference_may_be_made_beside_it() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("photo.png"), "").unwrap();
        refused(place.path(), &options(json!({})), "something else");
        refused(place.path(), &RunIdentity::new("sample", Record::Summary, json!({})), "something else");
        let embed = RunIdentity::new("embed", Record::Manifest, json!({}));
        assert!(matches!(RunDir::open(place.path(), &embed).unwrap(), Opened::New(_)));
    }

    #[test]
    fn a_run_that_another_process_writes_is_refused_until_that_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let first = RunDir::open(&path, &options(json!({}))).unwrap();
        refused(&path, &options(json!({})), "another process is writing");
        drop(first);
        RunDir::open(&path, &options(json!({}))).unwrap();
    }

    #[test]
    fn a_finished_run_is_read_while_another_process_holds_it() {
        let place = tempfile::tempdir().unwrap();
        let run = RunIdentity::new("sample", Record::Summary, json!({"seed": 1}));
        run.write_summary(place.path(), &json!({"complete": true})).unwrap();
        assert!(place.path().join(SUMMARY).is_file());
        let _held = RunDir::locked(place.path()).unwrap();
        assert!(matches!(RunDir::open(place.path(), &run).unwrap(), Opened::Finished(_)));
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::locked(place.path()).unwrap();
        let target = Path::new("snapshot-000001");
        let write = |text: &'static str| {
            move |directory: &Path| write_atomic(directory.join("g"), |out| out.write_all(text.as_bytes()))
        };
        let kept = || fs::read(place.path().join(target).join("g")).unwrap();
        run.replace(target, write("whole")).unwrap();
        let full = |directory: &Path| {
            write("half")(directory)?;
            Err(Error::io("write", directory)(std::io::ErrorKind::StorageFull.into()))
        };
        assert!(run.replace(target, full).is_err());
        assert_eq!(kept(), b"whole");
        let unfinished = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().starts_with(UNFINISHED)
        };
        assert!(!fs::read_dir(run.path()).unwrap().any(unfinished));
        run.replace(target, write("new")).unwrap();
        assert_eq!(kept(), b"new");
    }
}
