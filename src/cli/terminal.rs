//! What goes to stderr: progress bars, warnings and errors. It never fails: a reader that has gone away misses something, that is all.

use super::bars::Step;
use super::escape::one_line;
use super::output::Results;
use super::signals;
use crate::error::{Error, Result};
use crate::images::{Inputs, ONE_COLOUR, Skipped};
use crate::panics;
use crate::progress::Progress;
use candle_core::Device;
use std::error::Error as _;
use std::io::{IsTerminal, Write};
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Skipped inputs that are named one by one.
const NAMED_SKIPPED: usize = 10;

/// Progress on a terminal; and the device that the command computes on, which goes wherever the terminal goes.
pub(super) struct Terminal {
    quiet: bool,
    bars: bool,
    step: Mutex<Option<Step>>,
    device: Device,
    results: Results,
}

impl Terminal {
    /// Bars are drawn where stderr is a terminal. The command computes on the processor, unless [`Terminal::on`] says otherwise.
    pub(super) fn new(quiet: bool, results: &Results) -> Self {
        let bars = !quiet && std::io::stderr().is_terminal();
        // A command that runs within another one leaves messages to it.
        let quiet = quiet || results.are_collected();
        Self { quiet, bars, step: Mutex::new(None), device: Device::Cpu, results: results.clone() }
    }

    /// Prints a result, as [`Results::print`].
    pub(super) fn print(&self, text: &str) -> Result<()> {
        self.results.print(text)
    }

    /// The same for a command that computes on `device`.
    pub(super) fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Where the command computes.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    fn step(&self) -> std::sync::MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the step on, and says where it is if that is due.
    fn moved(&self, change: impl FnOnce(&mut Step)) {
        let line = self.step().as_mut().and_then(|step| {
            change(step);
            step.line(Instant::now())
        });
        if let Some(line) = line {
            self.say(&line);
        }
    }

    /// A line on stderr, above the bar if there is one.
    pub(super) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        let line = format!("{}\n", one_line(line));
        match self.step().as_ref().and_then(Step::bar) {
            Some(bar) => bar.suspend(|| tell(&line)),
            None => tell(&line),
        }
    }

    /// Names inputs that could not be used, and says in one line what became of all of them.
    pub(super) fn report_inputs(&self, inputs: &Inputs) {
        self.report_skipped(&inputs.skipped);
        self.say(&inputs.describe());
        self.advise(inputs);
    }

    /// Says what can be done about images of kinds that are not read.
    pub(super) fn advise(&self, inputs: &Inputs) {
        if let Some(advice) = inputs.left_out.advice() {
            self.say(&format!("hint: {advice}"));
        }
    }

    /// Warns of images that are of one colour because of what replaces their transparency; `notes` are those of all images.
    pub(super) fn warn_of_one_colour<'a>(&self, notes: impl Iterator<Item = &'a str>) {
        match notes.filter(|note| note.contains(ONE_COLOUR)).count() {
            0 => {}
            count => self.warn(&format!(
                "{count} images are of one colour where transparency is replaced, as white drawings on white are: \
                 choose another --alpha (white, black or drop)"
            )),
        }
    }

    /// Names inputs that could not be used.
    pub(super) fn report_skipped(&self, skipped: &[Skipped]) {
        for Skipped { path, reason } in skipped.iter().take(NAMED_SKIPPED) {
            self.say(&format!("skipped {path}: {reason}"));
        }
        if skipped.len() > NAMED_SKIPPED {
            self.say(&format!("skipped {} more", skipped.len() - NAMED_SKIPPED));
        }
    }
}

impl Progress for Terminal {
    fn start(&self, step: &str, total: u64, unit: &'static str) {
        *self.step() = (!self.quiet).then(|| Step::new(step, total, unit, self.bars, Instant::now()));
    }

    fn advance(&self, done: u64) {
        self.moved(|step| step.advance(done));
    }

    fn under_way(&self, units: f64) {
        self.moved(|step| step.under_way(units));
    }

    fn finish(&self) {
        if let Some(step) = self.step().take() {
            step.finish();
        }
    }

    fn warn(&self, message: &str) {
        self.say(&format!("warning: {message}"));
    }

    fn note(&self, line: &str) {
        self.say(line);
    }

    fn stop_requested(&self) -> bool {
        signals::stop_requested()
    }
}

/// An error with its causes and what to do about it, written at once: of several ranks one may end the others meanwhile.
pub(super) fn complain(error: &Error) {
    let mut text = format!("error: {}\n", one_line(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("  caused by: {}\n", one_line(&error.to_string()));
        cause = error.source();
    }
    if let Error::Program { program, said, .. } = error
        && !said.is_empty()
    {
        text += &format!("  the last lines of {}:\n", one_line(program));
        said.iter().for_each(|line| text += &format!("    {}\n", one_line(line)));
    }
    if let Some(hint) = super::hints::hint(error) {
        text += &format!("  hint: {}\n", one_line(&hint));
    }
    tell(&text);
}

/// Text for stderr, at once.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Leaves out the messages of panics that the library turns into errors.
pub fn hide_panics_that_are_reasons() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !panics::is_a_reason() {
            hook(panic);
        }
    }));
}
