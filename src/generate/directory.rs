//! The files of a generator directory, and how networks are written as one.

use super::traits::{Discriminator, Generator};
use crate::error::{Error, Result};
use crate::formats::atomic::write_json;
use crate::formats::safetensors::write_safetensors;
use serde_json::Value;
use std::path::Path;

/// The configuration.
pub(super) const CONFIG: &str = "config.json";
/// The running average of the generator's weights, preferred where images are made.
pub(super) const EMA: &str = "g_ema.safetensors";
/// The generator as it is trained.
pub(super) const GENERATOR: &str = "g.safetensors";
/// The discriminator.
pub(super) const DISCRIMINATOR: &str = "d.safetensors";
/// The key of the family in a configuration, and of the discriminator's where that is another.
pub(super) const FAMILY: &str = "family";
pub(super) const DISCRIMINATOR_FAMILY: &str = "discriminator_family";

/// Which generator of a directory or file that holds two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The running average of its weights over training (`g_ema`); the trained one where there is no average.
    #[default]
    Ema,
    /// The one that is trained (`g`); the average where there is no other.
    Generator,
}

/// Networks that are written together as a generator directory.
#[derive(Clone, Copy, Default)]
pub struct Snapshot<'a> {
    /// The generator that is trained.
    pub generator: Option<&'a dyn Generator>,
    /// The running average of its weights.
    pub ema: Option<&'a dyn Generator>,
    /// The discriminator.
    pub discriminator: Option<&'a dyn Discriminator>,
}

impl Snapshot<'_> {
    /// Writes `config.json` and the weights into `directory`, which is made if it is not there; each file appears when it is whole.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] if there is no network or one without weights, or the generators are of two families.
    pub fn save(&self, directory: impl AsRef<Path>) -> Result<()> {
        let directory = directory.as_ref();
        let generator = self.ema.or(self.generator).map(Generator::info);
        let families = [self.generator, self.ema].map(|network| network.map(|network| network.info().family));
        if let [Some(trained), Some(ema)] = families
            && trained != ema
        {
            return Err(Error::usage(format!("{ema} is no average of {trained}"), ""));
        }
        let discriminator = self.discriminator.map(Discriminator::info);
        let family = generator.map(|info| info.family).or(discriminator.map(|info| info.family));
        let Some(family) = family else {
            return Err(Error::usage("there is no network to be written", ""));
        };
        let mut files = Vec::new();
        if let Some(network) = self.generator {
            files.push((GENERATOR, network.weights()?));
        }
        if let Some(network) = self.ema {
            files.push((EMA, network.weights()?));
        }
        files.extend(self.discriminator.map(|network| (DISCRIMINATOR, network.variables())));
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        for (name, variables) in files {
            let path = directory.join(name);
            write_safetensors(&path, &variables.state_dict(&path)?)?;
        }
        let mut config = serde_json::Map::from_iter([(FAMILY.to_owned(), Value::from(family))]);
        if let Some(info) = discriminator.filter(|info| info.family != family) {
            config.insert(DISCRIMINATOR_FAMILY.to_owned(), info.family.into());
        }
        config.extend(generator.map(|info| ("generator".to_owned(), info.config.clone())));
        config.extend(discriminator.map(|info| ("discriminator".to_owned(), info.config.clone())));
        write_json(directory.join(CONFIG), &config)
    }
}
