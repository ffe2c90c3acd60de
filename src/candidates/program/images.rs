//! Images that a program makes of requests: the way from a request to a file to an image.

use super::picture::picture;
use crate::candidates::image::CandidateImage;
use crate::error::{Error, Result};
use crate::formats::npy::write_npy_unsynced;
use crate::formats::scratch::scratch_directory;
use crate::generate::{Answered, GeneratorProgram, ProgramInfo, Request};
use crate::progress::Progress;
use ndarray::ArrayD;
use rayon::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tempfile::TempDir;

/// What an image is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// What the request is named by: no two that are open have the same.
    pub id: u64,
    /// The seed.
    pub seed: u64,
    /// The latent, where there is one.
    pub latent: Option<ArrayD<f32>>,
    /// The class, where there is one.
    pub class: Option<u32>,
    /// The prompt, where there is one.
    pub prompt: Option<String>,
}

/// Takes images as they come, each with the id of its request.
pub(super) type Take<'a> = dyn FnMut(Vec<(u64, CandidateImage)>) -> Result<()> + 'a;

/// A program with the folder that its images pass through.
pub(super) struct ProgramImages {
    program: Mutex<GeneratorProgram>,
    info: ProgramInfo,
    /// Requests that are open at once.
    most_open: usize,
    /// Where the folder is made.
    place: Mutex<PathBuf>,
    folder: OnceLock<TempDir>,
}

/// What a lock holds, whatever became of the thread that held it.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProgramImages {
    /// `most_open` requests are sent before the first is answered.
    pub(super) fn new(program: GeneratorProgram, most_open: usize) -> Self {
        Self {
            info: program.info().clone(),
            program: Mutex::new(program),
            most_open: most_open.max(1),
            place: Mutex::new(std::env::temp_dir()),
            folder: OnceLock::new(),
        }
    }

    /// What the program has said of itself.
    pub(super) fn info(&self) -> &ProgramInfo {
        &self.info
    }

    /// Makes the folder in this directory, unless it is there already.
    pub(super) fn work_in(&self, directory: &Path) {
        directory.clone_into(&mut held(&self.place));
    }

    /// Where images are written to, an absolute path.
    fn folder(&self) -> Result<PathBuf> {
        let folder = match self.folder.get() {
            Some(folder) => folder,
            None => {
                let made = scratch_directory(&held(&self.place))?;
                self.folder.get_or_init(|| made)
            }
        };
        std::path::absolute(folder.path()).map_err(Error::io("find", folder.path()))
    }

    /// Asks for images, and gives them to `take` in the order in which they come, those that came together at once.
    ///
    /// # Errors
    /// As [`GeneratorProgram::answer`]; [`Error::Program`] naming the request whose image cannot be read; what `wanted` and `take` return.
    /// Images that came before something failed have been given to `take`.
    pub(super) fn make(
        &self,
        wanted: &mut dyn Iterator<Item = Result<Wanted>>,
        take: &mut Take,
        progress: &dyn Progress,
    ) -> Result<()> {
        let folder = self.folder()?;
        let mut program = held(&self.program);
        while self.fill(&mut program, wanted, &folder)? > 0 {
            let (mut answers, mut failure) = (vec![program.answer(progress)?], None);
            // Images that came meanwhile go together; the program has something to do until they are looked at.
            while answers.len() < self.most_open {
                self.fill(&mut program, wanted, &folder)?;
                match program.answer_at_hand(progress) {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) => break,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            self.fill(&mut program, wanted, &folder)?;
            let (images, unreadable) = self.read(&program, answers);
            take(images)?;
            if let Some(error) = unreadable.or(failure) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sends requests until as many are open as may be, and says how many are.
    fn fill(
        &self,
        program: &mut GeneratorProgram,
        wanted: &mut dyn Iterator<Item = Result<Wanted>>,
        folder: &Path,
    ) -> Result<usize> {
        while program.open() < self.most_open
            && let Some(wanted) = wanted.next()
        {
            program.ask(request(wanted?, folder)?)?;
        }
        Ok(program.open())
    }

    /// The images of answers, those that are there; and the first error.
    fn read(
        &self,
        program: &GeneratorProgram,
        answers: Vec<Answered>,
    ) -> (Vec<(u64, CandidateImage)>, Option<Error>) {
        let range = self.info.range;
        let read = |answered: &Answered| -> Result<CandidateImage, String> {
            let image = picture(&answered.output, range);
            let latent = answered.request.latent.as_ref();
            let files = [Some(&answered.output), Some(&answered.request.output), latent];
            // What cannot be removed goes with its folder.
            files.into_iter().flatten().for_each(|path| drop(fs::remove_file(path)));
            image
        };
        let read: Vec<_> = answers.par_iter().map(read).collect();
        let (mut images, mut failure) = (Vec::new(), None);
        for (answered, image) in answers.into_iter().zip(read) {
            match image {
                Ok(image) => images.push((answered.request.id, image)),
                Err(reason) => {
                    let name = answered.output.file_name().unwrap_or_default().to_string_lossy();
                    let what = answered.request.describe();
                    let reason =
                        format!("answered {what} without an image that can be read: {name}: {reason}");
                    failure.get_or_insert_with(|| program.failure(reason));
                }
            }
        }
        (images, failure)
    }
}

/// The request for an image, whose latent is written to the folder.
fn request(wanted: Wanted, folder: &Path) -> Result<Request> {
    let Wanted { id, seed, latent, class, prompt } = wanted;
    let file = |extension: &str| folder.join(format!("{id:06}.{extension}"));
    let write = |latent: ArrayD<f32>| {
        let path = file("npy");
        write_npy_unsynced(&path, &latent).map(|()| path)
    };
    Ok(Request { id, seed, output: file("png"), latent: latent.map(write).transpose()?, class, prompt })
}
