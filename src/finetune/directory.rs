//! The run directory: options, snapshots and the state that a run goes on from. What is there is whole: a directory is written
//! under another name and renamed, and nothing earlier is touched before that.

use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::formats::atomic::{remove_directory, write_atomic};
use crate::formats::read_state_dict;
use crate::formats::safetensors::write_safetensors;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Everything needed to repeat the run.
pub const OPTIONS: &str = "options.json";
/// Where the state is kept.
const STATE: &str = "state";
const STATE_RECORD: &str = "state.json";
/// The snapshot of the best evaluation.
pub const BEST: &str = "snapshot-best";
/// Held by the process that writes the run, for as long as it lives.
const LOCK: &str = ".lock";
/// Beginning of the name of a directory that is being written.
const UNFINISHED: &str = ".unfinished-";

/// What a run directory may be continued with: the length of the run.
const MAY_DIFFER: [&str; 1] = ["steps"];

/// A run directory.
pub struct RunDirectory {
    path: PathBuf,
    _lock: Option<File>,
}

#[derive(Serialize, Deserialize)]
struct StateRecord {
    step: u64,
    optimizer_steps: BTreeMap<String, u64>,
}

impl RunDirectory {
    /// Opens or makes `path` for a run with these options (and what identifies its inputs).
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first option that differs, or if the directory holds something else or another process writes it;
    /// [`Error::Io`].
    pub fn open(path: &Path, options: &Map<String, Value>) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let file = path.join(OPTIONS);
        match fs::read(&file) {
            Ok(text) => {
                let hint = "run the same command again, or choose another -o";
                let there: Map<String, Value> = serde_json::from_slice(&text)
                    .map_err(|e| Error::malformed(&file, e.to_string(), hint))?;
                let keys =
                    options.keys().chain(there.keys()).filter(|key| !MAY_DIFFER.contains(&key.as_str()));
                for key in keys {
                    if options.get(key) != there.get(key) {
                        let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
                        let reason = format!(
                            "{} holds another run: {key} is {} there, {} here",
                            path.display(),
                            show(there.get(key)),
                            show(options.get(key))
                        );
                        return Err(Error::usage(reason, hint));
                    }
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut entries = fs::read_dir(path).map_err(Error::io("read", path))?;
                if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOCK)) {
                    let reason = format!("{} holds something else than a run", path.display());
                    return Err(Error::usage(reason, "choose another -o"));
                }
            }
            Err(e) => return Err(Error::io("read", &file)(e)),
        }
        let lock = lock(path)?;
        write_json(&file, options)?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// The run directory that another rank has opened: to read the state from.
    pub fn of_leader(path: &Path) -> Self {
        Self { path: path.into(), _lock: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the networks as a generator directory of this name, replacing one of that name.
    ///
    /// # Errors
    /// [`Error::Io`]; everything else in the run directory is as it was.
    pub fn save_snapshot(&self, name: &str, trainer: &dyn Trainer) -> Result<PathBuf> {
        let target = self.path.join(name);
        self.replace(&target, |directory| trainer.snapshot().save(directory))?;
        Ok(target)
    }

    /// Writes what a run goes on from after `step` steps, then removes older states.
    ///
    /// # Errors
    /// [`Error::Io`]; the older state is then still there.
    pub fn save_state(&self, step: u64, trainer: &mut dyn Trainer) -> Result<()> {
        let states = self.path.join(STATE);
        fs::create_dir_all(&states).map_err(Error::io("create", &states))?;
        let target = states.join(state_name(step));
        self.replace(&target, |directory| {
            for (name, variables) in trainer.networks()? {
                let file = directory.join(format!("{name}.safetensors"));
                write_safetensors(&file, &variables.state_dict(&file)?)?;
            }
            let mut optimizer_steps = BTreeMap::new();
            for (name, adam) in trainer.optimizers() {
                let file = directory.join(format!("{name}.safetensors"));
                write_safetensors(&file, &adam.state_dict(&file)?)?;
                optimizer_steps.insert(name.to_owned(), adam.steps());
            }
            write_json(&directory.join(STATE_RECORD), &StateRecord { step, optimizer_steps })
        })?;
        for (older, path) in self.states()? {
            if older != step {
                remove_directory(&path)?;
            }
        }
        Ok(())
    }

    /// Brings the trainer to the latest state, if there is one, and says how many steps were made.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the state is damaged or of other networks.
    pub fn load_state(&self, trainer: &mut dyn Trainer) -> Result<Option<u64>> {
        let Some((step, directory)) = self.states()?.pop_last() else { return Ok(None) };
        let file = directory.join(STATE_RECORD);
        let hint = format!("remove {} to begin anew", self.path.join(STATE).display());
        let text = fs::read(&file).map_err(Error::io("read", &file))?;
        let record: StateRecord =
            serde_json::from_slice(&text).map_err(|e| Error::malformed(&file, e.to_string(), &hint))?;
        if record.step != step {
            return Err(Error::malformed(&file, format!("is the state of step {}", record.step), hint));
        }
        for (name, variables) in trainer.networks()? {
            variables.load(&read_state_dict(directory.join(format!("{name}.safetensors")))?)?;
        }
        for (name, adam) in trainer.optimizers() {
            let steps = record.optimizer_steps.get(name).copied();
            let steps = steps.ok_or_else(|| Error::malformed(&file, format!("knows no {name}"), &hint))?;
            adam.load(&read_state_dict(directory.join(format!("{name}.safetensors")))?, steps)?;
        }
        Ok(Some(step))
    }

    /// The finished states, by step.
    fn states(&self) -> Result<BTreeMap<u64, PathBuf>> {
        let states = self.path.join(STATE);
        let mut found = BTreeMap::new();
        let entries = match fs::read_dir(&states) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(Error::io("read", &states))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &states))?;
            let name = entry.file_name();
            if let Some(step) = name.to_str().and_then(|name| name.strip_prefix("step-")?.parse().ok()) {
                found.insert(step, entry.path());
            }
        }
        Ok(found)
    }

    fn replace(&self, target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = target.with_file_name(format!("{UNFINISHED}{name}"));
        remove_directory(&unfinished)?;
        fs::create_dir(&unfinished).map_err(Error::io("create", &unfinished))?;
        if let Err(error) = write(&unfinished) {
            // What is half written is of no use, and its space may be what is missing.
            let _ = remove_directory(&unfinished);
            return Err(error);
        }
        remove_directory(target)?;
        fs::rename(&unfinished, target).map_err(Error::io("create", target))
    }
}

