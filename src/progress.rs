//! How long work tells of itself and is told to stop, without knowing of terminals or signals.

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

/// Receives the progress of a long step. `cli` draws bars with it; the library needs none.
pub trait Progress: Sync {
    /// A step of `total` units (images, rows, epochs: `unit` says which) begins.
    fn start(&self, step: &str, total: u64, unit: &'static str);
    /// `done` more units of the current step are finished.
    fn advance(&self, done: u64);
    /// The current step is over.
    fn finish(&self);
    /// Something that the user should know, in one line.
    fn warn(&self, message: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn warn(&self, _: &str) {}
}

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Set, it asks every long step of the process to stop at its next safe point (signals do).
pub fn stop_flag() -> Arc<AtomicBool> {
    Arc::clone(&STOP)
}

/// To be called at safe points: [`Error::Interrupted`] once a stop was requested.
///
/// # Errors
/// [`Error::Interrupted`], with `hint` as its remedy: what is kept.
pub fn check_stop(hint: impl Fn() -> String) -> Result<()> {
    if STOP.load(Ordering::SeqCst) {
        return Err(Error::Interrupted { remedy: hint().into() });
    }
    Ok(())
}
