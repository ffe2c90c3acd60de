//! What the tests of this room share: the fixtures, comparison.

use crate::progress::Silent;
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

use super::comparison::{FeatureSet, Options};
use super::prdc::Boundary;

/// The reference values of `tests/fixtures/metrics`.
pub struct Fixture {
    features: Vec<u8>,
    edge_inputs: Vec<u8>,
    per_sample: Vec<u8>,
    pub expected: serde_json::Value,
}

impl Fixture {
    pub fn load() -> Fixture {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        Fixture {
            features: read("features.safetensors"),
            edge_inputs: read("edge_inputs.safetensors"),
            per_sample: read("per_sample.safetensors"),
            expected: serde_json::from_slice(&read("expected.json")).unwrap(),
        }
    }

    pub fn features(&self, name: &str) -> Array2<f32> {
        matrix(&self.features, name)
    }

    pub fn edge_input(&self, name: &str) -> Array2<f32> {
        matrix(&self.edge_inputs, name)
    }

    pub fn per_sample(&self, name: &str) -> Vec<f64> {
        self.eight_bytes(name, Dtype::F64).into_iter().map(f64::from_le_bytes).collect()
    }

    /// Row numbers `[subsets, size]`.
    pub fn rows(&self, name: &str) -> Vec<Vec<u32>> {
        let file = SafeTensors::deserialize(&self.per_sample).unwrap();
        let size = file.tensor(name).unwrap().shape()[1];
        let rows: Vec<u32> =
            self.eight_bytes(name, Dtype::I64).into_iter().map(|b| i64::from_le_bytes(b) as u32).collect();
        rows.chunks(size).map(<[u32]>::to_vec).collect()
    }

    fn eight_bytes(&self, name: &str, dtype: Dtype) -> Vec<[u8; 8]> {
        let file = SafeTensors::deserialize(&self.per_sample).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), dtype);
        tensor.data().as_chunks::<8>().0.to_vec()
    }

    fn value(&self, path: &[&str]) -> &serde_json::Value {
        path.iter().fold(&self.expected, |value, key| &value[*key])
    }

    pub fn number(&self, path: &[&str]) -> f64 {
        self.value(path).as_f64().unwrap()
    }
}

fn matrix(bytes: &[u8], name: &str) -> Array2<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Array2::from_shape_vec((tensor.shape()[0], tensor.shape()[1]), values).unwrap()
}

#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= relative * expected.abs() || found.is_nan() && expected.is_nan(),
            "value {i}: {found}, expected {expected}"
        );
    }
}

/// Options with one `k` for everything.
pub fn options(k: usize, boundary: Boundary) -> Options {
    Options { k, k_density: k, boundary, ..Options::default() }
}

pub fn set(features: Array2<f32>, options: &Options) -> FeatureSet<'static> {
    FeatureSet::new(features.into_shared(), options, &Silent).unwrap()
}