/// `snapshot-000600`.
pub fn snapshot_name(step: u64) -> String {
    format!("snapshot-{step:06}")
}

/// Keeps other processes out; the system lets go when this one ends, however it ends. `None` where a file system knows no locks.
fn lock(path: &Path) -> Result<Option<File>> {
    let file = path.join(LOCK);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
    let opened = opened.map_err(Error::io("create", &file))?;
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::Error(_)) => Ok(None),
        Err(TryLockError::WouldBlock) => Err(Error::usage(
            format!("another process is writing {}", path.display()),
            "wait for it, or choose another directory; ranks of one run are started by MPI",
        )),
    }
}

fn state_name(step: u64) -> String {
    format!("step-{step:08}")
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::data(e.to_string(), ""))?;
    write_atomic(path, |out| writeln!(out, "{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(&place.path().join("run"), &Map::new()).unwrap();
        let target = run.path().join("snapshot-000001");
        let write = |text: &'static str| {
            move |directory: &Path| write_atomic(directory.join("g"), |out| out.write_all(text.as_bytes()))
        };
        run.replace(&target, write("whole")).unwrap();
        let full = |directory: &Path| {
            write("half")(directory)?;
            Err(Error::io("write", directory)(std::io::ErrorKind::StorageFull.into()))
        };
        assert!(run.replace(&target, full).is_err());
        assert_eq!(fs::read(target.join("g")).unwrap(), b"whole");
        let unfinished = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().starts_with(UNFINISHED)
        };
        assert!(!fs::read_dir(run.path()).unwrap().any(unfinished));
        run.replace(&target, write("new")).unwrap();
        assert_eq!(fs::read(target.join("g")).unwrap(), b"new");
    }

    #[test]
    fn a_state_that_is_being_written_is_not_taken_for_one() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(&place.path().join("run"), &Map::new()).unwrap();
        for name in ["step-00000020", ".unfinished-step-00000030", "step-x"] {
            fs::create_dir_all(run.path().join(STATE).join(name)).unwrap();
        }
        assert_eq!(run.states().unwrap().into_keys().collect::<Vec<_>>(), [20]);
    }

    #[test]
    fn a_run_that_another_process_writes_is_refused_until_that_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let first = RunDirectory::open(&path, &Map::new()).unwrap();
        let error = RunDirectory::open(&path, &Map::new()).err().unwrap();
        assert!(error.to_string().contains("another pd finetune is writing"), "{error}");
        assert_eq!(error.exit_code(), 2);
        drop(first);
        RunDirectory::open(&path, &Map::new()).unwrap();
    }

    #[test]
    fn only_the_length_of_a_run_may_change() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let options =
            |steps: u64, lr: f64| Map::from_iter([("steps".into(), steps.into()), ("lr".into(), lr.into())]);
        RunDirectory::open(&path, &options(10, 0.1)).unwrap();
        RunDirectory::open(&path, &options(20, 0.1)).unwrap();
        let error = RunDirectory::open(&path, &options(20, 0.2)).err().unwrap();
        assert!(error.to_string().contains("lr is 0.1 there, 0.2 here"), "{error}");
        fs::write(path.join(OPTIONS), "{").unwrap();
        assert!(matches!(RunDirectory::open(&path, &options(20, 0.1)), Err(Error::Malformed { .. })));
    }
}
