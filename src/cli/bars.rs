//! Where a long step is: a bar on a terminal, a line a minute elsewhere (logs of schedulers and of services).

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How often a bar is drawn again.
const TICK: Duration = Duration::from_millis(200);
/// Where there is no terminal: the time from the start of a step to its first line, and from one line to the next.
const FIRST_LINE: Duration = Duration::from_secs(20);
const LINES_APART: Duration = Duration::from_secs(60);
/// Before this much of a step has passed, its rate says little of the time that is left.
const RATE_KNOWN_AFTER: Duration = Duration::from_secs(2);

/// One step that is under way.
pub(super) struct Step {
    name: String,
    unit: &'static str,
    /// Units in all; 0 where that is not known.
    total: u64,
    /// Finished units.
    done: u64,
    /// Units that are under way, finished in part.
    under_way: f64,
    begun: Instant,
    /// When the next line is due.
    due: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    /// A step that begins `now`, with a bar if one is `drawn`.
    pub(super) fn new(name: &str, total: u64, unit: &'static str, drawn: bool, now: Instant) -> Self {
        let bar = drawn.then(|| bar(name, total, unit));
        Self {
            name: name.into(),
            unit,
            total,
            done: 0,
            under_way: 0.0,
            begun: now,
            due: now + FIRST_LINE,
            bar,
        }
    }

    /// The bar, where one is drawn.
    pub(super) fn bar(&self) -> Option<&ProgressBar> {
        self.bar.as_ref()
    }

    /// `done` more units are finished.
    pub(super) fn advance(&mut self, done: u64) {
        self.done += done;
        self.under_way = 0.0;
        self.draw();
    }

    /// So many of the next units are finished, in parts of them.
    pub(super) fn under_way(&mut self, units: f64) {
        self.under_way = units;
        self.draw();
    }

    fn position(&self) -> f64 {
        let position = self.done as f64 + self.under_way;
        if self.total > 0 { position.min(self.total as f64) } else { position }
    }

    fn draw(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.position() as u64);
        }
    }

    /// The line that is due, if there is no bar.
    pub(super) fn line(&mut self, now: Instant) -> Option<String> {
        if self.bar.is_some() || now < self.due {
            return None;
        }
        self.due = now + LINES_APART;
        let position = self.position();
        let mut line = match self.total {
            0 => format!("{}: {position:.0} {}", self.name, self.unit),
            total => format!("{}: {position:.0} of {total} {}", self.name, self.unit),
        };
        let left = remaining(position, self.total, now.saturating_duration_since(self.begun));
        if let Some(left) = left.filter(|_| self.total > 0) {
            let _ = write!(line, ", about {} left", in_words(left));
        }
        Some(line)
    }

    /// The step is over.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, total: u64, unit: &'static str) -> ProgressBar {
    let (bar, template) = match total {
        0 => (ProgressBar::new_spinner(), format!("{{spinner}} {name} {{pos}} {unit}")),
        _ => (
            ProgressBar::new(total),
            format!("{name} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}{{left}}"),
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let left = remaining(state.pos() as f64, state.len().unwrap_or_default(), state.elapsed());
            let _ = left.map_or(Ok(()), |left| write!(out, ", {} left", in_words(left)));
        };
        bar.set_style(style.with_key("left", left));
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// The time that is left at the rate so far; `None` where nothing is known of it yet.
fn remaining(position: f64, total: u64, elapsed: Duration) -> Option<Duration> {
    if position <= 0.0 || elapsed < RATE_KNOWN_AFTER {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * (total as f64 - position).max(0.0) / position).ok()
}

/// A duration as a person says it: `45 s`, `3 min`, `2 h 10 min`.
pub(super) fn in_words(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    match duration.as_secs_f64().ceil() as u64 {
        seconds @ ..=90 => format!("{seconds} s"),
        seconds if seconds < 2 * HOUR => format!("{} min", seconds.div_ceil(MINUTE)),
        seconds => format!("{} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_line_a_minute_says_where_a_step_is() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut step = Step::new("pilot", 384, "images", false, begun);
        assert_eq!(step.line(at(1)), None);
        step.under_way(16.0);
        assert_eq!(step.line(at(20)).unwrap(), "pilot: 16 of 384 images, about 8 min left");
        step.advance(128);
        assert_eq!(step.line(at(79)), None);
        assert_eq!(step.line(at(80)).unwrap(), "pilot: 128 of 384 images, about 3 min left");
        step.advance(1000);
        assert_eq!(step.line(at(200)).unwrap(), "pilot: 384 of 384 images, about 0 s left");
        let mut unknown = Step::new("reading", 0, "files", false, begun);
        unknown.advance(7);
        assert_eq!(unknown.line(at(30)).unwrap(), "reading: 7 files");
    }

    #[test]
    fn nothing_is_said_of_the_time_left_before_something_is_known() {
        assert_eq!(remaining(0.0, 100, Duration::from_secs(50)), None);
        assert_eq!(remaining(1.0, 100, Duration::from_millis(10)), None);
        assert_eq!(remaining(25.0, 100, Duration::from_secs(50)), Some(Duration::from_secs(150)));
        assert_eq!(
            [0, 90, 91, 7199, 7200, 90_000].map(|s| in_words(Duration::from_secs(s))),
            ["0 s", "90 s", "2 min", "120 min", "2 h 0 min", "25 h 0 min"]
        );
    }
}
