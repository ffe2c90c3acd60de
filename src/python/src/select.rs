//! The images that are best together.

use crate::arguments::{device, named};
use crate::arrays::column;
use crate::call::run;
use crate::features::Rows;
use crate::given::rows_of;
use crate::opened::Reference;
use crate::table::Table;
use numpy::PyArray1;
use pseudo_density::{
    Conflicts, Limits, Qualities, QualityBy, Result, Selection as Chosen, SelectionOptions, SetWorth,
    Spacing, TooNear, Values, select as choose,
};
use pyo3::prelude::*;
use std::sync::Arc;

/// A chosen set.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Selection {
    chosen: Chosen,
    judged: Qualities,
    of: Arc<Rows>,
}

#[pymethods]
impl Selection {
    /// Rows of the chosen images, int64 `[n]`, in the order in which greedy choice takes them.
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.chosen.rows.iter().map(|&row| row as i64))
    }

    /// What each added to the objective, float64 `[n]`.
    #[getter]
    fn gains<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.chosen.gains)
    }

    /// What each image of the pool is worth, float64 `[M]`.
    #[getter]
    fn quality<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        column(py, &self.judged.quality)
    }

    /// Mean quality in standard deviations, plus L times what the set is worth together.
    #[getter]
    fn objective(&self) -> f64 {
        self.chosen.objective
    }

    /// What the set is worth together, in percent.
    #[getter]
    fn worth(&self) -> f64 {
        self.chosen.worth
    }

    /// The columns `path`, `order`, `gain`, `quality` and `pseudo_density`, a row for each chosen image.
    fn table(&self, py: Python<'_>) -> PyResult<Table> {
        Table::of(py, self.columns())
    }

    /// The table as a `pandas.DataFrame`; pandas has to be installed.
    fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.table(py)?.to_pandas(py)
    }

    /// The table as a `pyarrow.Table`; pyarrow has to be installed.
    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.table(py)?.to_arrow(py)
    }

    fn __len__(&self) -> usize {
        self.chosen.rows.len()
    }

    fn __repr__(&self) -> String {
        format!("Selection({} of {} images)", self.chosen.rows.len(), self.of.paths.len())
    }
}

impl Selection {
    fn columns(&self) -> Result<pseudo_density::Table> {
        let rows = &self.chosen.rows;
        let of = |values: &[f64]| Values::Float(rows.iter().map(|&row| values[row]).collect());
        let mut table = pseudo_density::Table::new();
        table.push("path", Values::Text(rows.iter().map(|&row| self.of.paths[row].clone()).collect()))?;
        table.push("order", Values::Int((1..=rows.len() as i64).collect()))?;
        table.push("gain", Values::Float(self.chosen.gains.clone()))?;
        table.push("quality", of(&self.judged.quality))?;
        table.push("pseudo_density", of(&self.judged.scores.scores.pseudo_density))?;
        Ok(table)
    }
}

/// Chooses the `n` images of a pool that are best together: those that maximise the mean quality of the images plus `diversity` times
/// what the set is worth together, in percent.
///
/// `pool`: features `[M, D]`. `reference`: a `Reference` of real images, which say what is typical and what the set should cover; the
/// pool itself where None. `quality`: `density`, `ratio` or `none`; `ratio` with a reference, else `density`, where None. `set`:
/// `facility`, `spread` or `rke`. `diversity`: the weight L; 1 for facility, 0.01 for spread, 0.1 for rke where None. `distinct`, `novel`:
/// percentiles of the distances of real images to their nearest neighbours; images nearer than that to each other, or to a real image,
/// are not chosen. Copies are told by pictures, which features are not: they are found by `duplicates`.
///
/// Raises `ValueError` for features that are not finite or do not fit the reference.
#[pyfunction]
#[pyo3(signature = (
    pool, n, *, reference=None, quality=None, set="facility", diversity=None, distinct=None, novel=None, seed=0,
    device="auto", progress=None,
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn select(
    pool: &Bound<'_, PyAny>,
    n: usize,
    reference: Option<&Bound<'_, Reference>>,
    quality: Option<&str>,
    set: &str,
    diversity: Option<f64>,
    distinct: Option<f64>,
    novel: Option<f64>,
    seed: u64,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Selection> {
    let py = pool.py();
    let by: Option<QualityBy> = quality.map(|quality| named("quality", quality)).transpose()?;
    let set: SetWorth = named("set", set)?;
    let diversity = diversity.unwrap_or(set.default_diversity());
    let device = self::device(py, device)?;
    let rows = rows_of("pool", pool)?;
    if reference.is_none() && (novel.is_some() || by == Some(QualityBy::Ratio)) {
        let name = if novel.is_some() { "novel" } else { "quality" };
        return Err(crate::arguments::wrong(
            name,
            quality.unwrap_or("…"),
            "needs a reference of real images",
        ));
    }
    let reference = reference.map(|reference| reference.get().opened.clone());
    let (chosen, judged) = run(py, progress, |progress| {
        let features = &rows.features;
        let (judged, targets, real) = match &reference {
            Some(opened) => {
                opened.check("pool", &rows)?;
                let density = opened.density(progress)?;
                let own = density.scorer().own_rows(features.view(), &rows.paths);
                let real = (&*density, opened.reference.density()?.intrinsic_dimension);
                let judged = Qualities::against(features, &own, real, by, seed, progress)?;
                let distances = opened.reference.nearest_distances()?;
                (judged, density.scorer().shared_features(), distances)
            }
            None => {
                let judged = Qualities::within(features, by, seed, &device, progress)?;
                let distances = judged.scores.scores.nearest_distance.clone();
                (judged, features.clone(), distances)
            }
        };
        let spacing = Spacing::of_percentiles(distinct, novel, &real)?;
        let near = TooNear::new(features, spacing.distinct);
        let is_known = |distance: &f64| reference.is_some() && *distance < spacing.novel;
        let excluded = judged.scores.scores.nearest_distance.iter().map(is_known).collect();
        let mut limits = Limits { excluded, ..Limits::default() };
        if spacing.distinct > 0.0 {
            limits.conflicts.push(&near as &dyn Conflicts);
        }
        let options = SelectionOptions { n, set, diversity, seed };
        let chosen = choose(features, &judged.quality, &targets, &limits, &options, progress)?;
        Ok((chosen, judged))
    })?;
    Ok(Selection { chosen, judged, of: rows })
}
