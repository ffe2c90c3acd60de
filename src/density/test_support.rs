//! What the tests of this module and of `metrics` share: the fixtures, a plain neighbour search, comparison.

use crate::error::Result;
use crate::neighbors::{NeighborIndex, Neighbors, Search};
use crate::progress::{Progress, Silent};
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// The reference values of `tests/fixtures/metrics`.
pub(crate) struct Fixture {
    features: Vec<u8>,
    edge_inputs: Vec<u8>,
    per_sample: Vec<u8>,
    pub expected: serde_json::Value,
}

impl Fixture {
    pub(crate) fn load() -> Fixture {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        Fixture {
            features: read("features.safetensors"),
            edge_inputs: read("edge_inputs.safetensors"),
            per_sample: read("per_sample.safetensors"),
            expected: serde_json::from_slice(&read("expected.json")).unwrap(),
        }
    }

    pub(crate) fn features(&self, name: &str) -> Array2<f32> {
        matrix(&self.features, name)
    }

    pub(crate) fn edge_input(&self, name: &str) -> Array2<f32> {
        matrix(&self.edge_inputs, name)
    }

    pub(crate) fn per_sample(&self, name: &str) -> Vec<f64> {
        self.eight_bytes(name, Dtype::F64).into_iter().map(f64::from_le_bytes).collect()
    }

    /// Row numbers `[subsets, size]`.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<u32>> {
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

    pub(crate) fn number(&self, path: &[&str]) -> f64 {
        self.value(path).as_f64().unwrap()
    }

    pub(crate) fn numbers(&self, path: &[&str]) -> Vec<f64> {
        self.value(path).as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }
}

fn matrix(bytes: &[u8], name: &str) -> Array2<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Array2::from_shape_vec((tensor.shape()[0], tensor.shape()[1]), values).unwrap()
}

/// Every distance, sorted: the plain second implementation of a neighbour index.
pub(crate) struct BruteForce<'a>(pub ArrayView2<'a, f32>);

impl NeighborIndex for BruteForce<'_> {
    fn search(
        &self,
        queries: ArrayView2<f32>,
        exclude: Option<&[Option<u32>]>,
        search: Search,
        _: &dyn Progress,
    ) -> Result<Neighbors> {
        let mut found = Neighbors { k: search.k, rows: Vec::new(), distances: Vec::new() };
        for (q, query) in queries.rows().into_iter().enumerate() {
            let hidden = exclude.and_then(|exclude| exclude[q]);
            let mut all: Vec<(f64, u32)> = (0u32..)
                .zip(self.0.rows())
                .filter(|(row, _)| Some(*row) != hidden)
                .map(|(row, other)| {
                    let squares =
                        query.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
                    (squares.sum::<f64>().sqrt(), row)
                })
                .filter(|(distance, _)| !search.skip_zero || *distance > 0.0)
                .collect();
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            if all.len() < search.k {
                return Err(crate::error::Error::data("too few rows at a distance above 0", ""));
            }
            found.rows.extend(all[..search.k].iter().map(|(_, row)| row));
            found.distances.extend(all[..search.k].iter().map(|(distance, _)| distance));
        }
        Ok(found)
    }

    fn search_self(&self, search: Search, progress: &dyn Progress) -> Result<Neighbors> {
        let own: Vec<Option<u32>> = (0..self.0.nrows() as u32).map(Some).collect();
        self.search(self.0, Some(&own), search, progress)
    }
}

pub(crate) fn brute_force_self(features: &Array2<f32>, k: usize) -> Neighbors {
    BruteForce(features.view()).search_self(Search { k, skip_zero: false }, &Silent).unwrap()
}

pub(crate) fn brute_force(features: &Array2<f32>, queries: &Array2<f32>, k: usize) -> Neighbors {
    BruteForce(features.view()).search(queries.view(), None, Search { k, skip_zero: false }, &Silent).unwrap()
}

/// Independent standard normal values (Box and Muller), `[rows, columns]`.
pub(crate) fn gaussian(rows: usize, columns: usize, rng: &mut ChaCha8Rng) -> Array2<f32> {
    Array2::from_shape_simple_fn((rows, columns), || {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    })
}

#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= relative * expected.abs(),
            "value {i}: {found}, expected {expected}"
        );
    }
}
