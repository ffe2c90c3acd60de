//! DCGAN (Radford et al. 2015, <https://arxiv.org/abs/1511.06434>) in the layout of PyTorch's example (`main.N`), for images of
//! any power of two: <https://github.com/pytorch/examples/tree/main/dcgan>.
//!
//! G: transposed 4 x 4 convolutions with batch norm and ReLU, from one pixel to 4 x 4 and then doubling, Tanh at the end. D: 4 x 4
//! convolutions of stride 2 with batch norm (but the first) and LeakyReLU(0.2), down to 4 x 4 and one logit.

use super::config::{Config, MAX_LAYERS, bounded};
use super::family::{Family, Role};
use super::info::{DiscriminatorInfo, GeneratorInfo, ImageShape, LatentSpace};
use super::layers::{BatchNorm, Conv2d, ConvTranspose2d};
use super::options::{ForwardOptions, Truncation};
use super::sampler::SamplerRequest;
use super::training;
use super::traits::{Discriminator, Generator};
use super::variables::{Builder, Init, Variables};
use crate::error::{Error, Result};
use crate::formats::StateDict;
use crate::ops::activation::Activation::{Identity, Relu};
use crate::ops::conv::{ConvConfig, Padding, PaddingRule};
use crate::ops::leaky_relu::leaky_relu;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Tensors are `main.0.weight`, …
pub(super) const FAMILY: Family = Family {
    recognise,
    discriminator: Some(build_discriminator),
    ..Family::new("dcgan", build_generator, training::GAN)
};

const KERNEL: usize = 4;
const SLOPE: f64 = 0.2;
/// Sides of images from 8 to 4096.
const MAX_HALVINGS: usize = 10;
/// The example's `weights_init`.
const WEIGHTS: Init = Init::Normal { mean: 0.0, std: 0.02 };
const NORM_WEIGHTS: Init = Init::Normal { mean: 1.0, std: 0.02 };

/// Sizes of a generator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneratorConfig {
    z_dim: usize,
    /// Channels at 4 x 4, 8 x 8, … half the image's side.
    channels: Vec<usize>,
    image_channels: usize,
}

/// Sizes of a discriminator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscriminatorConfig {
    image_channels: usize,
    /// Channels at half the image's side, a quarter, … 4 x 4.
    channels: Vec<usize>,
}

/// Side of images that are halved this many times down to 4 x 4.
fn side(halvings: usize) -> usize {
    KERNEL << halvings
}

fn recognise(weights: &StateDict) -> Option<Role> {
    let dims = |name: &str| weights.get(name).map(|tensor| tensor.shape.len());
    let layers = weights.names().all(|name| name.starts_with("main."));
    if !layers || dims("main.0.weight") != Some(4) {
        return None;
    }
    // G normalises after every layer, D begins with two convolutions.
    match (dims("main.1.weight"), dims("main.2.weight")) {
        (Some(1), None) => Some(Role::Generator),
        (None, Some(4)) => Some(Role::Discriminator),
        _ => None,
    }
}

/// Shapes of the convolutions at `main.{at(0)}`, `main.{at(1)}`, … as far as there are any.
fn convolutions(builder: &Builder, at: fn(usize) -> usize) -> Vec<[usize; 4]> {
    (0..=MAX_HALVINGS)
        .map_while(|i| <[usize; 4]>::try_from(builder.shape(&format!("main.{}.weight", at(i)))?).ok())
        .collect()
}

/// Convolutions of G are three modules apart.
fn generator_module(i: usize) -> usize {
    3 * i
}

/// The first convolution of D has no norm behind it.
fn discriminator_module(i: usize) -> usize {
    (3 * i).saturating_sub(1)
}

fn undecided(builder: &Builder, what: &str) -> Error {
    let reason = format!("does not hold the convolutions of a DCGAN {what} (main.0.weight, …)");
    Error::malformed(builder.path(), reason, "is this another architecture?")
}

struct DcganGenerator {
    info: GeneratorInfo,
    layers: Vec<(ConvTranspose2d, BatchNorm)>,
    last: ConvTranspose2d,
    variables: Variables,
}

