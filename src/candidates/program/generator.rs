//! A program as a generator of latents: for what moves latents without a gradient.

use super::images::{ProgramImages, Wanted};
use crate::candidates::image::CandidateImage;
use crate::candidates::latents::latent_array;
use crate::error::{Error, Result};
use crate::generate::{ForwardOptions, Generator, GeneratorInfo, GeneratorProgram, Variables};
use crate::images::{Alpha, RgbImage};
use crate::progress::Progress;
use candle_core::{Device, Tensor};
use ndarray::ArrayD;
use std::sync::atomic::{AtomicU64, Ordering};

/// The family of every program.
const FAMILY: &str = "program";

/// A program that makes an image `[B, 3, H, W]` of each latent; the seed of a request is the key of its latent.
pub(crate) struct ProgramGenerator<'a> {
    images: ProgramImages,
    info: GeneratorInfo,
    prompt: Option<String>,
    /// Requests so far.
    asked: AtomicU64,
    progress: &'a dyn Progress,
}

impl<'a> ProgramGenerator<'a> {
    /// Makes a first image, to know their size. `most_open` requests are sent before the first is answered; all have the `prompt`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the program takes no latents, or not the class; as [`GeneratorProgram::answer`].
    pub(crate) fn new(
        program: GeneratorProgram,
        class: Option<u32>,
        prompt: Option<String>,
        most_open: usize,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let told = program.info().clone();
        told.check_class(class)?;
        let Some(space) = told.space() else {
            return Err(Error::usage(
                format!("{} has not said that it takes latents, and they are what is moved", told.name),
                "its answer to {\"hello\": 1} may hold \"latent\": their shape",
            ));
        };
        let images = ProgramImages::new(program, most_open);
        let zeros = ArrayD::zeros(space.shape.clone());
        let first = Wanted { latent: Some(zeros), class, prompt: prompt.clone(), ..Wanted::default() };
        let mut size = [3, 1, 1];
        let mut take = |images: Vec<(u64, CandidateImage)>| {
            for (_, image) in images {
                let image = image.pixels(Alpha::default())?;
                size = [3, image.height as usize, image.width as usize];
            }
            Ok(())
        };
        images.make(&mut [Ok(first)].into_iter(), &mut take, progress)?;
        let config = serde_json::to_value(&told).map_err(|e| Error::data(e.to_string(), ""))?;
        let mut info = GeneratorInfo::new(FAMILY, config, size, [space]);
        info.class_count = told.classes.map_or(0, |count| count as usize);
        info.needs_keys = true;
        Ok(Self { images, info, prompt, asked: AtomicU64::new(1), progress })
    }

    /// What an image is made of.
    fn wanted(&self, id: u64, latent: &Tensor, row: usize, options: &ForwardOptions) -> Result<Wanted> {
        let of_row = |values: Option<&[u32]>| values.and_then(|values| values.get(row)).copied();
        Ok(Wanted {
            id,
            seed: options.keys.and_then(|keys| keys.get(row)).copied().unwrap_or_default(),
            latent: Some(latent_array(latent)?),
            class: of_row(options.classes),
            prompt: self.prompt.clone(),
        })
    }
}

impl Generator for ProgramGenerator<'_> {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        None
    }

    fn stage(&self, _: usize, latents: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let count = latents.dim(0)?;
        let first = self.asked.fetch_add(count as u64, Ordering::Relaxed);
        let mut wanted =
            (0..count).map(|row| self.wanted(first + row as u64, &latents.get(row)?, row, options));
        let mut made: Vec<Option<RgbImage>> = vec![None; count];
        let mut take = |images: Vec<(u64, CandidateImage)>| {
            for (id, image) in images {
                if let Some(place) = made.get_mut((id - first) as usize) {
                    *place = Some(image.pixels(Alpha::default())?.into_owned());
                }
            }
            Ok(())
        };
        self.images.make(&mut wanted, &mut take, self.progress)?;
        let [_, height, width] = self.info.image_shape.dims();
        let tensor = |image: Option<RgbImage>| {
            let image =
                image.filter(|image| (image.height as usize, image.width as usize) == (height, width));
            let image = image.ok_or_else(|| {
                Error::data(format!("the program's images are not all of {width} x {height} pixels"), "")
            })?;
            // Each byte goes back to itself when an image is written.
            let values: Vec<f32> = image.pixels.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
            Ok(Tensor::from_vec(values, (height, width, 3), &Device::Cpu)?.permute((2, 0, 1))?)
        };
        Ok(Tensor::stack(&made.into_iter().map(tensor).collect::<Result<Vec<_>>>()?, 0)?)
    }
}
