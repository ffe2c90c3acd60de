//! Tensors as views of storages: which storage, where in it, and with which strides.

use super::storage::{Storage, Storages, natural};
use super::{FREE_VIEW_EXPANSION, MAX_VIEW_EXPANSION};
use crate::error::{Error, Result};
use crate::formats::element::{ByteOrder, Element, allocate, element_count};
use crate::formats::pickle::{Pickle, Ref};
use crate::formats::state_dict::{HostTensor, StateDict, TensorData};
use std::collections::HashMap;
use std::path::Path;

/// How deeply parameters may be wrapped in parameters.
const MAX_WRAPPINGS: usize = 4;

/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 32;

/// A tensor as the pickle describes it; counts are in elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorView {
    pub(super) storage: Storage,
    pub(super) element: Element,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Why a value is not a tensor that can be read.
pub(super) enum NoTensor {
    /// It is something else.
    Other,
    /// It is a tensor, and something is wrong with it.
    Bad(String),
}

/// The tensor that a value of the storages' pickle stands for.
pub(super) fn tensor_view(storages: &Storages, value: Ref) -> Result<TensorView, NoTensor> {
    let pickle = storages.pickle();
    let mut value = value;
    for _ in 0..MAX_WRAPPINGS {
        let object = pickle.object(value).ok_or(NoTensor::Other)?;
        let args = pickle.sequence(object.args).unwrap_or_default();
        match pickle.class(object.class) {
            Some((
                "torch._utils",
                "_rebuild_parameter" | "_rebuild_parameter_with_state" | "_rebuild_parameter_v2",
            ))
            | Some(("torch.nn.parameter", "Parameter" | "Buffer")) => {
                value = *args.first().ok_or_else(|| NoTensor::Bad("is a parameter of nothing".into()))?;
            }
            Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")) => {
                return view(storages, args, None).map_err(NoTensor::Bad);
            }
            Some(("torch._utils", "_rebuild_tensor_v3")) => {
                /// Place of the element type among the arguments.
                const DTYPE: usize = 6;
                let dtype = args.get(DTYPE).and_then(|&r| pickle.class(r));
                let element = match dtype {
                    Some(("torch", name)) => element_of_dtype(name),
                    _ => None,
                };
                let element =
                    element.ok_or_else(|| NoTensor::Bad("has a type of elements that is not read".into()))?;
                return view(storages, args, Some(element)).map_err(NoTensor::Bad);
            }
            Some(("torch._utils", name)) if name.starts_with("_rebuild_") => {
                return Err(NoTensor::Bad(format!("is stored by torch._utils.{name}, which is not read")));
            }
            _ => return Err(NoTensor::Other),
        }
    }
    Err(NoTensor::Bad("is wrapped too many times".into()))
}

fn view(storages: &Storages, args: &[Ref], element: Option<Element>) -> Result<TensorView, String> {
    let pickle = storages.pickle();
    let [storage, offset, shape, strides, ..] = *args else {
        return Err("lacks its storage, offset, shape or strides".into());
    };
    let storage = storages.get(storage)?;
    let offset = natural(pickle, offset, "offset")?;
    let shape = naturals(pickle, shape, "shape")?;
    let strides = naturals(pickle, strides, "strides")?;
    if shape.len() != strides.len() {
        return Err(format!("has {} dimensions and {} strides", shape.len(), strides.len()));
    }
    let element =
        element.or(storage.element).ok_or("lies in an untyped storage without a type of its own")?;
    let view = TensorView { storage, element, offset, shape, strides };
    view.check()?;
    Ok(view)
}

impl TensorView {
    /// Checks that every element lies inside the storage.
    fn check(&self) -> Result<(), String> {
        let end = self.end().ok_or("reaches beyond any memory")?;
        let held = match self.storage.element {
            Some(_) => self.storage.length,
            None => self.storage.length / self.element.size(),
        };
        if end > held {
            return Err(format!("reaches to element {end} of a storage that holds {held}"));
        }
        Ok(())
    }

    /// One past the last element it touches, counted from the start of its storage.
    fn end(&self) -> Option<usize> {
        if element_count(&self.shape)? == 0 {
            return Some(0);
        }
        let mut last = self.offset;
        for (length, stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add((length - 1).checked_mul(*stride)?)?;
        }
        last.checked_add(1)
    }

