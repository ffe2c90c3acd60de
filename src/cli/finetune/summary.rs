//! What `pd finetune` tells at the end of a run.

use crate::cli::terminal::Terminal;
use crate::finetune::{Course, Finished, snapshot_name};
use crate::images::Inputs;
use crate::progress::Progress;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A run that is over, with what its summary tells.
pub(super) struct End<'r> {
    pub finished: Finished,
    /// The last evaluation of a control, by the column that was watched.
    pub control: Option<f64>,
    pub batch: usize,
    pub run: &'r Path,
    pub data: &'r Inputs,
}

impl End<'_> {
    fn snapshot(&self) -> PathBuf {
        self.run.join(snapshot_name(self.finished.steps))
    }

    /// The summary as JSON.
    pub(super) fn summary(&self) -> Value {
        let Finished { steps, course, stopped_early, last } = &self.finished;
        let last: Map<_, _> = last.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut summary = json!({
            "steps": steps,
            "images": steps * self.batch as u64,
            "snapshot": self.snapshot(),
            "stopped_early": stopped_early,
            "inputs": self.data.counts(),
            "last": last,
        });
        if let Some(Course { column, start, best: (step, best), end }) = course {
            summary["best"] = json!({"step": step, *column: best});
            summary["start"] = json!({*column: start});
            summary["end"] = json!({*column: end});
            if let Some(control) = self.control {
                summary["control"] = json!({*column: control});
            }
        }
        summary
    }

    /// Says how the run ended, where that is not as it was meant to.
    pub(super) fn warn(&self, terminal: &Terminal) {
        if self.finished.stopped_early {
            terminal.say("stopped early: no evaluation was better for long (--patience)");
        }
        if let Some(course @ Course { column, start, end, .. }) = self.finished.course
            && course.is_worse()
        {
            terminal.warn(&format!(
                "the generator is worse than at the start: {column} rose from {start:.3} to {end:.3}"
            ));
        }
    }

    /// The summary for a person.
    pub(super) fn text(&self) -> String {
        let Finished { steps, course, last, .. } = &self.finished;
        let mut text = format!("{steps} steps, {} images\n", steps * self.batch as u64);
        for (name, value) in last {
            text.push_str(&format!("{name} {value:.4}\n"));
        }
        if let Some(Course { column, start, best: (step, best), end }) = course {
            let control = self.control.map_or_else(String::new, |value| format!(", control {value:.3}"));
            text.push_str(&format!(
                "{column}: start {start:.3}{control}, best {best:.3} at step {step}, end {end:.3}\n"
            ));
        }
        text + &format!("{}\n{}\n", self.data.describe(), self.snapshot().display())
    }
}