fn build_generator(config: &Config, mut builder: Builder, _: &SamplerRequest) -> Result<Box<dyn Generator>> {
    let config: GeneratorConfig = match config.part() {
        Some(_) => config.parse()?,
        None => match convolutions(&builder, generator_module).split_last() {
            Some((&[_, image_channels, ..], rest @ [[z_dim, ..], ..])) => GeneratorConfig {
                z_dim: *z_dim,
                channels: rest.iter().map(|[_, outs, ..]| *outs).collect(),
                image_channels,
            },
            _ => return Err(undecided(&builder, "generator")),
        },
    };
    bounded(builder.path(), "channels", config.channels.len(), 1..=MAX_HALVINGS.min(MAX_LAYERS))?;
    let mut layers = Vec::new();
    let mut ins = config.z_dim;
    let mut at = 0;
    let conv = |builder: &mut Builder, at: usize, ins: usize, outs: usize| {
        let geometry = if at == 0 { (1, 0) } else { (2, 1) };
        ConvTranspose2d::new(builder, &format!("main.{at}"), [ins, outs, KERNEL, KERNEL], WEIGHTS, geometry)
    };
    for &outs in &config.channels {
        let layer = conv(&mut builder, at, ins, outs)?;
        layers.push((layer, BatchNorm::new(&mut builder, &format!("main.{}", at + 1), outs, NORM_WEIGHTS)?));
        at += 3;
        ins = outs;
    }
    let last = conv(&mut builder, at, ins, config.image_channels)?;
    let shape = ImageShape::square(config.image_channels, side(config.channels.len()));
    let z = LatentSpace::normal("z", &[config.z_dim]);
    let info = GeneratorInfo {
        truncates: true,
        assumed: vec!["ReLU between the layers, tanh at the end, values in -1 to 1".into()],
        ..GeneratorInfo::new(FAMILY.name, serde_json::json!(config), shape, [z])
    };
    Ok(Box::new(DcganGenerator { info, layers, last, variables: builder.finish(&[])? }))
}

impl Generator for DcganGenerator {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        Some(&self.variables)
    }

    fn stage(&self, _: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let mut x = Truncation::scale(options.truncation, state)?.unsqueeze(2)?.unsqueeze(3)?;
        for (conv, norm) in &self.layers {
            x = norm.forward(&conv.forward(&x, options.mode)?, Relu, options.mode)?;
        }
        Ok(self.last.forward(&x, options.mode)?.tanh()?)
    }
}

struct DcganDiscriminator {
    info: DiscriminatorInfo,
    first: Conv2d,
    layers: Vec<(Conv2d, BatchNorm)>,
    last: Conv2d,
    variables: Variables,
}

fn build_discriminator(config: &Config, mut builder: Builder) -> Result<Box<dyn Discriminator>> {
    let config: DiscriminatorConfig = match config.part() {
        Some(_) => config.parse()?,
        None => match convolutions(&builder, discriminator_module).split_last() {
            Some((_, rest @ [[_, image_channels, ..], ..])) => DiscriminatorConfig {
                image_channels: *image_channels,
                channels: rest.iter().map(|[outs, ..]| *outs).collect(),
            },
            _ => return Err(undecided(&builder, "discriminator")),
        },
    };
    bounded(builder.path(), "channels", config.channels.len(), 1..=MAX_HALVINGS.min(MAX_LAYERS))?;
    let halving =
        ConvConfig { stride: 2, padding: PaddingRule::Fixed(Padding::same(1)), ..ConvConfig::padded(0) };
    let conv = |builder: &mut Builder, i: usize, ins: usize, outs: usize, config: ConvConfig| {
        let name = format!("main.{}", discriminator_module(i));
        Conv2d::new(builder, &name, [outs, ins, KERNEL, KERNEL], false, WEIGHTS, config)
    };
    let mut ins = config.channels[0];
    let first = conv(&mut builder, 0, config.image_channels, ins, halving)?;
    let mut layers = Vec::new();
    for (i, &outs) in config.channels.iter().enumerate().skip(1) {
        let layer = conv(&mut builder, i, ins, outs, halving)?;
        let norm = format!("main.{}", discriminator_module(i) + 1);
        layers.push((layer, BatchNorm::new(&mut builder, &norm, outs, NORM_WEIGHTS)?));
        ins = outs;
    }
    let last = conv(&mut builder, config.channels.len(), ins, 1, ConvConfig::padded(0))?;
    let shape = ImageShape::square(config.image_channels, side(config.channels.len()));
    let info = DiscriminatorInfo::new(FAMILY.name, serde_json::json!(config), shape);
    Ok(Box::new(DcganDiscriminator { info, first, layers, last, variables: builder.finish(&[])? }))
}

impl Discriminator for DcganDiscriminator {
    fn info(&self) -> &DiscriminatorInfo {
        &self.info
    }

    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn logits(&self, images: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.info.check(images, options)?;
        let mode = options.mode;
        let mut x = leaky_relu(&self.first.forward(images, mode)?, SLOPE)?;
        for (conv, norm) in &self.layers {
            x = leaky_relu(&norm.forward(&conv.forward(&x, mode)?, Identity, mode)?, SLOPE)?;
        }
        Ok(self.last.forward(&x, mode)?.flatten_all()?)
    }
}
