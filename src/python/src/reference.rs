//! What Python sees of a reference directory: real images that others are measured against.

use crate::arguments::device;
use crate::arrays::{column, read_only};
use crate::call::run;
use crate::embed::{Network, tell};
use crate::errors::raise;
use crate::features::{Features, Rows};
use crate::given::{Queries, rows_of};
use crate::images::Images;
use crate::opened::{Opened, Reference};
use crate::score::{Names, Scores, options};
use numpy::{PyArray1, PyArray2};
use pseudo_density::{Error, IndexOptions, Remedy, Result, write_npy};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[pymethods]
impl Reference {
    /// Opens a directory that `pd index`, or `Reference.create`, made. `device`: where exact search multiplies matrices.
    ///
    /// Raises `ValueError` if it is no reference, or has no densities yet.
    #[staticmethod]
    #[pyo3(signature = (path, *, device="auto"))]
    fn open(py: Python<'_>, path: PathBuf, device: &str) -> PyResult<Self> {
        let device = self::device(py, device)?;
        let reference = run(py, None, |_| {
            let reference = pseudo_density::Reference::open(&path)?;
            reference.density()?;
            Ok(reference)
        })?;
        Ok(Self::of(Opened::new(reference, device)))
    }

    /// Makes a reference directory: features, neighbours, pseudo densities and, unless `predictor` is false, the density predictor.
    ///
    /// `images`: as for `embed`; or features of another program, an array `[N, D]`. An interrupted call continues when it is made again.
    /// The other arguments are those of `embed` and of `score`.
    ///
    /// Raises `ValueError` if the directory holds something else, or as `embed` and `score`.
    #[staticmethod]
    #[pyo3(signature = (
        path, images, *, extractor=None, weights=None, normalize=None, batch=None, strict=false, k=10, exponent=1.0,
        duplicates="keep", index="auto", seed=0, predictor=true, device="auto", progress=None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn create(
        path: PathBuf,
        images: &Bound<'_, PyAny>,
        extractor: Option<String>,
        weights: Option<PathBuf>,
        normalize: Option<bool>,
        batch: Option<usize>,
        strict: bool,
        k: usize,
        exponent: f64,
        duplicates: &str,
        index: &str,
        seed: u64,
        predictor: bool,
        device: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = images.py();
        let network = Network::new(py, (extractor, weights), normalize, batch, strict, device)?;
        let mut how = IndexOptions::default();
        how.score = options(k, exponent, duplicates, index, seed)?;
        how.predictor = predictor;
        let images = Queries::of(images)?;
        let reference = run(py, progress, |progress| {
            let mut reference = match images {
                Queries::Images(images) => {
                    let set = images.open(progress)?;
                    let extractor = network.for_images(&set, progress)?;
                    let (reference, inputs) = pseudo_density::Reference::create(
                        &path,
                        &set,
                        &extractor,
                        network.options,
                        progress,
                    )?;
                    tell(&inputs, progress);
                    reference
                }
                Queries::Rows(rows) => of_features(&path, &rows)?,
            };
            pseudo_density::index(&mut reference, how, network.device(), progress)?;
            Ok(reference)
        })?;
        Ok(Self::of(Opened::new(reference, network.device().clone())))
    }

