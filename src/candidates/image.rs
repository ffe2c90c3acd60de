//! A candidate's image, in the form in which its source has it.

use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::images::{Alpha, RgbImage, decode, write_png};
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

/// An image of 8 bits per channel.
#[derive(Debug, Clone)]
pub enum CandidateImage {
    /// Pixels in memory.
    Pixels(RgbImage),
    /// The contents of a file of any format that is read here; the path names it in messages.
    Encoded(PathBuf, Vec<u8>),
}

impl CandidateImage {
    /// Writes the image to `path`: pixels as PNG, a file as it is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        match self {
            Self::Pixels(image) => write_png(path, image),
            Self::Encoded(_, bytes) => write_atomic(path, |out| out.write_all(bytes)),
        }
    }

    /// The pixels, decoded where they are in a file; `alpha` says what becomes of transparency.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a file is no image; [`Error::Io`].
    pub fn pixels(&self, alpha: Alpha) -> Result<Cow<'_, RgbImage>> {
        let (path, bytes) = match self {
            Self::Pixels(image) => return Ok(Cow::Borrowed(image)),
            Self::Encoded(path, bytes) => (path, bytes),
        };
        decode(bytes, alpha).map(Cow::Owned).map_err(|reason| Error::malformed(path, reason, ""))
    }
}
