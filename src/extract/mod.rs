//! Networks that turn images into features.
pub mod weights;
