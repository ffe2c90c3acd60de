//! Images as Python has them: a path, a list of paths, an array, or a sequence of pictures of which each is read when its turn comes.

use crate::arrays::as_array;
use ndarray::{ArrayViewD, Axis};
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pseudo_density::{ImageSet, Picture, PictureSource, Progress, Result, RgbImage, row_name};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;

/// Modes of Pillow whose pictures may have transparency.
const TRANSPARENT: [&str; 5] = ["RGBA", "LA", "PA", "RGBa", "La"];

/// Images that are not read yet.
pub(crate) enum Images {
    /// A directory, an archive or one file.
    Path(PathBuf),
    /// Files in this order.
    Files(Vec<PathBuf>),
    /// Pictures in memory.
    Pictures(usize, Box<PictureSource>),
}

impl Images {
    /// What an argument holds.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(path) = object.extract::<PathBuf>() {
            return Ok(Self::Path(path));
        }
        if object.hasattr("__array__")? {
            let array = as_array(object, None)?;
            if let Ok(array) = array.cast::<PyArrayDyn<u8>>() {
                return Self::of_array(array);
            }
            let (shape, dtype) = (array.getattr("shape")?, array.getattr("dtype")?);
            if shape.len()? != 1 {
                return Err(PyTypeError::new_err(format!(
                    "images have to be an array [N, H, W, 3] of uint8, and are {shape} of {dtype}"
                )));
            }
        }
        Self::of_sequence(object)
    }

    fn of_array(array: &Bound<'_, PyArrayDyn<u8>>) -> PyResult<Self> {
        let shape = array.shape();
        if shape.len() != 4 || !matches!(shape[3], 1 | 3) {
            return Err(PyValueError::new_err(format!(
                "images have to be an array [N, H, W, 3], and are of shape {shape:?}"
            )));
        }
        let (count, array) = (shape[0], array.clone().unbind());
        let picture = move |i: usize| {
            Python::attach(|py| {
                let array = array.bind(py).try_readonly().map_err(|e| e.to_string())?;
                let all = array.as_array();
                if i >= all.len_of(Axis(0)) {
                    return Err("the array has become shorter".to_string());
                }
                pixels(all.index_axis(Axis(0), i))
            })
        };
        Ok(Self::Pictures(count, Box::new(move |i| picture(i).map(Picture::Pixels))))
    }

    fn of_sequence(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let count = object.len().map_err(|_| {
            PyTypeError::new_err(
                "images have to be a path, a list of paths, an array [N, H, W, 3], or a sequence of pictures",
            )
        })?;
        if count > 0 && object.get_item(0)?.extract::<PathBuf>().is_ok() {
            let paths = (0..count).map(|i| object.get_item(i)?.extract::<PathBuf>());
            return Ok(Self::Files(paths.collect::<PyResult<_>>()?));
        }
        let sequence = object.clone().unbind();
        let picture = move |i: usize| {
            Python::attach(|py| {
                let element = sequence.bind(py).get_item(i).map_err(|e| e.to_string())?;
                of_element(&element)
            })
        };
        Ok(Self::Pictures(count, Box::new(picture)))
    }

    /// The set of them.
    pub(crate) fn open(self, progress: &dyn Progress) -> Result<ImageSet> {
        match self {
            Self::Path(path) => ImageSet::open(&path, progress),
            Self::Files(paths) => ImageSet::of_files(paths),
            Self::Pictures(count, source) => {
                ImageSet::of_pictures((0..count).map(row_name).collect(), source)
            }
        }
    }
}

/// A picture of Pillow, the bytes of an image file, or what numpy makes an array `[H, W, 3]` of.
fn of_element(element: &Bound<'_, PyAny>) -> std::result::Result<Picture, String> {
    if let Ok(bytes) = element.cast::<PyBytes>() {
        return Ok(Picture::File(bytes.as_bytes().to_vec()));
    }
    let reason = |error: PyErr| error.to_string();
    let picture = match element.getattr("mode").and_then(|mode| mode.extract::<String>()) {
        Ok(mode) => rgb_of_pillow(element, &mode)?,
        Err(_) => element.clone(),
    };
    let array = as_array(&picture, None).map_err(reason)?;
    let array: PyReadonlyArrayDyn<'_, u8> = array.extract().map_err(|_| {
        let shown = |name| array.getattr(name).map_or_else(|_| "?".to_owned(), |value| value.to_string());
        format!("a picture has to be [H, W, 3] of uint8, and is {} of {}", shown("shape"), shown("dtype"))
    })?;
    pixels(array.as_array()).map(Picture::Pixels)
}

/// A picture of Pillow without a palette, in RGB.
fn rgb_of_pillow<'py>(
    picture: &Bound<'py, PyAny>,
    mode: &str,
) -> std::result::Result<Bound<'py, PyAny>, String> {
    let reason = |error: PyErr| error.to_string();
    let info = picture.getattr("info").and_then(|info| info.contains("transparency"));
    if TRANSPARENT.contains(&mode) || info.unwrap_or(false) {
        return Err("has transparency: paste it on a background first, or give the bytes of its file".into());
    }
    match mode {
        "RGB" => Ok(picture.clone()),
        _ => picture.call_method1("convert", ("RGB",)).map_err(reason),
    }
}

/// Pixels `[H, W, 3]`, or gray ones `[H, W]` or `[H, W, 1]`.
fn pixels(array: ArrayViewD<'_, u8>) -> std::result::Result<RgbImage, String> {
    let (height, width, channels) = match *array.shape() {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3)] => (height, width, channels),
        ref shape => return Err(format!("a picture has to be [H, W, 3], and is {shape:?}")),
    };
    let side = |length: usize| u32::try_from(length).map_err(|_| format!("{width} x {height} is too large"));
    let pixels = match channels {
        3 => array.iter().copied().collect(),
        _ => array.iter().flat_map(|&gray| [gray; 3]).collect(),
    };
    Ok(RgbImage { width: side(width)?, height: side(height)?, pixels })
}
