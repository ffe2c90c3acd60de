//! Images of latents, measured as they are written, and the gradient of their densities with respect to the latents: through generator,
//! resize, extractor and density. In the memory of one stage of the generator and the extractor: a diffusion model's steps are computed
//! again on the way back.

use super::density::Density;
use super::features::{features_of, prepare};
use super::render::{quantize, render};
use crate::error::{Error, Result};
use crate::extract::{FeatureGradient, LoadedExtractor, without_gradient};
use crate::generate::{ForwardOptions, Generator, Quantization, pixels, value_and_gradient};
use crate::images::RgbImage;
use candle_core::Tensor;
use ndarray::{Array2, ArrayView2};
use std::cell::Cell;

/// Images of latents with what was measured of them, a row each.
#[derive(Debug, Clone)]
pub(crate) struct Evaluation {
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
pub(crate) fn evaluate(
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

/// As [`evaluate`], with the gradient of each row's density with respect to its latent, of the latents' shape. It is taken at the
/// written image, straight through (Bengio et al., arXiv 1308.3432): on the way back rounding to 8 bits, when the image is written and
/// when it is resized, counts as the identity. The extractor and the search run once, for the densities and the gradient.
///
/// # Errors
/// [`Error::Usage`] if generator or extractor give no gradient; as [`evaluate`].
pub(crate) fn evaluate_with_gradient(
    generator: &dyn Generator,
    extractor: &LoadedExtractor,
    density: &dyn Density,
    latents: &Tensor,
    conditions: &ForwardOptions,
) -> Result<(Evaluation, Tensor)> {
    let evaluation = Cell::new(None);
    let result = value_and_gradient(generator, latents, conditions, |images| {
        if !images.track_op() {
            return Err(without_gradient(&format!("the generator {}", generator.info().family)));
        }
        let written = quantize(images, generator.info().quantization)?;
        let (FeatureGradient { features, value: densities, .. }, smooth) =
            straight_through(extractor, images, &written, |features| {
                density.densities_and_gradients(features)
            })?;
        evaluation.set(Some(Evaluation { images: written, features, densities }));
        Ok(smooth)
    });
    let found = result.map_err(|error| match error {
        Error::Tensor(cause) if lacks_backward(&cause) => {
            without_gradient(&format!("generator or extractor ({cause})"))
        }
        error => error,
    })?;
    match evaluation.into_inner() {
        Some(evaluation) => Ok((evaluation, found.gradient)),
        None => Err(Error::data("the generator made no images", "")),
    }
}

/// What a function of the features of images `[B, C, H, W]`, in -1..=1, gives, and for each image a number `[B]` whose gradient with
/// respect to its pixels is that of the function. `function` takes features `[B, D]` of the 8-bit images to what is wanted of them and
/// its gradient with respect to each; that of the pixels passes straight through rounding.
///
/// # Errors
/// [`Error::Data`] for an image that is not finite; [`Error::Usage`] if the extractor gives no gradient; what `function` returns.
pub(crate) fn image_features_with_slope<T>(
    extractor: &LoadedExtractor,
    images: &Tensor,
    quantization: Quantization,
    function: impl FnOnce(ArrayView2<f64>) -> Result<(T, Array2<f64>)>,
) -> Result<(T, Tensor)> {
    let written = quantize(images, quantization)?;
    let (found, smooth) = straight_through(extractor, images, &written, function)?;
    Ok((found.value, smooth))
}

fn straight_through<T>(
    extractor: &LoadedExtractor,
    images: &Tensor,
    written: &[RgbImage],
    function: impl FnOnce(ArrayView2<f64>) -> Result<(T, Array2<f64>)>,
) -> Result<(FeatureGradient<T>, Tensor)> {
    let prepared = prepare(extractor, written);
    let found = extractor.features_with_gradient(&prepared, images.dtype(), function)?;
    // Linear in the smooth input of the network, with the slope at the input of the written image: its gradient is the one that
    // passes straight through rounding.
    let smooth = extractor.input_of_images(&pixels::to_unit_rgb(images)?)?;
    let smooth = (smooth * &found.input)?.flatten_from(1)?.sum(1)?;
    Ok((found, smooth))
}

fn lacks_backward(error: &candle_core::Error) -> bool {
    match error {
        candle_core::Error::BackwardNotSupported { .. } => true,
        candle_core::Error::WithBacktrace { inner, .. } => lacks_backward(inner),
        candle_core::Error::Context { inner, .. } => lacks_backward(inner),
        _ => false,
    }
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
