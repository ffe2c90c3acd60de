//! The arguments `--spaces`, `--preset` and `--weights-of`.

use crate::cli::common::ExtractorArgs;
use crate::cli::similar;
use crate::error::{Error, Result};
use crate::metrics::{PROTOCOLS, Protocol, SpacesRequest, protocol};
use candle_core::Device;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;

/// The feature spaces, where there is more than one or a protocol names them.
#[derive(Args)]
#[command(next_help_heading = "Feature spaces")]
pub(crate) struct SpaceArgs {
    /// Compare images in several feature spaces (`pd weights list` shows their names), each image being decoded once for all; sFID is computed in inception-spatial, the Inception score in inception-logits, all else in the others
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = similar::extractor, conflicts_with_all = ALONE)]
    spaces: Vec<String>,
    /// Compare images as a program or paper does: its resizing, networks, metrics and their parameters; --metrics may take some of them
    #[arg(long, value_name = "NAME", value_parser = protocols(), conflicts_with_all = ALONE, conflicts_with_all = SETTLED)]
    pub(super) preset: Option<&'static Protocol>,
    /// Weights file of one of the spaces, or of all of Inception's (inception-fid=FILE); may be repeated [default: embedded, or from the cache]
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, conflicts_with_all = ["extractor", "weights"])]
    weights_of: Vec<(String, PathBuf)>,
}

/// Options that go with one space only.
const ALONE: [&str; 10] = [
    "extractor",
    "weights",
    "onnx_input",
    "onnx_output",
    "mean",
    "std",
    "key",
    "normalize",
    "shard",
    "per_sample",
];

/// Options that a protocol settles.
const SETTLED: [&str; 9] =
    ["spaces", "fit", "alpha", "fast_decode", "k", "k_density", "boundary", "kid_subsets", "kid_subset_size"];

fn protocols() -> impl TypedValueParser<Value = &'static Protocol> {
    let value = |protocol: &Protocol| PossibleValue::new(protocol.name).help(protocol.about);
    PossibleValuesParser::new(PROTOCOLS.iter().map(value)).try_map(|name| protocol(&name))
}

fn named_file(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !file.is_empty() => Ok((similar::extractor(name)?, file.into())),
        _ => Err("must be NAME=FILE, such as clip-l14=open_clip_model.safetensors".into()),
    }
}

impl SpaceArgs {
    /// Whether any are asked for.
    pub(crate) fn are_given(&self) -> bool {
        !self.spaces.is_empty() || self.preset.is_some()
    }

    /// # Errors
    /// [`Error::Usage`] for weights of spaces that nothing asks for.
    pub(crate) fn check(&self) -> Result<()> {
        match self.weights_of.first() {
            Some((name, _)) if !self.are_given() => Err(Error::usage(
                format!("--weights-of {name}=… is for --spaces and --preset"),
                "for one extractor use --extractor and --weights",
            )),
            _ => Ok(()),
        }
    }

    /// What the library is asked for, to compute on `device`.
    pub(super) fn request(&self, how: &ExtractorArgs, device: &Device) -> SpacesRequest {
        let mut request = SpacesRequest::default();
        request.spaces = self.spaces.clone();
        request.preset = self.preset.map(|protocol| protocol.name.to_owned());
        request.weights = self.weights_of.clone();
        request.how = how.request(device);
        request
    }
}
