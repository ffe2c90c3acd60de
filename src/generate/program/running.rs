//! A program that runs and has said what it is: it is asked for images, and its answers are taken in whatever order they come.

use super::conversation::{CONTINUES, Conversation};
use super::protocol::{Answer, GREETING, ProgramInfo, Request};
use super::words::ProgramCommand;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::remedy::Remedy;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program that is no longer needed may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The request.
    pub request: Request,
    /// The file that the image should be in.
    pub output: PathBuf,
}

/// A program that makes images. Dropped, it ends, and nothing of it is left.
pub(crate) struct GeneratorProgram {
    conversation: Conversation,
    info: ProgramInfo,
    /// How long it may be without an answer.
    timeout: Duration,
    open: BTreeMap<u64, Request>,
    /// Requests that were answered: another answer to one of them is its second.
    answered: HashSet<u64>,
}

impl GeneratorProgram {
    /// Starts a program and greets it. It may be without an answer for `timeout` at most, now and later. On Linux it ends with the
    /// thread that starts it.
    ///
    /// # Errors
    /// [`Error::Program`] if it cannot be started, ends, does not answer in time or says what makes no sense; [`Error::Interrupted`].
    pub(crate) fn start(
        command: &ProgramCommand,
        timeout: Duration,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut conversation = Conversation::start(command)?;
        conversation.send(GREETING);
        let greeting = || format!("the greeting {GREETING}");
        let answer = conversation.message(timeout, &greeting, progress)?;
        let remedy = match answer.contains_key("error") {
            true => Remedy::None,
            false => format!("it has to answer {GREETING} with {{\"name\": …}}").into(),
        };
        let info = ProgramInfo::of_answer(answer).map_err(|reason| conversation.failure(reason, remedy))?;
        conversation.call_it(&info.name);
        Ok(Self { conversation, info, timeout, open: BTreeMap::new(), answered: HashSet::new() })
    }

    /// What it has said of itself.
    pub(crate) fn info(&self) -> &ProgramInfo {
        &self.info
    }

    /// How many requests are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Asks for an image.
    ///
    /// # Errors
    /// [`Error::Data`] if the request cannot be written as JSON: a path that is no UTF-8.
    pub(crate) fn ask(&mut self, request: Request) -> Result<()> {
        let line = serde_json::to_string(&request).map_err(|e| {
            Error::data(
                format!("{} cannot be written as JSON: {e}", request.describe()),
                "rename the directory",
            )
        })?;
        self.answered.remove(&request.id);
        self.open.insert(request.id, request);
        self.conversation.send(&line);
        Ok(())
    }

    /// The next answer.
    ///
    /// # Errors
    /// [`Error::Program`] that names the request if there is no image, or the program ends or is silent for too long; or if it answers a
    /// request a second time, or one that was never made. [`Error::Interrupted`].
    pub(crate) fn answer(&mut self, progress: &dyn Progress) -> Result<Answered> {
        let open = &self.open;
        let awaited = || match (open.values().next(), open.len()) {
            (Some(request), 1) => request.describe(),
            (Some(request), count) => format!("{} ({count} are open)", request.describe()),
            (None, _) => "anything".into(),
        };
        let message = self.conversation.message(self.timeout, &awaited, progress)?;
        self.settle(message)
    }

    /// An answer that is there already.
    ///
    /// # Errors
    /// As [`GeneratorProgram::answer`].
    pub(crate) fn answer_at_hand(&mut self, progress: &dyn Progress) -> Result<Option<Answered>> {
        let message = self.conversation.message_at_hand(progress);
        message.map(|message| self.settle(message)).transpose()
    }

    /// An error of the program, with its last lines; `reason` is the end of a sentence that begins with its name.
    pub(crate) fn failure(&self, reason: impl Into<String>) -> Error {
        self.conversation.failure(reason, CONTINUES)
    }

    /// The request that a message answers.
    fn settle(&mut self, message: Map<String, Value>) -> Result<Answered> {
        let told = Answer::of_object(message).map_err(|reason| self.failure(reason))?;
        let Some(request) = self.open.remove(&told.id) else {
            let reason = match self.answered.contains(&told.id) {
                true => format!("answered request {} twice", told.id),
                false => format!("answered request {}, which it was not sent", told.id),
            };
            return Err(self.conversation.failure(reason, Remedy::None));
        };
        self.answered.insert(told.id);
        if let Some(error) = told.error {
            return Err(self.failure(format!("could not make {}: {error}", request.describe())));
        }
        match told.output {
            None => Ok(Answered { output: request.output.clone(), request }),
            Some(output) => match inside(&request.output, Path::new(&output)) {
                Some(output) => Ok(Answered { request, output }),
                None => {
                    let (what, asked) = (request.describe(), request.output.display());
                    let reason = format!(
                        "put the image of {what} outside its folder: {output} and not beside {asked}"
                    );
                    Err(self.conversation.failure(reason, Remedy::None))
                }
            },
        }
    }
}

impl Drop for GeneratorProgram {
    fn drop(&mut self) {
        if self.open.is_empty() {
            self.conversation.allow(FAREWELL);
        }
    }
}

/// The file that an answer names, if that is in the folder of the one that was asked for; a path may begin there.
fn inside(asked: &Path, named: &Path) -> Option<PathBuf> {
    let (folder, name) = (asked.parent()?, named.file_name()?);
    let found = folder.join(named);
    let same = fs::canonicalize(found.parent()?).ok()? == fs::canonicalize(folder).ok()?;
    same.then(|| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_for_in_the_folder_that_was_named_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        fs::create_dir(&folder).unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        let asked = folder.join("7.png");
        let found = |named: &str| inside(&asked, Path::new(named));
        let beside = Some(folder.join("7.webp"));
        assert_eq!(found("7.webp"), beside);
        assert_eq!(found("./7.webp"), beside);
        assert_eq!(found("../a/7.webp"), beside);
        assert_eq!(found(folder.join("7.webp").to_str().unwrap()), beside);
        for outside in ["../b/7.webp", "../7.webp", "/etc/passwd", "..", ".", "/", "", "below/7.webp"] {
            assert_eq!(found(outside), None, "{outside}");
        }
    }
}
