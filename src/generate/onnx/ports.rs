//! Which input of an ONNX file takes the latent, which the class, and which output is the image: found by their shapes and names, or said.

use super::request::{OnnxGeneratorRequest, Takes};
use crate::error::{Error, Result};
use crate::formats::onnx::{OnnxModel, OnnxNumbers, OnnxPort, listed, not_a_model};
use crate::remedy::Remedy;
use rten::{Dimension, NodeId, Value};
use std::path::Path;

/// Names that exporters give to classes, where these are zeros with a one.
const CLASS_NAMES: [&str; 9] =
    ["c", "y", "class", "classes", "class_label", "class_labels", "label", "labels", "cond"];
/// Most numbers of a latent or an input.
const MOST_NUMBERS: usize = 1 << 26;

/// Inputs and output of a file, settled.
#[derive(Debug)]
pub(super) struct Ports {
    pub latent: Latent,
    pub class: Option<Class>,
    /// Inputs that take the same for every image.
    pub constants: Vec<Constant>,
    pub output: OnnxPort,
}

/// The input of latents.
#[derive(Debug, Clone)]
pub(super) struct Latent {
    pub id: NodeId,
    pub name: String,
    /// Of one latent, without the batch.
    pub shape: Vec<usize>,
}

/// The input of classes.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub id: NodeId,
    pub name: String,
    pub form: ClassForm,
    /// With the batch, which is 1.
    shape: Vec<usize>,
}

/// How a class is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClassForm {
    /// Its number.
    Number,
    /// Zeros with a one, of so many.
    OneHot(usize),
}

/// An input that takes the same number for every image.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    id: NodeId,
    shape: Vec<usize>,
    number: f32,
    numbers: Option<OnnxNumbers>,
}

impl Class {
    /// The input's value for a class.
    pub(super) fn value(&self, class: u32) -> Result<Value, String> {
        let value = match self.form {
            ClassForm::Number => {
                let class = i32::try_from(class).map_err(|e| e.to_string())?;
                Value::from_shape(&self.shape, vec![class]).map_err(|e| e.to_string())
            }
            ClassForm::OneHot(count) => {
                let mut zeros = vec![0.0f32; count];
                if let Some(place) = zeros.get_mut(class as usize) {
                    *place = 1.0;
                }
                Value::from_shape(&self.shape, zeros).map_err(|e| e.to_string())
            }
        };
        value.map_err(|reason| format!("its input `{}` cannot be made: {reason}", self.name))
    }
}

impl Constant {
    /// The input's value.
    pub(super) fn value(&self) -> Result<(NodeId, Value), String> {
        let count = self.shape.iter().product();
        let value = match self.numbers {
            Some(OnnxNumbers::Integer) => {
                Value::from_shape(&self.shape, vec![self.number as i32; count]).map_err(|e| e.to_string())
            }
            _ => Value::from_shape(&self.shape, vec![self.number; count]).map_err(|e| e.to_string()),
        };
        Ok((self.id, value?))
    }
}

/// Settles what each input takes.
///
/// # Errors
/// [`Error::Usage`] with the inputs or outputs there are, where it is not clear what one takes, or what was said does not fit.
pub(super) fn settle(path: &Path, model: &OnnxModel, request: &OnnxGeneratorRequest) -> Result<Ports> {
    let inputs = model.inputs();
    let unclear = |reason: String| {
        Error::usage(format!("{}: {reason}", path.display()), Remedy::NameGeneratorInput(listed(&inputs)))
    };
    for said in &request.inputs {
        if !inputs.iter().any(|input| input.name == said.name) {
            return Err(unclear(format!("there is no input `{}`", said.name)));
        }
    }
    let said = |input: &OnnxPort| {
        request.inputs.iter().rev().find(|said| said.name == input.name).map(|said| said.takes)
    };
    let is_said = |takes: Takes| inputs.iter().find(|input| said(input) == Some(takes));
    let free: Vec<&OnnxPort> = inputs.iter().filter(|input| said(input).is_none()).collect();
    let class = is_said(Takes::Class).or_else(|| free.iter().copied().find(|input| is_class(input, &free)));
    let not_class = |input: &&&OnnxPort| class.is_none_or(|class| class.name != input.name);
    let latent = match is_said(Takes::Latent) {
        Some(latent) => latent,
        None => {
            let mut may_be = free.iter().filter(not_class).filter(|input| latent_shape(input).is_ok());
            match (may_be.next(), may_be.next()) {
                (Some(only), None) => only,
                (Some(_), Some(_)) => return Err(unclear("several inputs may take the latent".into())),
                (None, _) => match inputs.as_slice() {
                    [only] => {
                        let reason = latent_shape(only).err().unwrap_or_default();
                        return Err(unclear(format!("no input takes latents: the only one {reason}")));
                    }
                    _ => return Err(unclear("no input takes latents".into())),
                },
            }
        }
    };
    let shape =
        latent_shape(latent).map_err(|reason| unclear(format!("input `{}` {reason}", latent.name)))?;
    let latent = Latent { id: latent.id, name: latent.name.clone(), shape };
    let class = class.map(|port| understand_class(port).map_err(&unclear)).transpose()?;
    let mut constants = Vec::new();
    for input in &inputs {
        if input.name == latent.name || class.as_ref().is_some_and(|class| class.name == input.name) {
            continue;
        }
        match said(input) {
            Some(Takes::Number(number)) => constants.push(constant(input, number).map_err(&unclear)?),
            _ => return Err(unclear(format!("nothing says what its input `{}` takes", input.name))),
        }
    }
    let output = output(path, model, request.output.as_deref())?;
    Ok(Ports { latent, class, constants, output })
}

