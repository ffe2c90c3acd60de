//! What a program writes: objects are messages, everything else is shown, and the last of it is kept for the error when something fails.

use super::process::{Event, Process, Stream};
use super::protocol::object;
use super::words::ProgramCommand;
use crate::error::{Error, Result};
use crate::progress::{Progress, check_stop};
use crate::remedy::Remedy;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is asked whether to stop, and whether the program has ended.
const POLL: Duration = Duration::from_millis(50);
/// How long a stop may take to be noticed here that has ended the program already: schedulers signal both.
const NOTICE: Duration = Duration::from_millis(100);
/// How long the last lines of a program that has ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a program that has closed its standard input may say nothing: it may be about to answer what it has read.
/// It is half of the whole time for an answer at most.
const WITHOUT_INPUT: Duration = Duration::from_secs(10);
/// Last lines that errors repeat, and characters of each.
const LAST_LINES: usize = 10;
const LINE_LENGTH: usize = 500;
/// Lines that are looked at together where nothing is waited for.
const AT_HAND: usize = 1024;
/// What to do about a program that does not even say what it is.
const BY_ITSELF: &str =
    "run the command by itself to see what is wrong; it should wait for lines on its standard input";
/// What a stop or a failure leaves behind.
pub(super) const CONTINUES: &str = "what is finished is kept; the same command continues";

/// A program that is talked to.
pub(super) struct Conversation {
    process: Process,
    /// What the program is called.
    name: String,
    /// The last lines that it has written beside its messages.
    said: VecDeque<String>,
    /// Whether it has closed its standard output.
    closed: bool,
    /// How long it may take to end by itself when it is no longer needed.
    farewell: Duration,
    /// What to do about a program that has ended.
    remedy: &'static str,
}

impl Conversation {
    /// Starts a program.
    ///
    /// # Errors
    /// [`Error::Program`] if it cannot be started.
    pub(super) fn start(command: &ProgramCommand) -> Result<Self> {
        let name = command.file_name();
        let process = Process::start(command).map_err(|e| Error::Program {
            program: name.clone(),
            reason: format!("cannot be started: {e}"),
            said: Vec::new(),
            remedy: "the first word of the command is the program".into(),
        })?;
        Ok(Self {
            process,
            name,
            said: VecDeque::new(),
            closed: false,
            farewell: Duration::ZERO,
            remedy: BY_ITSELF,
        })
    }

    /// What the program is called from now on, as it has said. It makes images now, and those that are finished are kept.
    pub(super) fn call_it(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.remedy = CONTINUES;
    }

    /// Lets it end by itself when it is no longer needed, within this time.
    pub(super) fn allow(&mut self, farewell: Duration) {
        self.farewell = farewell;
    }

    /// Sends a message, a line.
    pub(super) fn send(&self, line: &str) {
        self.process.send(line);
    }

    /// An error of the program, with its last lines; `reason` is the end of a sentence that begins with its name.
    pub(super) fn failure(&self, reason: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
        Error::Program {
            program: self.name.clone(),
            reason: reason.into(),
            said: self.said.iter().cloned().collect(),
            remedy: remedy.into(),
        }
    }

    /// The next message, within `timeout`; `awaited` is what the program has been asked, for errors.
    ///
    /// # Errors
    /// [`Error::Program`] if it ends before, or does not answer in time; [`Error::Interrupted`].
    pub(super) fn message(
        &mut self,
        timeout: Duration,
        awaited: &dyn Fn() -> String,
        progress: &dyn Progress,
    ) -> Result<Map<String, Value>> {
        let (began, mut ended) = (Instant::now(), false);
        // Since when it has no input, and has said nothing; and how long that may be.
        let (mut without_input, patience) = (None::<Instant>, WITHOUT_INPUT.min(timeout / 2));
        loop {
            check_stop(progress, || CONTINUES.into())?;
            if self.closed {
                return Err(self.end_of(&awaited(), progress));
            }
            match self.process.event(POLL) {
                Some(event) => {
                    without_input = None;
                    if let Some(message) = self.take(event, progress) {
                        return Ok(message);
                    }
                }
                // What it wrote before it ended was still looked for.
                None if ended => return Err(self.end_of(&awaited(), progress)),
                None => {
                    ended = self.process.status().is_some();
                    if !self.process.reads()
                        && without_input.get_or_insert_with(Instant::now).elapsed() > patience
                    {
                        let reason = format!("closed its standard input before it answered {}", awaited());
                        return Err(self.failure(reason, self.remedy));
                    }
                }
            }
            if began.elapsed() > timeout {
                let reason = format!("has not answered {} within {} s", awaited(), timeout.as_secs_f64());
                return Err(self.failure(reason, Remedy::LongerProgramTimeout));
            }
        }
    }

    /// A message that is there already.
    pub(super) fn message_at_hand(&mut self, progress: &dyn Progress) -> Option<Map<String, Value>> {
        for _ in 0..AT_HAND {
            let event = self.process.event(Duration::ZERO)?;
            if let Some(message) = self.take(event, progress) {
                return Some(message);
            }
        }
        None
    }

    /// The message that an event is; anything else is shown and kept.
    fn take(&mut self, event: Event, progress: &dyn Progress) -> Option<Map<String, Value>> {
        let line = match event {
            Event::Line(Stream::Output, line) => match object(&line) {
                Some(message) => return Some(message),
                None => line,
            },
            Event::Line(Stream::Error, line) => line,
            Event::Closed(stream) => {
                self.closed |= stream == Stream::Output;
                return None;
            }
        };
        let line: String = line.trim_end().chars().take(LINE_LENGTH).collect();
        if !line.is_empty() {
            progress.note(&format!("{}: {line}", self.name));
            if self.said.len() == LAST_LINES {
                self.said.pop_front();
            }
            self.said.push_back(line);
        }
        None
    }

    /// The error of a program that has ended, or will say no more.
    fn end_of(&mut self, awaited: &str, progress: &dyn Progress) -> Error {
        let until = Instant::now() + LAST_WORDS;
        while self.process.is_heard() && Instant::now() < until {
            if let Some(event) = self.process.event(until.saturating_duration_since(Instant::now())) {
                // Answers to other requests that came last are of no use without this one's block.
                self.take(event, progress);
            }
        }
        let status = self.process.status_soon();
        thread::sleep(NOTICE);
        if let Err(stopped) = check_stop(progress, || CONTINUES.into()) {
            return stopped;
        }
        let reason = match status {
            Some(status) => format!("ended ({status}) before it answered {awaited}"),
            None => format!("closed its standard output before it answered {awaited}"),
        };
        self.failure(reason, self.remedy)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.process.end(self.farewell);
    }
}
