//! The numbers of a network by official name: built once from a file or at random, changed in place by training.

use crate::error::{Error, Result};
use crate::formats::digest::hex;
use crate::formats::{HostTensor, StateDict, TensorData};
use crate::random::{Purpose, keyed, normals};
use candle_core::{DType, Device, Tensor, Var};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Largest number of elements that random initialisation makes of one network: 4 GiB of float32.
const MAX_INITIALISED: usize = 1 << 30;

/// How a parameter is initialised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Normal numbers.
    Normal {
        /// Their mean.
        mean: f64,
        /// Their standard deviation.
        std: f64,
    },
    /// One value throughout.
    Constant(f64),
}

impl Init {
    /// Kaiming's rule for the layers of [`torch.nn`](https://pytorch.org/docs/stable/nn.init.html) with their default slope:
    /// variance `1 / (3 fan_in)`, here of normal numbers.
    pub(crate) fn torch_default(fan_in: usize) -> Self {
        Init::Normal { mean: 0.0, std: (1.0 / (3.0 * fan_in.max(1) as f64)).sqrt() }
    }
}

/// A trained tensor: the variable itself, and the same memory as a constant.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    variable: Var,
    constant: Tensor,
}

impl Parameter {
    fn new(variable: Var) -> Self {
        Self { constant: variable.as_detached_tensor(), variable }
    }

    /// The tensor to compute with: gradients reach the variable if `trains`.
    pub(crate) fn tensor(&self, trains: bool) -> &Tensor {
        if trains { self.variable.as_tensor() } else { &self.constant }
    }
}

/// One tensor of a network.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    variable: Var,
    trained: bool,
}

/// Parameters (trained) and buffers (running statistics, counters) of a network, in the order of its layers.
/// Setting a variable changes the network.
#[derive(Debug, Clone)]
pub struct Variables {
    entries: Vec<Named>,
}

impl Variables {
    /// The trained ones, named.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().filter(|e| e.trained).map(|e| (e.name.as_str(), &e.variable))
    }

    /// The others, named.
    pub fn buffers(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().filter(|e| !e.trained).map(|e| (e.name.as_str(), &e.variable))
    }

    /// The parameter or buffer of this name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.entries.iter().find(|e| e.name == name).map(|e| &e.variable)
    }

    /// SHA-256 over names, shapes and values: the same for the same network, from whatever file it came.
    ///
    /// # Errors
    /// What reading the tensors returns.
    pub fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for Named { name, variable, .. } in &self.entries {
            hash.update(format!("{name} {:?}\n", variable.dims()));
            let values = variable.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            values.iter().for_each(|v| hash.update(v.to_le_bytes()));
        }
        Ok(hex(&hash.finalize()))
    }

    /// A copy in memory: floating-point numbers as float32, counters as int64. `path` is what its errors name.
    ///
    /// # Errors
    /// What reading the tensors returns.
    pub fn state_dict(&self, path: impl AsRef<Path>) -> Result<StateDict> {
        let mut dict = StateDict::new(path);
        for Named { name, variable, .. } in &self.entries {
            dict.insert(name.clone(), HostTensor::of(variable)?);
        }
        Ok(dict)
    }

    /// Sets every variable from a state dict of the same network.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first tensor that is missing or has another shape; the variables before it are set then.
    pub fn load(&self, dict: &StateDict) -> Result<()> {
        for Named { name, variable, .. } in &self.entries {
            let value = host_tensor(dict, name, variable.dims(), variable.dtype())?;
            variable.set(&value.to_device(variable.device())?)?;
        }
        Ok(())
    }
}