/// Whether an input takes classes: whole numbers, one for each image, or zeros with a one beside the latent, by its name.
fn is_class(input: &OnnxPort, all: &[&OnnxPort]) -> bool {
    match (input.numbers, input.shape.as_deref()) {
        (Some(OnnxNumbers::Integer), Some([] | [_] | [_, Dimension::Fixed(1)])) => true,
        (Some(OnnxNumbers::Float), Some([_, Dimension::Fixed(_)])) => {
            let name = input.name.to_lowercase();
            all.len() > 1 && CLASS_NAMES.contains(&name.as_str())
        }
        _ => false,
    }
}

/// Whether the first dimension lets images through one at a time.
fn is_batch(dimension: &Dimension) -> bool {
    matches!(dimension, Dimension::Symbolic(_) | Dimension::Fixed(1))
}

/// The shape of one latent.
fn latent_shape(input: &OnnxPort) -> Result<Vec<usize>, String> {
    if !matches!(input.numbers, None | Some(OnnxNumbers::Float)) {
        return Err("does not take float32".into());
    }
    let shape = input.shape.as_deref().ok_or("does not say its shape")?;
    let (batch, rest) = shape.split_first().ok_or("is a single number")?;
    if !is_batch(batch) {
        return Err("takes several latents at once; export it with a batch of 1 or a dynamic one".into());
    }
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) if *size > 0 => Ok(*size),
        Dimension::Fixed(_) | Dimension::Symbolic(_) => {
            Err("does not say the size of a latent; export it with fixed sizes behind the batch".to_string())
        }
    };
    let sizes: Vec<usize> = rest.iter().map(size).collect::<Result<_, _>>()?;
    let count = sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    match (sizes.len(), count) {
        (0, _) => Err("is a single number".into()),
        (_, Some(count)) if count <= MOST_NUMBERS => Ok(sizes),
        _ => Err("takes latents of too many numbers".into()),
    }
}

fn understand_class(input: &OnnxPort) -> Result<Class, String> {
    let wrong = || format!("input `{}` takes no classes", input.name);
    let shape = input.shape.as_deref().ok_or_else(wrong)?;
    let (form, shape) = match (input.numbers, shape) {
        (Some(OnnxNumbers::Integer), []) => (ClassForm::Number, vec![]),
        (Some(OnnxNumbers::Integer), [batch]) if is_batch(batch) => (ClassForm::Number, vec![1]),
        (Some(OnnxNumbers::Integer), [batch, Dimension::Fixed(1)]) if is_batch(batch) => {
            (ClassForm::Number, vec![1, 1])
        }
        (None | Some(OnnxNumbers::Float), [batch, Dimension::Fixed(count)])
            if is_batch(batch) && (1..=MOST_NUMBERS).contains(count) =>
        {
            (ClassForm::OneHot(*count), vec![1, *count])
        }
        _ => return Err(wrong()),
    };
    Ok(Class { id: input.id, name: input.name.clone(), form, shape })
}

fn constant(input: &OnnxPort, number: f32) -> Result<Constant, String> {
    if input.numbers == Some(OnnxNumbers::Other) {
        return Err(format!("input `{}` takes neither float32 nor whole numbers", input.name));
    }
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => *size,
        Dimension::Symbolic(_) => 1,
    };
    let shape: Vec<usize> = input.shape.iter().flatten().map(size).collect();
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    if count.is_none_or(|count| count > MOST_NUMBERS) {
        return Err(format!("input `{}` takes too many numbers", input.name));
    }
    Ok(Constant { id: input.id, shape, number, numbers: input.numbers })
}

/// The output of this name, the only one, or the only one that is declared as an image.
fn output(path: &Path, model: &OnnxModel, wanted: Option<&str>) -> Result<OnnxPort> {
    let outputs = model.outputs();
    let unclear = |reason: String| {
        Error::usage(format!("{}: {reason}", path.display()), Remedy::NameGeneratorOutput(listed(&outputs)))
    };
    let is_channels = |dimension: &Dimension| matches!(dimension, Dimension::Fixed(1 | 3));
    let is_image = |port: &&OnnxPort| match port.shape.as_deref() {
        Some([_, a, _, c]) => is_channels(a) || is_channels(c),
        _ => false,
    };
    if let Some(wanted) = wanted {
        let named = outputs.iter().find(|port| port.name == wanted);
        return named.cloned().ok_or_else(|| unclear(format!("there is no output `{wanted}`")));
    }
    match outputs.as_slice() {
        [] => Err(not_a_model(path, &"it has no output")),
        [only] => Ok(only.clone()),
        several => {
            let mut images = several.iter().filter(is_image);
            match (images.next(), images.next()) {
                (Some(only), None) => Ok(only.clone()),
                _ => Err(unclear("it is not clear which of its outputs is the image".into())),
            }
        }
    }
}
