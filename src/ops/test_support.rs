//! Numbers for tests of operations.

use candle_core::{Device, Tensor};

/// Plausible float64 numbers in -1..1, other ones for another `seed`.
pub(super) fn numbers(dims: &[usize], seed: usize) -> Tensor {
    let count: usize = dims.iter().product();
    let data: Vec<f64> =
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 / 507.0 - 1.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}