/// The tensor `name` of exactly these dimensions, on the CPU.
fn host_tensor(dict: &StateDict, name: &str, dims: &[usize], dtype: DType) -> Result<Tensor> {
    if dtype == DType::I64 {
        return match dict.get(name) {
            Some(HostTensor { shape, data: TensorData::I64(values) }) if shape == dims => {
                Ok(Tensor::from_slice(values, dims, &Device::Cpu)?)
            }
            _ => {
                Err(Error::malformed(dict.path(), format!("has no tensor `{name}` of integers {dims:?}"), ""))
            }
        };
    }
    Ok(Tensor::from_slice(dict.f32_shaped(name, dims)?, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

enum Source {
    Weights(StateDict),
    Random { seed: u64, path: PathBuf, elements: usize },
}

/// Where a family takes the numbers of a network from while building it, asked for by official name and shape.
pub(crate) struct Builder {
    source: Source,
    dtype: DType,
    device: Device,
    used: HashSet<String>,
    entries: Vec<Named>,
}

impl Builder {
    /// From the tensors of a file.
    pub(crate) fn from_weights(weights: StateDict, dtype: DType, device: &Device) -> Self {
        Self::new(Source::Weights(weights), dtype, device)
    }

    /// At random, as each family initialises its layers; `path` (the configuration) is for messages.
    pub(crate) fn from_nothing(seed: u64, path: &Path, dtype: DType, device: &Device) -> Self {
        Self::new(Source::Random { seed, path: path.into(), elements: 0 }, dtype, device)
    }

    fn new(source: Source, dtype: DType, device: &Device) -> Self {
        Self { source, dtype, device: device.clone(), used: HashSet::new(), entries: Vec::new() }
    }

    /// How many tensors have been asked for so far. A layer may use it as a number of its own: it is the same whenever the network is built.
    pub(crate) fn place(&self) -> usize {
        self.entries.len()
    }

    /// The file that errors name.
    pub(crate) fn path(&self) -> &Path {
        match &self.source {
            Source::Weights(dict) => dict.path(),
            Source::Random { path, .. } => path,
        }
    }

    /// The shape of a tensor, where there is a file that has it.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.source {
            Source::Weights(dict) => dict.get(name).map(|tensor| tensor.shape.as_slice()),
            Source::Random { .. } => None,
        }
    }

    /// Gives tensors of an older layout their present names.
    pub(crate) fn rename(&mut self, present: impl Fn(&str) -> String) {
        if let Source::Weights(dict) = &mut self.source {
            let mut renamed = StateDict::new(dict.path());
            for (name, tensor) in std::mem::replace(dict, StateDict::new("")) {
                renamed.insert(present(&name), tensor);
            }
            *dict = renamed;
        }
    }

    /// Type of the network's numbers.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the network is.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// A trained tensor.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming it, with both shapes where they differ.
    pub(crate) fn parameter(&mut self, name: &str, dims: &[usize], init: Init) -> Result<Parameter> {
        let value = self.value(name, dims, init)?;
        Ok(Parameter::new(self.register(name, value, true)?))
    }

    /// A tensor that is kept with the weights and not trained.
    ///
    /// # Errors
    /// As [`Builder::parameter`].
    pub(crate) fn buffer(&mut self, name: &str, dims: &[usize], init: Init) -> Result<Var> {
        let value = self.value(name, dims, init)?;
        self.register(name, value, false)
    }

    /// A buffer that has the value `start` where the network is initialised rather than read.
    ///
    /// # Errors
    /// As [`Builder::parameter`].
    pub(crate) fn known_buffer(&mut self, name: &str, start: &Tensor) -> Result<Var> {
        let value = self.known(name, start)?;
        self.register(name, value, false)
    }

    /// A buffer that is not in the file, of a value from elsewhere.
    ///
    /// # Errors
    /// What moving it to the device returns.
    pub(crate) fn added_buffer(&mut self, name: &str, value: &Tensor) -> Result<Var> {
        self.register(name, value.to_dtype(self.dtype)?, false)
    }

    /// A parameter that has the value `start` where the network is initialised rather than read.
    ///
    /// # Errors
    /// As [`Builder::parameter`].
    pub(crate) fn known_parameter(&mut self, name: &str, start: &Tensor) -> Result<Parameter> {
        let value = self.known(name, start)?;
        Ok(Parameter::new(self.register(name, value, true)?))
    }

    fn known(&self, name: &str, start: &Tensor) -> Result<Tensor> {
        match &self.source {
            Source::Weights(dict) => host_tensor(dict, name, start.dims(), self.dtype),
            Source::Random { .. } => Ok(start.to_dtype(self.dtype)?),
        }
    }

    /// Standard normal numbers for the start of the buffer `name`; none need be drawn where there is a file.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there are too many.
    pub(crate) fn draw(&mut self, name: &str, count: usize) -> Result<Vec<f64>> {
        match &self.source {
            Source::Weights(_) => Ok(vec![1.0; count.min(MAX_INITIALISED)]),
            Source::Random { .. } => {
                let value = self.value(name, &[count], Init::Normal { mean: 0.0, std: 1.0 })?;
                Ok(value.to_dtype(DType::F64)?.to_vec1()?)
            }
        }
    }

    /// A counter of int64 that older files may lack; it then starts at 0.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is there and is no counter.
    pub(crate) fn counter(&mut self, name: &str) -> Result<Var> {
        let value = match &self.source {
            Source::Weights(dict) if dict.get(name).is_some() => host_tensor(dict, name, &[], DType::I64)?,
            _ => Tensor::new(0i64, &Device::Cpu)?,
        };
        self.register(name, value, false)
    }

    fn value(&mut self, name: &str, dims: &[usize], init: Init) -> Result<Tensor> {
        if dims.contains(&0) {
            let reason = format!("asks for a tensor `{name}` of {dims:?}, which is empty");
            return Err(Error::malformed(self.path(), reason, ""));
        }
        match &mut self.source {
            Source::Weights(dict) => host_tensor(dict, name, dims, self.dtype),
            Source::Random { seed, path, elements } => {
                let count = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
                let total = count.and_then(|count| elements.checked_add(count));
                let (Some(count), Some(total)) = (count, total.filter(|&total| total <= MAX_INITIALISED))
                else {
                    let reason = format!("asks for a tensor `{name}` of {dims:?}, beyond any memory");
                    return Err(Error::malformed(path, reason, ""));
                };
                *elements = total;
                let values: Vec<f64> = match init {
                    Init::Constant(value) => vec![value; count],
                    Init::Normal { mean, std } => {
                        let item = self.entries.len() as u64;
                        normals(keyed(*seed, Purpose::Initialisation, item))
                            .take(count)
                            .map(|v| mean + std * v)
                            .collect()
                    }
                };
                Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(self.dtype)?)
            }
        }
    }

    fn register(&mut self, name: &str, value: Tensor, trained: bool) -> Result<Var> {
        let variable = Var::from_tensor(&value.to_device(&self.device)?)?;
        self.used.insert(name.into());
        self.entries.push(Named { name: name.into(), variable: variable.clone(), trained });
        Ok(variable)
    }

    /// The variables that the network has asked for. Names of further tensors in the file must begin with one of `others` (parts that
    /// no image depends on); these tensors are kept, so that the network is written with them again.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first tensor that has no place in this network: leaving it out would give other images.
    pub(crate) fn finish(mut self, others: &[&str]) -> Result<Variables> {
        if let Source::Weights(dict) = &self.source {
            for (name, tensor) in dict.iter().filter(|(name, _)| !self.used.contains(*name)) {
                if !others.iter().any(|prefix| name.starts_with(prefix)) {
                    let reason =
                        format!("tensor `{name}` of shape {:?} has no place in this network", tensor.shape);
                    return Err(Error::malformed(dict.path(), reason, "is this another architecture?"));
                }
                let dtype = if matches!(tensor.data, TensorData::I64(_)) { DType::I64 } else { self.dtype };
                let value = host_tensor(dict, name, &tensor.shape, dtype)?.to_device(&self.device)?;
                let variable = Var::from_tensor(&value)?;
                self.entries.push(Named { name: name.into(), variable, trained: false });
            }
        }
        Ok(Variables { entries: self.entries })
    }
}
