//! From a latent, a seed or a file to an image and its density: the one way that sampling, perturbing and fine-tuning take.
//!
//! A [`CandidateSource`] numbers its candidates, knows a [`CandidateRecord`] of each before its image is made, and delivers images in
//! any order, as pixels or as files. [`GeneratorSource`] makes them here from a [`LatentSource`], [`ProgramSource`] has another
//! program make them; [`PoolSource`] has them already.
//! What is scored is always the image as it is written, in 8 bits ([`render()`]), so that scoring the files gives the same numbers.
//! A [`Pilot`] tells how dense generated images are around an image.
//! A [`SecondLook`] says whether a candidate is a copy.
//! A [`DensityScorer`] takes images to features and densities; [`ReferenceDensity`] starts from features and gives gradients.

mod density;
mod features;
mod generator_source;
mod gradient;
mod image;
mod kept_source;
mod latents;
mod pilot;
mod pool_source;
mod program;
mod record;
mod render;
mod scorer;
mod second_look;
mod source;

pub(crate) use density::Density;
pub use density::ReferenceDensity;
pub use features::features_of_candidates;
pub(crate) use features::watched_features;
pub(crate) use features::{features_of, join_rows};
pub use generator_source::GeneratorSource;
pub(crate) use gradient::{Evaluation, evaluate, evaluate_with_gradient, image_features_with_slope};
pub(crate) use image::CandidateImage;
pub(crate) use kept_source::KeptSource;
pub(crate) use latents::latent_array;
pub use latents::{LatentBatch, LatentOrigin, LatentSource};
pub(crate) use pilot::Pilot;
pub(crate) use pool_source::PoolSource;
pub(crate) use program::{ProgramGenerator, ProgramSource, PromptFile, PromptOrder, Prompts};
pub(crate) use record::{CandidateRecord, CandidateScores, candidate_table, read_candidate_table};
pub(crate) use render::render;
pub use scorer::DensityScorer;
pub(crate) use second_look::{CopyOf, KeptPictures, LOOKED_TOGETHER, Looked, SecondLook};
#[cfg(test)]
pub(crate) use source::Deliver;
pub(crate) use source::{CandidateSource, Delivered, each_image_once};
