//! Pseudo density of images: how typical each image of a collection is, and what to do with that number.
//!
//! # The rooms
//!
//! | module | what it is for |
//! |---|---|
//! | [`images`] | find, decode, orient, resize as Pillow does |
//! | [`extract`] | networks that turn images into features |
//! | [`neighbors`] | nearest neighbours, exact and HNSW |
//! | [`density`] | mean neighbour distance, pseudo density, predictor |
//! | [`mod@reference`] | the reference directory that ties them together |
//! | [`ops`] | fast and differentiable tensor operations |
//! | [`formats`] | npy, npz, safetensors, torch checkpoints, tables |
//! | [`shards`] | how work is cut into chunks and put together again |

#![warn(missing_docs)]

pub mod density;
pub mod error;
pub mod extract;
pub mod formats;
pub mod images;
pub mod neighbors;
pub mod ops;
pub mod progress;
pub mod reference;
pub mod shards;

pub use error::{Error, Result};
