//! Pseudo density of images: how typical each image of a collection is, and what to do with that number.
//!
//! # The rooms
//!
//! | module | what it is for |
//! |---|---|
//! | [`images`] | find, decode, orient, resize as Pillow does |
//! | [`extract`] | networks that turn images into features, and their weights |
//! | [`neighbors`] | nearest neighbours, exact and approximate |
//! | [`density`] | mean neighbour distance, pseudo density, quantiles, groups, predictor |
//! | [`mod@reference`] | the reference directory that ties them together |
//! | [`generate`] | generators and discriminators, latents from seeds, samplers |
//! | [`candidates`] | from a latent, a seed or a file to an image and its density |
//! | [`perturb`] | rule 4: latents moved towards higher or lower density |
//! | [`finetune`] | training with importance sampling: GANs and diffusion models |
//! | [`metrics`] | how a generated set compares with a real one: FID, KID, precision, recall, density, coverage, … |
//! | [`sampling`] | drawing by importance weight, from a generator or a pool; what each setting would give |
//! | [`report`] | plots and pages for people |
//! | [`train`] | what training shares: Adam, schedules, the ranks of a data-parallel run (one process, or several that speak MPI) |
//! | [`ops`] | fast and differentiable tensor operations |
//! | [`device`] | where networks and exact neighbours are computed |
//! | [`formats`] | npy, npz, safetensors, torch checkpoints, tables |
//! | [`shards`] | how work is cut into chunks and put together again |
//!
//! An [`images::ImageSet`] is embedded by an [`extract::LoadedExtractor`] ([`reference::embed`]), its features are scored
//! ([`reference::score`]), and all of it can be kept as a [`reference::Reference`]. Arrows between modules point one way:
//! `reference` uses `density`, `neighbors` and `extract`; these use `images`, `ops`, `formats` and `shards`.
//!
//! # Example
//!
//! ```
//! use candle_core::Device;
//! use ndarray::Array2;
//! use pseudo_density::progress::Silent;
//! use pseudo_density::reference::score::{ScoreOptions, score_set};
//!
//! // Features of 100 images; `reference::embed::embed` makes them from files.
//! let features = Array2::from_shape_fn((100, 8), |(i, j)| ((i * 31 + j * 17) % 101) as f32).into_shared();
//! let scored = score_set(&features, ScoreOptions::default(), &Device::Cpu, &Silent)?;
//! let mean = scored.scores.pseudo_density.iter().sum::<f64>() / 100.0;
//! assert!((mean - 1.0).abs() < 1e-9);
//! # Ok::<(), pseudo_density::Error>(())
//! ```

#![warn(missing_docs)]

mod candidates;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod density;
mod device;
mod error;
mod extract;
mod finetune;
mod formats;
mod generate;
mod images;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internals;
mod metrics;
mod neighbors;
mod ops;
mod perturb;
mod progress;
mod random;
mod reference;
mod remedy;
mod report;
mod sampling;
mod shards;
mod train;

pub use candidates::{
    DensityScorer, GeneratorSource, LatentBatch, LatentOrigin, LatentSource, ReferenceDensity,
};
pub use density::{DensityPredictor, Distribution, Preset, PseudoDensity, Rule, RuleChoice, Threshold};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use extract::{Extractor, ExtractorRequest, LoadedExtractor};
pub use formats::npy::{read_npy, write_npy};
pub use formats::read_features;
pub use generate::{
    ForwardOptions, Generator, GeneratorInfo, GeneratorRequest, LatentSpace, Seeds, Variables, initialise,
    latents_of_seeds, load as load_generator, pixels,
};
pub use images::{
    Alpha, Color, Filter, Fit, ImageSet, Prepared, Preprocessing, RgbImage, load as load_images,
};
pub use metrics::{Evaluation, EvaluationOptions, EvaluationSet, SetContent, evaluate};
pub use neighbors::IndexKind;
pub use perturb::{Direction, Models, Norm, Output, RunOptions, SearchOptions, run as perturb};
pub use progress::{Progress, Silent};
pub use reference::embed::{EmbedOptions, Embedded, embed};
pub use reference::score::{Duplicates, ScoreOptions, Scores, SetScores, score_set};
pub use reference::{DensityBy, IndexOptions, Reference, Scorer, index};
pub use remedy::Remedy;
pub use sampling::Spacing;
pub use sampling::pool::{Chosen, PoolOptions, choose_from_pool};
