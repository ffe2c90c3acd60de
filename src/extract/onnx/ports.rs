//! The input and the output of an ONNX model that are used: found where there is only one, else named by the user.

use crate::error::{Error, Result};
use crate::formats::onnx::{OnnxModel, OnnxNumbers, OnnxPort, listed, not_a_model};
use crate::images::Preprocessing;
use crate::remedy::Remedy;
use rten::{Dimension, NodeId};
use std::path::Path;

/// Where the channels of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[N, C, H, W]`, PyTorch's.
    ChannelsFirst,
    /// `[N, H, W, C]`, TensorFlow's.
    ChannelsLast,
}

/// Pixels of a side; `None` where any will do.
pub(super) type Side = Option<u32>;

/// An input that takes images.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageInput {
    pub name: String,
    pub layout: Layout,
    /// 1 or 3.
    pub channels: usize,
    pub height: Side,
    pub width: Side,
}

impl ImageInput {
    /// Whether only one size will do.
    pub(super) fn is_fixed(&self) -> bool {
        self.height.is_some() && self.width.is_some()
    }

    /// # Errors
    /// If images prepared like this are not what the input takes.
    pub(super) fn check_size(&self, path: &Path, how: &Preprocessing) -> Result<()> {
        let size = |fixed: Side, side: u32| fixed.is_none_or(|fixed| fixed == side);
        if how.channels() == self.channels && size(self.width, how.width) && size(self.height, how.height) {
            return Ok(());
        }
        let side = |side: Side| side.map_or("any".to_string(), |side| side.to_string());
        let takes = format!("{} channels of {} x {}", self.channels, side(self.width), side(self.height));
        let given = format!("{} channels of {} x {}", how.channels(), how.width, how.height);
        Err(Error::malformed(path, format!("its input `{}` takes {takes}, not {given}", self.name), ""))
    }
}

/// The input of this name, or the only one that takes images.
///
/// # Errors
/// [`Error::Usage`] naming those there are.
pub(super) fn image_input(path: &Path, model: &OnnxModel, wanted: Option<&str>) -> Result<ImageInput> {
    let inputs = model.inputs();
    let choice = |reason: &str| {
        Error::usage(format!("{}: {reason}", path.display()), Remedy::NameOnnxInput(listed(&inputs)))
    };
    if let Some(wanted) = wanted {
        let Some(port) = inputs.iter().find(|port| port.name == wanted) else {
            return Err(choice(&format!("there is no input `{wanted}`")));
        };
        return understand(port).map_err(|reason| choice(&format!("input `{wanted}` {reason}")));
    }
    let understood: Vec<_> = inputs.iter().map(understand).collect();
    let mut images: Vec<_> = understood.iter().filter_map(|input| input.as_ref().ok()).collect();
    match (images.pop(), images.is_empty()) {
        (Some(only), true) => Ok(only.clone()),
        (Some(_), false) => Err(choice("several inputs take images")),
        // Where there is only one input, what is wrong with it is worth knowing.
        (None, _) => match understood.as_slice() {
            [Err(reason)] => Err(choice(&format!("no input takes images: the only one {reason}"))),
            _ => Err(choice("no input takes images")),
        },
    }
}

fn understand(port: &OnnxPort) -> Result<ImageInput, String> {
    if port.name.is_empty() {
        return Err("has no name".into());
    }
    let name = port.name.clone();
    if !matches!(port.numbers, None | Some(OnnxNumbers::Float)) {
        return Err("does not take float32".into());
    }
    let shape = port.shape.clone().ok_or("does not say its shape")?;
    let Ok([batch, a, b, c]) = <[Dimension; 4]>::try_from(shape) else {
        return Err("is not [N, C, H, W]".into());
    };
    if let Dimension::Fixed(batch) = batch
        && batch != 1
    {
        return Err(format!(
            "takes exactly {batch} images at once; export it with a batch of 1 or a dynamic one"
        ));
    }
    let is_channels = |d: &Dimension| matches!(d, Dimension::Fixed(1 | 3));
    let layout = match is_channels(&c) && !is_channels(&a) {
        true => Layout::ChannelsLast,
        false => Layout::ChannelsFirst,
    };
    let (channels, height, width) = match layout {
        Layout::ChannelsFirst => (a, b, c),
        Layout::ChannelsLast => (c, a, b),
    };
    let channels = match channels {
        Dimension::Fixed(channels @ (1 | 3)) => channels,
        Dimension::Fixed(channels) => return Err(format!("takes {channels} channels, not 1 or 3")),
        Dimension::Symbolic(_) => 3,
    };
    let side = |d: Dimension| match d {
        Dimension::Fixed(0) => Ok(None),
        Dimension::Fixed(side) => u32::try_from(side).map(Some).map_err(|_| "is too large".to_string()),
        Dimension::Symbolic(_) => Ok(None),
    };
    Ok(ImageInput { name, layout, channels, height: side(height)?, width: side(width)? })
}

/// The tensor that holds the features.
pub(super) enum Output {
    /// An output of the model, with its name.
    Declared(NodeId, String),
    /// Perhaps a tensor inside it.
    Inside(String),
}

/// The output of this name, or the only one.
///
/// # Errors
/// [`Error::Usage`] naming those there are, if there are several and none is chosen.
pub(super) fn output(path: &Path, model: &OnnxModel, wanted: Option<&str>) -> Result<Output> {
    let outputs = model.outputs();
    match (wanted, outputs.as_slice()) {
        (Some(wanted), _) => Ok(match outputs.iter().find(|port| port.name == wanted) {
            Some(port) => Output::Declared(port.id, wanted.into()),
            None => Output::Inside(wanted.into()),
        }),
        (None, [only]) => Ok(Output::Declared(only.id, only.name.clone())),
        (None, []) => Err(not_a_model(path, &"it has no output")),
        (None, several) => Err(Error::usage(
            format!("{} has {} outputs: {}", path.display(), several.len(), listed(several)),
            Remedy::NameOnnxOutput,
        )),
    }
}

/// A tensor inside the network.
///
/// # Errors
/// [`Error::Usage`] with the outputs if there is none of this name.
pub(super) fn inside(path: &Path, model: &OnnxModel, name: &str) -> Result<NodeId> {
    model.find(name).ok_or_else(|| {
        Error::usage(
            format!("{}: there is no output `{name}`, nor a tensor inside of that name", path.display()),
            format!("outputs are {}", listed(&model.outputs())),
        )
    })
}

/// D of `[D]`, `[1, D]` or `[1, D, 1, 1]`.
pub(super) fn feature_width(shape: &[usize]) -> Option<usize> {
    let mut wide = shape.iter().filter(|&&size| size != 1);
    match (wide.next(), wide.next(), shape.len()) {
        (_, _, 0) => None,
        (None, _, _) => Some(1),
        (Some(&width), None, _) if width > 0 => Some(width),
        _ => None,
    }
}
