//! The fully connected GAN (Goodfellow et al. 2014) in its usual PyTorch form: `Sequential` modules named by position.
//!
//! G: Linear, ReLU, …, Linear, Tanh; D: Linear, LeakyReLU(0.2), …, Linear, Sigmoid (left out here: logits).

use super::config::{Config, MAX_LAYERS, bounded, image_of, square_image};
use super::layers::Linear;
use super::traits::{Conditions, Discriminator, Generator, ImageShape, LatentSpace, Mode, Truncation};
use super::variables::{Builder, Variables};
use super::{Family, Role, SamplerRequest, Training, training};
use crate::error::Result;
use crate::formats::StateDict;
use crate::ops::leaky_relu::leaky_relu;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// The line of the registry.
pub(super) const FAMILY: Family = Family {
    name: "mlp-gan",
    about: "fully connected GAN: Sequential of Linear layers (0.weight, 2.weight, …)",
    recognise,
    generator: build_generator,
    discriminator: Some(build_discriminator),
    official: None,
    training: Training { beta1: 0.9, ..training::GAN },
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
    fn image_shape(&self) -> ImageShape {
        let [channels, height, width] = self.config.image;
        ImageShape { channels, height, width }
    }

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
    network: Network,
    spaces: Vec<LatentSpace>,
}

fn build_generator(config: &Config, builder: Builder, _: &SamplerRequest) -> Result<Box<dyn Generator>> {
    let network = build(config, builder, Role::Generator)?;
    let spaces = vec![LatentSpace::normal("z", &network.config.widths[..1])];
    Ok(Box::new(MlpGenerator { network, spaces }))
}

impl Generator for MlpGenerator {
    fn family(&self) -> &'static str {
        FAMILY.name
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.network.config)
    }

    fn variables(&self) -> &Variables {
        &self.network.variables
    }

    fn image_shape(&self) -> ImageShape {
        self.network.image_shape()
    }

    fn spaces(&self) -> &[LatentSpace] {
        &self.spaces
    }

    fn truncates(&self) -> bool {
        true
    }

    fn stage(&self, _: usize, state: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let z = Truncation::scale(conditions.truncation, state)?;
        let x = self.network.forward(&z, conditions.mode, |x| Ok(x.relu()?))?.tanh()?;
        let [channels, height, width] = self.network.config.image;
        Ok(x.reshape((x.dim(0)?, channels, height, width))?)
    }
}

struct MlpDiscriminator(Network);

fn build_discriminator(config: &Config, builder: Builder) -> Result<Box<dyn Discriminator>> {
    Ok(Box::new(MlpDiscriminator(build(config, builder, Role::Discriminator)?)))
}

impl Discriminator for MlpDiscriminator {
    fn family(&self) -> &'static str {
        FAMILY.name
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.0.config)
    }

    fn variables(&self) -> &Variables {
        &self.0.variables
    }

    fn image_shape(&self) -> ImageShape {
        self.0.image_shape()
    }

    fn logits(&self, images: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        self.check(images, conditions)?;
        let x = self.0.forward(&images.flatten_from(1)?, conditions.mode, |x| Ok(leaky_relu(x, SLOPE)?))?;
        Ok(x.squeeze(1)?)
    }
}
