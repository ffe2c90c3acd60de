//! Features of images, with what they belong to.

use crate::arguments::wrong;
use crate::arrays::read_only;
use ndarray::{ArcArray2, Axis};
use numpy::PyArray2;
use pseudo_density::{Descriptor, Embedded, EvaluationSet, Identity, SetContent, Skipped, row_name};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// Features with what is known of their images.
pub(crate) struct Rows {
    /// `[N, D]`
    pub(crate) features: ArcArray2<f32>,
    /// `[N]`
    pub(crate) paths: Vec<String>,
    /// What they were made with; `None` for an array, of which that is not known.
    pub(crate) identity: Option<Identity>,
    /// `[N]`, or none.
    pub(crate) descriptors: Vec<Descriptor>,
    /// Images that could not be used.
    pub(crate) skipped: Vec<Skipped>,
}

impl Rows {
    /// Features of which it is not known what made them.
    pub(crate) fn of_array(features: ArcArray2<f32>) -> Self {
        Self {
            paths: (0..features.nrows()).map(row_name).collect(),
            features,
            identity: None,
            descriptors: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Features that were made here.
    pub(crate) fn of_images(embedded: Embedded, identity: Identity) -> Self {
        Self {
            features: embedded.features.into_shared(),
            paths: embedded.images.into_iter().map(|image| image.path).collect(),
            identity: Some(identity),
            descriptors: embedded.descriptors,
            skipped: embedded.inputs.skipped,
        }
    }

    /// The same with other names.
    pub(crate) fn named(&self, paths: Vec<String>) -> PyResult<Self> {
        if paths.len() != self.paths.len() {
            let reason = format!("names for {} rows are needed", self.paths.len());
            return Err(wrong("paths", &format!("{} names", paths.len()), &reason));
        }
        let (features, identity) = (self.features.clone(), self.identity.clone());
        Ok(Self {
            features,
            paths,
            identity,
            descriptors: self.descriptors.clone(),
            skipped: self.skipped.clone(),
        })
    }

    /// What looking for copies needs; `None` where it is not there.
    pub(crate) fn descriptors(&self) -> Option<&[Descriptor]> {
        Some(self.descriptors.as_slice()).filter(|descriptors| !descriptors.is_empty())
    }

    /// As a set that is compared with others. Of an array it is not known what made it: it is taken for what `others` are, where it is as
    /// wide.
    pub(crate) fn evaluation_set(&self, name: &str, others: Option<&Identity>) -> EvaluationSet {
        let others = others.filter(|others| others.dimension == self.features.ncols());
        let Some(identity) = self.identity.as_ref().or(others).cloned() else {
            return EvaluationSet::of_features(name, self.features.clone());
        };
        let (features, paths) = (self.features.clone(), self.paths.clone());
        EvaluationSet::new(name, SetContent::Features { features, paths, identity })
    }

    /// Some of the rows, in this order.
    fn take(&self, rows: &[usize]) -> Self {
        Self {
            features: self.features.select(Axis(0), rows).into_shared(),
            paths: rows.iter().map(|&row| self.paths[row].clone()).collect(),
            identity: self.identity.clone(),
            descriptors: match self.descriptors.is_empty() {
                true => Vec::new(),
                false => rows.iter().map(|&row| self.descriptors[row].clone()).collect(),
            },
            skipped: Vec::new(),
        }
    }
}

/// Features of images, float32 `[N, D]`, as `embed` makes them: a row for each image that could be used, in order.
///
/// `numpy.asarray(features)` is a view of them.
#[pyclass(frozen, module = "pseudo_density")]
pub(crate) struct Features(pub(crate) Arc<Rows>);

#[pymethods]
impl Features {
    /// The features, float32 `[N, D]`: a view that cannot be written into.
    #[getter]
    fn array<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyArray2<f32>> {
        read_only(&slf.get().0.features, slf.clone().into_any())
    }

    /// The name of each image, `[N]`: its path relative to the set, or `row:I` for image I of an array.
    #[getter]
    fn paths(&self) -> Vec<String> {
        self.0.paths.clone()
    }

    /// Images that could not be used, each with the reason.
    #[getter]
    fn skipped(&self) -> Vec<(String, String)> {
        self.0.skipped.iter().map(|skipped| (skipped.path.clone(), skipped.reason.clone())).collect()
    }

    /// What the features were made with, in one line.
    #[getter]
    fn extractor(&self) -> Option<String> {
        self.0.identity.as_ref().map(Identity::describe)
    }

    /// `(N, D)`
    #[getter]
    fn shape(&self) -> (usize, usize) {
        self.0.features.dim()
    }

    /// Some of the images: those of these row numbers, in this order.
    ///
    /// Raises `IndexError` for a row that is not there.
    fn take(&self, rows: Vec<usize>) -> PyResult<Self> {
        match rows.iter().find(|&&row| row >= self.__len__()) {
            Some(row) => Err(PyIndexError::new_err(format!("row {row} of {}", self.__len__()))),
            None => Ok(Self(Arc::new(self.0.take(&rows)))),
        }
    }

    /// Writes the features to a file `.npy`, which the command line reads too.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let written = py.detach(|| pseudo_density::write_npy(&path, &self.0.features.to_owned()));
        written.map_err(|error| crate::errors::raise(py, &error))
    }

    fn __len__(&self) -> usize {
        self.0.features.nrows()
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = Self::array(slf).into_any();
        match (dtype, copy) {
            (Some(dtype), _) => array.call_method1("astype", (dtype,)),
            (None, Some(true)) => array.call_method0("copy"),
            (None, _) => Ok(array),
        }
    }

    fn __repr__(&self) -> String {
        let (rows, width) = self.0.features.dim();
        format!(
            "Features({rows} x {width}, {})",
            self.extractor().unwrap_or_else(|| "unknown extractor".into())
        )
    }
}
