//! A program as a process: what it is sent, what it writes, and that nothing of it is left when it is no longer needed.
//!
//! It leads a process group of its own, with whatever it starts, so that all of it can be ended; a stop that a terminal asks for reaches
//! this process, which passes it on. Where this process is killed, the program's standard input ends, the system kills it (on Linux), and
//! a watcher kills its group: a program that was started through another one may hang meanwhile.

use super::lines::next_line;
use super::words::ProgramCommand;
use std::io::{self, BufReader, Read, Write};
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait to be looked at. A program that writes more meanwhile has to wait.
const WAITING_LINES: usize = 1024;
/// How long a program that is told to end may take before it is killed.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it is asked whether a process has ended.
const POLL: Duration = Duration::from_millis(10);

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output: answers.
    Output,
    /// Standard error.
    Error,
}

/// What comes from a program.
#[derive(Debug)]
pub(super) enum Event {
    /// A line without its end.
    Line(Stream, String),
    /// Nothing more is written there.
    Closed(Stream),
}

/// A program that runs.
pub(super) struct Process {
    child: Child,
    #[cfg(unix)]
    _watcher: Option<unix::Watcher>,
    /// Lines for its standard input, which closes when this and `input` are dropped.
    requests: Option<Sender<String>>,
    /// Its standard input, to see whether it is open.
    #[cfg(unix)]
    input: Option<OwnedFd>,
    events: Receiver<Event>,
    /// Streams that are open.
    open: usize,
}

impl Process {
    /// Starts a program. The thread that does has to live as long as the program: on Linux the system ends it with its thread.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(command: &ProgramCommand) -> io::Result<Self> {
        let mut start = Command::new(command.program());
        start.args(command.arguments());
        start.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Without it the answers of a Python program would stay in a buffer until that is full.
        start.env("PYTHONUNBUFFERED", "1");
        #[cfg(unix)]
        unix::in_a_group_that_ends_with_us(&mut start);
        let mut child = start.spawn()?;
        #[cfg(unix)]
        let watcher = {
            unix::note(&child);
            unix::Watcher::start(&child)
        };
        let (send_event, events) = sync_channel(WAITING_LINES);
        let (requests, lines) = channel::<String>();
        #[cfg(unix)]
        let input = child.stdin.as_ref().map(|input| input.as_fd().try_clone_to_owned()).transpose()?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read must not keep this process from reading what it writes.
            named_thread("program-input", move || {
                for line in lines {
                    if input.write_all(line.as_bytes()).and_then(|()| input.flush()).is_err() {
                        break;
                    }
                }
            })?;
        }
        if let Some(output) = child.stdout.take() {
            read(output, Stream::Output, send_event.clone())?;
        }
        if let Some(error) = child.stderr.take() {
            read(error, Stream::Error, send_event)?;
        }
        Ok(Self {
            child,
            #[cfg(unix)]
            _watcher: watcher,
            requests: Some(requests),
            #[cfg(unix)]
            input,
            events,
            open: 2,
        })
    }

    /// Sends a line. Whether it is read does not show here.
    pub(super) fn send(&self, line: &str) {
        if let Some(requests) = &self.requests {
            // The thread that writes ends before this process does only where the program reads no more.
            let _ = requests.send(format!("{line}\n"));
        }
    }

    /// Whether it still has its standard input open; where the system does not tell, it is taken for granted.
    pub(super) fn reads(&self) -> bool {
        #[cfg(unix)]
        return self.input.as_ref().is_none_or(unix::has_reader);
        #[cfg(not(unix))]
        true
    }

    /// What came next, waiting at most so long; `None` if nothing did.
    pub(super) fn event(&mut self, wait: Duration) -> Option<Event> {
        match self.events.recv_timeout(wait) {
            Ok(event) => {
                self.open -= usize::from(matches!(event, Event::Closed(_)));
                Some(event)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(wait);
                None
            }
        }
    }

    /// Whether anything more may come.
    pub(super) fn is_heard(&self) -> bool {
        self.open > 0
    }

    /// How it has ended; `None` while it runs.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it has ended, waiting for that a moment.
    pub(super) fn status_soon(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.status() {
                None if Instant::now() < until => thread::sleep(POLL),
                status => return status,
            }
        }
    }

    /// Closes its standard input, waits at most so long until it has closed its own streams, and ends it.
    pub(super) fn end(&mut self, patience: Duration) {
        self.requests = None;
        #[cfg(unix)]
        drop(self.input.take());
        self.wait_until_closed(patience);
        #[cfg(unix)]
        if self.open > 0 {
            unix::signal(&self.child, unix::TERMINATE);
            self.wait_until_closed(PATIENCE);
        }
        #[cfg(unix)]
        {
            // What it has started may go on without it.
            unix::signal(&self.child, unix::KILL);
            unix::forget(&self.child);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn wait_until_closed(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.open > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.event(left);
        }
    }
}

