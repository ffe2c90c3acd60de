//! Metrics between real and generated images in several feature spaces.

use crate::arguments::device;
use crate::call::run;
use crate::command::say_how_it_is_started;
use crate::embed::tell;
use crate::evaluate::{Evaluation, GENERATED};
use crate::images::Images;
use crate::table::Table;
use pseudo_density::{
    EmbedOptions, EvaluationOptions, ExtractorRequest, ImageSet, SpacesRequest, cli,
    evaluate_images as compare,
};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::path::PathBuf;

/// What messages call the real images.
const REAL: &str = "real";

/// Values of metrics in several feature spaces.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct SpaceEvaluation {
    /// As the command's `--json`.
    json: String,
    table: pseudo_density::Table,
    spaces: Vec<(String, Py<Evaluation>)>,
    warnings: Vec<String>,
}

#[pymethods]
impl SpaceEvaluation {
    /// The names of the spaces.
    #[getter]
    fn spaces(&self) -> Vec<String> {
        self.spaces.iter().map(|(name, _)| name.clone()).collect()
    }

    /// What was found in the space of this name.
    fn __getitem__(&self, py: Python<'_>, space: &str) -> PyResult<Py<Evaluation>> {
        let found = self.spaces.iter().find(|(name, _)| name == space);
        found.map(|(_, found)| found.clone_ref(py)).ok_or_else(|| PyKeyError::new_err(space.to_owned()))
    }

    /// A row for each space and generated set, as `pd eval --spaces -o FILE` writes it.
    #[getter]
    fn table(&self) -> Table {
        Table(self.table.clone())
    }

    /// Why some values mean little.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Everything as `pd eval --spaces --json` prints it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (&self.json,))
    }

    fn __repr__(&self) -> String {
        format!("SpaceEvaluation({})", self.spaces().join(", "))
    }
}

/// Compares generated images with real ones in several feature spaces, each image being decoded once.
///
/// `real`: images, as `embed` takes them. `generated`: images, or a dict of several sets by their names. `spaces`: names of networks
/// (`pd weights list` shows all). `preset`: in the place of spaces, what a program or paper computes (`pd eval --help` lists them): its
/// resizing, networks, metrics and their parameters. `weights`: files by the names of networks, instead of the cache. `metrics`: names; all
/// of the preset, or the usual ones, where None. `bootstrap`, `spread`, `self_check`, `seed`: as for `evaluate`. `batch`, `strict`, `device`,
/// `progress`: as for `embed`.
///
/// Raises `ValueError` for images, weights, spaces and metrics that cannot be used or do not fit each other, `OSError` for files that
/// cannot be read.
#[pyfunction]
#[pyo3(signature = (
    real, generated, *, spaces=None, preset=None, weights=None, metrics=None, bootstrap=None, spread=None, self_check=false, batch=None,
    strict=false, seed=0, device="auto", progress=None,
))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn evaluate_images(
    real: &Bound<'_, PyAny>,
    generated: &Bound<'_, PyAny>,
    spaces: Option<Vec<String>>,
    preset: Option<String>,
    weights: Option<HashMap<String, PathBuf>>,
    metrics: Option<Vec<String>>,
    bootstrap: Option<u32>,
    spread: Option<u32>,
    self_check: bool,
    batch: Option<usize>,
    strict: bool,
    seed: u64,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<SpaceEvaluation> {
    let py = real.py();
    say_how_it_is_started(py)?;
    let device = self::device(py, device)?;
    let mut options = EvaluationOptions::default();
    options.metrics = metrics.unwrap_or_default();
    options.parameters.seed = seed;
    options.parameters.device = device.clone();
    options.bootstrap = bootstrap;
    options.spread = spread;
    options.self_check = self_check;
    let mut request = SpacesRequest::default();
    request.spaces = spaces.unwrap_or_default();
    request.preset = preset;
    request.weights = weights.unwrap_or_default().into_iter().collect();
    request.how = ExtractorRequest::default();
    request.how.device = device;
    request.how.trial = Some(cli::try_onnx);
    let mut embed = EmbedOptions::default();
    embed.batch = batch.unwrap_or(embed.batch);
    embed.strict = strict;
    let mut sets: Vec<(String, Images)> = Vec::new();
    match generated.cast::<PyDict>() {
        Ok(named) => {
            for (name, images) in named {
                sets.push((name.extract()?, Images::of(&images)?));
            }
        }
        Err(_) => sets.push((GENERATED.to_owned(), Images::of(generated)?)),
    }
    let real = Images::of(real)?;
    let (json, table, found) = run(py, progress, |progress| {
        let real = real.open(progress)?;
        let open = |(name, images): (String, Images)| -> pseudo_density::Result<(String, ImageSet)> {
            Ok((name, images.open(progress)?))
        };
        let told = |_: &str, inputs: &pseudo_density::Inputs| tell(inputs, progress);
        let sets = sets.into_iter().map(open);
        let found = compare((REAL, &real), sets, &request, &options, embed, progress, told)?;
        let (json, table) = (found.json().to_string(), found.table()?);
        let spaces = found.spaces.into_iter().map(|(name, found)| Ok((name, Evaluation::of(found)?)));
        Ok((json, table, spaces.collect::<pseudo_density::Result<Vec<_>>>()?))
    })?;
    let warnings = found.iter().flat_map(|(_, found)| found.all_warnings().to_vec()).collect();
    let spaces = found.into_iter().map(|(name, found)| Ok((name, Py::new(py, found)?)));
    Ok(SpaceEvaluation { json, table, spaces: spaces.collect::<PyResult<_>>()?, warnings })
}
