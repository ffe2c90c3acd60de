//! Real images in the size of the network: kept as bytes where they fit into memory, else decoded again for each batch.

use crate::error::{Error, Result};
use crate::generate::ImageShape;
use crate::images::{
    Alpha, Color, Filter, Fit, ImageSet, Inputs, Loaded, Pixels, Preprocessing, RgbImage, gray_or_rgb, load,
    load_some,
};
use crate::progress::{Progress, check_stop};
use crate::random::{Purpose, keyed};
use crate::reference::content_digest;
use crate::runs;
use candle_core::{Device, Tensor};
use rand::RngExt;
use rayon::prelude::*;

/// Images are kept in memory up to this many bytes in all.
pub const MEMORY_BYTES: u64 = 4 << 30;

/// Real images that a network is trained on.
pub struct RealImages {
    set: ImageSet,
    preprocessing: Preprocessing,
    /// Positions in the set of the images that can be used.
    positions: Vec<usize>,
    /// Their bytes, one after the other, `[H, W, C]`; absent where they do not fit.
    pixels: Option<Vec<u8>>,
    inputs: Inputs,
    content: String,
}

impl RealImages {
    /// Decodes every image once, in the size of `shape`; damaged ones are left out. `memory` is the limit of what is kept.
    ///
    /// # Errors
    /// [`Error::Strict`] as asked; [`Error::Data`] if none can be used; [`Error::Interrupted`].
    pub fn open(
        set: ImageSet,
        shape: ImageShape,
        fit: Fit,
        strict: bool,
        memory: u64,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let preprocessing = preprocessing(shape, fit)?;
        let mut skipped = set.unreadable().to_vec();
        let mut digests: Vec<String> = Vec::new();
        let mut positions = Vec::new();
        let fits = (set.len() as u64).saturating_mul(preprocessing.values() as u64) <= memory;
        let mut pixels = fits.then(Vec::new);
        progress.start("reading images", set.len() as u64, "images");
        for chunk in 0..runs::count(set.len()) {
            check_stop(progress, || "nothing has been trained yet".into())?;
            let range = runs::range(chunk, set.len());
            let images = load_some(&set, range.clone(), |_| true, &preprocessing, &());
            for (position, image) in range.clone().zip(images.into_iter().flatten()) {
                match image {
                    Ok(Loaded { image, sha256, .. }) => {
                        positions.push(position);
                        digests.push(sha256);
                        if let Some(pixels) = &mut pixels {
                            pixels.extend_from_slice(&image.pixels.into_bytes());
                        }
                    }
                    Err(reason) => skipped.push(reason),
                }
            }
            progress.advance(range.len() as u64);
        }
        progress.finish();
        let inputs = Inputs { used: positions.len(), skipped, left_out: set.left_out().clone() };
        if strict {
            inputs.check_strict()?;
        }
        if positions.is_empty() {
            return Err(Error::data(format!("none of {} images could be used", set.len()), ""));
        }
        let content = content_digest(digests.iter().map(String::as_str));
        Ok(Self { set, preprocessing, positions, pixels, inputs, content })
    }

    /// How many images can be used: rows of everything that follows.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Never: [`RealImages::open`] returns some.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The set that they come from.
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// The name of each row.
    pub fn paths(&self) -> Vec<String> {
        self.positions.iter().map(|&position| self.set.path(position).to_string()).collect()
    }

    /// What became of the inputs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Tells these images from others of the same names and sizes; see [`content_digest`].
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Bytes that are kept in memory.
    pub fn memory(&self) -> u64 {
        self.pixels.as_ref().map_or(0, |pixels| pixels.len() as u64)
    }

    /// Images `[B, C, H, W]` in -1..=1 of these rows, each of these or of other images of the same shape, some of them mirrored left to
    /// right.
    ///
    /// # Errors
    /// [`Error::Data`] if an image that could be read before no longer can.
    ///
    /// # Panics
    /// If a row is beyond its images, these have another shape, or there are not as many mirrors as rows.
    pub fn batch(&self, rows: &[(&RealImages, usize)], mirrored: &[bool], device: &Device) -> Result<Tensor> {
        assert_eq!(rows.len(), mirrored.len(), "each row is mirrored or not");
        let values = self.preprocessing.values();
        assert!(
            rows.iter().all(|(images, _)| images.preprocessing.values() == values),
            "images of one shape"
        );
        let mut input = vec![0f32; rows.len() * values];
        input
            .par_chunks_mut(values)
            .zip(rows.par_iter().zip(mirrored))
            .try_for_each(|(out, (&(images, row), &mirrored))| images.write(row, mirrored, out))?;
        let (height, width) = (self.preprocessing.height as usize, self.preprocessing.width as usize);
        let dims = (rows.len(), self.preprocessing.channels(), height, width);
        Ok(Tensor::from_vec(input, dims, &Device::Cpu)?.to_device(device)?)
    }

