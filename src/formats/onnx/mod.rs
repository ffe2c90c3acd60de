//! Networks in ONNX files, as `rten` reads and runs them on the processor. Every file is looked at before the runtime reads it, and a
//! panic of the runtime is a reason like any other.
//!
//! A damaged file is refused without a crash. But an ONNX file is a program, whose operators ask for memory as they run: one
//! made to exhaust it can, so files from strangers belong under a memory limit (`ulimit -v`, a container).

pub(crate) mod byte_output;
pub(crate) mod outline;

use crate::error::{Error, Result};
use crate::formats::digest::sha256;
use crate::formats::regular::open_regular;
use crate::panics;
use outline::Outline;
use rten::{DataType, Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueType};
use std::collections::HashSet;
use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read: what a protocol buffer can hold.
const MAX_MODEL_BYTES: u64 = (1 << 31) - 1;

/// Whether a file name is that of an ONNX model.
pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// A network as a file has it.
pub(crate) struct OnnxModel {
    path: PathBuf,
    model: Model,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Names of the constants; older files list them among the inputs too.
    constants: HashSet<String>,
    /// Names of the outputs that the file declares as bytes, and the runtime gives as whole numbers.
    byte_outputs: HashSet<String>,
}

/// An input or output, or any tensor of a network, as the file declares it.
#[derive(Debug, Clone)]
pub(crate) struct OnnxPort {
    /// Where it is in the network: its number changes where the network is optimised.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// What its numbers are; `None` where the file does not say.
    pub numbers: Option<OnnxNumbers>,
    /// Its shape; `None` where the file does not say.
    pub shape: Option<Vec<Dimension>>,
}

/// What the numbers of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnnxNumbers {
    /// float32.
    Float,
    /// int64 or int32.
    Integer,
    /// Anything else.
    Other,
}

impl OnnxModel {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is no model that can be run.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut bytes = read(path)?;
        let sha256 = sha256(&bytes);
        let Outline { constants, .. } =
            outline::check(&bytes).map_err(|reason| not_a_model(path, &reason))?;
        let byte_outputs = byte_output::widen(&mut bytes);
        Ok(Self { path: path.into(), model: load(path, bytes, true)?, sha256, constants, byte_outputs })
    }

    /// The same network with all tensors inside it: optimisation drops some.
    ///
    /// # Errors
    /// As [`OnnxModel::open`]; [`Error::Malformed`] if the file was changed meanwhile.
    pub(crate) fn unoptimised(self) -> Result<Self> {
        let mut bytes = read(&self.path)?;
        if sha256(&bytes) != self.sha256 {
            return Err(not_a_model(&self.path, &"it changed while it was read"));
        }
        byte_output::widen(&mut bytes);
        Ok(Self { model: load(&self.path, bytes, false)?, ..self })
    }

    /// What it takes, without its constants.
    pub(crate) fn inputs(&self) -> Vec<OnnxPort> {
        let ports = self.model.input_ids().iter().map(|&id| self.port(id));
        ports.filter(|port| !self.constants.contains(&port.name)).collect()
    }

    /// What it gives.
    pub(crate) fn outputs(&self) -> Vec<OnnxPort> {
        self.model.output_ids().iter().map(|&id| self.port(id)).collect()
    }

    /// Whether the whole numbers of this output are bytes, as they must then be 0 to 255.
    pub(crate) fn gives_bytes(&self, output: &str) -> bool {
        self.byte_outputs.contains(output)
    }

    /// A tensor of this name, anywhere in the network.
    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        self.model.find_node(name)
    }

    fn port(&self, id: NodeId) -> OnnxPort {
        let node = self.model.node_info(id);
        let numbers = node.as_ref().and_then(|node| node.dtype()).map(|dtype| match dtype {
            ValueType::Tensor(DataType::Float) => OnnxNumbers::Float,
            ValueType::Tensor(DataType::Int32) => OnnxNumbers::Integer,
            _ => OnnxNumbers::Other,
        });
        OnnxPort {
            id,
            name: node.as_ref().and_then(|node| node.name()).unwrap_or_default().to_owned(),
            numbers,
            shape: node.as_ref().and_then(|node| node.shape()),
        }
    }

    /// Runs the network on one thread, so that its last bits do not depend on how products are cut.
    ///
    /// # Errors
    /// Why it failed.
    pub(crate) fn run(
        &self,
        inputs: Vec<(NodeId, Value)>,
        output: NodeId,
        pool: &Arc<ThreadPool>,
    ) -> Result<Value, String> {
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        let inputs = inputs.into_iter().map(|(id, value)| (id, value.into())).collect();
        let outputs = caught(|| self.model.run(inputs, &[output], Some(options)))?;
        outputs.into_iter().next_back().ok_or_else(|| "it gave nothing".to_string())
    }
}

/// Pools of one thread each, one for each thread that work is shared among.
pub(crate) fn pools() -> Vec<Arc<ThreadPool>> {
    let threads = rayon::current_num_threads().max(1);
    (0..threads).map(|_| Arc::new(ThreadPool::with_num_threads(1))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_MODEL_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_MODEL_BYTES {
        return Err(not_a_model(path, &"it is larger than 2 GiB"));
    }
    Ok(bytes)
}

fn load(path: &Path, bytes: Vec<u8>, optimize: bool) -> Result<Model> {
    let mut options = ModelOptions::with_all_ops();
    options.enable_optimization(optimize).prepack_weights(true);
    caught(|| options.load(bytes)).map_err(|reason| not_a_model(path, &reason))
}

/// A panic of the runtime on a damaged model is a reason like any other.
fn caught<T, E: Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match panics::caught(work) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("the runtime failed on it".into()),
    }
}

/// Says that a file cannot be run.
pub(crate) fn not_a_model(path: &Path, reason: &dyn Display) -> Error {
    Error::malformed(
        path,
        format!("cannot be used as an ONNX model: {reason}"),
        "export it again as one file (no external data), with float32 weights and output and standard operators, for one image at a time or a batch of any size",
    )
}

/// Names and shapes, for a person.
pub(crate) fn listed(ports: &[OnnxPort]) -> String {
    let one = |port: &OnnxPort| {
        let name = if port.name.is_empty() { "?" } else { port.name.as_str() };
        let dimension = |d: &Dimension| match d {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Symbolic(name) => name.clone(),
        };
        match &port.shape {
            Some(shape) => {
                let shape: Vec<String> = shape.iter().map(dimension).collect();
                format!("{name} [{}]", shape.join(", "))
            }
            None => name.to_string(),
        }
    };
    if ports.is_empty() { "none".into() } else { ports.iter().map(one).collect::<Vec<_>>().join(", ") }
}

/// The shape of a tensor of float32 of one to four dimensions.
pub(crate) fn shape_of(value: &Value) -> Option<Vec<usize>> {
    let copy = || value.clone();
    copy()
        .into_shape_vec::<f32, 2>()
        .map(|(shape, _)| shape.to_vec())
        .or_else(|_| copy().into_shape_vec::<f32, 4>().map(|(shape, _)| shape.to_vec()))
        .or_else(|_| copy().into_shape_vec::<f32, 3>().map(|(shape, _)| shape.to_vec()))
        .or_else(|_| copy().into_shape_vec::<f32, 1>().map(|(shape, _)| shape.to_vec()))
        .ok()
}
