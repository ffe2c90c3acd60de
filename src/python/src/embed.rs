//! From images to features.

use crate::arguments::device;
use crate::call::run;
use crate::command::say_how_it_is_started;
use crate::features::{Features, Rows};
use crate::images::Images;
use pseudo_density::{
    ChosenBy, ChosenExtractor, Describe, EmbedOptions, ExtractorRequest, Identity, ImageSet, Inputs,
    LoadedExtractor, Progress, Result, cli, embed_described,
};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// How images are turned into features.
pub(crate) struct Network {
    request: ExtractorRequest,
    pub(crate) options: EmbedOptions,
}

impl Network {
    /// As the arguments of a function say.
    pub(crate) fn new(
        py: Python<'_>,
        (extractor, weights): (Option<String>, Option<PathBuf>),
        normalize: Option<bool>,
        batch: Option<usize>,
        strict: bool,
        device_name: &str,
    ) -> PyResult<Self> {
        say_how_it_is_started(py)?;
        let mut request = ExtractorRequest::default();
        request.name = extractor;
        request.weights = weights;
        request.normalize = normalize;
        request.device = device(py, device_name)?;
        request.trial = Some(cli::try_onnx);
        let mut options = EmbedOptions::default();
        options.batch = batch.unwrap_or(options.batch);
        options.strict = strict;
        Ok(Self { request, options })
    }

    /// Where networks and exact search compute.
    pub(crate) fn device(&self) -> &candle_core::Device {
        &self.request.device
    }

    /// The network for these images: the one that was asked for, or else the one that fits them.
    pub(crate) fn for_images(&self, set: &ImageSet, progress: &dyn Progress) -> Result<LoadedExtractor> {
        let ChosenExtractor { extractor, by } = ChosenExtractor::for_images(&self.request, set, None)?;
        match (cli::why(by), by) {
            (Some(words), ChosenBy::DefaultForPhotographs) => progress.warn(&words),
            (Some(words), _) => progress.note(&words),
            (None, _) => {}
        }
        if let Some(remark) = extractor.remark() {
            progress.warn(remark);
        }
        Ok(extractor)
    }

    /// The network that made features as `identity` says.
    pub(crate) fn same_as(&self, identity: &Identity) -> Result<LoadedExtractor> {
        LoadedExtractor::for_identity(identity, &self.request)
    }

    /// Features of a set by a network.
    pub(crate) fn rows(
        &self,
        set: &ImageSet,
        extractor: &LoadedExtractor,
        progress: &dyn Progress,
    ) -> Result<Rows> {
        let embedded = embed_described(set, extractor, self.options, Describe::Descriptors, progress)?;
        tell(&embedded.inputs, progress);
        Ok(Rows::of_images(embedded, extractor.identity().clone()))
    }
}

/// Says what could not be used.
pub(crate) fn tell(inputs: &Inputs, progress: &dyn Progress) {
    if let Some(first) = inputs.skipped.first() {
        let count = inputs.skipped.len();
        progress.warn(&format!(
            "{count} of {} images could not be used; the first: {}: {}",
            count + inputs.used,
            first.path,
            first.reason
        ));
    }
    if let Some(advice) = inputs.left_out.advice() {
        progress.warn(&advice);
    }
}

/// Features of images by a network with published weights.
///
/// `images`: a directory, an archive or an image file; a list of image files; an array `[N, H, W, 3]` of uint8, RGB, 0 to 255; or a
/// sequence of pictures, each an array, a picture of Pillow or the bytes of an image file, that is read when its turn comes.
/// `extractor`: the name of a network (`pd weights list` shows all), or an ONNX file; where none is named `tiny`, or for photographs
/// `efficientnet-lite0` if its weights are in the cache. `weights`: a file instead of the cache. `normalize`: features of length 1.
/// `batch`: images per forward pass, of which results do not depend. `strict`: an image that cannot be used is an error. `device`: `auto`,
/// `cpu` or `cuda:N`. `progress`: called as `progress(step, done, total)`.
///
/// Raises `ValueError` for images or weights that cannot be used, `OSError` for files that cannot be read.
#[pyfunction]
#[pyo3(signature = (images, *, extractor=None, weights=None, normalize=None, batch=None, strict=false, device="auto", progress=None))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn embed(
    images: &Bound<'_, PyAny>,
    extractor: Option<String>,
    weights: Option<PathBuf>,
    normalize: Option<bool>,
    batch: Option<usize>,
    strict: bool,
    device: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Features> {
    let py = images.py();
    let network = Network::new(py, (extractor, weights), normalize, batch, strict, device)?;
    let images = Images::of(images)?;
    let rows = run(py, progress, |progress| {
        let set = images.open(progress)?;
        let extractor = network.for_images(&set, progress)?;
        network.rows(&set, &extractor, progress)
    })?;
    Ok(Features(Arc::new(rows)))
}
