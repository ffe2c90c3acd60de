//! Generators and discriminators: two small traits, one file and one line of [`FAMILIES`] for each family, latents from seeds.
//! Images are in -1..=1; parameters keep their official names, so that published weights load unchanged and are written back so.
//! Everything above this room works on the traits and knows no family by name.
//!
//! ```
//! use candle_core::{DType, Device};
//! use pseudo_density::generate::{Conditions, GeneratorRequest, Seeds, initialise, latents_of_seeds, pixels};
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("config.json");
//! # std::fs::write(&path, r#"{"family": "mlp-gan", "generator": {"widths": [8, 16, 49], "image": [1, 7, 7]}}"#).unwrap();
//! // `load` reads trained weights; this network has random ones.
//! let generator = initialise(&path, 0, &GeneratorRequest::default())?;
//! let seeds: Vec<u32> = "0-9,42".parse::<Seeds>()?.iter().collect();
//! for batch in seeds.chunks(4) {
//!     let latents = latents_of_seeds(&generator.spaces()[0], batch, DType::F32, &Device::Cpu)?;
//!     let keys: Vec<u64> = batch.iter().map(|&seed| seed.into()).collect();
//!     let images = generator.generate(&latents, &Conditions { keys: Some(&keys), ..Conditions::default() })?;
//!     let for_extractors = pixels::to_unit_rgb(&images)?; // [B, 3, H, W] in 0..=1
//!     let for_files = pixels::to_bytes(&images, generator.quantization())?;
//!     assert_eq!((for_extractors.dim(1)?, for_files[0].len()), (3, 49));
//! }
//! # Ok::<(), pseudo_density::Error>(())
//! ```

mod config;
mod dcgan;
#[cfg(test)]
mod dcgan_tests;
mod diffusers;
mod diffusion;
mod gradient;
mod guided;
mod latents;
mod layers;
mod load;
mod mlp_gan;
mod numpy;
pub mod pixels;
mod projected;
mod random;
mod seeds;
mod stylegan;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod training;
mod traits;
mod vae;
mod variables;

pub use config::Config;
pub use gradient::{ValueAndGradient, value_and_gradient};
pub use latents::{latents_of_seeds, read_latents};
pub use load::{
    GeneratorRequest, Network, Networks, Sampler, SamplerRequest, Snapshot, initialise,
    initialise_discriminator, load, load_all, load_discriminator, written_family,
};
pub use numpy::RandomState;
pub use seeds::Seeds;
pub use training::{GanLoss, Training};
pub use traits::{
    Conditions, Denoiser, Discriminator, Generator, ImageShape, LatentSpace, Mode, NoiseMode, Prior,
    Quantization, Truncation, find_space,
};
pub use variables::{Builder, Init, Parameter, Variables};

use crate::error::{Error, Result};
use crate::formats::StateDict;
use crate::formats::torch::ModuleDescription;

/// Which of a family's networks a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It makes images.
    Generator,
    /// It judges them.
    Discriminator,
}

/// Makes a generator from its configuration, its numbers and, for diffusion models, the wanted sampler.
pub type BuildGenerator = fn(&Config, Builder, &SamplerRequest) -> Result<Box<dyn Generator>>;

/// Makes a discriminator from its configuration and its numbers.
pub type BuildDiscriminator = fn(&Config, Builder) -> Result<Box<dyn Discriminator>>;

/// The part of `config.json` from a pickled module, the tensors in it, and for a discriminator the generator beside it.
pub type Describe =
    fn(&ModuleDescription, &StateDict, Role, Option<&ModuleDescription>) -> Result<serde_json::Value>;

/// A family of networks.
pub struct Family {
    /// The name of `--arch` and of `family` in `config.json`.
    pub name: &'static str,
    /// One line for a person.
    pub about: &'static str,
    /// What a weights file holds, where the names of its tensors leave no doubt.
    pub recognise: fn(&StateDict) -> Option<Role>,
    /// Makes the generator.
    pub generator: BuildGenerator,
    /// Makes the discriminator, where the family has one.
    pub discriminator: Option<BuildDiscriminator>,
    /// The configuration that an official checkpoint's description of its modules amounts to, where such files are read.
    pub official: Option<Describe>,
    /// How its program trains it.
    pub training: Training,
}

/// Every family that `--arch` knows.
pub const FAMILIES: &[Family] = &[
    mlp_gan::FAMILY,
    vae::FAMILY,
    dcgan::FAMILY,
    diffusers::FAMILY,
    guided::IDDPM,
    guided::ADM,
    stylegan::STYLEGAN2,
    stylegan::STYLEGAN3,
    projected::FAMILY,
];

/// The family of this name.
///
/// # Errors
/// [`Error::Usage`] with the known names.
pub fn family(name: &str) -> Result<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        Error::usage(format!("there is no generator architecture `{name}`"), format!("known are {}", names()))
    })
}

fn names() -> String {
    FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ")
}
