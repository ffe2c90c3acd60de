//! What tells a run from others, which of the files of its directory says so, and how two runs differ.

use crate::error::{Error, Result};
use crate::formats::atomic::write_json;
use crate::remedy::Remedy;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The settings of a run, written when it begins.
pub(super) const OPTIONS: &str = "options.json";
/// What a run has found, written at its end.
pub(crate) const SUMMARY: &str = "summary.json";
/// What a reference was made with, written at the end of `pd embed`.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Where such a file says which command made it.
pub(crate) const COMMAND: &str = "command";
/// The version of this program that wrote a summary; runs of different versions may be the same run.
pub(crate) const VERSION: &str = "version";
/// Where a summary has the settings of its run.
const RUN: &str = "run";

/// The file that says which run a directory is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// [`OPTIONS`]: such a run can always be continued.
    Options,
    /// [`SUMMARY`]: the run is finished once it is there.
    Summary,
    /// [`MANIFEST`]: the same, of a reference. It has other things beside the settings.
    Manifest,
}

impl Record {
    /// The name of the file.
    pub fn file(self) -> &'static str {
        match self {
            Record::Options => OPTIONS,
            Record::Summary => SUMMARY,
            Record::Manifest => MANIFEST,
        }
    }
}

/// What tells a run from others.
#[derive(Debug, Clone, PartialEq)]
pub struct RunIdentity {
    /// The subcommand.
    pub command: &'static str,
    /// Everything that the result depends on, as it was settled.
    pub settings: Value,
    /// Where it is written.
    pub record: Record,
    /// Settings that a run may be continued with another value of.
    pub may_differ: &'static [&'static str],
    /// Settings that are found where they are not given: they are compared only where both runs were given them.
    pub may_be_found: &'static [&'static str],
}

impl RunIdentity {
    /// A run of which every setting counts.
    pub fn new(command: &'static str, record: Record, settings: Value) -> Self {
        Self { command, settings, record, may_differ: &[], may_be_found: &[] }
    }

    /// The first setting in which the run of a record differs; `None` if it is the same run.
    pub fn difference(&self, record: &Value) -> Option<String> {
        // Earlier versions did not write the command.
        if let Some(command) = record.get(COMMAND).filter(|&command| command != self.command) {
            return Some(format!("{COMMAND} is {command} there, \"{}\" here", self.command));
        }
        let mut there = match self.record {
            Record::Options => record.clone(),
            Record::Summary => record.get(RUN).cloned().unwrap_or_default(),
            Record::Manifest => only(record, &self.settings),
        };
        if !there.is_object() {
            return Some(format!("its {} does not say which", self.record.file()));
        }
        let mut here = self.settings.clone();
        if let (Some(here), Some(there)) = (here.as_object_mut(), there.as_object_mut()) {
            for name in self.may_be_found {
                if !here.contains_key(*name) || !there.contains_key(*name) {
                    here.remove(*name);
                    there.remove(*name);
                }
            }
            for name in self.may_differ {
                here.remove(*name);
                there.remove(*name);
            }
            if self.record == Record::Options {
                there.remove(COMMAND);
            }
        }
        differences(&here, &there).into_iter().next()
    }

    /// Writes the settings as the [`OPTIONS`] of a directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_options(&self, directory: &Path) -> Result<()> {
        self.write(directory, OPTIONS, self.settings.clone())
    }

    /// Writes what a run has found as the [`SUMMARY`] of a directory, with the run where it is what tells it from others.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] if it cannot be written as JSON.
    pub fn write_summary(&self, directory: &Path, summary: &impl Serialize) -> Result<()> {
        let mut summary = serde_json::to_value(summary).map_err(|e| Error::data(e.to_string(), ""))?;
        if let Value::Object(summary) = &mut summary {
            summary.insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
            if self.record == Record::Summary {
                summary.insert(RUN.into(), self.settings.clone());
            }
        }
        self.write(directory, SUMMARY, summary)
    }

    /// What the record will say of the run, before it has found anything.
    pub(super) fn begun(&self) -> Value {
        json!({ COMMAND: self.command, RUN: self.settings })
    }

    fn write(&self, directory: &Path, name: &str, mut value: Value) -> Result<()> {
        if let Value::Object(object) = &mut value {
            object.insert(COMMAND.into(), self.command.into());
        }
        write_json(directory.join(name), &value)
    }
}

