//! Fixtures and comparisons for the tests of the generators.

use super::options::ForwardOptions;
use super::traits::Generator;
use crate::error::Result;
use crate::formats::{HostTensor, StateDict, TensorData, read_state_dict};
use candle_core::{DType, Device, Tensor};
use std::path::PathBuf;

/// Images of a network that is not yet behind the trait.
pub(super) fn images(
    generator: &dyn Generator,
    latents: &Tensor,
    options: &ForwardOptions,
) -> Result<Tensor> {
    generator.generate(latents, options)
}

/// A file or directory of `tests/fixtures/generators`.
pub(super) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/generators").join(name)
}

/// Expected tensors by name. `-- --nocapture` shows by how much each is missed.
pub(super) struct Expected {
    file: String,
    tensors: StateDict,
}

impl Expected {
    pub(super) fn read(name: &str) -> Self {
        Self { file: name.into(), tensors: read_state_dict(fixture(name)).unwrap() }
    }

    pub(super) fn get(&self, name: &str, dtype: DType) -> Tensor {
        let tensor = self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        let value = match &tensor.data {
            TensorData::F32(v) => Tensor::from_slice(v, tensor.shape.as_slice(), &Device::Cpu),
            TensorData::I64(v) => Tensor::from_slice(v, tensor.shape.as_slice(), &Device::Cpu),
        };
        value.unwrap().to_dtype(dtype).unwrap()
    }

    /// Largest difference from the expected tensor, as a share of its largest value.
    pub(super) fn difference(&self, name: &str, actual: &Tensor) -> f64 {
        relative(actual, &self.get(name, DType::F64))
    }

    #[track_caller]
    pub(super) fn assert(&self, name: &str, actual: &Tensor, tolerance: f64) {
        let difference = self.difference(name, actual);
        println!("{} {name} {difference:.1e}", self.file);
        assert!(difference <= tolerance, "{name} differs by {difference:e}");
    }
}

/// Largest difference as a share of the largest expected value; shapes may differ by dimensions of length 1.
pub(super) fn relative(actual: &Tensor, expected: &Tensor) -> f64 {
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (actual, expected) = (flat(actual), flat(expected));
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let difference = actual.iter().zip(&expected).fold(0f64, |m, (a, e)| m.max((a - e).abs()));
    assert!(difference.is_finite());
    difference / largest.max(f64::MIN_POSITIVE)
}

/// A small state dict whose numbers follow from their place.
pub(super) fn weights(tensors: &[(&str, &[usize])]) -> StateDict {
    let mut dict = StateDict::new("weights.safetensors");
    for (i, (name, shape)) in tensors.iter().enumerate() {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|j| ((j * 7919 + i * 104_729) % 1013) as f32 / 1013.0 - 0.5).collect();
        dict.insert(*name, HostTensor { shape: shape.to_vec(), data: TensorData::F32(values) });
    }
    dict
}

/// Numbers for latents and images.
pub(super) fn values(dims: &[usize], seed: usize, dtype: DType) -> Tensor {
    let count: usize = dims.iter().product();
    let data: Vec<f64> =
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 / 507.0 - 1.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}
