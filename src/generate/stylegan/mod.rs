//! StyleGAN2 (Karras et al. 2020, <https://arxiv.org/abs/1912.04958>; with the ADA program's layout, <https://arxiv.org/abs/2006.06676>)
//! and StyleGAN3 (Karras et al. 2021, <https://arxiv.org/abs/2106.12423>), parameters named as in
//! <https://github.com/NVlabs/stylegan3>: one mapping network and one discriminator, two synthesis networks.

mod config;
mod discriminator;
mod generator;
mod geometry;
mod layers;
mod mapping;
mod official;
mod synthesis2;
mod synthesis3;
#[cfg(test)]
mod tests;

use super::family::{Family, Role};
use super::training::{self, Training};
use crate::formats::StateDict;

/// StyleGAN2: a `.pkl`, or tensors `mapping.fc0.weight`, `synthesis.b4.const`, …
pub(super) const STYLEGAN2: Family = Family {
    recognise: |weights| match is_discriminator(weights) {
        true => Some(Role::Discriminator),
        false => recognise(weights, "synthesis.b4.const"),
    },
    discriminator: Some(|config, builder| discriminator::build(config, builder, synthesis2::FAMILY)),
    official: Some(official::stylegan2),
    ..Family::new(
        synthesis2::FAMILY,
        synthesis2::build_generator,
        // Regularised and mixed, which StyleGAN3 gave up.
        Training { path_length: 2.0, style_mixing: 0.9, ..TRAINING },
    )
};

/// StyleGAN3: a `.pkl`, or tensors `mapping.fc0.weight`, `synthesis.input.freqs`, … It is trained with StyleGAN2's discriminator.
pub(super) const STYLEGAN3: Family = Family {
    recognise: |weights| recognise(weights, "synthesis.input.freqs"),
    discriminator: Some(|config, builder| discriminator::build(config, builder, synthesis3::FAMILY)),
    official: Some(official::stylegan3),
    ..Family::new(synthesis3::FAMILY, synthesis3::build_generator, TRAINING)
};

/// StyleGAN2-ada's and StyleGAN3's, whose R1 weight is chosen by resolution and data: 0.01 (32 x 32) to 10 and more.
const TRAINING: Training = Training { gamma: 1.0, lr: 2e-3, beta1: 0.0, beta2: 0.99, ..training::GAN };

fn recognise(weights: &StateDict, synthesis: &str) -> Option<Role> {
    (weights.get("mapping.fc0.weight").is_some() && weights.get(synthesis).is_some())
        .then_some(Role::Generator)
}

/// Tensors that only a discriminator of StyleGAN2 has.
fn is_discriminator(weights: &StateDict) -> bool {
    ["b4.conv.weight", "b4.fc.weight", "b4.out.weight"].iter().all(|name| weights.get(name).is_some())
}