    /// Features of images, made as those of the reference were. The arguments are those of `embed`.
    ///
    /// Raises `ValueError` if the reference is of features of another program, and as `embed`.
    #[pyo3(signature = (images, *, weights=None, batch=None, strict=false, device="auto", progress=None))]
    fn embed(
        &self,
        images: &Bound<'_, PyAny>,
        weights: Option<PathBuf>,
        batch: Option<usize>,
        strict: bool,
        device: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Features> {
        let py = images.py();
        let network = Network::new(py, (None, weights), None, batch, strict, device)?;
        let (images, opened) = (Images::of(images)?, &self.opened);
        let rows = run(py, progress, |progress| opened.embed(&network, images, progress))?;
        Ok(Features(Arc::new(rows)))
    }

    /// Scores images against the reference: images as for `embed`, of which features are made as the reference's were, or features.
    ///
    /// An image of the reference itself is no neighbour of itself: one of the same name with the same features.
    ///
    /// Raises `ValueError` for features that another network made; as `embed`.
    #[pyo3(signature = (images, *, weights=None, batch=None, strict=false, device="auto", progress=None))]
    fn score(
        &self,
        images: &Bound<'_, PyAny>,
        weights: Option<PathBuf>,
        batch: Option<usize>,
        strict: bool,
        device: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Scores> {
        let py = images.py();
        let network = Network::new(py, (None, weights), None, batch, strict, device)?;
        let (queries, opened) = (Queries::of(images)?, &self.opened);
        let (found, rows, names) = run(py, progress, |progress| {
            let rows = match queries {
                Queries::Rows(rows) => rows,
                Queries::Images(images) => Arc::new(opened.embed(&network, images, progress)?),
            };
            opened.check("features", &rows)?;
            let (density, features) = (opened.density(progress)?, rows.features.view());
            let (scorer, descriptors) = (density.scorer(), rows.descriptors());
            let found =
                scorer.score_pictures(&opened.reference, features, &rows.paths, descriptors, progress)?;
            Ok((found, rows, scorer.paths().to_vec()))
        })?;
        Ok(Scores::new(found, rows, Names::Others(names), self.intrinsic_dimension()))
    }

    /// Pseudo densities of features `[N, D]` against the reference (Li et al., TMLR 2024, section 3.1), float64 `[N]`.
    fn density<'py>(&self, features: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let (py, opened, rows) = (features.py(), &self.opened, rows_of("features", features)?);
        let found = run(py, None, |progress| {
            opened.check("features", &rows)?;
            opened.density(progress)?.pseudo_densities(rows.features.view())
        })?;
        Ok(column(py, &found))
    }

    /// Densities of features `[N, D]` by the density predictor (section 3.2), float64 `[N]`, never below the lowest of the reference.
    ///
    /// Raises `ValueError` if the reference has no predictor.
    fn predictor<'py>(&self, features: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let (py, opened, rows) = (features.py(), &self.opened, rows_of("features", features)?);
        let found = run(py, None, |progress| {
            opened.check("features", &rows)?;
            let found = opened.density(progress)?.predicted(rows.features.view())?;
            let missing = || {
                let reason = format!("{} has no density predictor", opened.reference.dir.display());
                Error::usage(reason, Remedy::TrainPredictor)
            };
            found.ok_or_else(missing)
        })?;
        Ok(column(py, &found))
    }

    /// Where it is.
    #[getter]
    fn path(&self) -> PathBuf {
        self.opened.reference.dir.clone()
    }

    /// Names of its images, `[N]`.
    #[getter]
    fn paths(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.rows(py)?.paths.clone())
    }

    /// Its features, float32 `[N, D]`: a view that cannot be written into.
    #[getter]
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        slf.get().rows(slf.py())?;
        Ok(match slf.get().rows.get() {
            Some(rows) => read_only(&rows.features, slf.clone().into_any()),
            None => PyArray2::zeros(slf.py(), [0, 0], false),
        })
    }

    /// Pseudo densities of its images among each other, float64 `[N]`.
    #[getter]
    fn densities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let found = self.opened.reference.densities().map_err(|error| raise(py, &error))?;
        Ok(column(py, &found))
    }

    /// Its intrinsic dimension (Levina and Bickel); None where all neighbours are copies.
    #[getter]
    fn intrinsic_dimension(&self) -> Option<f64> {
        self.opened.reference.density().ok().and_then(|record| record.intrinsic_dimension)
    }

    /// What it was made with, in one line.
    #[getter]
    fn extractor(&self) -> String {
        self.opened.reference.manifest.identity.describe()
    }

    fn __len__(&self) -> usize {
        self.opened.reference.manifest.rows
    }

    fn __repr__(&self) -> String {
        format!(
            "Reference({}, {} images, {})",
            self.opened.reference.dir.display(),
            self.__len__(),
            self.extractor()
        )
    }
}

/// A reference of features that are in memory: its digest is that of the file that holds them.
fn of_features(path: &Path, rows: &Rows) -> Result<pseudo_density::Reference> {
    let directory = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    let file = directory.path().join("features.npy");
    let features = rows.features.to_owned();
    write_npy(&file, &features)?;
    pseudo_density::Reference::of_features(path, &file, &features)
}
