//! What a function may be given: features, a reference, an array, or images.

use crate::arrays::{self, as_array};
use crate::features::{Features, Rows};
use crate::images::Images;
use crate::opened::Reference;
use pyo3::prelude::*;
use std::sync::Arc;

/// The argument `name`: [`Features`], a [`Reference`], or an array `[N, D]`.
pub(crate) fn rows_of(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Arc<Rows>> {
    if let Ok(features) = object.cast::<Features>() {
        return Ok(features.get().0.clone());
    }
    if let Ok(reference) = object.cast::<Reference>() {
        return reference.get().rows(object.py());
    }
    Ok(Arc::new(Rows::of_array(arrays::features(name, object)?)))
}

/// What is measured against a reference.
pub(crate) enum Queries {
    Images(Images),
    Rows(Arc<Rows>),
}

impl Queries {
    /// Features, or images of which features have to be made.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let is_array_of_numbers = || {
            let array = as_array(object, None)?;
            let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
            PyResult::Ok(kind == "f" && array.getattr("ndim")?.extract::<usize>()? == 2)
        };
        let is_array = object.hasattr("__array__")? && is_array_of_numbers()?;
        match is_array || object.cast::<Features>().is_ok() || object.cast::<Reference>().is_ok() {
            true => rows_of("features", object).map(Self::Rows),
            false => Images::of(object).map(Self::Images),
        }
    }
}
