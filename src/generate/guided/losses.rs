//! The terms of the hybrid objective (IDDPM, equation 16): squared error of the prediction, and the variational bound in bits.

use super::schedule::{MeanType, Prediction, Schedule};
use crate::error::Result;
use candle_core::Tensor;
use std::f64::consts::{LN_2, PI};

/// Half the distance between two of the 256 values of a pixel.
const HALF_BIN: f64 = 1.0 / 255.0;
/// Pixels beyond belong to the outermost bins.
const EDGE: f64 = 0.999;
/// Probabilities are at least this.
const LEAST: f64 = 1e-12;

fn per_image(t: &Tensor) -> Result<Tensor> {
    Ok(t.flatten_from(1)?.mean(1)?)
}

/// Mean squared error `[B]` of what the output says of the noise or the image.
///
/// # Errors
/// What candle's operations return.
pub(super) fn squared_error(
    schedule: &Schedule,
    images: &Tensor,
    noise: &Tensor,
    output: &Tensor,
) -> Result<Tensor> {
    let target = match schedule.mean {
        MeanType::Epsilon => noise,
        MeanType::StartX => images,
    };
    per_image(&(output.narrow(1, 0, images.dim(1)?)? - target)?.sqr()?)
}

/// The output with a constant mean: the bound then teaches the variance alone.
///
/// # Errors
/// What candle's operations return.
pub(super) fn freeze_mean(output: &Tensor, channels: usize) -> Result<Tensor> {
    let mean = output.narrow(1, 0, channels)?.detach();
    Ok(Tensor::cat(&[mean, output.narrow(1, channels, output.dim(1)? - channels)?], 1)?)
}

/// The bound's term at the timestep of each image, `[B]` in bits per number: how far the step back is from the posterior, and at timestep 0
/// how unlikely it makes the image. Nothing is cut.
///
/// # Errors
/// What candle's operations return.
pub(super) fn bound(
    schedule: &Schedule,
    images: &Tensor,
    noisy: &Tensor,
    output: &Tensor,
    timesteps: &[usize],
) -> Result<Tensor> {
    let Prediction { mean, log_variance, .. } = schedule.prediction(noisy, output, timesteps, false)?;
    let true_mean = schedule.posterior_mean(images, noisy, timesteps)?;
    let true_log_variance = schedule.column(timesteps, images, |t| schedule.posterior_log_variance(t))?;
    let log_variance = log_variance.broadcast_as(mean.shape())?;
    let kl = per_image(&normal_kl(&true_mean, &true_log_variance, &mean, &log_variance)?)?;
    let decoder = per_image(&discretised_log_likelihood(images, &mean, &(&log_variance * 0.5)?)?.neg()?)?;
    let first = schedule.column(timesteps, images, |t| f64::from(u8::from(t == 0)))?.flatten_all()?;
    let chosen = ((decoder * &first)? + (kl * first.affine(-1.0, 1.0)?)?)?;
    Ok((chosen / LN_2)?)
}

/// KL divergence of two normal distributions, element by element, in nats.
///
/// # Errors
/// What candle's operations return.
pub(super) fn normal_kl(
    mean: &Tensor,
    log_variance: &Tensor,
    of_mean: &Tensor,
    of_log: &Tensor,
) -> Result<Tensor> {
    let ratio = of_log.broadcast_sub(log_variance)?;
    let distance = mean.broadcast_sub(of_mean)?.sqr()?.broadcast_mul(&of_log.neg()?.exp()?)?;
    Ok((((ratio.neg()?.exp()? + ratio)? - 1.0)?.broadcast_add(&distance)? * 0.5)?)
}

/// Log likelihood of pixels, each the bin of its 256 values, under normal distributions.
fn discretised_log_likelihood(images: &Tensor, means: &Tensor, log_scales: &Tensor) -> Result<Tensor> {
    let centred = (images - means)?;
    let inverse = log_scales.neg()?.exp()?;
    let below = |shift: f64| normal_distribution(&((&centred + shift)? * &inverse)?);
    let (upper, lower) = (below(HALF_BIN)?, below(-HALF_BIN)?);
    let log = |p: Tensor| -> Result<Tensor> { Ok(p.maximum(LEAST)?.log()?) };
    let (darkest, brightest) = (images.lt(-EDGE)?, images.gt(EDGE)?);
    let inner = log((&upper - &lower)?)?;
    let inner = brightest.where_cond(&log(lower.affine(-1.0, 1.0)?)?, &inner)?;
    Ok(darkest.where_cond(&log(upper)?, &inner)?)
}

/// The normal distribution function by its approximation with a hyperbolic tangent (Page 1977), as the original takes it.
fn normal_distribution(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.powf(3.0)? * 0.044715)?)? * (2.0 / PI).sqrt())?;
    Ok(inner.tanh()?.affine(0.5, 0.5)?)
}
