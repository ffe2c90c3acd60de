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

use super::{Family, Role, training};
use crate::formats::StateDict;

/// The line of StyleGAN2 in the registry.
pub(super) const STYLEGAN2: Family = Family {
    name: "stylegan2",
    about: "StyleGAN2 as in NVIDIA's PyTorch programs: .pkl, or tensors mapping.fc0.weight, synthesis.b4.const, …",
    recognise: |weights| match is_discriminator(weights) {
        true => Some(Role::Discriminator),
        false => recognise(weights, "synthesis.b4.const"),
    },
    generator: synthesis2::build_generator,
    discriminator: Some(|config, builder| discriminator::build(config, builder, "stylegan2")),
    official: Some(official::stylegan2),
    training: training::STYLEGAN2,
};

/// The line of StyleGAN3 in the registry; it is trained with StyleGAN2's discriminator.
pub(super) const STYLEGAN3: Family = Family {
    name: "stylegan3",
    about: "StyleGAN3 as in NVIDIA's program: .pkl, or tensors mapping.fc0.weight, synthesis.input.freqs, …",
    recognise: |weights| recognise(weights, "synthesis.input.freqs"),
    generator: synthesis3::build_generator,
    discriminator: Some(|config, builder| discriminator::build(config, builder, "stylegan3")),
    official: Some(official::stylegan3),
    training: training::STYLEGAN,
};

fn recognise(weights: &StateDict, synthesis: &str) -> Option<Role> {
    (weights.get("mapping.fc0.weight").is_some() && weights.get(synthesis).is_some())
        .then_some(Role::Generator)
}

/// Tensors that only a discriminator of StyleGAN2 has.
fn is_discriminator(weights: &StateDict) -> bool {
    ["b4.conv.weight", "b4.fc.weight", "b4.out.weight"].iter().all(|name| weights.get(name).is_some())
}
