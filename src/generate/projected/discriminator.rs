//! `ProjectedDiscriminator`: four small discriminators, each on one map of a frozen network.

use super::augment::augment;
use super::features::{FeatureNetwork, PRETRAINED};
use super::generator::{FAMILY, check_classes, num_classes};
use super::heads::{ClassWidths, Head, HeadConfig};
use crate::error::{Error, Result};
use crate::generate::config::{Config, bounded};
use crate::generate::info::{DiscriminatorInfo, ImageShape};
use crate::generate::options::ForwardOptions;
use crate::generate::traits::Discriminator;
use crate::generate::variables::{Builder, Variables};
use crate::ops::resize::{Corners, bilinear};
use crate::remedy::Remedy;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Side of the images that the frozen network was trained with: smaller ones are enlarged.
const ENLARGED: usize = 224;
const MAX_WIDTH: usize = 1 << 12;
const MAX_SIDE: usize = 1 << 12;

/// The sizes of a discriminator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiscriminatorConfig {
    pub img_resolution: usize,
    pub img_channels: usize,
    /// Channels of the largest mixed map.
    #[serde(default = "default_cout")]
    pub cout: usize,
    /// Whether smaller maps have more channels.
    #[serde(default = "yes")]
    pub expand: bool,
    /// One number of channels for all layers of the heads.
    #[serde(default)]
    pub ndf: Option<usize>,
    /// Whether the heads convolve each channel by itself before they mix them, as those of the `stylegan2` configuration do.
    #[serde(default)]
    pub separable: bool,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub c_dim: usize,
    /// Classes that there are embeddings of, used or not.
    #[serde(default = "num_classes")]
    pub num_classes: usize,
    /// Width of these embeddings.
    #[serde(default = "embedding_dim")]
    pub embedding_dim: usize,
    /// Width in which images and classes are compared.
    #[serde(default = "cmap_dim")]
    pub cmap_dim: usize,
    /// Whether images are brought to 224 x 224 first; left out, those that are smaller are.
    #[serde(default)]
    pub interp224: Option<bool>,
    /// Whether images are augmented in training.
    #[serde(default = "yes")]
    pub diffaug: bool,
}

/// `cout` of the training script.
fn default_cout() -> usize {
    64
}

/// `embedding_dim` of the official class.
pub(super) fn embedding_dim() -> usize {
    128
}

/// `cmap_dim` of the official class.
pub(super) fn cmap_dim() -> usize {
    64
}

fn yes() -> bool {
    true
}

impl DiscriminatorConfig {
    fn check(&self, path: &Path) -> Result<()> {
        bounded(path, "img_resolution", self.img_resolution, 1..=MAX_SIDE)?;
        bounded(path, "img_channels", self.img_channels, 3..=3)?;
        check_classes(path, self.c_dim, self.num_classes)?;
        for (name, width) in [
            ("cout", self.cout),
            ("ndf", self.ndf.unwrap_or(1)),
            ("embedding_dim", self.embedding_dim),
            ("cmap_dim", self.cmap_dim),
        ] {
            bounded(path, name, width, 1..=MAX_WIDTH)?;
        }
        Ok(())
    }

    /// The part that concerns each head.
    fn heads(&self) -> HeadConfig {
        let &Self { ndf, separable, num_classes, embedding_dim, cmap_dim, .. } = self;
        let classes = ClassWidths { num_classes, embedding_dim, cmap_dim };
        HeadConfig { ndf, separable, classes: (self.c_dim > 0).then_some(classes) }
    }
}

struct Projected {
    info: DiscriminatorInfo,
    config: DiscriminatorConfig,
    features: FeatureNetwork,
    heads: Vec<Head>,
    variables: Variables,
}

pub(super) fn build(config: &Config, mut builder: Builder) -> Result<Box<dyn Discriminator>> {
    let path = config.path();
    if config.part().is_none() {
        let hint = Remedy::GiveConfiguration;
        return Err(Error::malformed(path, "holds tensors alone, which do not say the resolution", hint));
    }
    let config: DiscriminatorConfig = config.parse()?;
    config.check(path)?;
    let features = FeatureNetwork::new(&mut builder, config.cout, config.expand)?;
    let channels = features.channels().into_iter().enumerate();
    let heads = channels
        .map(|(index, ins)| Head::new(&mut builder, index, ins, config.heads()))
        .collect::<Result<Vec<_>>>()?;
    // Counters of the frozen network's batch norms.
    let variables = builder.finish(&[PRETRAINED])?;
    let shape = ImageShape::square(config.img_channels, config.img_resolution);
    let info = DiscriminatorInfo {
        class_count: config.c_dim,
        ..DiscriminatorInfo::new(FAMILY, serde_json::json!(config), shape)
    };
    Ok(Box::new(Projected { info, config, features, heads, variables }))
}

impl Discriminator for Projected {
    fn info(&self) -> &DiscriminatorInfo {
        &self.info
    }

    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn logits(&self, images: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.info.check(images, options)?;
        let images = match options.keys {
            Some(keys) if self.config.diffaug && options.mode.batch_statistics() => augment(images, keys)?,
            _ => images.clone(),
        };
        let enlarge = self.config.interp224.unwrap_or(self.config.img_resolution < ENLARGED);
        let images = match enlarge {
            true => bilinear(&images, (ENLARGED, ENLARGED), Corners::Free)?,
            false => images,
        };
        let maps = self.features.forward(&images)?;
        let logits = maps.iter().zip(&self.heads).map(|(map, head)| head.forward(map, options));
        Ok(Tensor::cat(&logits.collect::<Result<Vec<_>>>()?, 1)?)
    }
}
