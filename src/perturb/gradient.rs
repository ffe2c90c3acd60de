//! The gradient of the density with respect to latents, through generator, resize, extractor and density.
//! In the memory of one stage of the generator and the extractor: a diffusion model's steps are computed again on the way back.

use super::objective::Objective;
use crate::error::{Error, Result};
use crate::generate::{ForwardOptions, Generator, pixels, value_and_gradient};
use candle_core::{DType, Tensor};
use ndarray::Array2;

/// Images of latents, and where they lead.
#[derive(Debug, Clone)]
pub struct DensityGradient {
    /// The images `[B, C, H, W]`, in -1..=1.
    pub images: Tensor,
    /// Gradient of each row's density with respect to its latent, of the latents' shape.
    pub gradient: Tensor,
}

/// Images of `latents` `[B, …]` and the gradient of their densities. `features` takes images `[B, 3, H, W]` in 0..=1 to features
/// `[B, D]`, differentiably ([`crate::extract::LoadedExtractor::features_of_images`]).
///
/// # Errors
/// [`Error::Usage`] if generator or extractor give no gradient; what generator, extractor or density return.
pub fn density_gradient(
    generator: &dyn Generator,
    latents: &Tensor,
    conditions: &ForwardOptions,
    features: impl Fn(&Tensor) -> Result<Tensor>,
    objective: &dyn Objective,
) -> Result<DensityGradient> {
    let result = value_and_gradient(generator, latents, conditions, |images| {
        if !images.track_op() {
            return Err(without_gradient(&format!("the generator {}", generator.info().family)));
        }
        let features = features(&pixels::to_unit_rgb(images)?)?;
        if !features.track_op() {
            return Err(without_gradient("the extractor"));
        }
        let (rows, width) = features.dims2()?;
        let host = features.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let host = Array2::from_shape_vec((rows, width), host)
            .map_err(|_| Error::data("the network returned features of another width", ""))?;
        let slopes = objective.gradients(host.view())?;
        let slopes = Tensor::from_iter(slopes.iter().copied(), features.device())?.reshape((rows, width))?;
        // Linear in the features, with the slope of the density: its gradient is that of the density.
        Ok((&features * slopes.to_dtype(features.dtype())?)?.sum(1)?)
    });
    match result {
        Ok(found) => Ok(DensityGradient { images: found.images, gradient: found.gradient }),
        Err(Error::Tensor(cause)) if lacks_backward(&cause) => {
            Err(without_gradient(&format!("generator or extractor ({cause})")))
        }
        Err(error) => Err(error),
    }
}

fn lacks_backward(error: &candle_core::Error) -> bool {
    match error {
        candle_core::Error::BackwardNotSupported { .. } => true,
        candle_core::Error::WithBacktrace { inner, .. } => lacks_backward(inner),
        candle_core::Error::Context { inner, .. } => lacks_backward(inner),
        _ => false,
    }
}

fn without_gradient(what: &str) -> Error {
    Error::usage(
        format!("{what} gives no gradient, which a search along it needs"),
        "use a differentiable network (`pd weights list` shows the extractors), or `pd sample`, which only scores",
    )
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
