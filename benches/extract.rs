//! Time of the networks per batch: `cargo bench --bench extract`.

use candle_core::{Device, Tensor};
use pseudo_density::error::Result;
use pseudo_density::extract::{ParameterSource, Parameters, architecture};

fn main() {
    divan::main();
}

/// Small, plausible numbers under any name: time does not depend on values.
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

#[divan::bench(args = [
    ("cifar-resnet56", 32, 64), ("resnet18", 224, 8), ("resnet50", 224, 8), ("efficientnet-lite0", 224, 8),
])]
fn forward(bencher: divan::Bencher, (name, size, batch): (&str, usize, usize)) {
    let network = architecture(name).map(|a| (a.build)(&Parameters::new(&Anything)));
    let Ok(Ok(network)) = network else { panic!("{name} cannot be built") };
    let n = batch * 3 * size * size;
    let data: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 507.0 - 1.0).collect();
    let images =
        Tensor::from_vec(data, (batch, 3, size, size), &Device::Cpu).expect("the length fits the shape");
    bencher.bench(|| network.forward(&images));
}
