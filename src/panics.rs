//! Code of others that may panic: its panic becomes a value, and a program can leave the message of it out.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static IS_A_REASON: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is about to become a reason in an error. The panic hook of a program can leave out the message then.
pub(crate) fn is_a_reason() -> bool {
    IS_A_REASON.get()
}

/// Runs what may panic; its panic is returned.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let before = IS_A_REASON.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    IS_A_REASON.set(before);
    outcome
}
