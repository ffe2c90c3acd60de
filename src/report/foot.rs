//! The foot of a page: what was run, when and with what.

use super::read_json;
use crate::runs::VERSION;
use serde_json::Value;
use std::path::Path;

/// Letters of a value from which it is a digest or a list, which tells a person nothing.
const LONGEST: usize = 60;

/// The facts of a foot: the command and the file of a result, when it was written, and its settings.
pub(super) struct Foot(Vec<(String, String)>);

impl Foot {
    /// Of what `command` wrote to `record`.
    pub(super) fn of(command: &str, record: &Path) -> Self {
        let mut facts = vec![("command".to_owned(), format!("pd {command}"))];
        let written = std::fs::metadata(record).and_then(|metadata| metadata.modified()).ok();
        if let Some(time) = written.and_then(|time| jiff::Timestamp::try_from(time).ok()) {
            facts.push(("finished".into(), time.strftime("%Y-%m-%d %H:%M UTC").to_string()));
        }
        let version =
            read_json(record).ok().and_then(|record| Some(record.get(VERSION)?.as_str()?.to_owned()));
        Self(facts).with_some("version of pd", version)
    }

    /// With another fact.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// With another fact, where it is known.
    pub(super) fn with_some(self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With the settings of a run: those of its record that a person can read.
    pub(super) fn settings(mut self, settings: Option<&Value>) -> Self {
        let mut found = Vec::new();
        collect(settings.unwrap_or(&Value::Null), &mut found);
        for (name, value) in found {
            if !self.0.iter().any(|(known, _)| *known == name) {
                self.0.push((name, value));
            }
        }
        self
    }

    /// All of it, and which version made the page.
    pub(super) fn facts(mut self) -> Vec<(String, String)> {
        self.0.push(("page".into(), format!("pd report, version {}", env!("CARGO_PKG_VERSION"))));
        self.0
    }
}

/// The values of an object and of those in it, by name.
fn collect(value: &Value, found: &mut Vec<(String, String)>) {
    let Value::Object(entries) = value else { return };
    for (name, value) in entries {
        let text = match value {
            Value::Object(_) => {
                collect(value, found);
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) => continue,
        };
        if text.chars().count() <= LONGEST {
            found.push((name.replace('_', " "), text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_shown_but_digests_and_lists_are_not() {
        let settings = json!({
            "n": 50, "reference": "a".repeat(64), "novel": null, "seeds": [1, 2],
            "options": {"rule": "ratio:0", "n": 7, "weight_real": 1.5},
        });
        let facts = Foot(Vec::new()).settings(Some(&settings)).with("a", "b").facts();
        let texts: Vec<(&str, &str)> =
            facts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let version = concat!("pd report, version ", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            texts,
            [("n", "50"), ("rule", "ratio:0"), ("weight real", "1.5"), ("a", "b"), ("page", version)]
        );
    }
}
