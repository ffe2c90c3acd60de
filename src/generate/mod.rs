//! Generators and discriminators: two small traits, one file or folder and one line of [`FAMILIES`] for each family, latents from seeds.
//! Images are in -1..=1; parameters keep their official names, so that published weights load unchanged and are written back so.
//! All other modules work on the traits and know no family by name.
//!
//! ```
//! use candle_core::{DType, Device};
//! use pseudo_density::{ForwardOptions, GeneratorRequest, Seeds, initialise, latents_of_seeds, pixels};
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("config.json");
//! # std::fs::write(&path, r#"{"family": "mlp-gan", "generator": {"widths": [8, 16, 49], "image": [1, 7, 7]}}"#).unwrap();
//! // `load` reads trained weights; this network has random ones.
//! let generator = initialise(&path, 0, &GeneratorRequest::default())?;
//! let seeds: Vec<u32> = "0-9,42".parse::<Seeds>()?.iter().collect();
//! for batch in seeds.chunks(4) {
//!     let latents = latents_of_seeds(&generator.info().spaces[0], batch, DType::F32, &Device::Cpu)?;
//!     let keys: Vec<u64> = batch.iter().map(|&seed| seed.into()).collect();
//!     let mut options = ForwardOptions::default();
//!     options.keys = Some(&keys);
//!     let images = generator.generate(&latents, &options)?;
//!     let for_extractors = pixels::to_unit_rgb(&images)?; // [B, 3, H, W] in 0..=1
//!     let for_files = pixels::to_bytes(&images, generator.info().quantization)?;
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
mod directory;
mod family;
mod gradient;
mod guided;
mod info;
mod latents;
mod layers;
mod load;
mod mlp_gan;
mod numpy;
mod onnx;
mod options;
pub mod pixels;
mod program;
mod projected;
mod registry;
mod sampler;
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

pub(crate) use directory::Network;
pub use directory::Snapshot;
pub(crate) use gradient::value_and_gradient;
pub(crate) use info::Quantization;
pub use info::{GeneratorInfo, ImageShape, LatentSpace};
pub use latents::latents_of_seeds;
pub(crate) use latents::read_latents;
pub use load::{GeneratorRequest, initialise, initialise_discriminator, load, load_discriminator};
pub(crate) use load::{Origin, load_all, load_with_origin, refuse_onnx, written_family};
pub use numpy::RandomState;
pub(crate) use onnx::{OnnxGeneratorRequest, OnnxInput, ValueRange};
pub use options::{ForwardOptions, Mode};
pub(crate) use options::{NoiseMode, TrainContext, Truncation};
pub(crate) use program::{
    Answered, GeneratorProgram, ProgramCommand, ProgramInfo, Request, kill_all as kill_programs,
};
pub(crate) use registry::{FAMILIES, family};
pub(crate) use sampler::SamplerRequest;
pub use seeds::Seeds;
pub use training::GanLoss;
pub(crate) use training::Training;
pub use traits::{Discriminator, Generator};
pub use variables::Variables;
pub(crate) use variables::{Builder, Init};
