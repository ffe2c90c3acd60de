//! Signals: how a command is asked to stop, and that it does so soon.

use crate::error::{Error, Result};
use signal_hook::{consts, flag};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// Exit code of a command that was asked to stop.
const INTERRUPTED: i32 = 130;

/// Ctrl-C, and how schedulers say that time is up.
#[cfg(unix)]
const STOPPING: [i32; 4] = [consts::SIGINT, consts::SIGTERM, consts::SIGHUP, consts::SIGUSR1];
#[cfg(not(unix))]
const STOPPING: [i32; 2] = [consts::SIGINT, consts::SIGTERM];

/// What the handlers of signals set: they belong to the process, so that this is one for all terminals.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Steps that are under way whose end is waited for.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Whether a stop was asked for.
pub(super) fn stop_requested() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// As long as it lives a request to stop is answered by the work alone, however long that takes: it has something to save that is not
/// on disk yet.
pub(super) struct SavesAtTheEnd(());

impl SavesAtTheEnd {
    pub(super) fn begin() -> Self {
        HELD.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for SavesAtTheEnd {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The first signal asks for a stop at the next safe point, the second ends the process. So does the first where no safe point comes
/// within a moment: whatever is finished is on disk, and everything that is written appears whole or not at all.
///
/// A file that grows beyond the limit of the process is an error of writing like any other.
pub(super) fn handle() -> Result<()> {
    let failed = |signal: i32| move |e| Error::usage(format!("cannot handle signal {signal}: {e}"), "");
    for signal in STOPPING {
        // In this order: the first signal finds the flag not set yet.
        flag::register_conditional_shutdown(signal, INTERRUPTED, STOP.clone())
            .and_then(|_| flag::register(signal, STOP.clone()))
            .map_err(failed(signal))?;
    }
    #[cfg(unix)]
    {
        flag::register(unix::SIGXFSZ, Arc::default()).map_err(failed(unix::SIGXFSZ))?;
        unix::end_after_a_moment()?;
    }
    Ok(())
}

#[cfg(unix)]
mod unix {
    use super::{HELD, INTERRUPTED, STOPPING};
    use crate::error::{Error, Result};
    pub(super) use signal_hook::consts::signal::SIGXFSZ;
    use signal_hook::low_level;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::Duration;

    /// How long a command may take to come to a safe point.
    const MOMENT: Duration = Duration::from_millis(700);
    /// How often it is asked whether a step that saves is over.
    const POLL: Duration = Duration::from_millis(50);

    /// Starts a thread that waits for a signal, and then ends the process unless it ends by itself.
    pub(super) fn end_after_a_moment() -> Result<()> {
        let failed = |e| Error::usage(format!("cannot wait for signals: {e}"), "");
        let (mut awake, wake) = UnixStream::pair().map_err(failed)?;
        for signal in STOPPING {
            let wake = wake.try_clone().map_err(failed)?;
            low_level::pipe::register(signal, wake).map_err(failed)?;
        }
        let wait = move || {
            if !awake.read(&mut [0]).is_ok_and(|count| count > 0) {
                return;
            }
            // The time begins anew after a step that saves: what follows it is short.
            thread::sleep(MOMENT);
            while HELD.load(Ordering::SeqCst) > 0 {
                while HELD.load(Ordering::SeqCst) > 0 {
                    thread::sleep(POLL);
                }
                thread::sleep(MOMENT);
            }
            crate::generate::kill_programs();
            let words =
                "\nerror: interrupted\n  hint: what is finished is kept; the same command continues\n";
            let _ = std::io::stderr().write_all(words.as_bytes());
            low_level::exit(INTERRUPTED);
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(failed)
    }
}
