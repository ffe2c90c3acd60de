//! Runs work of the library for Python: on a thread of its own, without the global lock. Meanwhile the calling thread listens to signals,
//! hands progress to the callback and raises warnings, so that both reach Python on the thread that called.

use crate::errors::raise;
use pseudo_density::{Progress, Result};
use pyo3::exceptions::{PyRuntimeError, PyUserWarning};
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// How often the calling thread looks for signals and progress.
const POLL: Duration = Duration::from_millis(50);
/// Stack of the thread that works: what the first thread of a process has.
const STACK: usize = 8 << 20;

/// The process that first worked here: its threads are in no process that is forked from it later.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// Something that Python should be told.
enum Event {
    Progress { step: String, done: u64, total: u64 },
    Warning(String),
    Note(String),
}

#[derive(Default)]
struct State {
    /// The step that is under way: its name, what is done of it, and its total.
    step: Option<(String, u64, u64)>,
    /// Whether the step moved on since it was last told.
    moved: bool,
    events: VecDeque<Event>,
}

/// What the working thread says, and whether it should stop.
#[derive(Default)]
struct Said {
    stop: AtomicBool,
    over: AtomicBool,
    state: Mutex<State>,
}

impl Said {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells Python what was said since the last time.
    fn tell(&self, py: Python<'_>, callback: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let events = {
            let mut state = self.state();
            if std::mem::take(&mut state.moved)
                && let Some((step, done, total)) = state.step.clone()
            {
                state.events.push_back(Event::Progress { step, done, total });
            }
            std::mem::take(&mut state.events)
        };
        for event in events {
            match (event, callback) {
                (Event::Progress { step, done, total }, Some(callback)) => {
                    callback.call1((step, done, total))?;
                }
                (Event::Progress { .. }, None) => {}
                (Event::Warning(message), _) => {
                    // A byte 0 would end the text.
                    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
                    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &message, 1)?;
                }
                (Event::Note(line), _) => {
                    let logger = py.import("logging")?.call_method1("getLogger", ("pseudo_density",))?;
                    logger.call_method1("info", ("%s", line))?;
                }
            }
        }
        Ok(())
    }
}

impl Progress for Said {
    fn start(&self, step: &str, total: u64, _: &'static str) {
        let mut state = self.state();
        state.step = Some((step.to_owned(), 0, total));
        state.events.push_back(Event::Progress { step: step.to_owned(), done: 0, total });
    }

    fn advance(&self, done: u64) {
        let mut state = self.state();
        if let Some((_, so_far, _)) = &mut state.step {
            *so_far += done;
            state.moved = true;
        }
    }

    fn finish(&self) {
        let mut state = self.state();
        if let Some((step, done, total)) = state.step.take() {
            state.events.push_back(Event::Progress { step, done, total });
        }
        state.moved = false;
    }

    fn warn(&self, message: &str) {
        self.state().events.push_back(Event::Warning(message.to_owned()));
    }

    fn note(&self, line: &str) {
        self.state().events.push_back(Event::Note(line.to_owned()));
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Says that the work is over however it ends, and wakes the thread that waits for it.
struct Over<'a>(&'a Said, thread::Thread);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.1.unpark();
    }
}

/// Runs `work`. `callback`, where given, is called as `callback(step, done, total)`; what it raises, or a signal, stops the work at its
/// next safe point and is raised here.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    callback: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&dyn Progress) -> Result<T> + Send,
) -> PyResult<T> {
    if *PROCESS.get_or_init(std::process::id) != std::process::id() {
        return Err(PyRuntimeError::new_err(
            "this process was forked from one that has used pseudo_density, whose threads it does not have\n  \
             hint: start processes with multiprocessing.get_context(\"spawn\")",
        ));
    }
    let (said, caller) = (Said::default(), thread::current());
    let mut raised = None;
    let outcome = thread::scope(|scope| {
        let said = &said;
        let working = thread::Builder::new().name("pseudo_density".into()).stack_size(STACK).spawn_scoped(
            scope,
            move || {
                let _over = Over(said, caller);
                work(said)
            },
        );
        let working = working.map_err(|e| PyRuntimeError::new_err(format!("cannot start a thread: {e}")))?;
        loop {
            let is_over = said.over.load(Ordering::SeqCst);
            if raised.is_none()
                && let Err(error) = py.check_signals().and_then(|()| said.tell(py, callback))
            {
                said.stop.store(true, Ordering::SeqCst);
                raised = Some(error);
            }
            if is_over {
                break;
            }
            py.detach(|| thread::park_timeout(POLL));
        }
        working
            .join()
            .map_err(|_| PyRuntimeError::new_err("pseudo_density failed inside; its message is on stderr"))
    });
    match (raised, outcome?) {
        (Some(error), _) => Err(error),
        (None, Ok(value)) => Ok(value),
        (None, Err(error)) => Err(raise(py, &error)),
    }
}
