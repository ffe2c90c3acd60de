//! Latents from standard normal numbers.

use crate::error::Result;
use crate::generate::Generator;
use crate::random::{Purpose, keyed, normals};
use candle_core::{Device, Tensor};

/// Standard normal numbers of this shape for each image, from a stream of its own.
pub(super) fn normals_of_images(seed: u64, purpose: Purpose, images: &[u64], shape: &[usize]) -> Vec<f32> {
    let each = shape.iter().product();
    images
        .iter()
        .flat_map(|&image| normals(keyed(seed, purpose, image)).take(each).map(|value| value as f32))
        .collect()
}

/// Latents `[B, …]` of the generator's first space that stay the same throughout a run, each image's from a stream of its own.
///
/// # Errors
/// What candle's operations return.
pub(super) fn fixed_latents(
    generator: &dyn Generator,
    seed: u64,
    purpose: Purpose,
    images: &[u64],
    device: &Device,
) -> Result<Tensor> {
    let shape = &generator.info().space(None)?.shape;
    to_latents(normals_of_images(seed, purpose, images, shape), images.len(), shape, device)
}

/// Values of `count` latents of this shape, one after the other, as a tensor `[B, …]`.
///
/// # Errors
/// What candle's operations return.
pub(super) fn to_latents(values: Vec<f32>, count: usize, shape: &[usize], device: &Device) -> Result<Tensor> {
    let dims: Vec<usize> = [count].into_iter().chain(shape.iter().copied()).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_device(device)?)
}
