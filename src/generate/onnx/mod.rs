//! Generators in ONNX files, run on the processor: of latents, with or without classes. There is no gradient and nothing to train.
//! Each image is a run of its own on one thread, several at once: no image depends on the batch or on the number of threads.

mod ports;
mod request;
#[cfg(test)]
mod tests;

use super::info::{GeneratorInfo, LatentSpace, UNTOLD_CLASSES};
use super::latents::latents_of_seeds;
use super::options::ForwardOptions;
use super::traits::Generator;
use super::variables::Variables;
use crate::error::{Error, Result};
use crate::formats::onnx::{OnnxModel, not_a_model, pools};
use crate::remedy::Remedy;
use candle_core::{DType, Device, Tensor};
use ports::{Class, ClassForm, Constant, Latent, Ports};
use rayon::prelude::*;
pub(crate) use request::{OnnxGeneratorRequest, OnnxInput, ValueRange};
use rten::{DataType, NodeId, ThreadPool, Value, ValueType};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// The family of every generator that is an ONNX file; its digest says which.
const FAMILY: &str = "onnx";
/// Images that are made to find the range of values.
const TRIED: u32 = 16;
/// Pixels of a side of an image, at most.
const MOST_PIXELS: usize = 1 << 16;

/// Where the channels of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `[1, C, H, W]`.
    ChannelsFirst,
    /// `[1, H, W, C]`.
    ChannelsLast,
}

/// A network of an ONNX file that makes images.
struct OnnxGenerator {
    model: OnnxModel,
    latent: Latent,
    class: Option<Class>,
    constants: Vec<Constant>,
    output: NodeId,
    /// Whether its whole numbers are bytes.
    gives_bytes: bool,
    layout: Layout,
    range: ValueRange,
    info: GeneratorInfo,
    /// One thread each: how a product is cut among threads may change its last bits.
    pools: Vec<Arc<ThreadPool>>,
}

/// What the output of a network is.
struct Made {
    /// Without a batch: `[C, H, W]` or `[H, W, C]`.
    shape: [usize; 3],
    numbers: Vec<f32>,
    is_bytes: bool,
}

