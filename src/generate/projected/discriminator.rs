//! `ProjectedDiscriminator`: four small discriminators, each on one map of a frozen network.

use super::FAMILY;
use super::augment::augment;
use super::features::{DEPTHS, FeatureNetwork, PRETRAINED};
use super::layers::SpectralConv;
use crate::error::{Error, Result};
use crate::generate::config::{Config, bounded};
use crate::generate::layers::BatchNorm;
use crate::generate::traits::{Conditions, Discriminator, ImageShape, Mode};
use crate::generate::variables::{Builder, Init, Variables};
use crate::ops::activation::Activation;
use crate::ops::conv::ConvConfig;
use crate::ops::leaky_relu::leaky_relu;
use crate::ops::resize::{Corners, bilinear};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Sides of the maps that the heads are built for, whatever the images.
const SIDES: [usize; DEPTHS] = [128, 64, 32, 16];
/// Heads halve their maps until they are of this side.
const LAST_SIDE: usize = 8;
/// Channels at a side, unless `ndf` gives one number for all.
const CHANNELS: [(usize, usize); 5] = [(8, 512), (16, 256), (32, 128), (64, 64), (128, 64)];
/// Side of the images that the frozen network was trained with: smaller ones are enlarged.
const ENLARGED: usize = 224;
/// Slope of the leaky rectified linear unit.
const SLOPE: f64 = 0.2;
const MAX_WIDTH: usize = 1 << 12;
const MAX_SIDE: usize = 1 << 12;

/// The sizes of a discriminator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorConfig {
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

fn yes() -> bool {
    true
}

/// `DownBlock`: half the size.
struct Down {
    conv: SpectralConv,
    norm: BatchNorm,
}

/// `SingleDisc`: a head.
pub struct Head {
    down: Vec<Down>,
    last: SpectralConv,
}

impl Head {
    /// Head number `index`, for maps of `ins` channels.
    pub fn new(builder: &mut Builder, index: usize, ins: usize, ndf: Option<usize>) -> Result<Self> {
        let channels = |side: usize| {
            let own = CHANNELS.iter().find(|(at, _)| *at == side).map_or(0, |(_, channels)| *channels);
            ndf.unwrap_or(own)
        };
        let name = format!("discriminator.mini_discs.{index}.main");
        let halving = ConvConfig { stride: 2, ..ConvConfig::padded(1) };
        let (mut side, mut width) = (SIDES[index.min(DEPTHS - 1)], ins);
        let mut down = Vec::new();
        while side > LAST_SIDE {
            side /= 2;
            let (name, outs) = (format!("{name}.{}.main", down.len()), channels(side));
            down.push(Down {
                conv: SpectralConv::new(builder, &format!("{name}.0"), [outs, width, 4, 4], true, halving)?,
                norm: BatchNorm::new(builder, &format!("{name}.1"), outs, Init::Constant(1.0))?,
            });
            width = outs;
        }
        let name = format!("{name}.{}", down.len());
        Ok(Self {
            last: SpectralConv::new(builder, &name, [1, width, 4, 4], false, ConvConfig::padded(0))?,
            down,
        })
    }

    /// Logits `[B, P]` of a map, one for each of its places.
    pub fn forward(&self, map: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let mode = conditions.mode;
        let mut x = map.clone();
        for Down { conv, norm } in &self.down {
            let y = norm.forward(&conv.forward(&x, mode)?, Activation::Identity, conditions)?;
            x = leaky_relu(&y, SLOPE)?;
        }
        Ok(self.last.forward(&x, mode)?.flatten_from(1)?)
    }
}

struct Projected {
    config: DiscriminatorConfig,
    features: FeatureNetwork,
    heads: Vec<Head>,
    variables: Variables,
}

pub fn build(config: &Config, mut builder: Builder) -> Result<Box<dyn Discriminator>> {
    let path = config.path();
    if config.part().is_none() {
        let hint = "name the official .pkl, or give its sizes with --config";
        return Err(Error::malformed(path, "holds tensors alone, which do not say the resolution", hint));
    }
    let config: DiscriminatorConfig = config.parse()?;
    bounded(path, "img_resolution", config.img_resolution, 1..=MAX_SIDE)?;
    bounded(path, "img_channels", config.img_channels, 3..=3)?;
    bounded(path, "cout", config.cout, 1..=MAX_WIDTH)?;
    bounded(path, "ndf", config.ndf.unwrap_or(1), 1..=MAX_WIDTH)?;
    let features = FeatureNetwork::new(&mut builder, config.cout, config.expand)?;
    let channels = features.channels().into_iter().enumerate();
    let heads = channels
        .map(|(index, ins)| Head::new(&mut builder, index, ins, config.ndf))
        .collect::<Result<Vec<_>>>()?;
    // Counters of the frozen network's batch norms.
    let variables = builder.finish(&[PRETRAINED])?;
    Ok(Box::new(Projected { config, features, heads, variables }))
}

impl Discriminator for Projected {
    fn family(&self) -> &'static str {
        FAMILY.name
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn image_shape(&self) -> ImageShape {
        let side = self.config.img_resolution;
        ImageShape { channels: self.config.img_channels, height: side, width: side }
    }

    fn logits(&self, images: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        self.check(images, conditions)?;
        let images = match conditions.keys {
            Some(keys) if self.config.diffaug && conditions.mode != Mode::Eval => augment(images, keys)?,
            _ => images.clone(),
        };
        let enlarge = self.config.interp224.unwrap_or(self.config.img_resolution < ENLARGED);
        let images = match enlarge {
            true => bilinear(&images, (ENLARGED, ENLARGED), Corners::Free)?,
            false => images,
        };
        let maps = self.features.forward(&images)?;
        let logits = maps.iter().zip(&self.heads).map(|(map, head)| head.forward(map, conditions));
        Ok(Tensor::cat(&logits.collect::<Result<Vec<_>>>()?, 1)?)
    }
}
