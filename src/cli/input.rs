//! What a command is given as IMAGES: images, features that another program made, or a reference directory.

use super::common::ExtractorArgs;
use super::network;
use super::terminal::Terminal;
use crate::copies::{Descriptor, Measures};
use crate::error::Result;
use crate::extract::{Identity, LoadedExtractor, normalize_rows};
use crate::formats::digest::sha256;
use crate::formats::{is_features_file, read_features};
use crate::images::{ImageSet, Inputs};
use crate::neighbors::check_finite;
use crate::progress::Progress;
use crate::reference::embed::{Describe, Embedded, ImageRow, embed_described};
use crate::reference::{DescriptorFiles, Descriptors as _, Reference, is_reference, row_name};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::path::Path;

/// Features and what they belong to.
pub(super) struct Input {
    /// `[N, D]`
    pub features: Array2<f32>,
    /// `[N]`
    pub paths: Vec<String>,
    /// Sizes of the images; empty for features.
    pub images: Vec<ImageRow>,
    /// What the features were made with.
    pub identity: Identity,
    /// Descriptors of the pictures `[N]`; `None` where there are no pictures, or descriptors were not asked for.
    pub descriptors: Option<Vec<Descriptor>>,
    /// Measures of the pictures `[N]`, where they were asked for.
    pub measures: Option<Vec<Measures>>,
    /// What became of the inputs; `None` where no images were read.
    pub inputs: Option<Inputs>,
}

/// Rows whose digest is made at once.
const DIGESTED_TOGETHER: usize = 1024;

/// What tells features `[N, D]` from others: digests of blocks of rows.
pub(super) fn digests(features: ArrayView2<f32>) -> Vec<String> {
    let of_rows = |rows: ArrayView2<f32>| {
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        sha256(&bytes)
    };
    let parts: Vec<ArrayView2<f32>> = features.axis_chunks_iter(Axis(0), DIGESTED_TOGETHER).collect();
    parts.into_par_iter().map(of_rows).collect()
}

/// # Errors
/// If none of `paths` is images, but an option says how images are turned into features.
pub(super) fn refuse_unused(paths: &[&Path], args: &ExtractorArgs) -> Result<()> {
    if paths.iter().all(|path| is_features_file(path) || is_reference(path)) {
        args.refuse_for_features()?;
    }
    if paths.iter().any(is_features_file) { Ok(()) } else { args.refuse_key() }
}

impl Input {
    /// Features alone.
    pub(super) fn of_features(features: Array2<f32>, paths: Vec<String>, identity: Identity) -> Self {
        Self {
            features,
            paths,
            images: Vec::new(),
            identity,
            descriptors: None,
            measures: None,
            inputs: None,
        }
    }
}

/// The images of `path`, without reading them; `None` if it holds features.
///
/// # Errors
/// If there are none.
pub(super) fn list(path: &Path, terminal: &Terminal) -> Result<Option<ImageSet>> {
    if is_features_file(path) || is_reference(path) {
        return Ok(None);
    }
    ImageSet::open(path, terminal).map(Some)
}

/// Reads `path`; with a reference, everything has to be made as it was.
pub(super) fn read(
    path: &Path,
    args: &ExtractorArgs,
    reference: Option<&Reference>,
    terminal: &Terminal,
) -> Result<Input> {
    read_as_asked(path, args, reference, Describe::Nothing, terminal)
}

/// As [`read`], with what is asked for of pictures, where there are any.
pub(super) fn read_described(
    path: &Path,
    args: &ExtractorArgs,
    reference: Option<&Reference>,
    describe: Describe,
    terminal: &Terminal,
) -> Result<Input> {
    read_as_asked(path, args, reference, describe, terminal)
}

fn read_as_asked(
    path: &Path,
    args: &ExtractorArgs,
    reference: Option<&Reference>,
    describe: Describe,
    terminal: &Terminal,
) -> Result<Input> {
    let input = if is_features_file(path) {
        let normalize = args.normalize.or(reference.map(|r| r.manifest.identity.normalize)).unwrap_or(false);
        let features = read_external(path, args.key.as_deref(), normalize)?;
        let paths = (0..features.nrows()).map(row_name).collect();
        let identity = Identity::external(features.ncols(), normalize);
        Input::of_features(features, paths, identity)
    } else if is_reference(path) {
        let other = Reference::open(path)?;
        let (features, paths) = (other.features()?, other.paths()?);
        let files = if describe == Describe::Nothing { None } else { other.descriptors()? };
        let read = |mut files: DescriptorFiles| (0..paths.len()).map(|row| files.descriptor(row)).collect();
        let descriptors: Option<Vec<Descriptor>> = files.map(read).transpose()?;
        let identity = other.manifest.identity;
        Input { descriptors, ..Input::of_features(features, paths, identity) }
    } else {
        network::check(args, terminal)?;
        let set = ImageSet::open(path, terminal)?;
        let extractor = match reference {
            Some(reference) => extractor(args, reference, terminal)?,
            None => network::for_images(args, &set, None, terminal)?,
        };
        described(&set, &extractor, args, describe, terminal)?
    };
    if let Some(reference) = reference {
        reference.check_identity(&path.display().to_string(), &input.identity)?;
    }
    Ok(input)
}

/// The network that a reference was made with.
pub(super) fn extractor(
    args: &ExtractorArgs,
    reference: &Reference,
    terminal: &Terminal,
) -> Result<LoadedExtractor> {
    let request = args.request(terminal.device());
    let extractor = LoadedExtractor::for_identity(&reference.manifest.identity, &request)?;
    if let Some(remark) = extractor.remark() {
        terminal.warn(remark);
    }
    Ok(extractor)
}

/// The features of images.
pub(super) fn embedded(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    args: &ExtractorArgs,
    terminal: &Terminal,
) -> Result<Input> {
    described(set, extractor, args, Describe::Nothing, terminal)
}

fn described(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    args: &ExtractorArgs,
    describe: Describe,
    terminal: &Terminal,
) -> Result<Input> {
    let Embedded { features, images, inputs, descriptors, measures, .. } =
        embed_described(set, extractor, args.embed_options(), describe, terminal)?;
    Ok(Input {
        features,
        paths: images.iter().map(|i| i.path.clone()).collect(),
        images,
        identity: extractor.identity().clone(),
        descriptors: (describe != Describe::Nothing).then_some(descriptors),
        measures: (describe == Describe::Measures).then_some(measures),
        inputs: Some(inputs),
    })
}

/// Features of a file, checked and brought to unit length where asked.
pub(super) fn read_external(path: &Path, key: Option<&str>, normalize: bool) -> Result<Array2<f32>> {
    let mut features = read_features(path, key)?;
    check_finite(features.view())?;
    if normalize {
        normalize_rows(&mut features);
    }
    Ok(features)
}
