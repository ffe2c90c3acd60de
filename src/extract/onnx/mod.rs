//! Networks in ONNX files, run on the processor by `rten`: any with an image input and a feature output.
//! Each image is a run of its own on one thread, several images at once: no feature depends on the batch or on the
//! number of threads. There is no gradient. Preprocessing comes from flags, from a file beside the model, or is a default.

mod config;
mod ports;
#[cfg(test)]
mod tests;

use super::{Extractor, IMAGENET_MEAN, IMAGENET_STD, squash};
use crate::error::{Error, Result};
use crate::formats::onnx::{OnnxModel, listed, not_a_model, pools, shape_of};
use crate::images::{Color, Preprocessing};
use crate::remedy::Remedy;
use candle_core::{DType, Tensor};
use ports::{ImageInput, Layout, Side};
use rayon::prelude::*;
use rten::{NodeId, ThreadPool, Value};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The name of every extractor that is an ONNX file; its digest says which.
pub(super) const ONNX: &str = "onnx";

/// Input side where neither the model nor a file beside it says.
const DEFAULT_SIDE: u32 = 224;

/// What a user says of an ONNX file; everything left out is found in the file or beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OnnxRequest {
    /// Name of the image input; needed where there are several.
    pub input: Option<String>,
    /// Name of the feature output, or of any tensor inside the network; needed where there are several outputs.
    pub output: Option<String>,
    /// Mean per channel, or one for all, of values in 0..=1.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation per channel, or one for all, of values in 0..=1.
    pub std: Option<Vec<f32>>,
}

/// Which input and output of an ONNX file are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxPorts {
    /// Name of the image input.
    pub input: String,
    /// Name of the feature output.
    pub output: String,
}

/// An ONNX file ready for use.
pub(super) struct OnnxFile {
    pub network: OnnxNetwork,
    pub preprocessing: Preprocessing,
    pub ports: OnnxPorts,
    pub sha256: String,
    /// What was assumed because nothing said it.
    pub remark: Option<String>,
}

/// Reads the model, finds its ports and its preprocessing (`known` where a reference says it), and tries it once.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if it is no model that can be run, or a file beside it is wrong;
/// [`Error::Usage`] with the names to choose from where input or output are not clear.
pub(super) fn open(path: &Path, request: &OnnxRequest, known: Option<&Preprocessing>) -> Result<OnnxFile> {
    let model = OnnxModel::open(path)?;
    let input = ports::image_input(path, &model, request.input.as_deref())?;
    let (mut preprocessing, mut remark) = match known {
        Some(known) => (known.clone(), None),
        None => preprocessing(path, &input, request)?,
    };
    overrule(&mut preprocessing.mean, request.mean.as_deref());
    overrule(&mut preprocessing.std, request.std.as_deref());
    preprocessing.validate()?;
    if request.mean.is_some() && request.std.is_some() && input.is_fixed() {
        remark = None;
    }
    input.check_size(path, &preprocessing)?;

    let (model, output, output_name) = match ports::output(path, &model, request.output.as_deref())? {
        ports::Output::Declared(id, name) => (model, id, name),
        // Optimisation drops tensors inside the network.
        ports::Output::Inside(name) => {
            let model = model.unoptimised()?;
            let id = ports::inside(path, &model, &name)?;
            (model, id, name)
        }
    };
    // Node numbers change with optimisation.
    let Some(input_id) = model.find(&input.name) else {
        return Err(not_a_model(path, &format!("it has no input `{}`", input.name)));
    };
    let sha256 = model.sha256.clone();
    let mut network = OnnxNetwork {
        model,
        input: input_id,
        output,
        layout: input.layout,
        channels: preprocessing.channels(),
        height: preprocessing.height as usize,
        width: preprocessing.width as usize,
        dimension: 0,
        pools: pools(),
    };
    network.dimension = network.try_out(path, &output_name)?;
    let ports = OnnxPorts { input: input.name, output: output_name };
    Ok(OnnxFile { network, preprocessing, ports, sha256, remark })
}

