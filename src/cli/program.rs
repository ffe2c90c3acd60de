//! How this program is started: another face of the library may carry the command line, and then it is no executable file of its own.

use std::ffi::OsString;
use std::sync::OnceLock;

static WORDS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Says which words start this program, for those that run it in a process of its own. The first that says so is believed.
pub fn is_started_by(words: Vec<OsString>) {
    let _ = WORDS.set(words);
}

/// The words that start this program; `None` where they are not known.
pub(super) fn command() -> Option<Vec<OsString>> {
    match WORDS.get() {
        Some(words) => Some(words.clone()),
        None => std::env::current_exe().ok().map(|program| vec![program.into()]),
    }
    .filter(|words| !words.is_empty())
}

/// The same as a person types it.
pub(super) fn shown() -> String {
    let words = command().unwrap_or_else(|| vec!["pd".into()]);
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
