//! What is kept in the directory of a run: snapshots, and the state that it goes on from. What is there is whole.

use super::trainer::{NamedState, Trainer};
use crate::error::{Error, Result};
use crate::formats::atomic::{remove_directory, write_json};
use crate::formats::read_state_dict;
use crate::formats::safetensors::write_safetensors;
use crate::runs::{Record, RunDir, RunIdentity};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The subcommand.
pub(super) const FINETUNE: &str = "finetune";
/// Where the state is kept.
const STATE: &str = "state";
const STATE_RECORD: &str = "state.json";
/// What the names of snapshots begin with.
const SNAPSHOT: &str = "snapshot-";
/// The snapshot of the best evaluation.
pub(super) const BEST: &str = "snapshot-best";

/// What tells a run with these options (and digests of its inputs) from others: not its length, which may be another when it goes
/// on, nor whether its architecture was given or found.
pub fn finetune_run(options: Map<String, Value>) -> RunIdentity {
    RunIdentity {
        may_differ: &["steps", "snapshots"],
        may_be_found: &["arch"],
        ..RunIdentity::new(FINETUNE, Record::Options, options.into())
    }
}

#[derive(Serialize, Deserialize)]
struct StateRecord {
    step: u64,
    optimizer_steps: BTreeMap<String, u64>,
}

/// Writes the networks as a generator directory of this name, replacing one of that name.
///
/// # Errors
/// [`Error::Io`]; everything else in the run directory is as it was.
pub(super) fn save_snapshot(run: &RunDir, name: &str, trainer: &dyn Trainer) -> Result<()> {
    run.replace(Path::new(name), |directory| trainer.snapshot().save(directory))
}

/// Writes what a run goes on from after `step` steps, then removes older states.
///
/// # Errors
/// [`Error::Io`]; the older state is then still there.
pub(super) fn save_state(run: &RunDir, step: u64, trainer: &mut dyn Trainer) -> Result<()> {
    let states = run.path().join(STATE);
    fs::create_dir_all(&states).map_err(Error::io("create", &states))?;
    run.replace(&Path::new(STATE).join(state_name(step)), |directory| {
        let mut optimizer_steps = BTreeMap::new();
        trainer.hand_out_state(&mut |NamedState { name, tensors, steps }| {
            write_safetensors(directory.join(file_name(&name)), &tensors)?;
            optimizer_steps.extend(steps.map(|steps| (name, steps)));
            Ok(())
        })?;
        write_json(directory.join(STATE_RECORD), &StateRecord { step, optimizer_steps })
    })?;
    remove_other_states(run, step)
}

/// Removes all states but that of `step`: older ones, and what is left of one whose removal was cut off.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn remove_other_states(run: &RunDir, step: u64) -> Result<()> {
    states_of(run)?
        .into_iter()
        .filter(|(other, _)| *other != step)
        .try_for_each(|(_, path)| remove_directory(&path))
}

/// Brings the trainer to the latest state, if there is one, and says how many steps were made.
///
/// # Errors
/// [`Error::Malformed`] if the state is damaged or of other networks.
pub(super) fn load_state(run: &RunDir, trainer: &mut dyn Trainer) -> Result<Option<u64>> {
    let Some((step, directory)) = states_of(run)?.pop_last() else { return Ok(None) };
    let file = directory.join(STATE_RECORD);
    let hint = format!("remove {} to begin anew", run.path().join(STATE).display());
    let text = fs::read(&file).map_err(Error::io("read", &file))?;
    let record: StateRecord =
        serde_json::from_slice(&text).map_err(|e| Error::malformed(&file, e.to_string(), &hint))?;
    if record.step != step {
        return Err(Error::malformed(&file, format!("is the state of step {}", record.step), hint));
    }
    trainer.take_state(&|name| {
        let tensors = read_state_dict(directory.join(file_name(name)))?;
        Ok(NamedState { name: name.into(), tensors, steps: record.optimizer_steps.get(name).copied() })
    })?;
    Ok(Some(step))
}

/// The finished states, by step.
fn states_of(run: &RunDir) -> Result<BTreeMap<u64, PathBuf>> {
    let states = run.path().join(STATE);
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

/// `snapshot-000600`.
pub(crate) fn snapshot_name(step: u64) -> String {
    format!("{SNAPSHOT}{step:06}")
}

/// The snapshots of steps in the directory of a run, by step.
fn snapshots_of(directory: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let entries = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", directory))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(SNAPSHOT)?.parse().ok());
        found.extend(step.map(|step| (step, entry.path())));
    }
    Ok(found)
}

/// The name of the latest snapshot of a step, if there is one.
pub(super) fn last_snapshot(directory: &Path) -> Option<String> {
    let (_, path) = snapshots_of(directory).ok()?.pop_last()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Removes all snapshots of steps but the last `count`.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn keep_last_snapshots(run: &RunDir, count: u64) -> Result<()> {
    let snapshots = snapshots_of(run.path())?;
    let surplus = snapshots.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    snapshots.values().take(surplus).try_for_each(|path| remove_directory(path))
}

fn file_name(state: &str) -> String {
    format!("{state}.safetensors")
}

fn state_name(step: u64) -> String {
    format!("step-{step:08}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Opened;

    #[test]
    fn a_state_that_is_being_written_is_not_taken_for_one() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::locked(place.path()).unwrap();
        for name in ["step-00000020", ".unfinished-step-00000030", "step-x"] {
            fs::create_dir_all(run.path().join(STATE).join(name)).unwrap();
        }
        assert_eq!(states_of(&run).unwrap().into_keys().collect::<Vec<_>>(), [20]);
    }

    #[test]
    fn a_state_whose_removal_was_cut_off_goes_with_the_next() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::locked(place.path()).unwrap();
        for step in [20, 40] {
            fs::create_dir_all(run.path().join(STATE).join(state_name(step))).unwrap();
        }
        remove_other_states(&run, 40).unwrap();
        assert_eq!(states_of(&run).unwrap().into_keys().collect::<Vec<_>>(), [40]);
    }

    #[test]
    fn the_last_snapshots_are_kept_and_the_best() {
        let place = tempfile::tempdir().unwrap();
        let run = RunDir::locked(place.path()).unwrap();
        assert_eq!(last_snapshot(place.path()), None);
        for name in ["snapshot-000020", "snapshot-000100", "snapshot-1000000", "snapshot-best", "snapshot-x"]
        {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        keep_last_snapshots(&run, 2).unwrap();
        let left: Vec<u64> = snapshots_of(place.path()).unwrap().into_keys().collect();
        assert_eq!(left, [100, 1_000_000]);
        assert_eq!(last_snapshot(place.path()).unwrap(), "snapshot-1000000");
        assert!(place.path().join("snapshot-best").is_dir() && place.path().join("snapshot-x").is_dir());
    }

    #[test]
    fn only_the_length_of_a_run_may_change() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let run = |steps: u64, lr: f64| {
            finetune_run(Map::from_iter([("steps".into(), steps.into()), ("lr".into(), lr.into())]))
        };
        assert!(matches!(RunDir::open(&path, &run(10, 0.1)).unwrap(), Opened::New(_)));
        assert!(matches!(RunDir::open(&path, &run(20, 0.1)).unwrap(), Opened::Continue(_)));
        let error = RunDir::open(&path, &run(20, 0.2)).unwrap_err();
        assert!(error.to_string().contains("lr is 0.1 there, 0.2 here"), "{error}");
    }
}
