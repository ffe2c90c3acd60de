//! What the rest of the program knows of a generator and of a discriminator.

use super::variables::Variables;
use crate::collective::{Ranks, single};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// How a network is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Stored statistics; parameters are constants; an image never depends on its batch.
    #[default]
    Eval,
    /// Statistics of the batch, which also move the stored ones; gradients reach the parameters.
    Train,
    /// As [`Mode::Train`], on operations that can be differentiated once more: for penalties on a gradient, such as R1.
    TrainSecondOrder,
    /// As [`Mode::Train`] but with constant parameters: a discriminator that the generator's step goes through.
    Through,
}

impl Mode {
    /// Whether normalisation takes its statistics from the batch.
    pub fn batch_statistics(self) -> bool {
        self != Mode::Eval
    }

    /// Whether gradients reach the parameters.
    pub fn trains(self) -> bool {
        matches!(self, Mode::Train | Mode::TrainSecondOrder)
    }
}

/// Size of the images of a generator or discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// `[C, H, W]`.
    pub fn dims(self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }
}

/// The distribution that latents are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prior {
    /// Independent standard normal numbers.
    Normal,
}

/// A space in which an image has coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatentSpace {
    /// The name of `--space`: `z`, `w`, or `noise` for the initial noise of a diffusion model.
    pub name: &'static str,
    /// Dimensions of one latent, without the batch.
    pub shape: Vec<usize>,
    /// What it is drawn from; absent where it is reached from another space only.
    pub prior: Option<Prior>,
}

impl LatentSpace {
    /// A vector space with a standard normal prior.
    pub fn normal(name: &'static str, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec(), prior: Some(Prior::Normal) }
    }
}

/// Moves latents towards the middle of their distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truncation {
    /// What is left of the distance from the middle: 1 changes nothing, 0 gives the middle.
    pub psi: f64,
    /// How many layers it concerns, where a latent has several.
    pub cutoff: Option<usize>,
}

impl Truncation {
    /// For a space whose middle is 0: `psi` times the latents.
    pub(super) fn scale(truncation: Option<Truncation>, latents: &Tensor) -> Result<Tensor> {
        match truncation {
            Some(Truncation { psi, .. }) => Ok((latents * psi)?),
            None => Ok(latents.clone()),
        }
    }
}

/// Noise that enters between the layers of some generators (`--noise-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoiseMode {
    /// Stored with the weights.
    #[default]
    Const,
    /// None.
    None,
    /// Drawn for each image, keyed by [`Conditions::keys`].
    Random,
}

/// Everything but latents that an image depends on. The default is an unconditional image in eval mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// One class for each row.
    pub classes: Option<&'a [u32]>,
    /// Name of the space that the latents are in; the first of [`Generator::spaces`] if not given.
    pub space: Option<&'a str>,
    /// Truncation.
    pub truncation: Option<Truncation>,
    /// Noise between the layers.
    pub noise: NoiseMode,
    /// For each row what its own random streams are keyed by (its seed): needed where noise is drawn. A discriminator that augments what
    /// it sees in training does so by them.
    pub keys: Option<&'a [u64]>,
    /// How the network is run.
    pub mode: Mode,
    /// The ranks that have the rest of the batch, which statistics of the batch are taken over; this one alone unless given.
    pub ranks: Option<&'a Ranks>,
}

impl Conditions<'_> {
    /// The ranks that the batch is dealt to.
    pub fn ranks(&self) -> Ranks {
        self.ranks.map_or_else(single, Ranks::clone)
    }
}

/// How values in -1..=1 become bytes when an image is written, as the family's own program does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantization {
    /// `floor(255 u + 0.5)` of `u = (x + 1) / 2`: torchvision's `save_image`.
    HalfUp,
    /// `255 u`, halves to the even byte: diffusers.
    HalfToEven,
    /// `floor(127.5 x + 128)`: NVIDIA's `generate.py`.
    Truncated,
    /// `floor(127.5 (x + 1))`: OpenAI's sampling scripts.
    Floor,
}

