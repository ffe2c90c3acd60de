//! State dicts: named tensors in memory, whatever file they came from.

use crate::error::{Error, Result};
use candle_core::{DType, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Elements of a tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// Any floating-point type, as float32.
    F32(Vec<f32>),
    /// Any integer type and truth values, as int64.
    I64(Vec<i64>),
}

/// A tensor in memory, row-major and contiguous: as many elements as its shape says.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Lengths of the dimensions; empty for a single number.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: TensorData,
}

impl HostTensor {
    /// A copy of `tensor`: floating-point numbers as float32, integers as int64.
    ///
    /// # Errors
    /// What reading the tensor returns.
    pub(crate) fn of(tensor: &Tensor) -> Result<HostTensor> {
        let flat = tensor.flatten_all()?;
        let data = match flat.dtype().is_int() {
            true => TensorData::I64(flat.to_dtype(DType::I64)?.to_vec1()?),
            false => TensorData::F32(flat.to_dtype(DType::F32)?.to_vec1()?),
        };
        Ok(HostTensor { shape: tensor.dims().to_vec(), data })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            TensorData::F32(values) => values.len(),
            TensorData::I64(values) => values.len(),
        }
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which network is read from a file that holds several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wanted {
    /// The generator, or the only network; the running average of its weights where there is one.
    #[default]
    Generator,
    /// The generator, or the only network, as it is trained; its average only where there is nothing else.
    TrainedGenerator,
    /// The discriminator, where one is named as such.
    Discriminator,
}

/// What was taken of several things that a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartOf {
    /// The name of what was taken.
    pub name: String,
    /// The names of all, in order.
    pub of: Vec<String>,
}

impl std::fmt::Display for PartOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` of {{{}}}", self.name, self.of.join(", "))
    }
}

/// Named tensors in the order of their file.
#[derive(Debug, Clone)]
pub struct StateDict {
    path: PathBuf,
    tensors: Vec<(String, HostTensor)>,
    places: HashMap<String, usize>,
    parts: Vec<PartOf>,
}

impl StateDict {
    /// An empty one; `path` is the file that its errors name.
    pub fn new(path: impl AsRef<Path>) -> Self {
        StateDict {
            path: path.as_ref().to_path_buf(),
            tensors: Vec::new(),
            places: HashMap::new(),
            parts: Vec::new(),
        }
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which part of the file it is, the outermost first; empty where the file holds nothing else.
    pub(crate) fn parts(&self) -> &[PartOf] {
        &self.parts
    }

    /// Says which part of the file it is.
    pub(crate) fn with_parts(self, parts: Vec<PartOf>) -> Self {
        Self { parts, ..self }
    }

    /// Adds a tensor; one of the same name is replaced.
    pub fn insert(&mut self, name: impl Into<String>, tensor: HostTensor) {
        let name = name.into();
        match self.places.get(&name) {
            Some(&place) => self.tensors[place].1 = tensor,
            None => {
                self.places.insert(name.clone(), self.tensors.len());
                self.tensors.push((name, tensor));
            }
        }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.places.get(name).map(|&place| &self.tensors[place].1)
    }

    /// The elements of a floating-point tensor, row-major.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the file, if it has no such tensor or one of integers.
    pub fn f32(&self, name: &str) -> Result<&[f32]> {
        match self.get(name).map(|tensor| &tensor.data) {
            Some(TensorData::F32(values)) => Ok(values),
            Some(TensorData::I64(_)) => {
                let reason =
                    format!("tensor `{name}` holds integers where floating-point numbers are wanted");
                Err(Error::malformed(&self.path, reason, self.hint()))
            }
            None => Err(Error::malformed(&self.path, format!("has no tensor `{name}`"), self.hint())),
        }
    }

    /// [`StateDict::f32`] of a tensor that must have exactly this shape.
    ///
    /// # Errors
    /// As [`StateDict::f32`], and [`Error::Malformed`] with both shapes.
    pub fn f32_shaped(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        let values = self.f32(name)?;
        match self.get(name) {
            Some(tensor) if tensor.shape == shape => Ok(values),
            other => {
                let found = other.map(|tensor| tensor.shape.as_slice()).unwrap_or_default();
                let reason = format!("tensor `{name}` has the shape {found:?} where {shape:?} is wanted");
                Err(Error::malformed(&self.path, reason, self.hint()))
            }
        }
    }

    /// Names and tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether it holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    fn hint(&self) -> String {
        /// Names shown of a file that is not the one that was wanted.
        const SHOWN: usize = 3;
        let shown: Vec<_> = self.names().take(SHOWN).collect();
        format!("is this the right network? It has {} tensors: {} …", self.len(), shown.join(", "))
    }
}

impl IntoIterator for StateDict {
    type Item = (String, HostTensor);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}