/// Kills every program that was started here, at once: for a process that ends without unwinding.
pub(crate) fn kill_all() {
    #[cfg(unix)]
    unix::kill_all();
}

/// Reads lines until there are no more, or nobody listens.
fn read(source: impl Read + Send + 'static, stream: Stream, events: SyncSender<Event>) -> io::Result<()> {
    let name = if stream == Stream::Output { "program-output" } else { "program-error" };
    named_thread(name, move || {
        let mut source = BufReader::new(source);
        while let Ok(Some(line)) = next_line(&mut source) {
            if events.send(Event::Line(stream, line)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Closed(stream));
    })
}

fn named_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

#[cfg(unix)]
mod unix {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::sync::{Mutex, PoisonError};

    pub(super) const TERMINATE: i32 = libc::SIGTERM;
    pub(super) const KILL: i32 = libc::SIGKILL;

    /// The process groups of the programs that run.
    static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

    /// The program leads a process group, and on Linux is killed when this thread has ended.
    pub(super) fn in_a_group_that_ends_with_us(command: &mut Command) {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        {
            let parent = std::process::id();
            let die_with_parent = move || {
                // SAFETY: both are system calls without pointers, which may be made between fork and exec.
                let (set, now) =
                    unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
                match set {
                    0 if now.cast_unsigned() == parent => Ok(()),
                    // The parent has ended already.
                    0 => Err(std::io::Error::from_raw_os_error(libc::ESRCH)),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: the closure makes system calls only: it allocates nothing and takes no lock.
            unsafe { command.pre_exec(die_with_parent) };
        }
    }

    /// Waits for the end of a line, and kills a process group.
    const WATCH: &str = "read -r _; kill -KILL \"-$0\" 2>/dev/null";

    /// A process that kills the group of a program when this process has ended, however it did.
    pub(super) struct Watcher(Child);

    impl Watcher {
        /// `None` where there is no shell.
        pub(super) fn start(program: &Child) -> Option<Self> {
            let mut watch = Command::new("sh");
            watch.args(["-c", WATCH]).arg(program.id().to_string()).process_group(0);
            // It is this process alone that holds the other end.
            watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            watch.spawn().ok().map(Self)
        }
    }

    impl Drop for Watcher {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Sends a signal to the group that a program leads.
    pub(super) fn signal(child: &Child, signal: i32) {
        signal_group(child.id(), signal);
    }

    fn signal_group(leader: u32, signal: i32) {
        if let Ok(leader @ 2..) = i32::try_from(leader) {
            // SAFETY: a system call without pointers. A group that has gone is an error, which changes nothing.
            unsafe { libc::kill(-leader, signal) };
        }
    }

    /// Whether anybody has the other end of this pipe, which is written to, open.
    pub(super) fn has_reader(pipe: &OwnedFd) -> bool {
        // What is looked for is always told, whether it was asked for or not.
        let mut asked = libc::pollfd { fd: pipe.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one valid structure, and no waiting.
        let found = unsafe { libc::poll(&raw mut asked, 1, 0) };
        found < 1 || asked.revents & (libc::POLLERR | libc::POLLHUP) == 0
    }

    pub(super) fn note(child: &Child) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
    }

    pub(super) fn forget(child: &Child) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|&id| id != child.id());
    }

    pub(super) fn kill_all() {
        for &leader in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            signal_group(leader, KILL);
        }
    }
}
