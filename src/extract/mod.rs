//! Networks that turn images into features: a small [`Extractor`] trait, one file per architecture, and the registry
//! [`ARCHITECTURES`] with a line for each. Parameters have their official names, so that published weights load unchanged.
//!
//! `tiny`, the default, is embedded in the program. This project trained it on small photographs (CIFAR-10), digits and garments; on
//! other images it is little better than raw pixels. For photographs, `efficientnet-lite0` is the one to take. Networks agree with
//! torchvision, timm, open_clip and transformers to a relative error of 1e-5; resizing gives Pillow's bytes and JPEG decoding libjpeg-turbo's pixels.

mod choice;
mod cifar_resnet;
mod clip;
mod convnext;
mod efficientnet_lite;
mod gradient;
mod identity;
mod inception;
mod lenet;
mod loaded;
mod onnx;
mod parameters;
mod preprocess;
mod resnet;
#[cfg(test)]
mod rule;
mod siglip;
mod taken;
#[cfg(test)]
mod tests;
pub mod tiny;
mod together;
mod transformer;
mod vgg;
mod vision_transformer;
pub(crate) mod weights;

pub(crate) use choice::FOR_PHOTOGRAPHS;
pub use choice::{ChosenBy, ChosenExtractor};
pub(crate) use efficientnet_lite::LitePyramid;
pub(crate) use gradient::{FeatureGradient, without_gradient};
use identity::FIRST_REVISION;
pub use identity::Identity;
pub(crate) use inception::{
    FEATURES as INCEPTION_FEATURES, LOGITS as INCEPTION_LOGITS, SPATIAL as INCEPTION_SPATIAL,
};
pub(crate) use loaded::normalize_rows;
pub use loaded::{ExtractorRequest, LoadedExtractor};
pub(crate) use onnx::OnnxRequest;
pub(crate) use parameters::FileParameters;
pub use parameters::{ParameterSource, Parameters};
pub(crate) use preprocess::preprocess;
pub(crate) use together::{grouped, load_together};

use crate::error::{Error, Result};
use crate::images::{Alpha, Color, Filter, Fit, Preprocessing};
use candle_core::Tensor;

/// A network with frozen weights, differentiable with respect to its images.
pub trait Extractor: Send + Sync {
    /// Width of the features.
    fn dimension(&self) -> usize;

    /// Normalised images `[B, C, H, W]`, as the architecture's preprocessing makes them, to features `[B, D]`.
    /// A row never depends on the rest of its batch.
    ///
    /// # Errors
    /// If the images have another number of channels or are too small.
    fn forward(&self, images: &Tensor) -> Result<Tensor>;
}

/// What is known of an architecture before its weights are read.
pub struct Architecture {
    /// The name that it is asked for by.
    pub name: &'static str,
    /// One line for a person: what it is, and what it was trained on.
    pub about: &'static str,
    /// Width of the features.
    pub dimension: usize,
    /// What its published evaluation does to an image.
    pub preprocessing: fn() -> Preprocessing,
    /// Whether features are put on the unit sphere unless asked otherwise: where the length says more of contrast and blur than of content.
    pub normalize: bool,
    /// Counted up where the same weights give other features than an earlier version of this program computed.
    pub revision: u32,
    /// Makes the network from its parameters.
    pub build: fn(&Parameters) -> Result<Box<dyn Extractor>>,
    /// A weights file inside the program.
    pub embedded: Option<&'static [u8]>,
    /// The networks that it shares its layers with.
    pub family: Option<&'static Family>,
}

/// Makes one network of those of these names, whose features stand side by side.
type BuildTogether = fn(&Parameters, &[&str]) -> Result<Box<dyn Extractor>>;

/// Networks that share their layers and their weights file.
pub struct Family {
    /// The one that the weights are published for.
    pub weights: &'static str,
    /// Makes one network of several of them.
    pub build: BuildTogether,
}

const fn published(
    name: &'static str,
    about: &'static str,
    dimension: usize,
    preprocessing: fn() -> Preprocessing,
    build: fn(&Parameters) -> Result<Box<dyn Extractor>>,
) -> Architecture {
    let (normalize, revision) = (false, FIRST_REVISION);
    let (embedded, family) = (None, None);
    Architecture { name, about, dimension, preprocessing, normalize, revision, build, embedded, family }
}

