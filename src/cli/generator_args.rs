//! Arguments that name a generator and say what its images depend on.

use clap::{Args, ValueEnum};
use pseudo_density::error::{Error, Result};
use pseudo_density::generate::{
    Generator, GeneratorRequest, NoiseMode, Sampler, SamplerRequest, Seeds, Truncation, find_space, load,
    read_latents,
};
use pseudo_density::sampling::{Latents, Source};
use std::path::PathBuf;

/// A generator and its latents.
#[derive(Args)]
#[command(next_help_heading = "Generator")]
pub struct GeneratorArgs {
    /// Architecture, where the file does not say (mlp-gan, vae, dcgan)
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Configuration, where sizes cannot be told from the tensors
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seeds of the candidates, as `numpy.random.RandomState(seed).randn` draws them: 0-99,200 [default: from 0 on]
    #[arg(long, value_name = "LIST", conflicts_with = "latents")]
    pub seeds: Option<Seeds>,
    /// Latents of the candidates instead of seeds: [n, z_dim], or [n, C, H, W] for a diffusion model
    #[arg(long, value_name = "FILE.npy")]
    pub latents: Option<PathBuf>,
    /// Class of the images, for a generator that has classes
    #[arg(long, value_name = "N")]
    class: Option<u32>,
    /// Steps of the DDIM sampler of a diffusion model [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ddim_steps: Option<u32>,
    /// Truncation psi: 1 changes nothing, 0 gives the average
    #[arg(long, value_name = "PSI")]
    trunc: Option<f64>,
    /// Noise between the layers, for generators that have it
    #[arg(long, default_value = "const")]
    noise_mode: NoiseChoice,
    /// Latent space of --latents [default: the one that is drawn from]
    #[arg(long, value_name = "NAME", requires = "latents")]
    space: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NoiseChoice {
    /// Stored with the weights
    Const,
    /// None
    None,
    /// Drawn for each image, by its seed
    Random,
}

impl GeneratorArgs {
    /// Loads the generator.
    pub fn load(&self, path: &std::path::Path) -> Result<Box<dyn Generator>> {
        load(path, &self.request())
    }

    fn request(&self) -> GeneratorRequest {
        let sampler = SamplerRequest {
            sampler: self.ddim_steps.map(|_| Sampler::Ddim),
            steps: self.ddim_steps.map(|n| n as usize),
        };
        GeneratorRequest {
            arch: self.arch.clone(),
            config: self.config.clone(),
            sampler,
            ..GeneratorRequest::default()
        }
    }

    /// The candidates of a loaded generator.
    pub fn source<'a>(&self, generator: &'a dyn Generator) -> Result<Source<'a>> {
        let request = self.request();
        let latents = match (&self.seeds, &self.latents) {
            (_, Some(path)) => {
                let space = find_space(generator.spaces(), self.space.as_deref())?;
                Latents::Given(read_latents(path, space, request.dtype, &request.device)?)
            }
            (Some(seeds), None) => Latents::Seeds(seeds.clone()),
            (None, None) => Latents::Seeds(Seeds::consecutive(0, u64::from(u32::MAX))?),
        };
        if self.trunc.is_some_and(|psi| !psi.is_finite()) {
            return Err(Error::usage("--trunc is not a number", ""));
        }
        Ok(Source {
            generator,
            latents,
            space: self.space.clone(),
            class: self.class,
            truncation: self.trunc.map(|psi| Truncation { psi, cutoff: None }),
            noise: match self.noise_mode {
                NoiseChoice::Const => NoiseMode::Const,
                NoiseChoice::None => NoiseMode::None,
                NoiseChoice::Random => NoiseMode::Random,
            },
            dtype: request.dtype,
            device: request.device,
        })
    }

    /// Whether candidates were named one by one.
    pub fn lists_candidates(&self) -> bool {
        self.seeds.is_some() || self.latents.is_some()
    }

    /// Everything that the images depend on beside the generator's weights, for telling runs apart.
    pub fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "arch": self.arch,
            "seeds": self.seeds.as_ref().map(ToString::to_string),
            "latents": self.latents.as_ref().map(|p| p.file_name().map(|n| n.to_string_lossy().into_owned())),
            "class": self.class,
            "ddim_steps": self.ddim_steps,
            "trunc": self.trunc,
            "noise_mode": format!("{:?}", self.noise_mode).to_lowercase(),
            "space": self.space,
        })
    }
}