/// Reads the model, settles its inputs and output, and makes a few images to know their size and range.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] if it is no model that can be run, or makes no images; [`Error::Usage`] with the names to choose
/// from where it is not clear what an input takes.
pub(super) fn open(path: &Path, request: &OnnxGeneratorRequest) -> Result<Box<dyn Generator>> {
    let model = OnnxModel::open(path)?;
    let Ports { latent, class, constants, output } = ports::settle(path, &model, request)?;
    let name = if latent.shape.len() == 1 { "z" } else { "noise" };
    let space = LatentSpace::normal(name, &latent.shape);
    let failed = |reason: String| not_a_model(path, &reason);
    let gives_bytes = model.gives_bytes(&output.name);
    let config = json!({ "sha256": model.sha256 });
    let info = GeneratorInfo::new(FAMILY, config, [3, 1, 1], [space.clone()]);
    let mut generator = OnnxGenerator {
        model,
        latent,
        class,
        constants,
        output: output.id,
        gives_bytes,
        layout: Layout::ChannelsFirst,
        range: ValueRange::SIGNED,
        info,
        pools: pools(),
    };
    let latent_of = |seed: u32| latents_of_seeds(&space, &[seed], DType::F32, &Device::Cpu);
    let first = latent_of(0)?.flatten_all()?.to_vec1::<f32>()?;
    let made = generator.run(first.clone(), Some(0), 0).map_err(failed)?;
    let channels = |size: usize| matches!(size, 1 | 3);
    let [a, b, c] = made.shape;
    let (layout, dims) = match (channels(a), channels(c)) {
        (true, _) => (Layout::ChannelsFirst, [a, b, c]),
        (false, true) => (Layout::ChannelsLast, [c, a, b]),
        (false, false) => {
            let reason = format!(
                "its output `{}` is {:?}, where an image has 1 or 3 channels",
                output.name, made.shape
            );
            return Err(failed(reason));
        }
    };
    if dims.iter().any(|size| !(1..=MOST_PIXELS).contains(size)) {
        return Err(failed(format!("its output `{}` is {:?}, which is no image", output.name, made.shape)));
    }
    (generator.layout, generator.info.image_shape) = (layout, dims.into());
    let mut assumed = vec![format!("latents from `{}` {:?}", generator.latent.name, generator.latent.shape)];
    let form = generator.class.as_ref().map(|class| (class.name.clone(), class.form));
    if let Some((name, form)) = form {
        generator.info.class_count = match form {
            ClassForm::OneHot(count) => count,
            ClassForm::Number => generator.class_count(&first),
        };
        assumed.push(match generator.info.class_count {
            UNTOLD_CLASSES => format!("classes from `{name}`, which does not say how many there are"),
            count => format!("{count} classes from `{name}`"),
        });
    }
    assumed.push(format!("images from `{}`", output.name));
    let (range, found) = match request.range {
        Some(range) => (range, "as was said".to_owned()),
        None if made.is_bytes => (ValueRange::BYTES, "as bytes are".to_owned()),
        None => {
            let (lowest, highest) = generator.extremes(&latent_of).map_err(failed)?;
            let range = ValueRange::of_values(lowest, highest).ok_or_else(|| {
                Error::usage(
                    format!(
                        "{}: its values lie between {lowest} and {highest}, which does not say what is black and what is white",
                        path.display()
                    ),
                    Remedy::GiveGeneratorRange,
                )
            })?;
            (range, format!("as found in {TRIED} images from {lowest:.3} to {highest:.3}"))
        }
    };
    generator.range = range;
    assumed.push(format!("values {} (black) to {} (white), {found}", range.black, range.white));
    generator.info.assumed = assumed;
    generator.info.config = json!({
        "sha256": generator.model.sha256,
        "inputs": request.inputs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "output": output.name,
        "range": [range.black, range.white],
    });
    Ok(Box::new(generator))
}

impl OnnxGenerator {
    /// The output for one latent.
    fn run(&self, latent: Vec<f32>, class: Option<u32>, pool: usize) -> Result<Made, String> {
        let pool = self.pools.get(pool).ok_or("no thread could be started")?;
        let shape: Vec<usize> = std::iter::once(1).chain(self.latent.shape.iter().copied()).collect();
        let latent = Value::from_shape(&shape, latent).map_err(|e| e.to_string())?;
        let mut inputs = vec![(self.latent.id, latent)];
        if let (Some(input), Some(class)) = (&self.class, class) {
            inputs.push((input.id, input.value(class)?));
        }
        for constant in &self.constants {
            inputs.push(constant.value()?);
        }
        let value = self.model.run(inputs, self.output, pool)?;
        let is_bytes = self.gives_bytes || value.dtype() == ValueType::Tensor(DataType::UInt8);
        let floats = |numbers: Vec<i32>| numbers.into_iter().map(|number| number as f32).collect();
        let image = match value.dtype() {
            ValueType::Tensor(DataType::UInt8) => value
                .into_shape_vec::<u8, 4>()
                .map(|(shape, bytes)| (shape, bytes.into_iter().map(f32::from).collect())),
            ValueType::Tensor(DataType::Int32) => {
                value.into_shape_vec::<i32, 4>().map(|(shape, numbers)| (shape, floats(numbers)))
            }
            _ => value.into_shape_vec::<f32, 4>(),
        };
        let Ok(([1, a, b, c], numbers)) = image else {
            return Err("its output is no image of shape [1, C, H, W] or [1, H, W, C] of float32, bytes or whole numbers".into());
        };
        if self.gives_bytes && numbers.iter().any(|number| !(0.0..=255.0).contains(number)) {
            return Err(
                "its numbers do not fit into bytes before they are cast to uint8: clip them to 0 to 255"
                    .into(),
            );
        }
        Ok(Made { shape: [a, b, c], numbers, is_bytes })
    }