/// Every architecture; the first is the default.
pub(crate) const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        embedded: Some(tiny::WEIGHTS),
        ..published(
            "tiny",
            "embedded; small photographs, digits, garments",
            tiny::DIMENSION,
            tiny::preprocessing,
            tiny::build,
        )
    },
    published("lenet5", "LeNet-5 for digits (MNIST)", lenet::DIMENSION, lenet::preprocessing, lenet::build),
    published(
        "cifar-resnet20",
        "ResNet-20 for 32 x 32 images (CIFAR-10)",
        cifar_resnet::DIMENSION,
        cifar_resnet::preprocessing,
        cifar_resnet::build::<20>,
    ),
    published(
        "cifar-resnet32",
        "ResNet-32 for 32 x 32 images (CIFAR-10)",
        cifar_resnet::DIMENSION,
        cifar_resnet::preprocessing,
        cifar_resnet::build::<32>,
    ),
    published(
        "cifar-resnet44",
        "ResNet-44 for 32 x 32 images (CIFAR-10)",
        cifar_resnet::DIMENSION,
        cifar_resnet::preprocessing,
        cifar_resnet::build::<44>,
    ),
    published(
        "cifar-resnet56",
        "ResNet-56 for 32 x 32 images (CIFAR-10)",
        cifar_resnet::DIMENSION,
        cifar_resnet::preprocessing,
        cifar_resnet::build::<56>,
    ),
    published(
        "cifar-resnet110",
        "ResNet-110 for 32 x 32 images (CIFAR-10)",
        cifar_resnet::DIMENSION,
        cifar_resnet::preprocessing,
        cifar_resnet::build::<110>,
    ),
    published(
        "resnet18",
        "ResNet-18 (ImageNet, torchvision)",
        resnet::DIMENSION_18,
        resnet::preprocessing,
        resnet::build_18,
    ),
    published(
        "resnet50",
        "ResNet-50 (ImageNet, torchvision)",
        resnet::DIMENSION_50,
        resnet::preprocessing,
        resnet::build_50,
    ),
    Architecture {
        normalize: true,
        ..published(
            "efficientnet-lite0",
            "EfficientNet-Lite0 (ImageNet); the one to take for photographs",
            efficientnet_lite::DIMENSION,
            efficientnet_lite::preprocessing,
            efficientnet_lite::build,
        )
    },
    published(
        "vit-b16",
        "ViT-B/16 (ImageNet), the paper's network and preprocessing",
        vision_transformer::DIMENSION_BASE,
        vision_transformer::preprocessing_vit,
        vision_transformer::build_vit_b16,
    ),
    published(
        "dinov2-s14",
        "DINOv2 ViT-S/14, trained without labels",
        vision_transformer::DIMENSION_SMALL,
        vision_transformer::preprocessing_dinov2,
        vision_transformer::build_dinov2_s14,
    ),
    published(
        "dinov2-b14",
        "DINOv2 ViT-B/14, trained without labels",
        vision_transformer::DIMENSION_BASE,
        vision_transformer::preprocessing_dinov2,
        vision_transformer::build_dinov2_b14,
    ),
    Architecture {
        // The first one resized the positions of its patches as timm does, not as its authors do.
        revision: 2,
        ..published(
            "dinov2-l14",
            "DINOv2 ViT-L/14, the space of FD-DINOv2",
            vision_transformer::DIMENSION_LARGE,
            vision_transformer::preprocessing_dinov2,
            vision_transformer::build_dinov2_l14,
        )
    },
    published(
        "clip-l14",
        "CLIP ViT-L/14 of OpenAI, its image embedding",
        clip::DIMENSION,
        clip::preprocessing,
        clip::build,
    ),
    published(
        "clip-l14-336",
        "CLIP ViT-L/14 of OpenAI at 336 pixels, the space of CMMD",
        clip::DIMENSION,
        clip::preprocessing_336,
        clip::build_336,
    ),
    published(
        "siglip2-b16",
        "SigLIP 2 ViT-B/16, its pooled output",
        siglip::DIMENSION,
        siglip::preprocessing,
        siglip::build,
    ),
    published(
        "convnext-t",
        "ConvNeXt-T (ImageNet, timm)",
        convnext::DIMENSION,
        convnext::preprocessing,
        convnext::build,
    ),
    published(
        "vgg16",
        "VGG-16 fc2 (ImageNet), of improved precision and recall",
        vgg::DIMENSION,
        vgg::preprocessing,
        vgg::build,
    ),
    Architecture {
        family: Some(&inception::FAMILY),
        ..published(
            inception::FEATURES,
            "Inception of 2015-12-05, of FID",
            inception::DIMENSION,
            inception::preprocessing,
            inception::build,
        )
    },
    Architecture {
        family: Some(&inception::FAMILY),
        ..published(
            inception::SPATIAL,
            "what inception-fid sees where in an image, of sFID",
            inception::SPATIAL_DIMENSION,
            inception::preprocessing,
            inception::build_spatial,
        )
    },
    Architecture {
        family: Some(&inception::FAMILY),
        ..published(
            inception::LOGITS,
            "the class scores of inception-fid, of the Inception score",
            inception::CLASSES,
            inception::preprocessing,
            inception::build_logits,
        )
    },
];

/// The architecture of this name.
///
/// # Errors
/// [`Error::Usage`] with the known names.
pub fn architecture(name: &str) -> Result<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.name == name).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
        Error::usage(format!("there is no extractor `{name}`"), format!("known are {}", known.join(", ")))
    })
}

/// Mean and standard deviation of ImageNet's colours, as every torchvision network was trained with.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Square input, squashed, bilinear, on white, colours as given.
fn squash(side: u32, mean: &[f32], std: &[f32]) -> Preprocessing {
    Preprocessing {
        width: side,
        height: side,
        fit: Fit::Squash,
        crop_ratio: 1.0,
        filter: Filter::Bilinear,
        alpha: Alpha::White,
        color: if mean.len() == 1 { Color::Gray } else { Color::Rgb },
        fast_decode: false,
        mean: mean.to_vec(),
        std: std.to_vec(),
    }
}

/// The evaluation transform of torchvision and timm: the centre of the shorter side resized to `side / 0.875`.
fn center_crop(side: u32, filter: Filter, mean: &[f32], std: &[f32]) -> Preprocessing {
    Preprocessing { fit: Fit::Crop, crop_ratio: 0.875, filter, ..squash(side, mean, std) }
}
