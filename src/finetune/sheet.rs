//! Sample sheets: images of the same latents in a grid, over time.

use super::latents::fixed_latents;
use super::trainer::Trainer;
use crate::error::Result;
use crate::generate::{ForwardOptions, pixels};
use crate::images::{tiled, write_png_bytes};
use crate::random::Purpose;
use candle_core::Device;
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
    /// [`crate::Error::Data`] if an image is not finite; [`crate::Error::Io`].
    pub fn write(&self, path: &Path, trainer: &dyn Trainer, device: &Device) -> Result<()> {
        let generator = trainer.ema();
        let count = self.side * self.side;
        let keys: Vec<u64> = (0..count as u64).collect();
        let latents = fixed_latents(generator, self.seed, Purpose::Sheet, &keys, device)?;
        let classes: Option<Vec<u32>> = match generator.info().class_count {
            0 => None,
            classes => Some((0..count).map(|i| (i % self.side % classes) as u32).collect()),
        };
        let mut images = Vec::with_capacity(count);
        for start in (0..count).step_by(trainer.batch()) {
            let rows = trainer.batch().min(count - start);
            let conditions = ForwardOptions {
                classes: classes.as_ref().map(|classes| &classes[start..start + rows]),
                keys: Some(&keys[start..start + rows]),
                ..ForwardOptions::default()
            };
            let batch = generator.generate(&latents.narrow(0, start, rows)?, &conditions)?;
            images.extend(pixels::to_bytes(&batch, generator.info().quantization)?);
        }
        let [channels, height, width] = generator.info().image_shape.dims();
        let (grid, size) = tiled(&images, (width, height), channels, self.side, 0);
        write_png_bytes(path, &grid, size, channels)
    }
}
