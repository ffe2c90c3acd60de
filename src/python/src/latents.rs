//! Latents of seeds, as the community draws them.

use crate::arguments::wrong;
use crate::errors::raise;
use candle_core::{DType, Device};
use numpy::{PyArray1, PyArrayMethods};
use pseudo_density::{LatentSpace, Seeds, latents_of_seeds};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Latents of seeds, float32 `[n, *dim]`: `numpy.random.RandomState(seed).randn(1, *dim)`, so that a seed shows the same image as in the
/// official StyleGAN programs.
///
/// `seeds`: a number, several numbers, or a text such as "0-99,200". `dim`: the dimension of a latent, or a tuple such as (4, 64, 64).
///
/// Raises `ValueError` for seeds that are not between 0 and 2^32 - 1.
#[pyfunction]
pub(crate) fn latents<'py>(
    seeds: &Bound<'py, PyAny>,
    dim: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = seeds.py();
    let number = |seed: &Bound<'_, PyAny>| {
        seed.extract::<u32>().map_err(|_| wrong("seeds", &seed.to_string(), "seeds go from 0 to 4294967295"))
    };
    let seeds: Vec<u32> = match (seeds.extract::<String>(), seeds.try_iter()) {
        (Ok(text), _) => text.parse::<Seeds>().map_err(|error| raise(py, &error))?.iter().collect(),
        (_, Ok(several)) => several.map(|seed| number(&seed?)).collect::<PyResult<_>>()?,
        _ => vec![number(seeds)?],
    };
    let shape: Vec<usize> = match dim.extract::<usize>() {
        Ok(dimension) => vec![dimension],
        Err(_) => {
            dim.extract().map_err(|_| PyTypeError::new_err("dim has to be a number or a tuple of numbers"))?
        }
    };
    let drawn = py.detach(|| {
        let drawn = latents_of_seeds(&LatentSpace::normal("z", &shape), &seeds, DType::F32, &Device::Cpu)?;
        Ok(drawn.flatten_all()?.to_vec1::<f32>()?)
    });
    let values = drawn.map_err(|error: pseudo_density::Error| raise(py, &error))?;
    let dims: Vec<usize> = [seeds.len()].into_iter().chain(shape).collect();
    Ok(PyArray1::from_vec(py, values).reshape(dims)?.into_any())
}
