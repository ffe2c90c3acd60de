//! The fully connected variational autoencoder of PyTorch's examples (Kingma and Welling 2014): the decoder `fc3`, ReLU, `fc4`,
//! sigmoid. Its images in 0..=1 are brought to -1..=1. The encoder's tensors are kept, unused.
//!
//! <https://github.com/pytorch/examples/tree/main/vae>

use super::config::{Config, image_of, square_image};
use super::family::{Family, Role};
use super::info::{GeneratorInfo, LatentSpace};
use super::layers::Linear;
use super::options::{ForwardOptions, Truncation};
use super::sampler::SamplerRequest;
use super::training;
use super::traits::Generator;
use super::variables::{Builder, Variables};
use crate::error::Result;
use crate::formats::StateDict;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Tensors are `fc3.weight`, `fc4.weight`, …
pub(super) const FAMILY: Family = Family { recognise, ..Family::new("vae", build, training::GAN) };

const ENCODER: [&str; 4] = ["fc1.", "fc2.", "fc21.", "fc22."];

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaeConfig {
    z_dim: usize,
    hidden: usize,
    /// `[C, H, W]`.
    image: [usize; 3],
}

fn recognise(weights: &StateDict) -> Option<Role> {
    let decoder = ["fc3.weight", "fc4.weight"].iter().all(|name| weights.get(name).is_some());
    let known = |name: &str| {
        name.starts_with("fc3.") || name.starts_with("fc4.") || ENCODER.iter().any(|e| name.starts_with(e))
    };
    (decoder && weights.names().all(known)).then_some(Role::Generator)
}

fn infer(builder: &Builder) -> Result<VaeConfig> {
    let (z_dim, hidden) = match builder.shape("fc3.weight") {
        Some(&[hidden, z_dim]) => (z_dim, hidden),
        _ => (0, 0),
    };
    let image =
        square_image(builder.path(), builder.shape("fc4.weight").and_then(|dims| dims.first().copied()))?;
    Ok(VaeConfig { z_dim, hidden, image })
}

struct Vae {
    info: GeneratorInfo,
    fc3: Linear,
    fc4: Linear,
    variables: Variables,
}

fn build(config: &Config, mut builder: Builder, _: &SamplerRequest) -> Result<Box<dyn Generator>> {
    let config = match config.part() {
        Some(_) => config.parse::<VaeConfig>()?,
        None => infer(&builder)?,
    };
    let pixels = image_of(builder.path(), config.image, None)?;
    let fc3 = Linear::new(&mut builder, "fc3", config.z_dim, config.hidden)?;
    let fc4 = Linear::new(&mut builder, "fc4", config.hidden, pixels)?;
    let z = LatentSpace::normal("z", &[config.z_dim]);
    let info = GeneratorInfo {
        truncates: true,
        assumed: vec!["ReLU between the layers, sigmoid at the end, values in 0 to 1".into()],
        ..GeneratorInfo::new(FAMILY.name, serde_json::json!(config), config.image, [z])
    };
    Ok(Box::new(Vae { info, fc3, fc4, variables: builder.finish(&ENCODER)? }))
}

impl Generator for Vae {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        Some(&self.variables)
    }

    fn stage(&self, _: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        let z = Truncation::scale(options.truncation, state)?;
        let hidden = self.fc3.forward(&z, options.mode)?.relu()?;
        let logits = self.fc4.forward(&hidden, options.mode)?;
        // 2 sigmoid(x) - 1
        let images = (logits * 0.5)?.tanh()?;
        let [channels, height, width] = self.info.image_shape.dims();
        Ok(images.reshape((images.dim(0)?, channels, height, width))?)
    }
}