/// What a file beside the model says, else the defaults; and what was assumed.
fn preprocessing(
    path: &Path,
    input: &ImageInput,
    request: &OnnxRequest,
) -> Result<(Preprocessing, Option<String>)> {
    if let Some(read) = config::beside(path, input, request)? {
        return Ok((read, None));
    }
    let side = |side: Side| side.unwrap_or(DEFAULT_SIDE);
    let mut found = squash(DEFAULT_SIDE, &IMAGENET_MEAN, &IMAGENET_STD);
    (found.width, found.height) = (side(input.width), side(input.height));
    if input.channels == 1 {
        found.color = Color::Gray;
        let average = |values: [f32; 3]| values.iter().sum::<f32>() / values.len() as f32;
        (found.mean, found.std) = (vec![average(IMAGENET_MEAN)], vec![average(IMAGENET_STD)]);
    }
    let mut shown = found.clone();
    overrule(&mut shown.mean, request.mean.as_deref());
    overrule(&mut shown.std, request.std.as_deref());
    let remark = format!(
        "{} does not say how images are prepared; used is {} (options, or a {} beside it, say otherwise)",
        path.display(),
        shown.describe(),
        config::FILE
    );
    Ok((found, Some(remark)))
}

/// One value is meant for each channel.
fn overrule(values: &mut Vec<f32>, given: Option<&[f32]>) {
    match given {
        Some([one]) => values.fill(*one),
        Some(given) => *values = given.to_vec(),
        None => {}
    }
}

/// A network of an ONNX file.
pub(super) struct OnnxNetwork {
    model: OnnxModel,
    input: NodeId,
    output: NodeId,
    layout: Layout,
    channels: usize,
    height: usize,
    width: usize,
    dimension: usize,
    /// One thread each: how a product is cut among threads may change its last bits.
    pools: Vec<Arc<ThreadPool>>,
}

impl OnnxNetwork {
    /// One image `[C, H, W]` through the network.
    fn run(&self, image: &[f32], pool: &Arc<ThreadPool>) -> Result<Value, String> {
        let (c, h, w) = (self.channels, self.height, self.width);
        let input = match self.layout {
            Layout::ChannelsFirst => Value::from_shape([1, c, h, w], image.to_vec()),
            Layout::ChannelsLast => {
                let plane = h * w;
                let pixels = (0..plane).flat_map(|at| (0..c).map(move |channel| image[channel * plane + at]));
                Value::from_shape([1, h, w, c], pixels.collect())
            }
        };
        let input = input.map_err(|e| e.to_string())?;
        self.model.run(vec![(self.input, input)], self.output, pool)
    }

    /// The width of the features, by running the network on an image of zeros.
    fn try_out(&self, path: &Path, output: &str) -> Result<usize> {
        let image = vec![0.0; self.channels * self.height * self.width];
        let value = match self.pools.first() {
            Some(pool) => self.run(&image, pool).map_err(|reason| not_a_model(path, &reason))?,
            None => return Err(not_a_model(path, &"no thread could be started")),
        };
        let shape = shape_of(&value);
        match shape.as_deref().and_then(ports::feature_width) {
            Some(width) => Ok(width),
            None => {
                let shape = shape.map_or("no float32 tensor".to_string(), |shape| format!("{shape:?}"));
                let outputs = listed(&self.model.outputs());
                Err(Error::usage(
                    format!(
                        "{}: output `{output}` is {shape}, which is no feature vector of one image",
                        path.display()
                    ),
                    Remedy::NameOnnxFeatures(outputs),
                ))
            }
        }
    }
}

impl Extractor for OnnxNetwork {
    fn dimension(&self) -> usize {
        self.dimension
    }

    /// # Errors
    /// [`Error::Usage`] if `images` carry a history for gradients: there are none here.
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        if images.track_op() {
            return Err(Error::usage(
                "an ONNX network has no gradient with respect to its images",
                Remedy::DifferentiableExtractor,
            ));
        }
        let (rows, channels, height, width) = images.dims4()?;
        if (channels, height, width) != (self.channels, self.height, self.width) {
            return Err(Error::data(
                format!("the network takes images of {} x {} x {}", self.channels, self.height, self.width),
                "",
            ));
        }
        let input = images.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let values = channels * height * width;
        let share = rows.div_ceil(self.pools.len()).max(1);
        let mut features = vec![0f32; rows * self.dimension];
        features
            .par_chunks_mut(share * self.dimension)
            .zip(input.par_chunks(share * values))
            .zip(&self.pools)
            .try_for_each(|((rows, images), pool)| {
                for (row, image) in rows.chunks_mut(self.dimension).zip(images.chunks(values)) {
                    let computed = self.run(image, pool)?.into_tensor::<f32>().map(|t| t.into_data());
                    match computed {
                        Some(computed) if computed.len() == row.len() => row.copy_from_slice(&computed),
                        _ => return Err("its output changes its shape from image to image".to_string()),
                    }
                }
                Ok(())
            })
            .map_err(|reason| Error::data(format!("the ONNX network failed: {reason}"), ""))?;
        Ok(Tensor::from_vec(features, (rows, self.dimension), images.device())?)
    }
}
