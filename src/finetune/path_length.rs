//! Style mixing and path-length regularisation (StyleGAN2, Karras et al. 2020, <https://arxiv.org/abs/1912.04958>, section 3.2) of a
//! generator that has a space `w` of one vector for each layer.

use super::latents::{fixed_latents, normals_of_images};
use crate::error::{Error, Result};
use crate::generate::{Builder, ForwardOptions, Generator, Init, Variables};
use crate::random::{Purpose, keyed};
use crate::remedy::Remedy;
use crate::train::RankShard;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use rand::RngExt;
use std::path::Path;

/// The space that both work in.
const SPACE: &str = "w";
/// How much of a step's mean length the running mean takes.
const DECAY: f64 = 0.01;
/// The penalty is taken on this share of a batch.
const SHRINK: usize = 2;
/// The running mean among the networks of a run.
const MEAN: &str = "pl_mean";

/// How many vectors the space `w` has, where a generator has such a space.
fn layers(generator: &dyn Generator) -> Option<usize> {
    match generator.info().space(Some(SPACE)).ok()?.shape.as_slice() {
        &[layers, _] => Some(layers),
        _ => None,
    }
}

/// Refuses a generator without a vector for each layer.
///
/// # Errors
/// [`Error::Usage`] naming what was asked for.
pub fn check_layers(generator: &dyn Generator, what: &str, remedy: Remedy) -> Result<()> {
    match layers(generator) {
        Some(_) => Ok(()),
        None => {
            let reason =
                format!("{} has no latents for each layer, which {what} needs", generator.info().family);
            Err(Error::usage(reason, remedy))
        }
    }
}

/// The second latents of a batch, and the layer from which they take over.
pub struct Mixing {
    latents: Tensor,
    /// 1 to the number of layers less one.
    first: usize,
}

impl Mixing {
    /// Drawn for this rank's part of a step: with this probability one place for all images, as the authors do it. `None` where
    /// this step mixes nothing. What comes is of the type of the first latents, `like`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn of_step(
        generator: &dyn Generator,
        probability: f64,
        shard: &RankShard,
        (seed, step): (u64, u64),
        like: &Tensor,
    ) -> Result<Option<Self>> {
        let mut random = keyed(seed, Purpose::Mixing, step);
        let layers = layers(generator).unwrap_or(0);
        if layers < 2 || random.random::<f64>() >= probability {
            return Ok(None);
        }
        let first = random.random_range(1..layers as u32) as usize;
        let images = shard.images_of_step(step);
        let latents = fixed_latents(generator, seed, Purpose::MixedLatents, &images, like.device())?;
        Ok(Some(Self { latents: latents.to_dtype(like.dtype())?, first }))
    }
}

/// Images `[B, C, H, W]` of latents, mixed where asked for, differentiable with respect to the parameters.
///
/// # Errors
/// What the generator returns.
pub(super) fn images_of(
    generator: &dyn Generator,
    latents: &Tensor,
    mixing: Option<&Mixing>,
    conditions: &ForwardOptions,
) -> Result<Tensor> {
    match mixing {
        Some(_) => images_of_ws(generator, &mixed_ws(generator, latents, mixing, conditions)?, conditions),
        None => generator.generate(latents, conditions),
    }
}

/// ws `[B, layers, w]` of latents, mixed where asked for. The average of w moves by the first latents only.
fn mixed_ws(
    generator: &dyn Generator,
    latents: &Tensor,
    mixing: Option<&Mixing>,
    conditions: &ForwardOptions,
) -> Result<Tensor> {
    let ws = generator.map_latents(latents, SPACE, conditions)?;
    let Some(Mixing { latents, first }) = mixing else { return Ok(ws) };
    let (rows, layers, _) = ws.dims3()?;
    let still = ForwardOptions { mode: conditions.mode.second_order(), ..*conditions };
    let others = generator.map_latents(&latents.narrow(0, 0, rows)?, SPACE, &still)?;
    Ok(Tensor::cat(&[ws.narrow(1, 0, *first)?, others.narrow(1, *first, layers - first)?], 1)?)
}

fn images_of_ws(generator: &dyn Generator, ws: &Tensor, conditions: &ForwardOptions) -> Result<Tensor> {
    generator.generate(ws, &ForwardOptions { space: Some(SPACE), ..*conditions })
}

/// How the penalty is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathLengthConfig {
    /// Its weight.
    pub weight: f64,
    /// Steps from one to the next.
    pub interval: usize,
}

/// The regularisation with its running mean, which is part of the state of a run.
pub struct PathLength {
    /// How it is applied.
    pub config: PathLengthConfig,
    mean: Variables,
}

