//! What is known of a network without running it, and whether latents, images and options fit it.

use super::options::{ForwardOptions, NoiseMode};
use crate::error::{Error, Result};
use crate::remedy::Remedy;
use candle_core::Tensor;
use serde_json::Value;

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

    /// Of square images.
    pub fn square(channels: usize, side: usize) -> Self {
        Self { channels, height: side, width: side }
    }
}

impl From<[usize; 3]> for ImageShape {
    /// From `[C, H, W]`.
    fn from([channels, height, width]: [usize; 3]) -> Self {
        Self { channels, height, width }
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
    /// `z`, `w`, or `noise` for the initial noise of a diffusion model.
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

/// What a generator is. Each family makes it once, when it builds the network.
///
/// It says nothing of weights, gradients or devices: a generator may be a program of its own that has none to show.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeneratorInfo {
    /// Name of the family, for a network of the program itself one of [`super::FAMILIES`].
    pub family: &'static str,
    /// Its sizes, as its part of `config.json`: the family builds the same generator from it.
    pub config: Value,
    /// Size of its images.
    pub image_shape: ImageShape,
    /// The spaces that it takes latents in; the first is the one that is drawn from. Empty where images are not made from latents.
    pub spaces: Vec<LatentSpace>,
    /// Number of classes; 0 where it is unconditional.
    pub class_count: usize,
    /// Whether [`ForwardOptions::truncation`] is known.
    pub truncates: bool,
    /// Whether an image depends on [`ForwardOptions::keys`] beside its latent.
    pub needs_keys: bool,
    /// How its images become bytes.
    pub quantization: Quantization,
    /// What the file of the network does not say, or what was settled for this run, and images depend on: a phrase each, for the user.
    pub assumed: Vec<String>,
    /// How many steps lead from a latent to its image: one for most, each denoising step of a diffusion model.
    pub stages: usize,
}

impl GeneratorInfo {
    /// An unconditional generator of one step without truncation or noise, its images written as torchvision writes them.
    pub fn new(
        family: &'static str,
        config: Value,
        image_shape: impl Into<ImageShape>,
        spaces: impl Into<Vec<LatentSpace>>,
    ) -> Self {
        Self {
            family,
            config,
            image_shape: image_shape.into(),
            spaces: spaces.into(),
            class_count: 0,
            truncates: false,
            needs_keys: false,
            quantization: Quantization::HalfUp,
            assumed: Vec::new(),
            stages: 1,
        }
    }

    /// The space of this name, the first if none is given.
    ///
    /// # Errors
    /// [`Error::Usage`] with the known names.
    pub fn space(&self, name: Option<&str>) -> Result<&LatentSpace> {
        let found = match name {
            None => self.spaces.first(),
            Some(name) => self.spaces.iter().find(|space| space.name == name),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = self.spaces.iter().map(|space| space.name).collect();
            let name = name.unwrap_or("any");
            Error::usage(
                format!("there is no latent space `{name}` here"),
                format!("known are {}", known.join(", ")),
            )
        })
    }

    /// Whether latents `[B, …]` and options are those of this generator.
    ///
    /// # Errors
    /// [`Error::Usage`] saying what is not.
    pub fn check(&self, latents: &Tensor, options: &ForwardOptions) -> Result<()> {
        let space = self.space(options.space)?;
        let rows = match latents.dims() {
            [rows, rest @ ..] if *rows > 0 && rest == space.shape => *rows,
            dims => {
                let reason = format!(
                    "latents have the shape {dims:?}; {} takes [n, {}] in {}",
                    self.family,
                    space.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
                    space.name
                );
                return Err(Error::usage(reason, Remedy::CheckSpace));
            }
        };
        check_classes(self.family, self.class_count, options.classes, rows)?;
        if options.truncation.is_some() && !self.truncates {
            return Err(Error::usage(format!("{} has no truncation", self.family), Remedy::DropTruncation));
        }
        match options.keys {
            Some(keys) if keys.len() != rows => {
                Err(Error::usage(format!("{} keys were given for {rows} latents", keys.len()), ""))
            }
            None if self.needs_keys || options.noise == NoiseMode::Random => {
                Err(Error::usage("random noise needs a key for each image", "give seeds"))
            }
            _ => Ok(()),
        }
    }
}

/// What a discriminator is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiscriminatorInfo {
    /// Name of the family in [`super::FAMILIES`].
    pub family: &'static str,
    /// Its sizes, as its part of `config.json`.
    pub config: Value,
    /// Size of the images that it takes.
    pub image_shape: ImageShape,
    /// Number of classes; 0 where it is unconditional.
    pub class_count: usize,
}

impl DiscriminatorInfo {
    /// An unconditional discriminator.
    pub fn new(family: &'static str, config: Value, image_shape: impl Into<ImageShape>) -> Self {
        Self { family, config, image_shape: image_shape.into(), class_count: 0 }
    }

    /// Whether images `[B, C, H, W]` and options are those of this discriminator.
    ///
    /// # Errors
    /// [`Error::Usage`] saying what is not.
    pub fn check(&self, images: &Tensor, options: &ForwardOptions) -> Result<()> {
        match images.dims() {
            [rows, rest @ ..] if *rows > 0 && *rest == self.image_shape.dims() => {
                check_classes(self.family, self.class_count, options.classes, *rows)
            }
            dims => Err(Error::usage(
                format!(
                    "images have the shape {dims:?}; the discriminator {} takes [n, {}]",
                    self.family,
                    self.image_shape.dims().map(|d| d.to_string()).join(", ")
                ),
                "is this the discriminator of another generator?",
            )),
        }
    }
}

/// Number of classes of a generator whose file does not say how many there are.
pub(crate) const UNTOLD_CLASSES: usize = 1 << 20;

fn check_classes(family: &str, count: usize, classes: Option<&[u32]>, rows: usize) -> Result<()> {
    match classes {
        None if count == 0 => Ok(()),
        None if count == UNTOLD_CLASSES => {
            Err(Error::usage(format!("{family} has classes and was given none"), Remedy::GiveAnyClass))
        }
        None => Err(Error::usage(
            format!("{family} has {count} classes and was given none"),
            Remedy::GiveClass(count),
        )),
        Some(_) if count == 0 => Err(Error::usage(format!("{family} has no classes"), Remedy::DropClass)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_asked_for_by_the_number_of_classes_where_that_is_known() {
        let said = |count| check_classes("onnx", count, None, 1).unwrap_err().to_string();
        assert!(said(3).contains("3 classes"));
        let unknown = said(UNTOLD_CLASSES);
        assert!(unknown.contains("has classes and was given none"), "{unknown}");
        assert!(check_classes("onnx", UNTOLD_CLASSES, Some(&[7]), 1).is_ok());
    }
}
