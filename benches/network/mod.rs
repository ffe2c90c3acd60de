//! Networks on made-up numbers, for timing: time does not depend on values.

use candle_core::{DType, Device, Tensor};
use pseudo_density::Result;
use pseudo_density::internals::extract::{Extractor, ParameterSource, Parameters, architecture};

/// Small, plausible numbers under any name.
struct Anything;

impl ParameterSource for Anything {
    fn contains(&self, name: &str) -> bool {
        !name.starts_with('_')
    }

    fn get(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        let fan_in: usize = dims.iter().skip(1).product();
        let scale = if name.ends_with("running_var") { 1.0 } else { 1.0 / (fan_in as f32).sqrt() };
        let n: usize = dims.iter().product();
        let data: Vec<f32> = (0..n)
            .map(|i| ((i * 7919 % 1013) as f32 / 1013.0 - 0.4) * scale + f32::from(dims.len() == 1))
            .collect();
        Ok(Tensor::from_vec(data, dims, &Device::Cpu)?)
    }
}

/// The architecture `name` computed in `dtype` on `device`, and a batch of `[batch, 3, size, size]`.
pub fn network(
    name: &str,
    size: usize,
    batch: usize,
    (device, dtype): (&Device, DType),
) -> Result<(Box<dyn Extractor>, Tensor)> {
    let network = (architecture(name)?.build)(&Parameters::new(&Anything).on(device, dtype))?;
    let n = batch * 3 * size * size;
    let data: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect();
    Ok((network, Tensor::from_vec(data, (batch, 3, size, size), device)?.to_dtype(dtype)?))
}
