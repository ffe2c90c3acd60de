//! Images as they are written: what is measured is what a reader of the file will measure.

use crate::error::{Error, Result};
use crate::generate::{Quantization, pixels};
use crate::images::{Prepared, Preprocessing, RgbImage, write_png_bytes};
use candle_core::Tensor;
use std::path::Path;

/// An image of 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
    /// `[height, width, channels]`
    pub bytes: Vec<u8>,
}

impl Picture {
    /// The pictures of images `[B, C, H, W]` in -1..=1.
    ///
    /// # Errors
    /// [`Error::Data`] if a value is not finite, or there are neither one nor three channels.
    pub fn of_images(images: &Tensor, quantization: Quantization) -> Result<Vec<Picture>> {
        let (_, channels, height, width) = images.dims4()?;
        if channels != 1 && channels != 3 {
            return Err(Error::data(
                format!("images of {channels} channels are neither gray nor colour"),
                "",
            ));
        }
        let pictures = pixels::to_bytes(images, quantization)?.into_iter();
        let (width, height) = (width as u32, height as u32);
        Ok(pictures.map(|bytes| Picture { width, height, channels, bytes }).collect())
    }

    /// In three channels, as a file of it is decoded.
    pub fn rgb(&self) -> RgbImage {
        let pixels = match self.channels {
            1 => self.bytes.iter().flat_map(|&v| [v; 3]).collect(),
            _ => self.bytes.clone(),
        };
        RgbImage { width: self.width, height: self.height, pixels }
    }

    /// As a file of it is prepared for a network.
    pub fn prepared(&self, preprocessing: &Preprocessing) -> Prepared {
        Prepared::of_image(&self.rgb(), preprocessing)
    }

    /// Writes a PNG file, which appears when it is whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_png(&self, path: &Path) -> Result<()> {
        write_png_bytes(path, &self.bytes, (self.width, self.height), self.channels)
    }
}
