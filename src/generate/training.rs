//! How the program that a family comes from trains it: what fine-tuning does unless it is asked otherwise.

use serde::{Deserialize, Serialize};

/// The loss of a GAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum GanLoss {
    /// Non-saturating logistic loss (Goodfellow et al. 2014), which is the binary cross entropy of DCGAN
    #[cfg_attr(feature = "cli", value(alias = "bce"))]
    Logistic,
    /// Hinge loss (Lim and Ye 2017, arXiv 1705.02894)
    Hinge,
}

/// Settings of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Training {
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
    /// Weight of path-length regularisation; 0 for none.
    pub path_length: f64,
    /// How often styles of two latents are mixed.
    pub style_mixing: f64,
    /// Whether its discriminator also trains generators of other families, which are then trained as those of this one.
    pub trains_others: bool,
}

impl Training {
    /// For a generator and a discriminator of these families: the discriminator's, but for the step size, where it says so.
    pub(crate) fn of(generator: Training, discriminator: Training) -> Training {
        match discriminator.trains_others {
            true => Training { lr: generator.lr, ..discriminator },
            false => generator,
        }
    }
}

/// DCGAN's, from which other families say how they differ.
pub(super) const GAN: Training = Training {
    loss: GanLoss::Logistic,
    gamma: 0.0,
    lr: 2e-4,
    beta1: 0.5,
    beta2: 0.999,
    warmup: 0,
    path_length: 0.0,
    style_mixing: 0.0,
    trains_others: false,
};
