//! What goes to stderr: progress bars and warnings; and what comes from the keyboard and from schedulers: signals.

use super::output;
use crate::device::panic_is_a_reason;
use crate::error::{Error, Result};
use crate::images::Skipped;
use crate::progress::Progress;
use candle_core::Device;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{consts, flag};
use std::error::Error as _;
use std::io::IsTerminal;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// Skipped inputs that are named one by one.
const NAMED_SKIPPED: usize = 10;
const TICK: Duration = Duration::from_millis(200);

/// Progress on a terminal; and the device that the command computes on, which goes wherever the terminal goes.
pub(super) struct Terminal {
    quiet: bool,
    bars: bool,
    bar: Mutex<Option<ProgressBar>>,
    device: Device,
}

impl Terminal {
    /// Bars are drawn where stderr is a terminal. The command computes on the processor, unless [`Terminal::on`] says otherwise.
    pub(super) fn new(quiet: bool) -> Self {
        let bars = !quiet && std::io::stderr().is_terminal();
        // A command that runs within another one leaves it the talking.
        Self { quiet: quiet || output::is_captured(), bars, bar: Mutex::new(None), device: Device::Cpu }
    }

    /// The same for a command that computes on `device`.
    pub(super) fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Where the command computes.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line on stderr, above the bar if there is one.
    pub(super) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        match self.bar().as_ref() {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
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
        if !self.bars {
            return;
        }
        let bar = if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) };
        let template = if total == 0 {
            format!("{{spinner}} {step} {{pos}} {unit}")
        } else {
            format!("{step} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left")
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        *self.bar() = Some(bar);
    }

    fn advance(&self, done: u64) {
        if let Some(bar) = self.bar().as_ref() {
            bar.inc(done);
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn warn(&self, message: &str) {
        self.say(&format!("warning: {message}"));
    }

    fn stop_requested(&self) -> bool {
        STOP.load(Ordering::SeqCst)
    }
}

/// An error with its causes and what to do about it, written at once: of several ranks one may end the others meanwhile.
pub(super) fn complain(error: &Error) {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("  caused by: {error}\n");
        cause = error.source();
    }
    if let Some(hint) = super::hints::hint(error) {
        text += &format!("  hint: {hint}\n");
    }
    eprint!("{text}");
}

/// Signals that ask for a stop: Ctrl-C, and how schedulers say that time is up.
#[cfg(unix)]
const STOPPING: [i32; 4] = [consts::SIGINT, consts::SIGTERM, consts::SIGHUP, consts::SIGUSR1];
#[cfg(not(unix))]
const STOPPING: [i32; 2] = [consts::SIGINT, consts::SIGTERM];

/// What the handlers of signals set: they belong to the process, so that this is one for all terminals.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Leaves out the messages of panics that the library turns into errors.
pub(super) fn hide_panics_that_are_reasons() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !panic_is_a_reason() {
            hook(panic);
        }
    }));
}

/// The first signal asks for a stop at the next safe point, the second ends the process.
pub(super) fn handle_interrupts() -> Result<()> {
    const INTERRUPTED: i32 = 130;
    for signal in STOPPING {
        // In this order: the first signal finds the flag not set yet.
        flag::register_conditional_shutdown(signal, INTERRUPTED, STOP.clone())
            .and_then(|_| flag::register(signal, STOP.clone()))
            .map_err(|e| Error::usage(format!("cannot handle signal {signal}: {e}"), ""))?;
    }
    Ok(())
}
