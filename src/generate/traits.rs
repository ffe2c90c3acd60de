//! What the rest of the program asks of a generator and of a discriminator.

use super::info::{DiscriminatorInfo, GeneratorInfo};
use super::options::ForwardOptions;
use super::variables::Variables;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// A network that makes images from latents.
///
/// Images are `[B, C, H, W]`, nominally in -1..=1 for every family (a family that was trained on another range is
/// converted inside its file); see [`super::pixels`] for the way to 0..=1 and to bytes.
///
/// A family writes what is here; what callers use most, [`generate`](#method.generate) and [`weights`](#method.weights), are methods
/// of `dyn Generator` that no family can replace.
pub trait Generator: Send + Sync {
    /// What it is.
    fn info(&self) -> &GeneratorInfo;

    /// Parameters and buffers, by official name; `None` where there are none to be trained or written. Callers that cannot do
    /// without ask for [`weights`](#method.weights).
    fn variables(&self) -> Option<&Variables>;

    /// Brings latents of the first space into another one, truncation included.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such space.
    fn map_latents(&self, latents: &Tensor, space: &str, options: &ForwardOptions) -> Result<Tensor> {
        let info = self.info();
        let (target, first) = (info.space(Some(space))?, info.space(None)?);
        if target != first {
            return Err(Error::usage(
                format!("{} cannot bring latents from {} to {space}", info.family, first.name),
                "",
            ));
        }
        info.check(latents, options)?;
        Ok(latents.clone())
    }

    /// One of the [`GeneratorInfo::stages`], differentiable: stage 0 takes latents, each other one what the one before returned, the
    /// last returns images. [`super::value_and_gradient`] recomputes stage by stage, so that memory does not grow with their number.
    ///
    /// # Errors
    /// If `state` does not fit.
    fn stage(&self, index: usize, state: &Tensor, options: &ForwardOptions) -> Result<Tensor>;

    /// The noise prediction that a diffusion model is trained by; `None` for every other family.
    fn denoiser(&self) -> Option<&dyn Denoiser> {
        None
    }
}

impl dyn Generator + '_ {
    /// Images `[B, C, H, W]` of latents `[B, …]`, differentiable with respect to these, and in [`super::Mode::Train`] to the parameters.
    /// In [`super::Mode::Eval`] an image never depends on the rest of its batch.
    ///
    /// # Errors
    /// [`Error::Usage`] if latents or options are not those of this generator.
    pub fn generate(&self, latents: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        self.generate_watched(latents, options, &mut |_| Ok(()))
    }

    /// [`generate`](#method.generate); `watch` is called after each stage with the number of stages that are done, and may break off.
    ///
    /// # Errors
    /// As [`generate`](#method.generate); what `watch` returns.
    pub(crate) fn generate_watched(
        &self,
        latents: &Tensor,
        options: &ForwardOptions,
        watch: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Tensor> {
        let info = self.info();
        info.check(latents, options)?;
        (0..info.stages).try_fold(latents.clone(), |state, index| {
            let state = self.stage(index, &state, options)?;
            watch(index + 1)?;
            Ok(state)
        })
    }

    /// Its parameters and buffers, for callers that train, write or compare them.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has none.
    pub fn weights(&self) -> Result<&Variables> {
        self.variables()
            .ok_or_else(|| Error::usage(format!("{} has no weights to work with", self.info().family), ""))
    }
}

/// A network that tells real images from generated ones.
pub trait Discriminator: Send + Sync {
    /// What it is.
    fn info(&self) -> &DiscriminatorInfo;

    /// Parameters and buffers, by official name.
    fn variables(&self) -> &Variables;

    /// Images whose logits depend on each other in a batch of this size: image `i` on those whose number leaves the same remainder by
    /// `batch / group`. 1 where a logit depends on its own image, and on statistics of the whole batch at most.
    fn group(&self, _batch: usize) -> usize {
        1
    }

    /// Logits `[B]`, or `[B, P]` of a discriminator that looks at an image in several places, positive for real, of images
    /// `[B, C, H, W]` in -1..=1; before any sigmoid that its training program ends with.
    ///
    /// # Errors
    /// If images or options are not those of this discriminator.
    fn logits(&self, images: &Tensor, options: &ForwardOptions) -> Result<Tensor>;
}

/// A diffusion model as it is trained.
pub trait Denoiser: Send + Sync {
    /// Number of noise levels; timesteps are below it.
    fn timesteps(&self) -> usize;

    /// The training objective of each image, `[B]`: `images` `[B, C, H, W]` in -1..=1 with `noise` of the same shape at
    /// the level of `timesteps`, one for each row.
    ///
    /// # Errors
    /// If the shapes do not fit or a timestep is beyond the schedule.
    fn losses(
        &self,
        images: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        options: &ForwardOptions,
    ) -> Result<Tensor>;
}
