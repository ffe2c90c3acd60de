//! ProjectedGAN (Sauer et al. 2021, <https://arxiv.org/abs/2111.01007>): FastGAN's generator (Liu et al. 2021, <https://arxiv.org/abs/2101.04775>),
//! whole or `lite`, with classes or without, and discriminators on the features of a frozen network. Names as in
//! <https://github.com/autonomousvision/projected-gan>, whose pickles hold the module objects themselves.

mod augment;
mod blocks;
#[cfg(test)]
mod conditional_tests;
mod discriminator;
mod features;
mod generator;
mod heads;
mod layers;
mod official;
#[cfg(test)]
mod tests;

use super::{Family, Role, training};

/// The line of the registry.
pub(super) const FAMILY: Family = Family {
    name: "projected-gan",
    about: "ProjectedGAN (fastgan, fastgan_lite, and the discriminator of stylegan2): .pkl, or tensors synthesis.init.init.0.weight_orig, …",
    recognise: |weights| {
        let has = |name: &str| weights.get(name).is_some();
        if has("synthesis.init.init.0.weight_orig") {
            return Some(Role::Generator);
        }
        let first = "discriminator.mini_discs.0.main.0.main.0";
        let convolutions = ["weight_orig", "pointwise.weight_orig"].map(|part| format!("{first}.{part}"));
        convolutions.iter().any(|name| has(name)).then_some(Role::Discriminator)
    },
    generator: generator::build,
    discriminator: Some(discriminator::build),
    official: Some(official::describe),
    training: training::PROJECTED,
};
