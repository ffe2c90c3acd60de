//! How a diffusion model is asked to be sampled.

/// How a diffusion model is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// DDIM with eta 0 (Song et al. 2021): deterministic and differentiable.
    Ddim,
    /// Ancestral sampling (Ho et al. 2020), its noise keyed by [`super::ForwardOptions::keys`].
    Ddpm,
}

/// The wanted sampler of a diffusion model; what is left out takes its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SamplerRequest {
    /// DDIM unless given.
    pub sampler: Option<Sampler>,
    /// Number of denoising steps: 50 for DDIM, as many as in training for DDPM, unless given.
    pub steps: Option<usize>,
}