/// The command whose results a directory holds, where a file of it says so: earlier versions did not write it.
pub(crate) fn command_of(directory: &Path) -> Option<String> {
    [MANIFEST, SUMMARY, OPTIONS].into_iter().find_map(|name| {
        let text = fs::read(directory.join(name)).ok()?;
        let record: Map<String, Value> = serde_json::from_slice(&text).ok()?;
        Some(record.get(COMMAND)?.as_str()?.to_owned())
    })
}

/// Says that a directory belongs to another run, and what differs.
pub(super) fn another_run(directory: &Path, difference: &str) -> Error {
    Error::usage(format!("{} holds another run: {difference}", directory.display()), Remedy::OtherOutput)
}

/// Each setting that differs between two runs, with both values. A setting that is null is as one that is not there.
pub(super) fn differences(here: &Value, there: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(here, there, "", &mut found);
    found
}

fn collect(here: &Value, there: &Value, at: &str, found: &mut Vec<String>) {
    match (here, there) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for key in keys {
                let (x, y) = (x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null));
                collect(x, y, &if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, found);
            }
        }
        _ if here != there => {
            let at = if at.is_empty() { "the run" } else { at };
            found.push(format!("{at} is {} there, {} here", shown(there), shown(here)));
        }
        _ => {}
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "nothing".into() } else { value.to_string() }
}

/// Of a record, what `settings` has too.
fn only(record: &Value, settings: &Value) -> Value {
    let names = settings.as_object().into_iter().flat_map(Map::keys);
    names.filter_map(|name| Some((name.clone(), record.get(name)?.clone()))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_with_both_values_however_deep_they_are() {
        let here = json!({"lr": 0.2, "inputs": {"data": "a", "d": "x"}, "distinct": null});
        let there = json!({"lr": 0.1, "inputs": {"data": "b", "d": "x"}, "seed": 3});
        let expected = [
            "inputs.data is \"b\" there, \"a\" here",
            "lr is 0.1 there, 0.2 here",
            "seed is 3 there, nothing here",
        ];
        assert_eq!(differences(&here, &there), expected);
        assert!(differences(&here, &here).is_empty());
    }

    #[test]
    fn a_run_of_another_command_differs_and_an_old_one_that_names_none_does_not() {
        let run = RunIdentity::new("sample", Record::Summary, json!({"seed": 1}));
        assert_eq!(run.difference(&json!({"run": {"seed": 1}})), None);
        assert_eq!(run.difference(&json!({"run": {"seed": 1}, "command": "sample"})), None);
        let other = run.difference(&json!({"run": {"seed": 1}, "command": "sweep"}));
        assert_eq!(other.unwrap(), "command is \"sweep\" there, \"sample\" here");
        let unknown = run.difference(&json!({"complete": true}));
        assert_eq!(unknown.unwrap(), "its summary.json does not say which");
    }

    #[test]
    fn a_setting_that_was_found_is_the_run_of_one_that_was_given() {
        let given = RunIdentity {
            may_be_found: &["arch"],
            ..RunIdentity::new("finetune", Record::Options, json!({"arch": "dcgan", "lr": 1}))
        };
        assert_eq!(given.difference(&json!({"lr": 1})), None);
        assert!(given.difference(&json!({"arch": "ddpm", "lr": 1})).unwrap().contains("arch"));
        let found = RunIdentity { settings: json!({"lr": 1}), ..given };
        assert_eq!(found.difference(&json!({"arch": "dcgan", "lr": 1})), None);
    }

    #[test]
    fn a_manifest_is_compared_by_the_settings_alone() {
        let run = RunIdentity::new("embed", Record::Manifest, json!({"extractor": "a", "onnx": null}));
        assert_eq!(run.difference(&json!({"extractor": "a", "rows": 7})), None);
        assert!(run.difference(&json!({"extractor": "a", "onnx": "x"})).is_some());
    }
}
