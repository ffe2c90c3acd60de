//! Pseudo densities of a set.

use crate::arguments::{device, named};
use crate::arrays::{column, row_numbers};
use crate::call::run;
use crate::features::Rows;
use crate::given::rows_of;
use crate::table::Table;
use numpy::PyArray1;
use pseudo_density::{ScoreOptions, Scores as Found, score_pictures};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// How densities are computed, as the arguments of a function say.
pub(crate) fn options(
    k: usize,
    exponent: f64,
    duplicates: &str,
    index: &str,
    seed: u64,
) -> PyResult<ScoreOptions> {
    let mut options = ScoreOptions::default();
    options.k = k;
    options.exponent = exponent;
    options.duplicates = named("duplicates", duplicates)?;
    options.index = named("index", index)?;
    options.seed = seed;
    Ok(options)
}

/// Pseudo densities of images, as `score` and `Reference.score` give them: arrays `[N]`.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Scores {
    found: Found,
    of: Arc<Rows>,
    /// Names of what the images were compared with.
    reference: Names,
    intrinsic_dimension: Option<f64>,
}

/// Names of the rows of a reference.
pub(crate) enum Names {
    /// The images were compared with each other.
    Themselves,
    /// They were compared with those of a reference.
    Others(Vec<String>),
}

impl Scores {
    /// Scores of rows.
    pub(crate) fn new(
        found: Found,
        of: Arc<Rows>,
        reference: Names,
        intrinsic_dimension: Option<f64>,
    ) -> Self {
        Self { found, of, reference, intrinsic_dimension }
    }
}

#[pymethods]
impl Scores {
    /// Pseudo density (Li et al., TMLR 2024, section 3.1), float64 `[N]`: 1 on average over the reference.
    #[getter]
    fn pseudo_density<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.found.pseudo_density)
    }

    /// Share of the reference at or below the density, float64 `[N]`, 0 to 100.
    #[getter]
    fn percentile<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.found.percentile)
    }

    /// Mean Euclidean distance to the K nearest neighbours, float64 `[N]`.
    #[getter]
    fn mean_knn_distance<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.found.mean_knn_distance)
    }

    /// Row of the nearest (other) image of the reference, int64 `[N]`; -1 where there is none.
    #[getter]
    fn nearest<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        row_numbers(py, &self.found.nearest)
    }

    /// Its Euclidean distance, float64 `[N]`.
    #[getter]
    fn nearest_distance<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.found.nearest_distance)
    }

    /// Row of the image that each is a copy of, int64 `[N]`, -1 where it is none; None where pictures were not looked at, as of an array
    /// of features.
    #[getter]
    fn copy_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<i64>>> {
        self.found.copy_of.as_ref().map(|rows| row_numbers(py, rows))
    }

    /// Names of the images, `[N]`.
    #[getter]
    fn paths(&self) -> Vec<String> {
        self.of.paths.clone()
    }

    /// Intrinsic dimension of the set (Levina and Bickel); None where it is not known.
    #[getter]
    fn intrinsic_dimension(&self) -> Option<f64> {
        self.intrinsic_dimension
    }

    /// The table that `pd score -o FILE` writes.
    fn table(&self, py: Python<'_>) -> PyResult<Table> {
        let reference = match &self.reference {
            Names::Themselves => &self.of.paths,
            Names::Others(paths) => paths,
        };
        Table::of(py, self.found.table(&self.of.paths, reference))
    }

    /// The table as a `pandas.DataFrame`; pandas has to be installed.
    fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.table(py)?.to_pandas(py)
    }

    /// The table as a `pyarrow.Table`; pyarrow has to be installed.
    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.table(py)?.to_arrow(py)
    }

    /// Writes the table to a file `.csv`, `.jsonl`, `.json` or `.parquet`.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.table(py)?.save(py, path)
    }

    fn __len__(&self) -> usize {
        self.found.pseudo_density.len()
    }

    fn __repr__(&self) -> String {
        format!("Scores({} images)", self.found.pseudo_density.len())
    }
}

/// Pseudo density of each image among the others of its set, leave-one-out (Li et al., TMLR 2024, section 3.1).
///
/// `features`: what `embed` gives, or an array `[N, D]` that becomes float32. `paths`: names of the rows, `row:0` and so on where None. `k`: nearest neighbours K. `exponent`: n of the raw density
/// `(1 / d_K)^n`. `duplicates`: `keep`, the published formula, or `collapse`, by which copies do not make each other typical. `index`:
/// `auto`, `exact`, `graph` or `hnsw`. `seed`: of the samples that an approximate index is judged by. `device`: where exact search
/// multiplies matrices. `progress`: called as `progress(step, done, total)`.
///
/// Raises `ValueError` for too few images, values that are not finite, or features that are all alike.
#[pyfunction]
#[pyo3(signature = (features, k=10, *, paths=None, exponent=1.0, duplicates="keep", index="auto", seed=0, device="auto", progress=None))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn score(
    features: &Bound<'_, PyAny>,
    k: usize,
    paths: Option<Vec<String>>,
    exponent: f64,
    duplicates: &str,
    index: &str,
    seed: u64,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Scores> {
    let py = features.py();
    let options = options(k, exponent, duplicates, index, seed)?;
    let device = self::device(py, device)?;
    let rows = rows_of("features", features)?;
    let rows = match paths {
        Some(paths) => Arc::new(rows.named(paths)?),
        None => rows,
    };
    let found = run(py, progress, |progress| {
        score_pictures(&rows.features, &rows.descriptors, options, &device, progress)
    })?;
    Ok(Scores::new(found.scores, rows, Names::Themselves, found.intrinsic_dimension))
}
