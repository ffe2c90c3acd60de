//! The fully connected GAN (Goodfellow et al. 2014) in its usual PyTorch form: `Sequential` modules named by position.
//!
//! G: Linear, ReLU, …, Linear, Tanh; D: Linear, LeakyReLU(0.2), …, Linear, Sigmoid (left out here: logits).

use super::config::{Config, MAX_LAYERS, bounded, image_of, square_image};
use super::family::{Family, Role};
use super::info::{DiscriminatorInfo, GeneratorInfo, LatentSpace};
use super::layers::Linear;
use super::options::{ForwardOptions, Mode, Truncation};
use super::sampler::SamplerRequest;
use super::training::{self, Training};
use super::traits::{Discriminator, Generator};
use super::variables::{Builder, Variables};
use crate::error::Result;
use crate::formats::StateDict;
use crate::ops::leaky_relu::leaky_relu;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Tensors are `0.weight`, `2.weight`, …
pub(super) const FAMILY: Family = Family {
    recognise,
    discriminator: Some(build_discriminator),
    ..Family::new("mlp-gan", build_generator, Training { beta1: 0.9, ..training::GAN })
};

const SLOPE: f64 = 0.2;

/// Sizes of either network: `widths` from its input to its output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MlpConfig {
    widths: Vec<usize>,
    /// `[C, H, W]`.
    image: [usize; 3],
}

fn recognise(weights: &StateDict) -> Option<Role> {
    let layers = weights.len() / 2;
    let named = |name: String, dims: usize| weights.get(&name).is_some_and(|t| t.shape.len() == dims);
    let fits = layers > 0
        && weights.len() == 2 * layers
        && (0..layers).all(|i| named(format!("{}.weight", 2 * i), 2) && named(format!("{}.bias", 2 * i), 1));
    let outputs = weights.get(&format!("{}.bias", 2 * layers.max(1) - 2))?.shape.first()?;
    fits.then_some(if *outputs == 1 { Role::Discriminator } else { Role::Generator })
}

/// Widths as the tensors say; `image` is on the side of the generator's output or of the discriminator's input.
fn infer(builder: &Builder, role: Role) -> Result<MlpConfig> {
    let mut widths = Vec::new();
    while let Some(&[outs, ins]) = builder.shape(&format!("{}.weight", 2 * widths.len().saturating_sub(1))) {
        if widths.is_empty() {
            widths.push(ins);
        }
        widths.push(outs);
    }
    let pixels = match role {
        Role::Generator => widths.last(),
        Role::Discriminator => widths.first(),
    };
    let image = square_image(builder.path(), pixels.copied())?;
    Ok(MlpConfig { widths, image })
}

struct Network {
    config: MlpConfig,
    layers: Vec<Linear>,
    variables: Variables,
}

fn build(config: &Config, mut builder: Builder, role: Role) -> Result<Network> {
    let config = match config.part() {
        Some(_) => config.parse::<MlpConfig>()?,
        None => infer(&builder, role)?,
    };
    bounded(builder.path(), "widths", config.widths.len().saturating_sub(1), 1..=MAX_LAYERS)?;
    let mut layers = Vec::new();
    for (i, pair) in config.widths.windows(2).enumerate() {
        layers.push(Linear::new(&mut builder, &(2 * i).to_string(), pair[0], pair[1])?);
    }
    let pixels = match role {
        Role::Generator => config.widths.last(),
        Role::Discriminator => config.widths.first(),
    };
    image_of(builder.path(), config.image, pixels.copied())?;
    if role == Role::Discriminator {
        bounded(builder.path(), "outputs", config.widths.last().copied().unwrap_or(0), 1..=1)?;
    }
    Ok(Network { config, layers, variables: builder.finish(&[])? })
}

impl Network {
    /// `activation` between the layers, none after the last.
    fn forward(&self, x: &Tensor, mode: Mode, activation: fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = activation(&x)?;
            }
            x = layer.forward(&x, mode)?;
        }
        Ok(x)
    }
}

struct MlpGenerator {
    info: GeneratorInfo,
    network: Network,
}

fn build_generator(config: &Config, builder: Builder, _: &SamplerRequest) -> Result<Box<dyn Generator>> {
    let network = build(config, builder, Role::Generator)?;
    let config = &network.config;
    let z = LatentSpace::normal("z", &config.widths[..1]);
    let info = GeneratorInfo {
        truncates: true,
        assumed: vec!["ReLU between the layers, tanh at the end, values in -1 to 1".into()],
        ..GeneratorInfo::new(FAMILY.name, serde_json::json!(config), config.image, [z])
    };
    Ok(Box::new(MlpGenerator { info, network }))
}

impl Generator for MlpGenerator {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        Some(&self.network.variables)
    }

    fn stage(&self, _: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let z = Truncation::scale(options.truncation, state)?;
        let x = self.network.forward(&z, options.mode, |x| Ok(x.relu()?))?.tanh()?;
        let [channels, height, width] = self.info.image_shape.dims();
        Ok(x.reshape((x.dim(0)?, channels, height, width))?)
    }
}

struct MlpDiscriminator {
    info: DiscriminatorInfo,
    network: Network,
}

fn build_discriminator(config: &Config, builder: Builder) -> Result<Box<dyn Discriminator>> {
    let network = build(config, builder, Role::Discriminator)?;
    let info = DiscriminatorInfo::new(FAMILY.name, serde_json::json!(network.config), network.config.image);
    Ok(Box::new(MlpDiscriminator { info, network }))
}

impl Discriminator for MlpDiscriminator {
    fn info(&self) -> &DiscriminatorInfo {
        &self.info
    }

    fn variables(&self) -> &Variables {
        &self.network.variables
    }

    fn logits(&self, images: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.info.check(images, options)?;
        let x =
            self.network.forward(&images.flatten_from(1)?, options.mode, |x| Ok(leaky_relu(x, SLOPE)?))?;
        Ok(x.squeeze(1)?)
    }
}
