//! Arguments that are words: the values of an option by their names, and devices.

use crate::errors::raise;
use pseudo_density::DeviceChoice;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::de::DeserializeOwned;

/// The value of the argument `name` that `text` stands for.
pub(crate) fn named<T: DeserializeOwned>(name: &str, text: &str) -> PyResult<T> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|e| wrong(name, text, &e.to_string()))
}

/// One of several values by their names.
pub(crate) fn one_of<T: Copy>(
    name: &str,
    text: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> PyResult<T> {
    let known = || all.iter().map(|&value| name_of(value)).collect::<Vec<_>>().join(", ");
    let found = all.iter().copied().find(|&value| name_of(value) == text);
    found.ok_or_else(|| wrong(name, text, &format!("known are {}", known())))
}

/// The error of an argument that cannot be what it is.
pub(crate) fn wrong(name: &str, value: &str, reason: &str) -> PyErr {
    PyValueError::new_err(format!("{name}={value:?}: {reason}"))
}

/// `auto`, `cpu`, `cuda` or `cuda:N`, opened.
pub(crate) fn device(py: Python<'_>, text: &str) -> PyResult<candle_core::Device> {
    let choice: DeviceChoice = text.parse().map_err(|reason: String| wrong("device", text, &reason))?;
    py.detach(|| choice.open()).map(|opened| opened.device).map_err(|error| raise(py, &error))
}