    /// How many classes there are, where they are numbers: the runtime refuses those beyond them.
    fn class_count(&self, latent: &[f32]) -> usize {
        let is_there = |class: usize| self.run(latent.to_vec(), Some(class as u32), 0).is_ok();
        let (mut known, mut unknown) = (1, 2);
        while unknown < UNTOLD_CLASSES && is_there(unknown - 1) {
            (known, unknown) = (unknown, unknown * 2);
        }
        if unknown >= UNTOLD_CLASSES {
            return UNTOLD_CLASSES;
        }
        while unknown - known > 1 {
            let middle = (known + unknown) / 2;
            if is_there(middle - 1) { known = middle } else { unknown = middle }
        }
        known
    }

    /// The lowest and the highest value of a few images, of several classes where there are classes.
    fn extremes(&self, latent_of: &dyn Fn(u32) -> Result<Tensor>) -> Result<(f32, f32), String> {
        let mut extremes = (f32::INFINITY, f32::NEG_INFINITY);
        for seed in 0..TRIED {
            let latent = latent_of(seed).and_then(|latent| Ok(latent.flatten_all()?.to_vec1::<f32>()?));
            let class = (self.info.class_count > 0).then(|| seed % self.info.class_count as u32);
            let made = self.run(latent.map_err(|e| e.to_string())?, class, 0)?;
            if made.numbers.iter().any(|value| !value.is_finite()) {
                return Err("its images have values that are not finite".into());
            }
            let (lowest, highest) = &mut extremes;
            *lowest = made.numbers.iter().copied().fold(*lowest, f32::min);
            *highest = made.numbers.iter().copied().fold(*highest, f32::max);
        }
        Ok(extremes)
    }

    /// Values in -1..=1, `[C, H, W]`.
    fn image(&self, made: &Made, to: &mut [f32]) -> Result<(), String> {
        let [channels, height, width] = self.info.image_shape.dims();
        let expected = match self.layout {
            Layout::ChannelsFirst => [channels, height, width],
            Layout::ChannelsLast => [height, width, channels],
        };
        if made.shape != expected || made.numbers.len() != to.len() {
            return Err("its output changes its shape from image to image".into());
        }
        let plane = height * width;
        for (at, to) in to.iter_mut().enumerate() {
            let from = match self.layout {
                Layout::ChannelsFirst => at,
                Layout::ChannelsLast => (at % plane) * channels + at / plane,
            };
            *to = self.range.signed(made.numbers[from]);
        }
        Ok(())
    }
}

impl Generator for OnnxGenerator {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn variables(&self) -> Option<&Variables> {
        None
    }

    /// # Errors
    /// [`Error::Usage`] if `latents` carry a history for gradients: there are none here.
    fn stage(&self, _: usize, latents: &Tensor, options: &ForwardOptions) -> Result<Tensor> {
        if latents.track_op() {
            return Err(Error::usage(
                "an ONNX generator has no gradient with respect to its latents",
                Remedy::SearchWithoutGradient,
            ));
        }
        let rows = latents.dim(0)?;
        let numbers = latents.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let width = self.latent.shape.iter().product::<usize>().max(1);
        let [channels, height, side] = self.info.image_shape.dims();
        let area = channels * height * side;
        let share = rows.div_ceil(self.pools.len()).max(1);
        let mut images = vec![0f32; rows * area];
        images
            .par_chunks_mut(share * area)
            .zip(numbers.par_chunks(share * width))
            .enumerate()
            .try_for_each(|(part, (images, latents))| {
                for (at, (image, latent)) in images.chunks_mut(area).zip(latents.chunks(width)).enumerate() {
                    let class = options.classes.and_then(|classes| classes.get(part * share + at)).copied();
                    self.image(&self.run(latent.to_vec(), class, part)?, image)?;
                }
                Ok(())
            })
            .map_err(|reason: String| Error::data(format!("the ONNX generator failed: {reason}"), ""))?;
        Ok(Tensor::from_vec(images, (rows, channels, height, side), latents.device())?)
    }
}
