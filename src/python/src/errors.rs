//! Errors of the library as exceptions: the words of the command line, its causes and its hint.

use pseudo_density::{Error, cli};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::error::Error as _;

/// `OSError` where the system refused something (of the subclass of its number, such as `FileNotFoundError`), `KeyboardInterrupt` for a
/// stop, `RuntimeError` for faults of other programs and of tensor operations, else `ValueError`. The hint is in the text, and the
/// attribute `hint`.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let hint = cli::hint(error);
    let text = text_of(error, hint.as_deref());
    let raised = match error {
        Error::Io { source, .. } => match source.raw_os_error() {
            Some(number) => PyOSError::new_err((number, text)),
            None => PyOSError::new_err(text),
        },
        Error::Interrupted { .. } => PyKeyboardInterrupt::new_err(text),
        Error::Program { .. } | Error::Tensor(_) => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    };
    let value = raised.value(py);
    // Attributes are an extra: without them the text still says all.
    let _ = value.setattr("hint", hint);
    if let Error::Io { path, .. } = error {
        let _ = value.setattr("filename", path);
    }
    raised
}

fn text_of(error: &Error, hint: Option<&str>) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("\n  caused by: {error}");
        cause = error.source();
    }
    if let Error::Program { said, .. } = error {
        said.iter().for_each(|line| text += &format!("\n    {line}"));
    }
    if let Some(hint) = hint {
        text += &format!("\n  hint: {hint}");
    }
    text
}
