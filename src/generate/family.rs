//! What a family of networks brings: how it is recognised, built and trained.

use super::config::Config;
use super::directory::Network;
use super::sampler::SamplerRequest;
use super::training::Training;
use super::traits::{Discriminator, Generator};
use super::variables::Builder;
use crate::error::Result;
use crate::formats::StateDict;
use crate::formats::torch::ModuleDescription;
use std::path::Path;

/// Which of a family's networks a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It makes images.
    Generator,
    /// It tells real images from generated ones.
    Discriminator,
}

/// Makes a generator from its configuration, its numbers and, for diffusion models, the wanted sampler.
pub(super) type BuildGenerator = fn(&Config, Builder, &SamplerRequest) -> Result<Box<dyn Generator>>;

/// Makes a discriminator from its configuration and its numbers.
pub(super) type BuildDiscriminator = fn(&Config, Builder) -> Result<Box<dyn Discriminator>>;

/// The part of `config.json` from a pickled module, the tensors in it, and for a discriminator the generator beside it.
pub(super) type Describe =
    fn(&ModuleDescription, &StateDict, Role, Option<&ModuleDescription>) -> Result<serde_json::Value>;

/// A directory as another program writes it, which brings its own configuration.
pub(crate) struct DirectoryLayout {
    /// What such a directory is called.
    pub name: &'static str,
    /// The file by which most are known, for messages.
    pub index: &'static str,
    /// Whether a directory is one.
    pub recognise: fn(&Path) -> bool,
    /// Reads the configuration and the weights of the wanted generator.
    pub open: fn(&Path, Network) -> Result<(Config, StateDict)>,
}

/// A family of networks.
pub(crate) struct Family {
    /// Its name among the architectures, and that of `family` in `config.json`.
    pub name: &'static str,
    /// What a weights file holds, where the names of its tensors leave no doubt.
    pub recognise: fn(&StateDict) -> Option<Role>,
    /// Makes the generator.
    pub generator: BuildGenerator,
    /// Makes the discriminator, where the family has one.
    pub discriminator: Option<BuildDiscriminator>,
    /// The configuration that an official checkpoint's description of its modules amounts to, where such files are read.
    pub official: Option<Describe>,
    /// The directories of its own program, where such are read.
    pub directory: Option<DirectoryLayout>,
    /// How its program trains it.
    pub training: Training,
}

impl Family {
    /// A family with a generator alone, which no file is recognised as.
    pub(crate) const fn new(name: &'static str, generator: BuildGenerator, training: Training) -> Self {
        Self {
            name,
            recognise: |_| None,
            generator,
            discriminator: None,
            official: None,
            directory: None,
            training,
        }
    }
}
