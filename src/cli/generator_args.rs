//! Arguments that say which generator makes the images, and from what: for every command that generates.

use super::similar;
use crate::error::{Error, Result};
use crate::formats::digest::sha256_of_file;
use crate::generate::{
    self, ForwardOptions, Generator, GeneratorRequest, LatentSpace, NoiseMode, SamplerRequest, Seeds,
    Truncation, latents_of_seeds, read_latents,
};
use crate::perturb::Latents;
use crate::sampling::{self, Source};
use candle_core::{DType, Tensor};
use clap::{Args, ValueEnum};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Which generator, and what it makes images from.
#[derive(Args)]
#[command(next_help_heading = "Generator")]
pub struct GeneratorArgs {
    /// Generator directory (config.json and safetensors), diffusers pipeline, or weights file
    #[arg(long, value_name = "G")]
    generator: Option<PathBuf>,
    /// Architecture of the generator, where its file does not say
    #[arg(long, value_name = "NAME", value_parser = similar::arch)]
    arch: Option<String>,
    /// Configuration file of the generator (its sizes), where the weights do not tell them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seeds of the latents, which are `numpy.random.RandomState(seed).randn(1, z_dim)`
    #[arg(long, value_name = "0-99,200", conflicts_with = "latents")]
    seeds: Option<Seeds>,
    /// File of latents to use instead of seeds, [n, z_dim] or [n, C, H, W]
    #[arg(long, value_name = "FILE.npy")]
    latents: Option<PathBuf>,
    /// Class of the images, where the generator has classes
    #[arg(long, value_name = "N")]
    class: Option<u32>,
    /// Denoising steps of a diffusion model [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ddim_steps: Option<u32>,
    /// Truncation psi: factor on the distance of a latent from the mean latent [default: 1]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true)]
    trunc: Option<f64>,
    /// Noise inputs of the layers, where the generator has them
    #[arg(long, default_value = "const")]
    noise_mode: NoiseChoice,
    /// Latent space to work in, such as z or w [default: the generator's first]
    #[arg(long, value_name = "NAME")]
    space: Option<String>,
}

/// Noise between the layers of a generator.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum NoiseChoice {
    /// Stored with the weights
    Const,
    /// None
    None,
    /// Drawn for each image
    Random,
}

/// The reference of a command that needs one.
pub fn named(reference: Option<&Path>) -> Result<&Path> {
    reference.ok_or_else(|| {
        Error::usage(
            "no reference was named",
            "make one with `pd embed IMAGES -o ref/ && pd index ref/`, and name it: --reference ref/",
        )
    })
}

/// Batch after batch, each made when it is asked for.
pub type LatentBatches<'a> = Box<dyn Iterator<Item = Result<Latents>> + 'a>;

impl GeneratorArgs {
    /// What the library is asked for beside the path.
    pub fn request(&self) -> GeneratorRequest {
        GeneratorRequest {
            arch: self.arch.clone(),
            config: self.config.clone(),
            sampler: SamplerRequest { sampler: None, steps: self.ddim_steps.map(|n| n as usize) },
            device: super::common::device(),
            ..GeneratorRequest::default()
        }
    }

    /// Whether a generator was named.
    pub fn is_named(&self) -> bool {
        self.generator.is_some()
    }

    /// Takes this generator, where none was named.
    pub fn take(&mut self, generator: PathBuf) {
        self.generator.get_or_insert(generator);
    }

    /// Reads the generator.
    pub fn open(&self) -> Result<Box<dyn Generator>> {
        match &self.generator {
            Some(path) => generate::load(path, &self.request()),
            None => Err(Error::usage(
                "no generator was named",
                "--generator G names its directory or weights file",
            )),
        }
    }

