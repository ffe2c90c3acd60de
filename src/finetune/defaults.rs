//! The training settings of each family, where the user gives none: those of the program that the family comes from.

use super::losses::GanLoss;

/// Settings of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// The loss; of no meaning for diffusion models.
    pub loss: GanLoss,
    /// Weight of R1; 0 for none.
    pub gamma: f64,
    /// Adam's step size.
    pub lr: f64,
    /// Adam's first decay.
    pub beta1: f64,
    /// Adam's second decay.
    pub beta2: f64,
    /// Steps over which the learning rate rises.
    pub warmup: u64,
}

const GAN: Defaults =
    Defaults { loss: GanLoss::Logistic, gamma: 0.0, lr: 2e-4, beta1: 0.5, beta2: 0.999, warmup: 0 };

/// As in StyleGAN2-ada's and StyleGAN3's programs, whose R1 weight is chosen by resolution and data: 0.01 (32 x 32) to 10 and more.
const STYLEGAN: Defaults = Defaults { gamma: 1.0, lr: 2e-3, beta1: 0.0, beta2: 0.99, ..GAN };

/// Families that are trained otherwise than DCGAN.
const FAMILIES: &[(&str, Defaults)] = &[
    ("mlp-gan", Defaults { beta1: 0.9, ..GAN }),
    ("stylegan2", STYLEGAN),
    ("stylegan3", STYLEGAN),
    ("diffusers", Defaults { lr: 1e-4, beta1: 0.9, warmup: 100, ..GAN }),
];

/// The settings of a family.
pub fn defaults(family: &str) -> Defaults {
    FAMILIES.iter().find(|(name, _)| *name == family).map_or(GAN, |(_, defaults)| *defaults)
}
