//! The .npy format of NumPy (versions 1 to 3): any numeric type and order is read as float32, float32 and float64 are written.
//! A header is a short Python literal, parsed here and never evaluated; its shape is checked against the file's size.
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

mod header;
mod items;
mod npz;
mod pixels;
mod rows;
mod write;

pub(crate) use header::{MAGIC as NPY_MAGIC, read_header};
pub(crate) use items::RowElement;
pub(crate) use npz::{read_npz_f64, write_npz_f64};
pub(crate) use pixels::PixelArray;
pub(crate) use rows::NpyRows;
pub use write::write_npy;
pub(crate) use write::{NpyWriter, write_npy_unsynced};

use super::element::{allocate, element_count};
use crate::error::{Error, Result};
use crate::formats::regular::open_regular;
use ndarray::{Array2, ArrayD, IxDyn, ShapeBuilder};
use std::io::{BufReader, Read};
use std::path::Path;

/// Reads features `[N, D]` from a .npy file, with no more memory than the result takes where it is stored row by row.
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`] for a damaged file, another type of element or another number of dimensions.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Array2<f32>> {
    let path = path.as_ref();
    into_matrix(read_npy_array(path)?, path)
}

/// Reads an array of any shape from a .npy file.
///
/// # Errors
/// As [`read_npy`], but for the number of dimensions.
pub fn read_npy_array(path: impl AsRef<Path>) -> Result<ArrayD<f32>> {
    let path = path.as_ref();
    let file = open_regular(path)?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    read_array(&mut BufReader::new(file), length, path)
}

/// Reads one array from `source`, a .npy file of `length` bytes in all; `path` is for messages.
///
/// # Errors
/// As [`read_npy_array`].
pub(crate) fn read_array(source: &mut impl Read, length: u64, path: &Path) -> Result<ArrayD<f32>> {
    let (header, header_bytes) = read_header(source, path)?;
    let count = element_count(&header.shape);
    let bytes = count.and_then(|count| count.checked_mul(header.element.size()));
    let (Some(count), Some(bytes)) = (count, bytes) else {
        return Err(Error::malformed(path, format!("the shape {:?} is beyond any file", header.shape), ""));
    };
    let held = length.saturating_sub(header_bytes);
    if bytes as u64 > held {
        let reason =
            format!("is cut short: the shape {:?} takes {bytes} bytes, the file holds {held}", header.shape);
        return Err(Error::malformed(path, reason, "copy or compute it again"));
    }
    let data = header.element.read_f32(source, header.order, count, path)?;
    let shape = IxDyn(&header.shape);
    let unfit = |e: ndarray::ShapeError| Error::malformed(path, e.to_string(), "");
    if !header.fortran_order || header.shape.len() < 2 {
        return ArrayD::from_shape_vec(shape, data).map_err(unfit);
    }
    let columns_first = ArrayD::from_shape_vec(shape.clone().f(), data).map_err(unfit)?;
    let mut rows_first = allocate(count, path)?;
    rows_first.extend(columns_first.iter().copied());
    ArrayD::from_shape_vec(shape, rows_first).map_err(unfit)
}

/// Makes features `[N, D]` of an array: `[N, D, 1, 1]` loses its last dimensions, any other shape is refused.
///
/// # Errors
/// [`Error::Malformed`] saying which shape was found.
pub(crate) fn into_matrix(array: ArrayD<f32>, path: &Path) -> Result<Array2<f32>> {
    let shape = array.shape().to_vec();
    let (rows, columns) = match shape[..] {
        [rows, columns] | [rows, columns, 1] | [rows, columns, 1, 1] if rows > 0 && columns > 0 => {
            (rows, columns)
        }
        _ => {
            let hint = match shape[..] {
                [_] => {
                    "features are [N, D], one row per image: reshape(N, D), or reshape(1, D) for a single one"
                }
                [_, _, _, _] => {
                    "features are [N, D], one row per image; images are an array arr_0 of uint8 [N, H, W, 3], as \
                     `numpy.savez(FILE, images)` writes it"
                }
                _ => "features are [N, D], one row per image",
            };
            return Err(Error::malformed(path, format!("holds an array of shape {shape:?}"), hint));
        }
    };
    array.into_shape_with_order((rows, columns)).map_err(|e| Error::malformed(path, e.to_string(), ""))
}

#[cfg(test)]
mod tests;