    fn count(&self) -> usize {
        element_count(&self.shape).unwrap_or(0)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&length, &stride)| {
            let fits = length == 1 || stride == expected;
            expected *= length;
            fits
        })
    }

    /// The tensor, row-major, from the bytes of the underlying storage.
    fn gather(&self, bytes: &[u8], order: ByteOrder, path: &Path) -> Result<HostTensor> {
        let size = self.element.size();
        let cut_short = || Error::malformed(path, format!("storage {} is cut short", self.storage.key), "");
        // `check` has compared with the declared length; the storage may be shorter than it declares.
        let start = self.storage.start.checked_mul(size).ok_or_else(cut_short)?;
        let bytes = bytes.get(start..).ok_or_else(cut_short)?;
        let end = self.end().and_then(|end| end.checked_mul(size)).ok_or_else(cut_short)?;
        let bytes = bytes.get(..end).ok_or_else(cut_short)?;
        let data = match self.element.is_float() {
            true => {
                TensorData::F32(self.collect(bytes, path, |b, out| self.element.extend_f32(b, order, out))?)
            }
            false => {
                TensorData::I64(self.collect(bytes, path, |b, out| self.element.extend_i64(b, order, out))?)
            }
        };
        Ok(HostTensor { shape: self.shape.clone(), data })
    }

    fn collect<T>(&self, bytes: &[u8], path: &Path, decode: impl Fn(&[u8], &mut Vec<T>)) -> Result<Vec<T>> {
        let (size, count) = (self.element.size(), self.count());
        let mut out = allocate(count, path)?;
        if count == 0 {
            return Ok(out);
        }
        if self.is_contiguous() {
            decode(&bytes[self.offset * size..(self.offset + count) * size], &mut out);
            return Ok(out);
        }
        let mut index = vec![0; self.shape.len()];
        let mut position = self.offset;
        for _ in 0..count {
            decode(&bytes[position * size..(position + 1) * size], &mut out);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                position += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                position -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        Ok(out)
    }
}

/// Reads every tensor, each storage once. `fetch` gives the bytes of a storage by its key, `file_bytes` is the
/// length of the file: tensors may share storages and be expanded, but not without bound.
pub(super) fn materialize<B: AsRef<[u8]>>(
    tensors: Vec<(String, TensorView)>,
    order: ByteOrder,
    file_bytes: u64,
    path: &Path,
    mut fetch: impl FnMut(&Storage) -> Result<B>,
) -> Result<StateDict> {
    let limit = file_bytes.saturating_mul(MAX_VIEW_EXPANSION).max(FREE_VIEW_EXPANSION);
    let total = tensors.iter().fold(0u64, |total, (_, view)| {
        total.saturating_add((view.count() as u64).saturating_mul(view.element.size() as u64))
    });
    if total > limit {
        let reason = format!("its tensors take {total} bytes out of a file of {file_bytes}");
        return Err(Error::malformed(
            path,
            reason,
            "a checkpoint whose tensors are expanded views is not read",
        ));
    }
    let mut by_storage: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, (_, view)) in tensors.iter().enumerate() {
        by_storage.entry(&view.storage.key).or_default().push(place);
    }
    let mut read: Vec<Option<HostTensor>> = tensors.iter().map(|_| None).collect();
    for (_, view) in &tensors {
        let Some(places) = by_storage.remove(view.storage.key.as_str()) else { continue };
        let bytes = fetch(&view.storage)?;
        for place in places {
            read[place] = Some(tensors[place].1.gather(bytes.as_ref(), order, path)?);
        }
    }
    let mut dict = StateDict::new(path);
    for ((name, _), tensor) in tensors.into_iter().zip(read) {
        if let Some(tensor) = tensor {
            dict.insert(name, tensor);
        }
    }
    Ok(dict)
}

fn naturals(pickle: &Pickle, value: Ref, what: &str) -> Result<Vec<usize>, String> {
    // `torch.Size` is pickled as a call with a tuple.
    let value = match pickle.object(value) {
        Some(object) if pickle.class(object.class) == Some(("torch", "Size")) => {
            pickle.sequence(object.args).and_then(|args| args.first()).copied().unwrap_or(value)
        }
        _ => value,
    };
    let items =
        pickle.sequence(value).ok_or_else(|| format!("has {} for its {what}", pickle.describe(value)))?;
    if items.len() > MAX_DIMENSIONS {
        return Err(format!("has {} dimensions", items.len()));
    }
    items.iter().map(|&item| natural(pickle, item, what)).collect()
}

fn element_of_dtype(name: &str) -> Option<Element> {
    Some(match name {
        "float32" | "float" => Element::F32,
        "float16" | "half" => Element::F16,
        "bfloat16" => Element::BF16,
        "float64" | "double" => Element::F64,
        "int64" | "long" => Element::I64,
        "int32" | "int" => Element::I32,
        "int16" | "short" => Element::I16,
        "int8" => Element::I8,
        "uint8" => Element::U8,
        "uint16" => Element::U16,
        "uint32" => Element::U32,
        "uint64" => Element::U64,
        "bool" => Element::Bool,
        _ => return None,
    })
}