    /// These rows as they are trained on, in 8 bits; gray becomes three equal channels.
    ///
    /// # Errors
    /// As [`RealImages::batch`].
    pub(super) fn pictures(&self, rows: &[usize]) -> Result<Vec<RgbImage>> {
        let size = (self.preprocessing.width, self.preprocessing.height);
        rows.par_iter().map(|&row| gray_or_rgb(size, self.pixels_of(row)?.into_bytes())).collect()
    }

    fn pixels_of(&self, row: usize) -> Result<Pixels> {
        let values = self.preprocessing.values();
        if let Some(pixels) = &self.pixels {
            return Ok(Pixels::Bytes(pixels[row * values..(row + 1) * values].to_vec()));
        }
        let position = self.positions[row];
        match load(&self.set, position..position + 1, &self.preprocessing).pop() {
            Some(Ok(image)) => Ok(image.pixels),
            other => {
                let reason = other.and_then(Result::err).map(|s| s.reason).unwrap_or_default();
                let reason = format!("{} can no longer be read: {reason}", self.set.path(position));
                Err(Error::data(reason, "the images must stay as they are during a run"))
            }
        }
    }

    fn write(&self, row: usize, mirrored: bool, out: &mut [f32]) -> Result<()> {
        self.preprocessing.normalise(&self.pixels_of(row)?, out);
        if mirrored {
            out.chunks_exact_mut(self.preprocessing.width as usize).for_each(<[f32]>::reverse);
        }
        Ok(())
    }
}

/// Which images of a batch are mirrored: each with probability 1/2 if asked for.
pub(super) fn mirrors(seed: u64, step: u64, count: usize, mirror: bool) -> Vec<bool> {
    let mut rng = keyed(seed, Purpose::Mirror, step);
    (0..count).map(|_| mirror && rng.random::<bool>()).collect()
}

/// Bytes to -1..=1; the whole image where its shape fits, else as `fit` says (StyleGAN's dataset tool crops and uses Lanczos).
fn preprocessing(shape: ImageShape, fit: Fit) -> Result<Preprocessing> {
    const MIDDLE: f32 = 0.5;
    let side = |n: usize| u32::try_from(n).map_err(|_| Error::data(format!("images of side {n}"), ""));
    let color = match shape.channels {
        1 => Color::Gray,
        3 => Color::Rgb,
        other => {
            return Err(Error::data(format!("images of {other} channels are neither gray nor colour"), ""));
        }
    };
    let how = Preprocessing {
        width: side(shape.width)?,
        height: side(shape.height)?,
        fit,
        crop_ratio: 1.0,
        filter: Filter::Lanczos,
        alpha: Alpha::White,
        color,
        fast_decode: false,
        mean: vec![MIDDLE; shape.channels],
        std: vec![MIDDLE; shape.channels],
    };
    how.validate()?;
    Ok(how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::path::Path;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };

    fn digits(memory: u64) -> RealImages {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits.zip");
        let set = ImageSet::open(&path, &Silent).unwrap();
        RealImages::open(set, SHAPE, Fit::Crop, false, memory, &Silent).unwrap()
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn images_are_the_same_from_memory_and_from_their_files() {
        let (kept, read) = (digits(MEMORY_BYTES), digits(0));
        assert!(kept.memory() > 0 && read.memory() == 0);
        let (rows, mirrored) = ([3, 900, 3], [false, true, true]);
        let batch = kept.batch(&rows.map(|row| (&kept, row)), &mirrored, &Device::Cpu).unwrap();
        assert_eq!(batch.dims(), [3, 1, 8, 8]);
        let values = flat(&batch);
        assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)) && values.contains(&-1.0));
        assert_eq!(
            values,
            flat(&read.batch(&rows.map(|row| (&read, row)), &mirrored, &Device::Cpu).unwrap())
        );
        for (row, mirror) in values[..64].chunks(8).zip(values[128..].chunks(8)) {
            assert!(row.iter().eq(mirror.iter().rev()));
        }
    }

    #[test]
    fn half_of_the_images_are_mirrored_if_asked_for() {
        let count = |mirror| mirrors(1, 2, 1000, mirror).iter().filter(|m| **m).count();
        assert!((400..600).contains(&count(true)) && count(false) == 0);
    }
}
