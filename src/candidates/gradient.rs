//! Images of latents, measured as they are written, and the gradient of their densities with respect to the latents: through generator,
//! resize, extractor and density. In the memory of one stage of the generator and the extractor: a diffusion model's steps are computed
//! again on the way back.

use super::density::Density;
use super::features::features_of;
use super::render::{quantize, render};
use crate::error::{Error, Result};
use crate::extract::LoadedExtractor;
use crate::generate::{ForwardOptions, Generator, pixels, value_and_gradient};
use crate::images::RgbImage;
use candle_core::{DType, Tensor};
use ndarray::Array2;

/// Images of latents with what was measured of them, a row each.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The images, as they are written.
    pub images: Vec<RgbImage>,
    /// Features of the written images, `[B, D]`.
    pub features: Array2<f32>,
    /// Their densities, `[B]`.
    pub densities: Vec<f64>,
}

/// Images, features and densities of `latents` `[B, …]`.
///
/// # Errors
/// [`Error::Data`] naming the first image that is not finite; what generator, extractor or density return.
pub fn evaluate(
    generator: &dyn Generator,
    extractor: &LoadedExtractor,
    density: &dyn Density,
    latents: &Tensor,
    conditions: &ForwardOptions,
) -> Result<Evaluation> {
    let images = render(generator, latents, conditions)?;
    let features = features_of(extractor, &images)?;
    let densities = density.densities(features.view())?;
    Ok(Evaluation { images, features, densities })
}

/// As [`evaluate`], with the gradient of each row's density with respect to its latent, of the latents' shape.
///
/// # Errors
/// [`Error::Usage`] if generator or extractor give no gradient; as [`evaluate`].
pub fn evaluate_with_gradient(
    generator: &dyn Generator,
    extractor: &LoadedExtractor,
    density: &dyn Density,
    latents: &Tensor,
    conditions: &ForwardOptions,
) -> Result<(Evaluation, Tensor)> {
    let result = value_and_gradient(generator, latents, conditions, |images| {
        if !images.track_op() {
            return Err(without_gradient(&format!("the generator {}", generator.info().family)));
        }
        let features = extractor.features_of_images(&pixels::to_unit_rgb(images)?)?;
        if !features.track_op() {
            return Err(without_gradient("the extractor"));
        }
        let (rows, width) = features.dims2()?;
        let host = features.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let host = Array2::from_shape_vec((rows, width), host)
            .map_err(|_| Error::data("the network returned features of another width", ""))?;
        let (_, slopes) = density.densities_and_gradients(host.view())?;
        let slopes = Tensor::from_iter(slopes.iter().copied(), features.device())?.reshape((rows, width))?;
        // Linear in the features, with the slope of the density: its gradient is that of the density.
        Ok((&features * slopes.to_dtype(features.dtype())?)?.sum(1)?)
    });
    let found = result.map_err(|error| match error {
        Error::Tensor(cause) if lacks_backward(&cause) => {
            without_gradient(&format!("generator or extractor ({cause})"))
        }
        error => error,
    })?;
    let images = quantize(&found.images, generator.info().quantization)?;
    let features = features_of(extractor, &images)?;
    let densities = density.densities(features.view())?;
    Ok((Evaluation { images, features, densities }, found.gradient))
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
