//! Networks that turn images into features.
//! A small [`Extractor`] trait, one file per architecture, and the registry [`ARCHITECTURES`] with a line for each.
//! Parameters are asked for by their official names, so that published weights load unchanged.

mod cifar_resnet;
mod efficientnet_lite;
mod lenet;
mod parameters;
mod resnet;
#[cfg(test)]
mod rule;
#[cfg(test)]
mod tests;

pub use parameters::{FileParameters, ParameterSource, Parameters};

use crate::error::Result;
use candle_core::Tensor;

/// A network with frozen weights, differentiable with respect to its images.
pub trait Extractor: Send + Sync {
    /// Width of the features.
    fn dimension(&self) -> usize;

    /// Normalised images `[B, C, H, W]`, as the architecture's preprocessing makes them, to features `[B, D]`.
    /// A row never depends on the rest of its batch.
    ///
    /// # Errors
    /// If the images have another number of channels or are too small.
    fn forward(&self, images: &Tensor) -> Result<Tensor>;
}

/// What is known of an architecture before its weights are read.
pub struct Architecture {
    /// The name of `--extractor`.
    pub name: &'static str,
    /// One line for a person.
    pub about: &'static str,
    /// Width of the features.
    pub dimension: usize,
    /// Makes the network from its parameters.
    pub build: fn(&Parameters) -> Result<Box<dyn Extractor>>,
}

/// Every architecture that `--extractor` knows.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "lenet5", about: "", dimension: lenet::DIMENSION, build: lenet::build },
    Architecture { name: "cifar-resnet20", about: "", dimension: 64, build: cifar_resnet::build::<20> },
    Architecture { name: "cifar-resnet56", about: "", dimension: 64, build: cifar_resnet::build::<56> },
    Architecture { name: "resnet18", about: "", dimension: 512, build: resnet::build_18 },
    Architecture { name: "resnet50", about: "", dimension: 2048, build: resnet::build_50 },
    Architecture { name: "efficientnet-lite0", about: "", dimension: 1280, build: efficientnet_lite::build },
];

/// The architecture of this name.
pub fn architecture(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.name == name)
}
