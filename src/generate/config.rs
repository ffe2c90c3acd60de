//! `config.json` of a generator directory, and the checks that its sizes pass before anything is made of them.

use crate::error::{Error, Result};
use crate::remedy::Remedy;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Most layers, blocks or levels that a configuration may ask for.
pub(super) const MAX_LAYERS: usize = 256;

/// Most pixels of one image, all channels together: 8192 x 8192 in colour.
const MAX_PIXELS: usize = 3 << 26;

/// The part of a configuration that one network is built from; absent where sizes are to be read from the tensors.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    path: PathBuf,
    part: Option<Value>,
}

impl Config {
    /// `part` comes from the file `path`.
    pub(crate) fn new(path: impl Into<PathBuf>, part: Option<Value>) -> Self {
        Self { path: path.into(), part }
    }

    /// The file that it was read from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was configured, if anything.
    pub(crate) fn part(&self) -> Option<&Value> {
        self.part.as_ref()
    }

    /// The sizes in it.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the field that is missing, unknown or of another type.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(self.part.as_ref().unwrap_or(&Value::Null))
            .map_err(|e| Error::malformed(&self.path, format!("is no configuration of this family: {e}"), ""))
    }
}

/// Refuses a number outside its range.
///
/// # Errors
/// [`Error::Malformed`] with the name, the value and the range.
pub(super) fn bounded(path: &Path, name: &str, value: usize, range: RangeInclusive<usize>) -> Result<usize> {
    match range.contains(&value) {
        true => Ok(value),
        false => Err(Error::malformed(
            path,
            format!("`{name}` is {value}, outside {} to {}", range.start(), range.end()),
            "",
        )),
    }
}

/// Values of an image `[C, H, W]`; `pixels` is what the network gives, where that is known already.
///
/// # Errors
/// [`Error::Malformed`] if there are neither 1 nor 3 channels, no or too many pixels, or others than the network gives.
pub(super) fn image_of(path: &Path, image: [usize; 3], pixels: Option<usize>) -> Result<usize> {
    let count = image.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    match count {
        Some(count @ 1..=MAX_PIXELS)
            if matches!(image[0], 1 | 3) && pixels.is_none_or(|pixels| pixels == count) =>
        {
            Ok(count)
        }
        _ => {
            let given =
                pixels.map(|pixels| format!(", where the network has {pixels} values")).unwrap_or_default();
            Err(Error::malformed(
                path,
                format!("`image` cannot be {image:?} (channels, rows, columns){given}"),
                "",
            ))
        }
    }
}

/// The square image of this many values: gray, or else colour.
///
/// # Errors
/// [`Error::Malformed`] if there is none.
pub(super) fn square_image(path: &Path, pixels: Option<usize>) -> Result<[usize; 3]> {
    let pixels = pixels.unwrap_or(0);
    let square = |channels: usize| {
        let side = (pixels / channels).isqrt();
        (pixels > 0 && side.checked_mul(side * channels) == Some(pixels)).then_some([channels, side, side])
    };
    square(1).or_else(|| square(3)).ok_or_else(|| {
        let reason = format!("a network of {pixels} values for each image has no square images");
        Error::malformed(path, reason, Remedy::GiveConfiguration)
    })
}
