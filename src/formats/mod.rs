//! Files as other programs write them: npy, npz, safetensors, torch checkpoints, result tables.
//! Whatever a file declares is checked against what it holds before memory is taken for it.
//! Nothing in a file is ever executed; everything written appears under its name only when it is whole.

pub mod archive;
pub mod atomic;
pub mod digest;
pub mod element;
pub mod features;
pub mod integers;
pub mod npy;
pub mod pickle;
pub mod rows;
pub mod safetensors;
pub mod state_dict;
pub mod table;
pub mod torch;
pub mod weights_file;

pub use features::{features_files, is_features_file, read_features};
pub use rows::FeatureRows;
pub use state_dict::{HostTensor, StateDict, TensorData};
pub use weights_file::read_state_dict;
