//! From latents to images as they are written.

use crate::error::{Error, Result};
use crate::generate::{ForwardOptions, Generator, Quantization, pixels};
use crate::images::{RgbImage, gray_or_rgb};
use candle_core::Tensor;

/// The images of `latents` `[B, …]` in 8 bits: those that are scored and those that are written.
///
/// # Errors
/// [`Error::Data`] for an image that is not finite; what the generator returns.
pub(crate) fn render(
    generator: &dyn Generator,
    latents: &Tensor,
    conditions: &ForwardOptions,
) -> Result<Vec<RgbImage>> {
    render_watched(generator, latents, conditions, &mut |_| Ok(()))
}

/// [`render`]; `watch` is called after each stage with the number of stages that are done, and may break off.
///
/// # Errors
/// As [`render`]; what `watch` returns.
pub(super) fn render_watched(
    generator: &dyn Generator,
    latents: &Tensor,
    conditions: &ForwardOptions,
    watch: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<RgbImage>> {
    quantize(&generator.generate_watched(latents, conditions, watch)?, generator.info().quantization)
}

/// Images `[B, C, H, W]` in -1..=1 in 8 bits; one channel (gray) becomes three equal ones.
///
/// # Errors
/// [`Error::Data`] if a value is not finite, or there are neither one nor three channels.
pub(super) fn quantize(images: &Tensor, quantization: Quantization) -> Result<Vec<RgbImage>> {
    let (_, channels, height, width) = images.dims4()?;
    if channels != 1 && channels != 3 {
        return Err(Error::data(format!("images of {channels} channels are neither gray nor colour"), ""));
    }
    let size = (width as u32, height as u32);
    let bytes = pixels::to_bytes(images, quantization)?;
    bytes.into_iter().map(|pixels| gray_or_rgb(size, pixels)).collect()
}