/// What paths are measured at.
pub struct Paths {
    /// Of the generator's first space.
    pub latents: Tensor,
    /// `[B, C, H, W]`, standard normal: the direction that their images are seen in. The gradient of what is seen with respect to w is
    /// the path, and its norm over the layers the length.
    pub noise: Tensor,
}

/// What a penalty gives.
pub struct Penalty {
    /// The mean of the squared distances from the running mean.
    pub value: Tensor,
    /// Gradients of the penalty, weighted and times its interval, with respect to the generator's parameters.
    pub gradients: GradStore,
}

impl PathLength {
    /// The running mean at 0.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn new(config: PathLengthConfig, device: &Device) -> Result<Self> {
        let mut builder = Builder::from_nothing(0, Path::new(MEAN), DType::F32, device);
        builder.buffer(MEAN, &[], Init::Constant(0.0))?;
        Ok(Self { config, mean: builder.finish(&[])? })
    }

    /// The running mean, to be saved with the networks.
    pub fn state(&self) -> (&'static str, &Variables) {
        (MEAN, &self.mean)
    }

    /// How many rows of a batch stay on one rank where `group` belong together: then each rank has as many of those that paths are
    /// measured on as every other.
    pub fn group(group: usize) -> usize {
        if group.is_multiple_of(SHRINK) { group } else { group * SHRINK }
    }

    /// Whether step `step` has it.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.config.interval as u64)
    }

    /// What a step's penalty on its own images is drawn from: this rank's rows of the first part of the batch, of the type of the
    /// latents `like`.
    ///
    /// # Errors
    /// What candle's operations return.
    pub fn draws(
        &self,
        generator: &dyn Generator,
        shard: &RankShard,
        (seed, step): (u64, u64),
        like: &Tensor,
    ) -> Result<Paths> {
        let images = shard.first((shard.batch() / SHRINK).max(1)).images_of_step(step);
        let dims = generator.info().image_shape.dims();
        let noise = normals_of_images(seed, Purpose::PathNoise, &images, &dims);
        let noise = Tensor::from_vec(noise, [&[images.len()], dims.as_slice()].concat(), &Device::Cpu)?;
        let latents = fixed_latents(generator, seed, Purpose::PathLatents, &images, like.device())?;
        Ok(Paths { latents: latents.to_dtype(like.dtype())?, noise: noise.to_device(like.device())? })
    }

    /// The penalty on this rank's paths, and the step of the running mean over those of all ranks. What flows back into w goes on to
    /// the mapping network.
    ///
    /// Right only where gradients have gradients ([`super::check_second_order`]).
    ///
    /// # Errors
    /// What the generator returns.
    pub fn penalty(
        &self,
        generator: &dyn Generator,
        Paths { latents, noise }: &Paths,
        mixing: Option<&Mixing>,
        conditions: &ForwardOptions,
    ) -> Result<Penalty> {
        let ws = mixed_ws(generator, latents, mixing, conditions)?;
        let at = Var::from_tensor(&ws.detach())?;
        let images = images_of_ws(generator, &at, conditions)?;
        let (_, _, height, width) = images.dims4()?;
        let seen =
            (&images * (noise.to_dtype(images.dtype())? / ((height * width) as f64).sqrt())?)?.sum_all()?;
        let slopes = seen.backward()?;
        let slope = slopes
            .get(&at)
            .ok_or_else(|| Error::data("the generator's images do not depend on its latents", ""))?;
        let lengths = slope.sqr()?.sum(2)?.mean(1)?.sqrt()?;
        let variable = self.mean.get(MEAN).ok_or_else(|| Error::data("there is no running mean", ""))?;
        let before = variable.as_detached_tensor().to_dtype(lengths.dtype())?;
        let now = conditions.mode.mean_over_processes(&lengths.detach().mean_all()?)?;
        let mean = ((&before * (1.0 - DECAY))? + (now * DECAY)?)?;
        variable.set(&mean.to_dtype(variable.dtype())?)?;
        let value = lengths.broadcast_sub(&mean)?.sqr()?.mean_all()?;
        let mut gradients = (&value * (self.config.weight * self.config.interval as f64))?.backward()?;
        if let Some(into_ws) = gradients.get(&at).map(Tensor::detach) {
            let mapping = (ws * into_ws)?.sum_all()?.backward()?;
            for (_, parameter) in generator.weights()?.parameters() {
                if let Some(gradient) = mapping.get(parameter) {
                    let sum = match gradients.get(parameter) {
                        Some(other) => (other.detach() + gradient)?,
                        None => gradient.clone(),
                    };
                    gradients.insert(parameter, sum);
                }
            }
        }
        Ok(Penalty { value: value.detach(), gradients })
    }
}
