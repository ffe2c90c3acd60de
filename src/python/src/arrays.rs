//! Arrays of numpy, and whatever numpy makes an array of.

use ndarray::ArcArray2;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

/// `numpy.asarray(object, dtype=dtype)`, without a copy where there need be none.
pub(crate) fn as_array<'py>(object: &Bound<'py, PyAny>, dtype: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let options = [("dtype", dtype)].into_py_dict(py)?;
    py.import("numpy")?.call_method("asarray", (object,), Some(&options))
}

/// Features `[N, D]`. The numbers are copied once: searching for neighbours owns them.
pub(crate) fn features(name: &str, object: &Bound<'_, PyAny>) -> PyResult<ArcArray2<f32>> {
    let array = as_array(object, Some("float32"))?;
    let array: PyReadonlyArray2<'_, f32> = array.extract().map_err(|_| {
        let shape = array.getattr("shape").map_or_else(|_| "?".into(), |shape| shape.to_string());
        PyValueError::new_err(format!(
            "{name} has to be an array of features [N, D], and is of shape {shape}"
        ))
    })?;
    Ok(array.as_array().as_standard_layout().into_owned().into_shared())
}

/// A view of rows that `owner` keeps, which Python cannot write into.
pub(crate) fn read_only<'py>(rows: &ArcArray2<f32>, owner: Bound<'py, PyAny>) -> Bound<'py, PyArray2<f32>> {
    // SAFETY: `owner` is frozen and holds `rows` until it is dropped, which the array outlives nowhere: it holds `owner`. Nothing writes
    // into it: the array is made unwriteable before anyone sees it.
    let array = unsafe { PyArray2::borrow_from_array(rows, owner) };
    array.readwrite().make_nonwriteable();
    array
}

/// A column of numbers.
pub(crate) fn column<'py, T: numpy::Element + Copy>(
    py: Python<'py>,
    values: &[T],
) -> Bound<'py, PyArray1<T>> {
    PyArray1::from_slice(py, values)
}

/// Rows of a set, -1 where there is none.
pub(crate) fn row_numbers<'py>(py: Python<'py>, rows: &[Option<u32>]) -> Bound<'py, PyArray1<i64>> {
    PyArray1::from_iter(py, rows.iter().map(|row| row.map_or(-1, i64::from)))
}