    /// The space that latents are in.
    pub fn space<'g>(&self, generator: &'g dyn Generator) -> Result<&'g LatentSpace> {
        generator.info().space(self.space.as_deref())
    }

    /// What every image has in common; classes and keys come with each batch of [`Latents`]. Fails where the generator does not take it.
    pub fn conditions(&self, generator: &dyn Generator) -> Result<ForwardOptions<'_>> {
        let conditions = self.first_conditions();
        // Latents that are brought into another space arrive there truncated.
        let mapped = self.latents.is_none() && self.space(generator)? != generator.info().space(None)?;
        let conditions = ForwardOptions {
            space: self.space.as_deref(),
            truncation: conditions.truncation.filter(|_| !mapped),
            ..conditions
        };
        let dims: Vec<usize> = [1].into_iter().chain(self.space(generator)?.shape.iter().copied()).collect();
        let one = Tensor::zeros(dims, DType::F32, &self.request().device)?;
        let classes = self.class.map(|class| [class]);
        let classes = classes.as_ref().map(|classes| classes.as_slice());
        generator.info().check(&one, &ForwardOptions { classes, keys: Some(&[0]), ..conditions })?;
        Ok(conditions)
    }

    fn first_conditions(&self) -> ForwardOptions<'static> {
        ForwardOptions {
            truncation: self.trunc.map(|psi| Truncation { psi, cutoff: None }),
            noise: match self.noise_mode {
                NoiseChoice::Const => NoiseMode::Const,
                NoiseChoice::None => NoiseMode::None,
                NoiseChoice::Random => NoiseMode::Random,
            },
            ..ForwardOptions::default()
        }
    }

    /// How many latents there are; `default_seeds` where neither seeds nor a file were given.
    pub fn count(&self, generator: &dyn Generator, default_seeds: &Seeds) -> Result<usize> {
        let count = match &self.latents {
            Some(path) => {
                let all = read_latents(path, self.space(generator)?, DType::F32, &self.request().device)?;
                all.dim(0)? as u64
            }
            None => self.seeds.as_ref().unwrap_or(default_seeds).count(),
        };
        usize::try_from(count).map_err(|_| Error::usage(format!("{count} seeds are too many"), "name fewer"))
    }

    /// Those of a range, in batches of `size`. Seeds become latents batch by batch, so that their number takes no memory.
    pub fn latents<'a>(
        &'a self,
        generator: &'a dyn Generator,
        size: usize,
        default_seeds: &'a Seeds,
        range: Range<usize>,
    ) -> Result<LatentBatches<'a>> {
        let space = self.space(generator)?;
        let device = self.request().device;
        let classes = move |count: usize| self.class.map(|class| vec![class; count]);
        if let Some(path) = &self.latents {
            let all = read_latents(path, space, DType::F32, &device)?;
            let batches = range.clone().step_by(size.max(1)).map(move |first| {
                let rows = size.min(range.end - first);
                Ok(Latents {
                    values: all.narrow(0, first, rows)?,
                    seeds: None,
                    keys: (first as u64..).take(rows).collect(),
                    classes: classes(rows),
                })
            });
            return Ok(Box::new(batches));
        }
        let first_space = generator.info().space(None)?;
        let mut rest = self.seeds.as_ref().unwrap_or(default_seeds).at(range);
        let batches = std::iter::from_fn(move || {
            let seeds: Vec<u32> = rest.by_ref().take(size.max(1)).collect();
            (!seeds.is_empty()).then_some(seeds)
        });
        let batches = batches.map(move |seeds| {
            let keys: Vec<u64> = seeds.iter().map(|&seed| seed.into()).collect();
            let classes = classes(seeds.len());
            let mut latents = latents_of_seeds(first_space, &seeds, DType::F32, &device)?;
            if space != first_space {
                let conditions = ForwardOptions {
                    classes: classes.as_deref(),
                    keys: Some(&keys),
                    ..self.first_conditions()
                };
                latents = generator.map_latents(&latents, space.name, &conditions)?;
            }
            Ok(Latents { values: latents, seeds: Some(seeds), keys, classes })
        });
        Ok(Box::new(batches))
    }

    /// The candidates that are drawn from: each seed or row is one.
    pub fn source<'a>(&self, generator: &'a dyn Generator, default_seeds: &Seeds) -> Result<Source<'a>> {
        let request = self.request();
        let latents = match &self.latents {
            Some(path) => sampling::Latents::Given(read_latents(
                path,
                self.space(generator)?,
                request.dtype,
                &request.device,
            )?),
            None if self.space.is_some() => {
                return Err(Error::usage(
                    "--space says what the numbers of --latents are, and seeds were asked for",
                    "leave --space out: images of seeds are the same in every space",
                ));
            }
            None => sampling::Latents::Seeds(self.seeds.as_ref().unwrap_or(default_seeds).clone()),
        };
        let conditions = self.conditions(generator)?;
        Ok(Source {
            generator,
            latents,
            space: self.space.clone(),
            class: self.class,
            truncation: conditions.truncation,
            noise: conditions.noise,
            dtype: request.dtype,
            device: request.device,
        })
    }

    /// Whether candidates were named one by one.
    pub fn lists_candidates(&self) -> bool {
        self.seeds.is_some() || self.latents.is_some()
    }

    /// Where the generator is, for commands that are printed.
    pub fn shown(&self) -> String {
        self.generator.as_ref().map_or("G".into(), |path| path.display().to_string())
    }

    /// What of these arguments decides results, without a path in it: for a record of the run. `default_seeds` as in [`Self::latents`].
    pub fn describe(&self, generator: &dyn Generator, default_seeds: &Seeds) -> Result<serde_json::Value> {
        let noise = self.noise_mode.to_possible_value().map(|value| value.get_name().to_owned());
        Ok(serde_json::json!({
            "family": generator.info().family,
            "weights_sha256": generator.weights()?.digest()?,
            "stages": generator.info().stages,
            "seeds": match self.latents {
                Some(_) => None,
                None => Some(self.seeds.as_ref().unwrap_or(default_seeds).to_string()),
            },
            "latents_sha256": self.latents.as_ref().map(sha256_of_file).transpose()?,
            "class": self.class,
            "trunc": self.trunc,
            "noise_mode": noise,
            "space": self.space(generator)?.name,
        }))
    }
}