/// A network that makes images from latents.
///
/// Images are `[B, C, H, W]`, nominally in -1..=1 for every family (a family that was trained on another range is
/// converted inside its file); see [`super::pixels`] for the way to 0..=1 and to bytes.
pub trait Generator: Send + Sync {
    /// Name of the family in [`super::FAMILIES`].
    fn family(&self) -> &'static str;

    /// Its sizes, as its part of `config.json`: the family builds the same network from it.
    fn config(&self) -> serde_json::Value;

    /// Parameters and buffers, by official name.
    fn variables(&self) -> &Variables;

    /// Size of its images.
    fn image_shape(&self) -> ImageShape;

    /// The spaces that it takes latents in; the first is the one that is drawn from.
    fn spaces(&self) -> &[LatentSpace];

    /// Number of classes; 0 where it is unconditional.
    fn class_count(&self) -> usize {
        0
    }

    /// Whether [`Conditions::truncation`] is known.
    fn truncates(&self) -> bool;

    /// Whether an image depends on [`Conditions::keys`] beside its latent.
    fn needs_keys(&self) -> bool {
        false
    }

    /// How its images become bytes.
    fn quantization(&self) -> Quantization {
        Quantization::HalfUp
    }

    /// Brings latents of the first space into another one, truncation included.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such space.
    fn map_latents(&self, latents: &Tensor, space: &str, conditions: &Conditions) -> Result<Tensor> {
        let target = find_space(self.spaces(), Some(space))?;
        let first = find_space(self.spaces(), None)?;
        if target != first {
            return Err(Error::usage(
                format!("{} cannot bring latents from {} to {space}", self.family(), first.name),
                "",
            ));
        }
        self.check(latents, conditions)?;
        Ok(latents.clone())
    }

    /// How many steps lead from a latent to its image: one for most, each denoising step of a diffusion model.
    fn stages(&self) -> usize {
        1
    }

    /// One of these steps, differentiable: stage 0 takes latents, each other one what the one before returned, the last
    /// returns images. [`super::value_and_gradient`] recomputes stage by stage, so that memory does not grow with their number.
    ///
    /// # Errors
    /// If `state` does not fit.
    fn stage(&self, index: usize, state: &Tensor, conditions: &Conditions) -> Result<Tensor>;

    /// Images `[B, C, H, W]` of latents `[B, …]`, differentiable with respect to these, and in [`Mode::Train`] to the parameters.
    /// In [`Mode::Eval`] an image never depends on the rest of its batch.
    ///
    /// # Errors
    /// [`Error::Usage`] if latents or conditions are not those of this generator.
    fn generate(&self, latents: &Tensor, conditions: &Conditions) -> Result<Tensor> {
        self.check(latents, conditions)?;
        (0..self.stages()).try_fold(latents.clone(), |state, index| self.stage(index, &state, conditions))
    }

    /// Whether latents and conditions are those of this generator.
    ///
    /// # Errors
    /// [`Error::Usage`] saying what is not.
    fn check(&self, latents: &Tensor, conditions: &Conditions) -> Result<()> {
        let space = find_space(self.spaces(), conditions.space)?;
        let rows = match latents.dims() {
            [rows, rest @ ..] if *rows > 0 && rest == space.shape => *rows,
            dims => {
                let reason = format!(
                    "latents have the shape {dims:?}; {} takes [n, {}] in {}",
                    self.family(),
                    space.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
                    space.name
                );
                return Err(Error::usage(reason, "latents of another generator, or another --space?"));
            }
        };
        check_classes(self.family(), self.class_count(), conditions.classes, rows)?;
        if conditions.truncation.is_some() && !self.truncates() {
            return Err(Error::usage(format!("{} has no truncation", self.family()), "leave --trunc out"));
        }
        match conditions.keys {
            Some(keys) if keys.len() != rows => {
                Err(Error::usage(format!("{} keys were given for {rows} latents", keys.len()), ""))
            }
            None if self.needs_keys() || conditions.noise == NoiseMode::Random => {
                Err(Error::usage("random noise needs a key for each image", "give seeds"))
            }
            _ => Ok(()),
        }
    }

