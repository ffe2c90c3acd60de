//! Weights files of networks whose published weights cannot be had here.

use candle_core::{Device, Tensor};
use pseudo_density::internals::extract::{ParameterSource, Parameters, architecture};
use pseudo_density::internals::formats::safetensors::write_safetensors;
use pseudo_density::internals::formats::{HostTensor, StateDict, TensorData};
use std::cell::RefCell;
use std::path::Path;

/// Keeps what a network asks for, which it gives by a rule.
struct Recorder(RefCell<StateDict>);

impl ParameterSource for Recorder {
    fn contains(&self, _: &str) -> bool {
        false
    }

    fn get(&self, name: &str, dims: &[usize]) -> pseudo_density::Result<Tensor> {
        let count: usize = dims.iter().product();
        let spread = (6.0 / dims[1..].iter().product::<usize>() as f32).sqrt();
        let mut state = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let values: Vec<f32> = (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let uniform = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
                match dims.len() {
                    1 if name.ends_with("weight") || name.ends_with("var") => 1.0 + 0.1 * uniform.abs(),
                    1 => 0.1 * uniform,
                    _ => spread * uniform,
                }
            })
            .collect();
        let tensor = HostTensor { shape: dims.to_vec(), data: TensorData::F32(values.clone()) };
        self.0.borrow_mut().insert(name, tensor);
        Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
    }
}

/// Writes `NAME.safetensors` for a network, with weights that mean nothing.
pub fn made_up_weights(directory: &Path, name: &str) {
    let recorder = Recorder(RefCell::new(StateDict::new("weights")));
    (architecture(name).unwrap().build)(&Parameters::new(&recorder)).unwrap();
    write_safetensors(directory.join(format!("{name}.safetensors")), &recorder.0.borrow()).unwrap();
}
