//! Metrics between real and generated sets.

use crate::arguments::{device, named};
use crate::call::run;
use crate::given::rows_of;
use crate::table::Table;
use pseudo_density::{EvaluationOptions, EvaluationSet, Result, evaluate as compare};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What the set is called where one alone is compared.
pub(crate) const GENERATED: &str = "generated";

/// Values of metrics for one or several generated sets.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Evaluation {
    /// As the command's `--json`.
    json: String,
    table: pseudo_density::Table,
    samples: Option<pseudo_density::Table>,
    /// The values of the first generated set.
    first: Vec<(String, f64)>,
    warnings: Vec<String>,
}

impl Evaluation {
    /// What the library found.
    pub(crate) fn of(found: pseudo_density::Evaluation) -> Result<Self> {
        let first = found.generated.first().map_or(&[][..], |set| &set.estimates);
        let first = first.iter().map(|of| (found.column_name(of.column).to_owned(), of.value)).collect();
        Ok(Self {
            json: found.json().to_string(),
            table: found.table()?,
            samples: found.samples.as_ref().map(|samples| samples.table()).transpose()?,
            first,
            warnings: found.warnings,
        })
    }

    /// Why some values mean little.
    pub(crate) fn all_warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[pymethods]
impl Evaluation {
    /// A row for each generated set, as `pd eval -o FILE` writes it.
    #[getter]
    fn table(&self) -> Table {
        Table(self.table.clone())
    }

    /// A row for each generated image, with its realism and rarity; None unless `per_sample`.
    #[getter]
    fn samples(&self) -> Option<Table> {
        self.samples.clone().map(Table)
    }

    /// Why some values mean little.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Everything as `pd eval --json` prints it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (&self.json,))
    }

    /// Values of the first generated set by the names of metrics.
    #[getter]
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        self.first.iter().try_for_each(|(name, value)| all.set_item(name, value))?;
        Ok(all)
    }

    /// The value of a metric for the first generated set.
    fn __getitem__(&self, metric: &str) -> PyResult<f64> {
        let found = self.first.iter().find(|(name, _)| name == metric);
        found.map(|(_, value)| *value).ok_or_else(|| PyKeyError::new_err(metric.to_owned()))
    }

    /// The table as a `pandas.DataFrame`; pandas has to be installed.
    fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.table().to_pandas(py)
    }

    /// The table as a `pyarrow.Table`; pyarrow has to be installed.
    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.table().to_arrow(py)
    }

    fn __repr__(&self) -> String {
        let values = self.first.iter().map(|(name, value)| format!("{name}={value:.4}"));
        format!("Evaluation({})", values.collect::<Vec<_>>().join(", "))
    }
}

/// Compares generated images with real ones: Fréchet distance, KID, precision, recall, density, coverage and others.
///
/// `real`: features `[N, D]`, or a `Reference`. `generated`: features `[M, D]`, or a dict of several sets by their names. `metrics`: names,
/// as `pd eval --help` lists them; all but `kid-subsets` where None. The Fréchet distance is called `fid` in the space of
/// `inception-fid` and `fd` in any other. `k`: nearest neighbours of precision, recall, realism and rarity; `k_density`: of density and
/// coverage. `bootstrap`: number of resampled sets for 95 % intervals. `spread`: number of seeds and of parts of each generated set over which
/// standard deviations are taken (in `to_dict()` and `table`). `self_check`: compares the halves of the real set as well.
/// `per_sample`: realism and rarity of each generated image.
///
/// Raises `ValueError` for metrics that are not known, and for sets that are too small, not finite or of different networks.
#[pyfunction]
#[pyo3(signature = (
    real, generated, metrics=None, *, k=3, k_density=5, boundary="excluded", kid_subsets=100, kid_subset_size=1000,
    bootstrap=None, spread=None, self_check=false, per_sample=false, seed=0, device="auto", progress=None,
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn evaluate(
    real: &Bound<'_, PyAny>,
    generated: &Bound<'_, PyAny>,
    metrics: Option<Vec<String>>,
    k: usize,
    k_density: usize,
    boundary: &str,
    kid_subsets: usize,
    kid_subset_size: usize,
    bootstrap: Option<u32>,
    spread: Option<u32>,
    self_check: bool,
    per_sample: bool,
    seed: u64,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Evaluation> {
    let py = real.py();
    let mut options = EvaluationOptions::default();
    options.metrics = metrics.unwrap_or_default();
    options.parameters.k = k;
    options.parameters.k_density = k_density;
    options.parameters.boundary = named("boundary", boundary)?;
    options.parameters.kid_subsets = kid_subsets;
    options.parameters.kid_subset_size = kid_subset_size;
    options.parameters.seed = seed;
    options.parameters.device = self::device(py, device)?;
    options.self_check = self_check;
    options.bootstrap = bootstrap;
    options.spread = spread;
    options.per_sample = per_sample;
    let mut all = vec![("real".to_owned(), rows_of("real", real)?)];
    match generated.cast::<PyDict>() {
        Ok(named) => {
            for (name, set) in named {
                let name: String = name.extract()?;
                let rows = rows_of(&name, &set)?;
                all.push((name, rows));
            }
        }
        Err(_) => all.push((GENERATED.to_owned(), rows_of(GENERATED, generated)?)),
    }
    let known = all.iter().find_map(|(_, rows)| rows.identity.as_ref());
    let mut sets: Vec<EvaluationSet> =
        all.iter().map(|(name, rows)| rows.evaluation_set(name, known)).collect();
    let real = sets.remove(0);
    run(py, progress, |progress| Evaluation::of(compare(real, sets.into_iter().map(Ok), &options, progress)?))
}
