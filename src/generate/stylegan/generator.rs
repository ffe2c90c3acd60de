//! What both generators are from outside: a mapping and a synthesis network, with the spaces z and w.

use super::mapping::Mapping;
use crate::error::{Error, Result};
use crate::generate::info::{GeneratorInfo, ImageShape, LatentSpace, Quantization};
use crate::generate::options::ForwardOptions;
use crate::generate::traits::Generator;
use crate::generate::variables::Variables;
use crate::remedy::Remedy;
use candle_core::Tensor;

/// From ws to images.
pub(super) trait Synthesis: Send + Sync {
    /// Images `[B, C, H, W]` of ws `[B, num_ws, w_dim]`.
    fn forward(&self, ws: &Tensor, options: &ForwardOptions) -> Result<Tensor>;
}

/// A generator in two parts.
pub(super) struct StyleGenerator<S> {
    info: GeneratorInfo,
    mapping: Mapping,
    synthesis: S,
    variables: Variables,
}

/// Sizes of a generator as they are seen from outside.
pub(super) struct Sizes {
    pub image: ImageShape,
    pub class_count: usize,
    pub z_dim: usize,
    /// Number of layers that take a w.
    pub num_ws: usize,
    pub w_dim: usize,
}

/// The space of one w for each layer, `[num_ws, w_dim]`, so that styles may be mixed.
const W: &str = "w";

impl<S: Synthesis> StyleGenerator<S> {
    /// A generator with the spaces z `[z_dim]` and w.
    pub(super) fn new(
        family: &'static str,
        config: serde_json::Value,
        sizes: Sizes,
        (mapping, synthesis): (Mapping, S),
        variables: Variables,
    ) -> Self {
        let Sizes { image, class_count, z_dim, num_ws, w_dim } = sizes;
        let w = LatentSpace { name: W, shape: vec![num_ws, w_dim], prior: None };
        let info = GeneratorInfo {
            class_count,
            truncates: true,
            // As `generate.py`: `x * 127.5 + 128`, cut and truncated.
            quantization: Quantization::Truncated,
            ..GeneratorInfo::new(family, config, image, [LatentSpace::normal("z", &[z_dim]), w])
        };
        Self { info, mapping, synthesis, variables }
    }

    fn ws(&self, latents: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        if self.info.space(options.space)?.name == W {
            return self.mapping.truncate(latents, options.truncation);
        }
        self.mapping.ws(latents, options, self.info.space(Some(W))?.shape[0])
    }
}

impl<S: Synthesis> Generator for StyleGenerator<S> {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        Some(&self.variables)
    }

    fn map_latents(&self, latents: &Tensor, space: &str, options: &ForwardOptions) -> Result<Tensor> {
        let from = ForwardOptions { space: None, ..*options };
        self.info.check(latents, &from)?;
        if self.info.space(Some(space))?.name != W {
            return match options.truncation {
                None => Ok(latents.clone()),
                Some(_) => Err(Error::usage("truncation leads to w, not to z", Remedy::TruncateInW)),
            };
        }
        self.ws(latents, &from)
    }

    fn stage(&self, _: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.synthesis.forward(&self.ws(state, options)?, options)
    }
}
