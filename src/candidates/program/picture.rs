//! From a file that a program has written to a candidate's image.

use crate::candidates::image::CandidateImage;
use crate::error::Error;
use crate::formats::npy::{NPY_MAGIC, read_array, read_header};
use crate::formats::regular::open_regular;
use crate::images::{Alpha, RgbImage, decode, gray_or_rgb};
use ndarray::{ArrayD, Axis, Ix3};
use std::io::Read;
use std::path::Path;

/// Largest file that is read, in bytes: an image of 16 384 by 16 384 pixels as an array of bytes.
const MAX_FILE: u64 = 3 << 28;
/// The first bytes of a PNG file.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The image in a file: a PNG as it is, any other format that is read here as pixels. In a `.npy` array of `[H, W]`, `[H, W, C]` or
/// `[C, H, W]`, with C 1 or 3, the values `range` are black and white; without it they are bytes.
///
/// # Errors
/// Why there is none, as the end of a sentence whose subject is the file.
pub(super) fn picture(path: &Path, range: Option<[f64; 2]>) -> Result<CandidateImage, String> {
    let mut file = open_regular(path).map_err(reason)?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    if length > MAX_FILE {
        return Err(format!("has {length} bytes, more than the {MAX_FILE} that are read"));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.starts_with(NPY_MAGIC) {
        return of_array(&bytes, range, path).map(CandidateImage::Pixels);
    }
    // A file that is no image would only be found out later, by whatever looks at it.
    let image = decode(&bytes, Alpha::default())?;
    Ok(match bytes.starts_with(PNG) {
        true => CandidateImage::Encoded(path.into(), bytes),
        false => CandidateImage::Pixels(image),
    })
}

/// Why, without the path: what an error says of a file.
fn reason(error: Error) -> String {
    match error {
        Error::Malformed { reason, .. } => reason,
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => "is not there".into(),
        Error::Io { source, action, .. } => format!("cannot be {action}: {source}"),
        error => error.to_string(),
    }
}

/// The image that an array holds.
fn of_array(bytes: &[u8], range: Option<[f64; 2]>, path: &Path) -> Result<RgbImage, String> {
    let (header, _) = read_header(&mut &bytes[..], path).map_err(reason)?;
    let [black, white] = match range {
        Some(range) => range.map(|value| value as f32),
        None if header.element.is_byte() => [0.0, 255.0],
        None => {
            return Err("holds no bytes, and the program has not said the `range` of its values".into());
        }
    };
    let array = read_array(&mut &bytes[..], bytes.len() as u64, path).map_err(reason)?;
    let shape = array.shape().to_vec();
    let Some(image) = channels_last(array) else {
        return Err(format!("holds an array of shape {shape:?}; images are [H, W], [H, W, C] or [C, H, W]"));
    };
    if image.iter().any(|value| !value.is_finite()) {
        return Err("has values that are not finite".into());
    }
    let (height, width, _) = image.dim();
    let size = u32::try_from(width).ok().zip(u32::try_from(height).ok()).ok_or("is too large")?;
    // Rounded as torchvision's `save_image` does.
    let byte = |&value: &f32| (((value - black) / (white - black)).clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    gray_or_rgb(size, image.iter().map(byte).collect()).map_err(reason)
}

/// An array as `[H, W, C]` with C 1 or 3; `None` for any other shape, and without pixels.
fn channels_last(array: ArrayD<f32>) -> Option<ndarray::Array3<f32>> {
    let array = match array.ndim() {
        2 => array.insert_axis(Axis(2)),
        4 if array.shape()[0] == 1 => array.index_axis_move(Axis(0), 0),
        _ => array,
    };
    let array = array.into_dimensionality::<Ix3>().ok().filter(|array| !array.is_empty())?;
    let is_colour = |length: usize| length == 1 || length == 3;
    match array.dim() {
        (_, _, last) if is_colour(last) => Some(array),
        (first, _, _) if is_colour(first) => Some(array.permuted_axes([1, 2, 0])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::npy::write_npy;
    use crate::images::write_png;
    use ndarray::{Array, Array2, Array3, ArrayRef, Dimension, array};
    use std::fs;

    fn pixels(image: CandidateImage) -> RgbImage {
        image.pixels(Alpha::default()).unwrap().into_owned()
    }

    fn of<D: Dimension>(array: &ArrayRef<f32, D>, range: Option<[f64; 2]>) -> Result<RgbImage, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("7.png");
        write_npy(&path, array).unwrap();
        picture(&path, range).map(pixels)
    }

    #[test]
    fn a_png_stays_the_file_that_it_is_and_other_formats_become_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let image = RgbImage { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        let png = dir.path().join("a.png");
        write_png(&png, &image).unwrap();
        match picture(&png, None).unwrap() {
            CandidateImage::Encoded(path, bytes) => {
                assert_eq!((path, bytes), (png.clone(), fs::read(&png).unwrap()))
            }
            CandidateImage::Pixels(_) => panic!("the file was not kept"),
        }
        // The content tells the format, whatever the name says.
        fs::write(&png, b"P6 2 1 255\n\x01\x02\x03\x04\x05\x06").unwrap();
        assert!(matches!(picture(&png, None).unwrap(), CandidateImage::Pixels(found) if found == image));
    }

    #[test]
    fn arrays_of_each_layout_are_the_same_image_and_ranges_are_mapped() {
        let last: Array3<f32> = Array::from_shape_fn((4, 5, 3), |(y, x, c)| (y * 50 + x * 10 + c) as f32);
        let image = of(&last, Some([0.0, 255.0])).unwrap();
        assert_eq!((image.width, image.height, image.pixels[3]), (5, 4, 10));
        let first = last.clone().permuted_axes([2, 0, 1]).as_standard_layout().into_owned();
        assert_eq!(of(&first, Some([0.0, 255.0])).unwrap(), image);
        assert_eq!(of(&first.insert_axis(Axis(0)), Some([0.0, 255.0])).unwrap(), image);
        let halves = array![[-1.0f32, 0.0], [1.0, 7.0]];
        let gray = of(&halves, Some([-1.0, 1.0])).unwrap();
        assert_eq!(gray.pixels, [0u8, 128, 255, 255].map(|v| [v; 3]).concat());
    }

    #[test]
    fn bytes_need_no_range_and_numbers_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        write_npy(&path, &array![[0u8, 7], [128, 255]]).unwrap();
        let image = picture(&path, None).map(pixels).unwrap();
        assert_eq!(image.pixels, [0u8, 7, 128, 255].map(|v| [v; 3]).concat());
        assert!(of(&array![[0.5f32]], None).unwrap_err().contains("has not said the `range`"));
    }

    #[test]
    fn what_is_no_image_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let reason = || picture(&path, Some([0.0, 1.0])).unwrap_err();
        assert_eq!(reason(), "is not there");
        fs::write(&path, "I am a picture").unwrap();
        assert!(reason().contains("not an image of a known kind"));
        fs::write(&path, "").unwrap();
        assert!(reason().contains("empty"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(reason().contains("is a directory"));
        for shape in [(0, 3), (5, 0)] {
            assert!(of(&Array2::<f32>::zeros(shape), Some([0.0, 1.0])).is_err());
        }
        assert!(of(&Array3::<f32>::zeros((2, 2, 2)), Some([0.0, 1.0])).unwrap_err().contains("[2, 2, 2]"));
        assert!(of(&array![[f32::NAN]], Some([0.0, 1.0])).unwrap_err().contains("not finite"));
        fs::remove_dir(&path).unwrap();
        fs::write(&path, [&NPY_MAGIC[..], &[1, 0, 255, 255]].concat()).unwrap();
        assert!(picture(&path, None).is_err());
    }
}
