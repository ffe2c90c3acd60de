//! The numbers a network is built from, asked for by their official names and shapes.

use crate::error::{Error, Result};
use crate::formats::{HostTensor, TensorData, read_state_dict};
use crate::ops::activation::Activation;
use crate::ops::conv::{Conv2d, ConvConfig};
use crate::ops::linear::Linear;
use crate::remedy::Remedy;
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where parameters come from: a weights file, or a rule in tests.
pub trait ParameterSource {
    /// Whether there is a parameter of this name.
    fn contains(&self, name: &str) -> bool;

    /// Dimensions of the parameter where the source fixes them; `None` where it does not, or has none of this name.
    fn dims(&self, _name: &str) -> Option<Vec<usize>> {
        None
    }

    /// The parameter, float32, of exactly these dimensions.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the parameter, and both shapes where they differ.
    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor>;
}

/// The tensors of a weights file.
pub(crate) struct FileParameters {
    /// The file, for messages.
    pub path: PathBuf,
    /// For messages: the architecture that is being built.
    pub architecture: String,
    /// By official name.
    pub tensors: HashMap<String, Tensor>,
}

impl FileParameters {
    /// The floating-point tensors of a weights file, for the architecture `name`.
    ///
    /// # Errors
    /// As [`read_state_dict`].
    pub(crate) fn read(name: &str, path: &Path) -> Result<Self> {
        let mut tensors = HashMap::new();
        for (tensor_name, HostTensor { shape, data }) in read_state_dict(path)? {
            if let TensorData::F32(values) = data {
                tensors.insert(tensor_name, Tensor::from_vec(values, shape, &Device::Cpu)?);
            }
        }
        Ok(Self { path: path.into(), architecture: name.into(), tensors })
    }
}

impl ParameterSource for FileParameters {
    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.dims().to_vec())
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        let hint = || Remedy::WeightsOf(self.architecture.to_string());
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::malformed(
                &self.path,
                format!(
                    "`{}` needs a tensor `{name}` of shape {dims:?}, which is not there",
                    self.architecture
                ),
                hint(),
            ));
        };
        if tensor.dims() != dims {
            return Err(Error::malformed(
                &self.path,
                format!(
                    "tensor `{name}` has shape {:?}, but `{}` needs {dims:?}",
                    tensor.dims(),
                    self.architecture
                ),
                hint(),
            ));
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }
}

/// A parameter source seen from one module of the network.
#[derive(Clone)]
pub struct Parameters<'a> {
    source: &'a dyn ParameterSource,
    prefix: String,
    device: Device,
    dtype: DType,
}

impl<'a> Parameters<'a> {
    /// The whole network, to be computed in float32 on the CPU.
    pub fn new(source: &'a dyn ParameterSource) -> Self {
        Self { source, prefix: String::new(), device: Device::Cpu, dtype: DType::F32 }
    }

    /// The same for a network that is computed in `dtype` on `device`. Parameters are still given in float32 on the CPU, where they
    /// are folded and checked; layers made here, and what [`Parameters::placed`] returns, are where the network is computed.
    pub fn on(self, device: &Device, dtype: DType) -> Self {
        Self { device: device.clone(), dtype, ..self }
    }

    /// A tensor where the network is computed.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn placed(&self, tensor: Tensor) -> Result<Tensor> {
        Ok(tensor.to_dtype(self.dtype)?.to_device(&self.device)?)
    }

    /// A convolution from `weight` `[O, C / groups, kh, kw]` and `bias` `[O]`.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn conv_of(&self, weight: Tensor, bias: Tensor, config: ConvConfig) -> Result<Conv2d> {
        Ok(Conv2d::new(self.placed(weight)?, Some(self.placed(bias)?), config)?)
    }

    /// A fully connected layer from `weight` `[O, I]` and `bias` `[O]`.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn linear_of(&self, weight: Tensor, bias: Tensor, activation: Activation) -> Result<Linear> {
        Ok(Linear::new(&self.placed(weight)?, Some(self.placed(bias)?), activation)?)
    }

    /// The module `name` inside this one.
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    /// Whether this module has a parameter `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.source.contains(&format!("{}{name}", self.prefix))
    }

    /// What the source says of the dimensions of the parameter `name` of this module.
    pub fn dims(&self, name: &str) -> Option<Vec<usize>> {
        self.source.dims(&format!("{}{name}", self.prefix))
    }

    /// The parameter `name` of this module.
    ///
    /// # Errors
    /// As [`ParameterSource::get`].
    pub fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        self.source.get(&format!("{}{name}", self.prefix), dims)
    }

    /// A convolution `name` followed by the batch norm `norm`, folded into one: `w' = w * scale / sqrt(variance + eps)`,
    /// computed in float64. `dims` is `[O, C / groups, kh, kw]`.
    ///
    /// # Errors
    /// As [`ParameterSource::get`].
    pub fn conv_norm(
        &self,
        name: &str,
        norm: &str,
        dims: [usize; 4],
        eps: f64,
        config: ConvConfig,
    ) -> Result<Conv2d> {
        let norm = self.at(norm);
        let vector = |name: &str| Ok::<_, Error>(norm.get(name, &dims[..1])?.to_dtype(DType::F64)?);
        let scale = (vector("weight")? / (vector("running_var")? + eps)?.sqrt()?)?;
        let bias = (vector("bias")? - (vector("running_mean")? * &scale)?)?;
        let weight = self.at(name).get("weight", &dims)?.to_dtype(DType::F64)?;
        let weight = weight.broadcast_mul(&scale.reshape((dims[0], 1, 1, 1))?)?;
        self.conv_of(weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?, config)
    }

    /// A convolution `name` with a bias.
    ///
    /// # Errors
    /// As [`ParameterSource::get`].
    pub fn conv(&self, name: &str, dims: [usize; 4], config: ConvConfig) -> Result<Conv2d> {
        let module = self.at(name);
        module.conv_of(module.get("weight", &dims)?, module.get("bias", &dims[..1])?, config)
    }

    /// A fully connected layer `name` with a bias.
    ///
    /// # Errors
    /// As [`ParameterSource::get`].
    pub fn linear(&self, name: &str, outs: usize, ins: usize, activation: Activation) -> Result<Linear> {
        let module = self.at(name);
        module.linear_of(module.get("weight", &[outs, ins])?, module.get("bias", &[outs])?, activation)
    }
}
