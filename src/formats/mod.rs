//! Files as other programs write them: npy, npz, safetensors, torch checkpoints, result tables.
//! Whatever a file declares is checked against what it holds before memory is taken for it.
//! Nothing in a file is ever executed; everything written appears under its name only when it is whole.

pub(crate) mod archive;
pub(crate) mod atomic;
pub(crate) mod digest;
pub(crate) mod element;
pub(crate) mod features;
pub(crate) mod integers;
pub(crate) mod json;
pub(crate) mod npy;
pub(crate) mod onnx;
pub(crate) mod pickle;
pub(crate) mod regular;
pub(crate) mod resolved;
pub(crate) mod rows;
pub(crate) mod safetensors;
pub(crate) mod scratch;
pub(crate) mod state_dict;
pub(crate) mod table;
pub(crate) mod torch;
pub(crate) mod weights_file;
pub(crate) mod zip;

pub use features::read_features;
pub(crate) use features::{features_files, is_features_file};
pub(crate) use rows::FeatureRows;
pub use state_dict::{HostTensor, StateDict, TensorData};
pub(crate) use state_dict::{PartOf, Wanted};
pub use weights_file::read_state_dict;
