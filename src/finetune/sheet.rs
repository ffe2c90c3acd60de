//! Sample sheets: images of the same latents in a grid, over time.

use super::batches::fixed_latents;
use super::random::Purpose;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::generate::{Conditions, pixels};
use candle_core::Device;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use std::io::Write;
use std::path::Path;

/// What a sheet shows.
#[derive(Debug, Clone, Copy)]
pub struct Sheet {
    /// Images per row and column.
    pub side: usize,
    /// Key of the latents.
    pub seed: u64,
}

impl Sheet {
    /// Writes images of the averaged generator as one PNG.
    ///
    /// # Errors
    /// [`Error::Data`] if an image is not finite; [`Error::Io`].
    pub fn write(&self, path: &Path, trainer: &dyn Trainer, device: &Device) -> Result<()> {
        let generator = trainer.average();
        let count = self.side * self.side;
        let latents = fixed_latents(generator, self.seed, Purpose::Sheet, 0..count as u64, device)?;
        let keys: Vec<u64> = (0..count as u64).collect();
        let classes: Option<Vec<u32>> = match generator.class_count() {
            0 => None,
            classes => Some((0..count).map(|i| (i % self.side % classes) as u32).collect()),
        };
        let mut images = Vec::with_capacity(count);
        for start in (0..count).step_by(trainer.batch()) {
            let rows = trainer.batch().min(count - start);
            let conditions = Conditions {
                classes: classes.as_ref().map(|classes| &classes[start..start + rows]),
                keys: Some(&keys[start..start + rows]),
                ..Conditions::default()
            };
            let batch = generator.generate(&latents.narrow(0, start, rows)?, &conditions)?;
            images.extend(pixels::to_bytes(&batch, generator.quantization())?);
        }
        let [channels, height, width] = generator.image_shape().dims();
        let (row, line) = (width * channels, self.side * width * channels);
        let mut grid = vec![0; self.side * height * line];
        for (i, image) in images.iter().enumerate() {
            let corner = i / self.side * height * line + i % self.side * row;
            for (y, values) in image.chunks_exact(row).enumerate() {
                grid[corner + y * line..][..row].copy_from_slice(values);
            }
        }
        let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&grid, (self.side * width) as u32, (self.side * height) as u32, color)
            .map_err(|e| Error::data(format!("the sample sheet cannot be written: {e}"), ""))?;
        write_atomic(path, |out| out.write_all(&png))
    }
}
