//! The reference directory: what ties features, index, densities and predictor of an image set together.
//! [`embed`] makes features (in memory, or on disk and resumable), [`score`] densities, [`Reference`] is all of it on disk.
//! Every file is standard; the manifest says what it was made with, and anything made otherwise is refused.

mod copies;
mod copy_rows;
mod create;
mod descriptors;
pub(crate) mod embed;
mod import;
mod index;
mod lookalikes;
mod manifest;
mod pictures;
pub(crate) mod score;
mod score_builder;
mod score_pictures;
mod scorer;
mod scores;
pub(crate) mod sharded;
mod sharded_graphs;
pub(crate) mod sharded_index;
mod sharded_neighbors;
pub(crate) mod sharded_sets;
mod store;

pub(crate) use copies::copies_among;
pub use copy_rows::{CopyRow, CopyRows, Keep};
pub(crate) use descriptors::{DescriptorFiles, Descriptors};
pub(crate) use import::import;
pub use import::row_name;
pub use index::{IndexOptions, index};
pub(crate) use lookalikes::ThumbIndex;
pub(crate) use manifest::{LookRecord, Manifest};
pub use pictures::Pictures;
pub(crate) use score_pictures::score_looking;
pub use score_pictures::score_pictures;
pub use scorer::{DensityBy, Scorer};
pub use store::Reference;
pub(crate) use store::{content_digest, is_reference, read_skipped};

/// Names of the files of a reference directory.
pub(crate) mod files {
    pub(crate) const FEATURES: &str = "features.npy";
    pub(crate) const DESCRIPTORS: &str = "descriptors.npy";
    pub(crate) const IMAGES: &str = "images.csv";
    pub(crate) const SKIPPED: &str = "skipped.csv";
    pub(crate) const SCORES: &str = "scores.csv";
    pub(crate) const DUPLICATES: &str = "duplicates.csv";
    /// What was left out of a set, in a part.
    pub(crate) const LEFT_OUT: &str = "left_out.json";
    pub(crate) const PREDICTOR: &str = "predictor.safetensors";
    pub(crate) use crate::runs::{MANIFEST, PARTIAL};
}
