//! What a long step reports while it runs, and how it learns that it should stop. Nothing here knows of terminals or signals.

use crate::error::{Error, Result};

/// Receives the progress of a long step, and says whether it should stop. The command line draws bars with it; the library needs none.
pub trait Progress: Sync {
    /// A step of `total` units (images, rows, epochs: `unit` says which) begins.
    fn start(&self, step: &str, total: u64, unit: &'static str);
    /// `done` more units of the current step are finished.
    fn advance(&self, done: u64);
    /// Of the units after the finished ones this many are done, counted in parts of a unit: a denoising step of some images is a part of
    /// each. The next [`Progress::advance`] counts them whole.
    fn under_way(&self, units: f64) {
        let _ = units;
    }
    /// The current step is over.
    fn finish(&self);
    /// Something that the user should know, in one line.
    fn warn(&self, message: &str);
    /// Something that another program has said, in one line.
    fn note(&self, line: &str) {
        let _ = line;
    }
    /// Whether work should stop at its next safe point. Once true, it stays true.
    fn stop_requested(&self) -> bool;
}

/// Reports nothing and never asks for a stop.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn warn(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Reports nothing and stops when the other one does: for a short step within one that is reported already.
pub(crate) struct Unreported<'a>(pub &'a dyn Progress);

impl Progress for Unreported<'_> {
    fn start(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn warn(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}

/// To be called at safe points: [`Error::Interrupted`] once a stop was requested.
///
/// # Errors
/// [`Error::Interrupted`], with `hint` as its remedy: what is kept.
pub(crate) fn check_stop(progress: &dyn Progress, hint: impl Fn() -> String) -> Result<()> {
    match progress.stop_requested() {
        true => Err(Error::Interrupted { remedy: hint().into() }),
        false => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod test_support {
    use super::Progress;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Keeps the warnings that it is given.
    #[derive(Default)]
    pub(crate) struct Warnings(Mutex<Vec<String>>);

    impl Warnings {
        /// Those so far.
        pub(crate) fn so_far(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Progress for Warnings {
        fn start(&self, _: &str, _: u64, _: &'static str) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.into());
        }
        fn stop_requested(&self) -> bool {
            false
        }
    }

    /// Lets a number of safe points pass, then asks for a stop.
    pub(crate) struct StopsAfter(AtomicUsize);

    impl StopsAfter {
        pub(crate) fn new(safe_points: usize) -> Self {
            Self(AtomicUsize::new(safe_points))
        }
    }

    impl Progress for StopsAfter {
        fn start(&self, _: &str, _: u64, _: &'static str) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn warn(&self, _: &str) {}
        fn stop_requested(&self) -> bool {
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.is_err()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::StopsAfter;
    use super::*;

    #[test]
    fn work_goes_on_until_a_stop_is_requested_and_the_hint_is_the_remedy() {
        let progress = StopsAfter::new(1);
        let check = || check_stop(&progress, || "two images are kept".into());
        assert!(check().is_ok());
        let error = check().unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }));
        assert_eq!(error.hint(), Some("two images are kept".into()));
        assert!(check().is_err() && check_stop(&Unreported(&progress), String::new).is_err());
        assert!(check_stop(&Silent, String::new).is_ok());
    }
}
