//! Every family of networks, by name.

use super::family::Family;
use crate::error::{Error, Result};

/// Every family that is known.
pub(crate) const FAMILIES: &[Family] = &[
    super::mlp_gan::FAMILY,
    super::vae::FAMILY,
    super::dcgan::FAMILY,
    super::diffusers::FAMILY,
    super::guided::IDDPM,
    super::guided::ADM,
    super::stylegan::STYLEGAN2,
    super::stylegan::STYLEGAN3,
    super::projected::FAMILY,
];

/// The family of this name.
///
/// # Errors
/// [`Error::Usage`] with the known names.
pub(crate) fn family(name: &str) -> Result<&'static Family> {
    find(name).ok_or_else(|| {
        let hint = format!("known are {}", family_names());
        Error::usage(format!("there is no generator architecture `{name}`"), hint)
    })
}

/// The same, if there is one.
pub(super) fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// All names, for messages.
pub(super) fn family_names() -> String {
    FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ")
}
