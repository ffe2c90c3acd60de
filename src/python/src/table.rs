//! Tables of results: columns for pandas and Arrow, and the files that the command line writes.

use crate::arrays::column;
use crate::errors::raise;
use pseudo_density::{Column, Values, write_table};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;

/// Named columns of one length, those of the command's files. Numbers are numpy arrays (an absent one is NaN), texts lists (an absent one
/// is None).
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Table(pub(crate) pseudo_density::Table);

impl Table {
    /// A table, or the exception that says why there is none.
    pub(crate) fn of(py: Python<'_>, table: pseudo_density::Result<pseudo_density::Table>) -> PyResult<Self> {
        table.map(Self).map_err(|error| raise(py, &error))
    }
}

fn cells<'py>(py: Python<'py>, values: &Values) -> PyResult<Bound<'py, PyAny>> {
    Ok(match values {
        Values::Text(cells) => cells.into_pyobject(py)?.into_any(),
        Values::OptionalText(cells) => cells.into_pyobject(py)?.into_any(),
        Values::OptionalInt(cells) => cells.into_pyobject(py)?.into_any(),
        Values::Float(cells) => column(py, cells).into_any(),
        Values::Int(cells) => column(py, cells).into_any(),
        Values::Bool(cells) => column(py, cells).into_any(),
    })
}

#[pymethods]
impl Table {
    /// Names of the columns, from left to right.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.0.columns().iter().map(|column| column.name.clone()).collect()
    }

    /// The columns by their names.
    pub(crate) fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for Column { name, values } in self.0.columns() {
            all.set_item(name, cells(py, values)?)?;
        }
        Ok(all)
    }

    /// As a `pandas.DataFrame`; pandas has to be installed.
    pub(crate) fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("pandas")?.call_method1("DataFrame", (self.to_dict(py)?,))
    }

    /// As a `pyarrow.Table`; pyarrow has to be installed.
    pub(crate) fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("pyarrow")?.call_method1("table", (self.to_dict(py)?,))
    }

    /// Writes a file `.csv`, `.jsonl`, `.json` or `.parquet`, byte for byte that of the command.
    pub(crate) fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| write_table(&path, &self.0)).map_err(|error| raise(py, &error))
    }

    fn __len__(&self) -> usize {
        self.0.rows()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let found = self.0.columns().iter().find(|column| column.name == name);
        let found = found.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        cells(py, &found.values)
    }

    fn __repr__(&self) -> String {
        format!("Table({} rows: {})", self.0.rows(), self.columns().join(", "))
    }
}
