//! Candidates that another program makes, of prompts, seeds and latents.

use super::images::{ProgramImages, Wanted};
use super::prompts::Prompts;
use crate::candidates::latents::{LatentOrigin, LatentSource, latent_array};
use crate::candidates::record::CandidateRecord;
use crate::candidates::source::{CandidateSource, Deliver, Delivered};
use crate::error::{Error, Result};
use crate::generate::{GeneratorProgram, LatentSpace, ProgramInfo, latents_of_seeds};
use crate::progress::Progress;
use candle_core::Tensor;
use ndarray::ArrayD;
use std::ops::Range;
use std::path::Path;

/// A program with the seeds or latents that its candidates are made of.
pub(crate) struct ProgramSource {
    images: ProgramImages,
    /// Names, keys and classes; latents are made here, for a program that takes any.
    latents: LatentSource,
    /// Each of them is made with the first seeds or latents.
    prompts: Option<Prompts>,
    space: Option<LatentSpace>,
}

impl ProgramSource {
    /// `most_open` requests are sent before the first is answered. Latents are drawn from seeds where the program has named their shape,
    /// or come from a file. Every prompt gets the first of the seeds or latents, of which there are enough.
    ///
    /// # Errors
    /// [`Error::Usage`] if the program does not take the class or latents.
    pub(crate) fn new(
        program: GeneratorProgram,
        latents: LatentSource,
        prompts: Option<Prompts>,
        most_open: usize,
    ) -> Result<Self> {
        let info = program.info();
        info.check_class(latents.class)?;
        let space = info.space();
        if space.is_none() && matches!(latents.origin, LatentOrigin::Rows { .. }) {
            return Err(Error::usage(
                format!("{} has not said that it takes latents", info.name),
                "its answer to {\"hello\": 1} may hold \"latent\": their shape",
            ));
        }
        Ok(Self { images: ProgramImages::new(program, most_open), latents, prompts, space })
    }

    /// What the program has said of itself.
    pub(crate) fn info(&self) -> &ProgramInfo {
        self.images.info()
    }

    /// The prompts, where there are any.
    pub(crate) fn prompts(&self) -> Option<&Prompts> {
        self.prompts.as_ref()
    }

    /// The seed or latent of each candidate of a range, by its place among these, and its prompt.
    fn places(&self, range: Range<usize>) -> Vec<(usize, Option<usize>)> {
        match &self.prompts {
            None => range.map(|number| (number, None)).collect(),
            Some(prompts) => {
                let places = prompts.places(range).into_iter();
                places.map(|(prompt, place)| (place as usize, Some(prompt))).collect()
            }
        }
    }

    /// What the program is asked for.
    fn wanted(&self, number: usize, record: &CandidateRecord) -> Result<Wanted> {
        let latent = self.latents(number..number + 1)?;
        Ok(Wanted {
            id: number as u64,
            seed: record.seed.map_or(record.key, u64::from),
            latent: latent.map(|latent| latent.index_axis_move(ndarray::Axis(0), 0)),
            class: record.class,
            prompt: record.prompt.clone(),
        })
    }
}

impl CandidateSource for ProgramSource {
    fn len(&self) -> u64 {
        self.prompts.as_ref().map_or_else(|| self.latents.len(), Prompts::len)
    }

    fn records(&self, range: Range<usize>) -> Result<Vec<CandidateRecord>> {
        let Some(prompts) = &self.prompts else { return Ok(self.latents.records(range)) };
        let record = |(place, prompt): (usize, Option<usize>)| {
            let record = self.latents.records(place..place + 1).pop().unwrap_or_default();
            let prompt = prompt.unwrap_or_default();
            CandidateRecord {
                name: format!("prompt{prompt:04}-{}", record.name),
                // Seeds and rows are below 2^32.
                key: (prompt as u64) << u32::BITS | record.key,
                prompt: prompts.text(prompt).cloned(),
                ..record
            }
        };
        Ok(self.places(range).into_iter().map(record).collect())
    }

    fn work_in(&self, directory: &Path) {
        self.images.work_in(directory);
    }

    fn images(&self, range: Range<usize>, deliver: &mut Deliver, progress: &dyn Progress) -> Result<()> {
        let records = self.records(range.clone())?;
        let mut wanted = range.zip(&records).map(|(number, record)| self.wanted(number, record));
        let mut done = 0;
        let mut take = |images: Vec<(u64, _)>| {
            done += images.len();
            let delivered = images.into_iter().map(|(id, image)| Delivered { number: id as usize, image });
            deliver(delivered.collect())?;
            progress.under_way(done as f64);
            Ok(())
        };
        self.images.make(&mut wanted, &mut take, progress)
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        let Some(space) = &self.space else { return Ok(None) };
        let value = |place: usize| match &self.latents.origin {
            LatentOrigin::Rows { values, .. } => Ok(values.narrow(0, place, 1)?),
            LatentOrigin::Seeds(seeds) => {
                let seed: Vec<u32> = seeds.at(place..place + 1).collect();
                latents_of_seeds(space, &seed, self.latents.dtype, &self.latents.device)
            }
        };
        let values = self.places(range).into_iter().map(|(place, _)| value(place));
        latent_array(&Tensor::cat(&values.collect::<Result<Vec<_>>>()?, 0)?).map(Some)
    }
}