    /// The noise prediction that a diffusion model is trained by; `None` for every other family.
    fn denoiser(&self) -> Option<&dyn Denoiser> {
        None
    }
}

/// A network that judges images.
pub trait Discriminator: Send + Sync {
    /// Name of the family in [`super::FAMILIES`].
    fn family(&self) -> &'static str;

    /// Its sizes, as its part of `config.json`.
    fn config(&self) -> serde_json::Value;

    /// Parameters and buffers, by official name.
    fn variables(&self) -> &Variables;

    /// Size of the images that it takes.
    fn image_shape(&self) -> ImageShape;

    /// Number of classes; 0 where it is unconditional.
    fn class_count(&self) -> usize {
        0
    }

    /// Images that are judged together in a batch of this size: image `i` with those whose number leaves the same remainder by
    /// `batch / group`. 1 where a logit depends on its own image, and on statistics of the whole batch at most.
    fn group(&self, _batch: usize) -> usize {
        1
    }

    /// Logits `[B]`, or `[B, P]` of a discriminator that judges an image at several places, positive for real, of images
    /// `[B, C, H, W]` in -1..=1; before any sigmoid that its training program ends with.
    ///
    /// # Errors
    /// If images or conditions are not those of this discriminator.
    fn logits(&self, images: &Tensor, conditions: &Conditions) -> Result<Tensor>;

    /// Whether images and conditions are those of this discriminator.
    ///
    /// # Errors
    /// [`Error::Usage`] saying what is not.
    fn check(&self, images: &Tensor, conditions: &Conditions) -> Result<()> {
        match images.dims() {
            [rows, rest @ ..] if *rows > 0 && *rest == self.image_shape().dims() => {
                check_classes(self.family(), self.class_count(), conditions.classes, *rows)
            }
            dims => Err(Error::usage(
                format!(
                    "images have the shape {dims:?}; the discriminator {} takes [n, {}]",
                    self.family(),
                    self.image_shape().dims().map(|d| d.to_string()).join(", ")
                ),
                "is this the discriminator of another generator?",
            )),
        }
    }
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
        conditions: &Conditions,
    ) -> Result<Tensor>;
}

/// The space of this name, the first if none is given.
///
/// # Errors
/// [`Error::Usage`] with the known names.
pub fn find_space<'s>(spaces: &'s [LatentSpace], name: Option<&str>) -> Result<&'s LatentSpace> {
    let found = match name {
        None => spaces.first(),
        Some(name) => spaces.iter().find(|space| space.name == name),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = spaces.iter().map(|space| space.name).collect();
        let name = name.unwrap_or("any");
        Error::usage(
            format!("there is no latent space `{name}` here"),
            format!("known are {}", known.join(", ")),
        )
    })
}

fn check_classes(family: &str, count: usize, classes: Option<&[u32]>, rows: usize) -> Result<()> {
    match classes {
        None if count == 0 => Ok(()),
        None => Err(Error::usage(
            format!("{family} has {count} classes and was given none"),
            format!("give --class, from 0 to {}", count - 1),
        )),
        Some(_) if count == 0 => Err(Error::usage(format!("{family} has no classes"), "leave --class out")),
        Some(classes) if classes.len() != rows => {
            Err(Error::usage(format!("{} classes were given for {rows} images", classes.len()), ""))
        }
        Some(classes) => match classes.iter().find(|&&class| class as usize >= count) {
            Some(class) => Err(Error::usage(
                format!("there is no class {class}"),
                format!("{family} has {count} classes, from 0"),
            )),
            None => Ok(()),
        },
    }
}
