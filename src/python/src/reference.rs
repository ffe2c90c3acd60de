//! A reference directory: real images that others are measured against.

use crate::arguments::device;
use crate::arrays::{as_array, column, read_only};
use crate::call::run;
use crate::embed::{Network, tell};
use crate::errors::raise;
use crate::features::{Features, Rows};
use crate::images::Images;
use crate::score::{Names, Scores, options};
use candle_core::Device;
use numpy::{PyArray1, PyArray2};
use pseudo_density::{
    DensityBy, Error, IndexOptions, Progress, ReferenceDensity, Remedy, Result, Scorer, write_npy,
};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A reference directory, as `pd embed` and `pd index` make it: features of real images, their neighbours, their pseudo densities and the
/// density predictor.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Reference {
    pub(crate) opened: Arc<Opened>,
    /// Its features, once they were asked for.
    rows: OnceLock<Arc<Rows>>,
}

/// A reference with what scores against it.
pub(crate) struct Opened {
    pub(crate) reference: pseudo_density::Reference,
    device: Device,
    density: Mutex<Option<Arc<ReferenceDensity>>>,
}

impl Opened {
    fn new(reference: pseudo_density::Reference, device: Device) -> Self {
        Self { reference, device, density: Mutex::default() }
    }

    /// What scores against the reference; it is read when it is first needed.
    pub(crate) fn density(&self, progress: &dyn Progress) -> Result<Arc<ReferenceDensity>> {
        let mut density = self.density.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(density) = &*density {
            return Ok(density.clone());
        }
        let reference = &self.reference;
        let predictor = match reference.density()?.predictor {
            Some(_) => Some(reference.predictor()?),
            None => None,
        };
        let scorer = Scorer::open(reference, &self.device, progress)?;
        let read = Arc::new(ReferenceDensity::new(scorer, predictor, DensityBy::Knn)?);
        *density = Some(read.clone());
        Ok(read)
    }

    /// Features of images by the network that the reference was made with.
    fn embed(&self, network: &Network, images: Images, progress: &dyn Progress) -> Result<Rows> {
        let set = images.open(progress)?;
        let extractor = network.same_as(&self.reference.manifest.identity)?;
        network.rows(&set, &extractor, progress)
    }

    /// Checks features that are to be measured against the reference. Of an array it is not known what made it.
    pub(crate) fn check(&self, name: &str, rows: &Rows) -> Result<()> {
        match &rows.identity {
            Some(identity) => self.reference.check_identity(name, identity),
            None => Ok(()),
        }
    }
}

impl Reference {
    fn of(opened: Opened) -> Self {
        Self { opened: Arc::new(opened), rows: OnceLock::new() }
    }

    /// Its features with their names.
    pub(crate) fn rows(&self, py: Python<'_>) -> PyResult<Arc<Rows>> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows.clone());
        }
        let density = run(py, None, |progress| self.opened.density(progress))?;
        let scorer = density.scorer();
        let rows = Rows {
            features: scorer.shared_features(),
            paths: scorer.paths().to_vec(),
            identity: Some(self.opened.reference.manifest.identity.clone()),
            descriptors: Vec::new(),
            skipped: Vec::new(),
        };
        Ok(self.rows.get_or_init(|| Arc::new(rows)).clone())
    }
}

/// What is measured against a reference.
enum Queries {
    Images(Images),
    Rows(Arc<Rows>),
}

impl Queries {
    /// Features, or images of which features have to be made.
    fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let is_array_of_numbers = || {
            let array = as_array(object, None)?;
            let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
            PyResult::Ok(kind == "f" && array.getattr("ndim")?.extract::<usize>()? == 2)
        };
        let is_array = object.hasattr("__array__")? && is_array_of_numbers()?;
        match is_array || object.cast::<Features>().is_ok() || object.cast::<Reference>().is_ok() {
            true => Rows::of("features", object).map(Self::Rows),
            false => Images::of(object).map(Self::Images),
        }
    }
}

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
        let (py, opened, rows) = (features.py(), &self.opened, Rows::of("features", features)?);
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
        let (py, opened, rows) = (features.py(), &self.opened, Rows::of("features", features)?);
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
