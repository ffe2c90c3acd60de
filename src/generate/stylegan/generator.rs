//! What both generators are from outside: a mapping and a synthesis network, with the spaces z and w.

use super::mapping::Mapping;
use crate::error::{Error, Result};
use crate::generate::traits::{Conditions, Generator, ImageShape, LatentSpace, Quantization, find_space};
use crate::generate::variables::Variables;
use candle_core::Tensor;

/// From ws to images.
pub trait Synthesis: Send + Sync {
    /// Images `[B, C, H, W]` of ws `[B, num_ws, w_dim]`.
    fn forward(&self, ws: &Tensor, conditions: &Conditions) -> Result<Tensor>;
}

/// A generator in two parts.
pub struct StyleGenerator<S> {
    pub family: &'static str,
    pub config: serde_json::Value,
    pub mapping: Mapping,
    pub synthesis: S,
    pub variables: Variables,
    pub image: ImageShape,
    pub class_count: usize,
    /// z, then w.
    pub spaces: [LatentSpace; 2],
}

/// z `[z_dim]` and w `[num_ws, w_dim]`: one w for each layer, so that styles may be mixed.
pub fn spaces(z_dim: usize, num_ws: usize, w_dim: usize) -> [LatentSpace; 2] {
    [LatentSpace::normal("z", &[z_dim]), LatentSpace { name: "w", shape: vec![num_ws, w_dim], prior: None }]
}

impl<S: Synthesis> StyleGenerator<S> {
    fn ws(&self, latents: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        let [z, w] = &self.spaces;
        if find_space(&self.spaces, conditions.space)? == z {
            return self.mapping.ws(latents, conditions, w.shape[0]);
        }
        self.mapping.truncate(latents, conditions.truncation)
    }
}

impl<S: Synthesis> Generator for StyleGenerator<S> {
    fn family(&self) -> &'static str {
        self.family
    }

    fn config(&self) -> serde_json::Value {
        self.config.clone()
    }

    fn variables(&self) -> &Variables {
        &self.variables
    }

    fn image_shape(&self) -> ImageShape {
        self.image
    }

    fn spaces(&self) -> &[LatentSpace] {
        &self.spaces
    }

    fn class_count(&self) -> usize {
        self.class_count
    }

    fn truncates(&self) -> bool {
        true
    }

    /// As `generate.py`: `x * 127.5 + 128`, cut and truncated.
    fn quantization(&self) -> Quantization {
        Quantization::Truncated
    }

    fn map_latents(&self, latents: &Tensor, space: &str, conditions: &Conditions) -> Result<Tensor> {
        let from = Conditions { space: None, ..*conditions };
        self.check(latents, &from)?;
        let target = find_space(&self.spaces, Some(space))?;
        if target == &self.spaces[0] {
            return match conditions.truncation {
                None => Ok(latents.clone()),
                Some(_) => {
                    Err(Error::usage("truncation leads to w, not to z", "--space w, or leave --trunc out"))
                }
            };
        }
        self.ws(latents, &from)
    }

    fn stage(&self, _: usize, state: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        self.synthesis.forward(&self.ws(state, conditions)?, conditions)
    }
}
