//! The error of the library: what failed (with the path), why, and what to do about it.

use crate::remedy::Remedy;
use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. `Display` says what failed, `source()` why, [`Error::remedy`] what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb: `read`, `write`, `create`, …
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file's content is not what it has to be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in one phrase.
        reason: String,
        /// What can be done.
        remedy: Remedy,
    },
    /// The numbers cannot be used: too few rows, not finite, constant, another width.
    #[error("{reason}")]
    Data {
        /// What is wrong with them.
        reason: String,
        /// What can be done.
        remedy: Remedy,
    },
    /// The request contradicts itself or names something that does not exist.
    #[error("{reason}")]
    Usage {
        /// What is wrong with it.
        reason: String,
        /// What can be done.
        remedy: Remedy,
    },
    /// The caller asked to stop at the first input that cannot be used.
    #[error("{path}: {reason} (strict: stopped at the first input that cannot be used)")]
    Strict {
        /// The input, as it is named in results.
        path: String,
        /// Why it could not be used.
        reason: String,
    },
    /// The caller asked for all or nothing, and there is less than was wanted. What there is has been written.
    #[error("{reason} (strict)")]
    Incomplete {
        /// What is missing.
        reason: String,
        /// What can be done.
        remedy: Remedy,
    },
    /// Another program, which makes the images, did not do what it was asked to.
    #[error("{program} {reason}")]
    Program {
        /// What it is called.
        program: String,
        /// What it did, as the end of a sentence that begins with its name.
        reason: String,
        /// The last lines that it wrote beside its answers.
        said: Vec<String>,
        /// What can be done.
        remedy: Remedy,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted {
        /// What is kept and how to go on.
        remedy: Remedy,
    },
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// For `map_err` on an [`io::Error`]: `File::open(p).map_err(Error::io("open", p))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A file whose content is not what it has to be.
    pub fn malformed(path: impl AsRef<Path>, reason: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
        Error::Malformed { path: path.as_ref().to_path_buf(), reason: reason.into(), remedy: remedy.into() }
    }

    /// Numbers that cannot be used.
    pub fn data(reason: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
        Error::Data { reason: reason.into(), remedy: remedy.into() }
    }

    /// A request that cannot be carried out as typed.
    pub fn usage(reason: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
        Error::Usage { reason: reason.into(), remedy: remedy.into() }
    }

    /// Puts the name of a set in front of an error about its numbers; other errors name what they are about.
    pub fn about(self, name: &str) -> Error {
        match self {
            Error::Data { reason, remedy } => Error::Data { reason: format!("{name}: {reason}"), remedy },
            other => other,
        }
    }

    /// What can be done about it, where something can.
    pub fn remedy(&self) -> Option<&Remedy> {
        match self {
            Error::Malformed { remedy, .. }
            | Error::Data { remedy, .. }
            | Error::Usage { remedy, .. }
            | Error::Incomplete { remedy, .. }
            | Error::Program { remedy, .. }
            | Error::Interrupted { remedy } => (*remedy != Remedy::None).then_some(remedy),
            Error::Io { .. } | Error::Strict { .. } | Error::Tensor(_) => None,
        }
    }

    /// The words of the remedy, or its kind: what tests look at.
    #[cfg(test)]
    pub(crate) fn hint(&self) -> Option<String> {
        self.remedy().map(|remedy| match remedy {
            Remedy::Advice(words) => words.clone(),
            kind => format!("{kind:?}"),
        })
    }
}
