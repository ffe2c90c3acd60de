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

use super::family::{Family, Role};
use super::training::{self, GanLoss, Training};

/// `fastgan`, `fastgan_lite`, and the discriminator of the `stylegan2` configuration: a `.pkl`, or tensors
/// `synthesis.init.init.0.weight_orig`, …
pub(super) const FAMILY: Family = Family {
    recognise: |weights| {
        let has = |name: &str| weights.get(name).is_some();
        if has("synthesis.init.init.0.weight_orig") {
            return Some(Role::Generator);
        }
        let first = "discriminator.mini_discs.0.main.0.main.0";
        let convolutions = ["weight_orig", "pointwise.weight_orig"].map(|part| format!("{first}.{part}"));
        convolutions.iter().any(|name| has(name)).then_some(Role::Discriminator)
    },
    discriminator: Some(discriminator::build),
    official: Some(official::describe),
    ..Family::new(generator::FAMILY, generator::build, TRAINING)
};

/// For FastGAN, and for StyleGAN2 in the program's `stylegan2` configuration.
const TRAINING: Training =
    Training { loss: GanLoss::Hinge, beta1: 0.0, beta2: 0.99, trains_others: true, ..training::GAN };
