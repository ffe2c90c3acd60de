//! Candidates that another program makes, of prompts, seeds and latents.

use super::picture::picture;
use super::prompts::Prompts;
use crate::candidates::image::CandidateImage;
use crate::candidates::latents::{LatentOrigin, LatentSource};
use crate::candidates::record::CandidateRecord;
use crate::candidates::source::{CandidateSource, Deliver, Delivered};
use crate::error::{Error, Result};
use crate::formats::npy::write_npy_unsynced;
use crate::formats::scratch::scratch_directory;
use crate::generate::{
    Answered, GeneratorProgram, LatentSpace, ProgramInfo, Request, latents_of_seeds,
};
use crate::progress::Progress;
use candle_core::Tensor;
use ndarray::ArrayD;
use rayon::prelude::*;
use std::cell::{OnceCell, RefCell};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A program with the seeds or latents that its candidates are made of.
pub(crate) struct ProgramSource {
    program: RefCell<GeneratorProgram>,
    /// Names, keys and classes; latents are made here, for a program that takes any.
    latents: LatentSource,
    /// Each of them is made with the first seeds or latents.
    prompts: Option<Prompts>,
    space: Option<LatentSpace>,
    range: Option<[f64; 2]>,
    /// Requests that are open at once.
    most_open: usize,
    /// Where the folder is made that images are written to.
    place: RefCell<PathBuf>,
    folder: OnceCell<TempDir>,
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
        let (space, range) = (info.space(), info.range);
        if let Some(class) = latents.class
            && info.classes.is_none_or(|count| class >= count)
        {
            let reason = match info.classes {
                Some(count) => format!("{} has {count} classes, numbered from 0", info.name),
                None => format!("{} has not said that it has classes", info.name),
            };
            return Err(Error::usage(reason, "its answer to {\"hello\": 1} may hold \"classes\": their number"));
        }
        if space.is_none() && matches!(latents.origin, LatentOrigin::Rows { .. }) {
            return Err(Error::usage(
                format!("{} has not said that it takes latents", info.name),
                "its answer to {\"hello\": 1} may hold \"latent\": their shape",
            ));
        }
        let place = RefCell::new(std::env::temp_dir());
        let program = RefCell::new(program);
        Ok(Self {
            program,
            latents,
            prompts,
            space,
            range,
            most_open: most_open.max(1),
            place,
            folder: OnceCell::new(),
        })
    }

    /// What the program has said of itself.
    pub(crate) fn info(&self) -> ProgramInfo {
        self.program.borrow().info().clone()
    }

    /// The prompts, where there are any.
    pub(crate) fn prompts(&self) -> Option<&Prompts> {
        self.prompts.as_ref()
    }

    /// Where images are written to, an absolute path.
    fn folder(&self) -> Result<PathBuf> {
        let folder = match self.folder.get() {
            Some(folder) => folder,
            None => {
                let made = scratch_directory(&self.place.borrow())?;
                self.folder.get_or_init(|| made)
            }
        };
        std::path::absolute(folder.path()).map_err(Error::io("find", folder.path()))
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

    /// The latents of a range `[B, …]`, for a program that takes any.
    fn values(&self, range: Range<usize>) -> Result<Option<Tensor>> {
        let Some(space) = &self.space else { return Ok(None) };
        let value = |place: usize| match &self.latents.origin {
            LatentOrigin::Rows { values, .. } => Ok(values.narrow(0, place, 1)?),
            LatentOrigin::Seeds(seeds) => {
                let seed: Vec<u32> = seeds.at(place..place + 1).collect();
                latents_of_seeds(space, &seed, self.latents.dtype, &self.latents.device)
            }
        };
        let values = self.places(range).into_iter().map(|(place, _)| value(place));
        Ok(Some(Tensor::cat(&values.collect::<Result<Vec<_>>>()?, 0)?))
    }

    /// What the program is asked for.
    fn request(&self, number: usize, record: &CandidateRecord, folder: &Path) -> Result<Request> {
        let file = |extension: &str| folder.join(format!("{number:06}.{extension}"));
        let latent = match self.values(number..number + 1)? {
            Some(values) => {
                let shape = values.dims().get(1..).unwrap_or_default().to_vec();
                let path = file("npy");
                write_npy_unsynced(&path, &array(&values, shape)?)?;
                Some(path)
            }
            None => None,
        };
        Ok(Request {
            id: number as u64,
            seed: record.seed.map_or(record.key, u64::from),
            output: file("png"),
            latent,
            class: record.class,
            prompt: record.prompt.clone(),
        })
    }

    /// The images of answers, those that are there; and the first error.
    fn read(&self, answers: Vec<Answered>) -> (Vec<Delivered>, Option<Error>) {
        let range = self.range;
        let read = |answered: &Answered| -> Result<CandidateImage, String> {
            let image = picture(&answered.output, range);
            // What cannot be removed is so with its folder.
            let files = [Some(&answered.output), Some(&answered.request.output), answered.request.latent.as_ref()];
            files.into_iter().flatten().for_each(|path| drop(fs::remove_file(path)));
            image
        };
        let images: Vec<_> = answers.par_iter().map(read).collect();
        let (mut delivered, mut failure) = (Vec::new(), None);
        for (answered, image) in answers.into_iter().zip(images) {
            match image {
                Ok(image) => delivered.push(Delivered { number: answered.request.id as usize, image }),
                Err(reason) => {
                    let name = answered.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let what = answered.request.describe();
                    let reason = format!("answered {what} without an image that can be read: {name}: {reason}");
                    failure.get_or_insert_with(|| self.program.borrow().failure(reason));
                }
            }
        }
        (delivered, failure)
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
        directory.clone_into(&mut self.place.borrow_mut());
    }

    fn images(&self, range: Range<usize>, deliver: &mut Deliver, progress: &dyn Progress) -> Result<()> {
        let folder = self.folder()?;
        let records = self.records(range.clone())?;
        let mut waiting = range.zip(&records);
        let mut done = 0;
        let fill = |waiting: &mut dyn Iterator<Item = (usize, &CandidateRecord)>| -> Result<usize> {
            let mut program = self.program.borrow_mut();
            while program.open() < self.most_open
                && let Some((number, record)) = waiting.next()
            {
                program.ask(self.request(number, record, &folder)?)?;
            }
            Ok(program.open())
        };
        while fill(&mut waiting)? > 0 {
            let first = self.program.borrow_mut().answer(progress)?;
            let (mut answers, mut failure) = (vec![first], None);
            // Images that came meanwhile go together; the program has something to do until they are scored.
            while answers.len() < self.most_open {
                fill(&mut waiting)?;
                match self.program.borrow_mut().answer_at_hand(progress) {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) => break,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            fill(&mut waiting)?;
            let (delivered, unreadable) = self.read(answers);
            done += delivered.len();
            // What came before something failed is kept.
            deliver(delivered)?;
            if let Some(error) = unreadable.or(failure) {
                return Err(error);
            }
            progress.under_way(done as f64);
        }
        Ok(())
    }

    fn latents(&self, range: Range<usize>) -> Result<Option<ArrayD<f32>>> {
        let values = self.values(range)?;
        values.map(|values| array(&values, values.dims().to_vec())).transpose()
    }
}

/// The numbers of a tensor in a shape that has as many.
fn array(values: &Tensor, shape: Vec<usize>) -> Result<ArrayD<f32>> {
    let numbers = values.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    ArrayD::from_shape_vec(shape, numbers).map_err(|e| Error::data(format!("latents do not fit: {e}"), ""))
}
