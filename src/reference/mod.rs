//! The reference directory: what ties features, index, densities and predictor of an image set together.
//! [`embed`] makes features (in memory, or on disk and resumable), [`score`] densities, [`Reference`] is all of it on disk.
//! Every file is standard; the manifest says what it was made with, and anything made otherwise is refused.

pub mod embed;
mod import;
mod index;
mod manifest;
pub mod score;
mod score_builder;
mod scorer;
mod scores;
pub mod sharded;
mod sharded_graphs;
pub mod sharded_index;
mod sharded_neighbors;
pub mod sharded_sets;
mod store;

pub use import::{import, row_name};
pub use index::{IndexOptions, index};
pub use manifest::Manifest;
pub use scorer::{DensityBy, Scorer};
pub use store::{Reference, is_reference, read_skipped};

/// Names of the files of a reference directory.
pub(crate) mod files {
    pub const FEATURES: &str = "features.npy";
    pub const IMAGES: &str = "images.csv";
    pub const SKIPPED: &str = "skipped.csv";
    pub const SCORES: &str = "scores.csv";
    pub const DUPLICATES: &str = "duplicates.csv";
    pub const PREDICTOR: &str = "predictor.safetensors";
    pub use crate::runs::{MANIFEST, PARTIAL};
}
