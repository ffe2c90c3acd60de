//! The gradient of path-length regularisation against central differences of the penalty.

use crate::support::keep_graphs;
use candle_core::{DType, Device, Tensor};
use pseudo_density::Remedy;
use pseudo_density::internals::finetune::{PathLength, PathLengthConfig, Paths, check_layers};
use pseudo_density::internals::generate::{ForwardOptions, Generator, GeneratorRequest, Mode, initialise};

const CONFIG: &str = r#"{"family": "stylegan2", "generator": {"z_dim": 6, "w_dim": 6, "img_channels": 1, "channels": [6, 4],
    "mapping": {"num_layers": 2}}}"#;

fn values(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let data: Vec<f64> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f64 / 500.0 - 1.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}

fn scalar(t: &Tensor) -> f64 {
    t.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

#[test]
fn the_gradient_of_the_penalty_is_its_slope_in_both_networks() {
    keep_graphs();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, CONFIG).unwrap();
    let request = GeneratorRequest::in_type(DType::F64);
    let generator = initialise(&path, 1, &request).unwrap();
    check_layers(generator.as_ref(), "path-length regularisation", Remedy::None).unwrap();
    let paths = Paths { latents: values(&[3, 6], 1), noise: values(&[3, 1, 8, 8], 2) };
    let conditions = ForwardOptions::in_mode(Mode::train().second_order());
    let config = PathLengthConfig { weight: 2.0, interval: 4 };
    // Each time from a running mean of 0.
    let penalty = |generator: &dyn Generator| {
        PathLength::new(config, &Device::Cpu).unwrap().penalty(generator, &paths, None, &conditions).unwrap()
    };
    let found = penalty(generator.as_ref());
    assert!(scalar(&found.value) > 0.0);
    for name in [
        "mapping.fc0.weight",
        "mapping.fc1.bias",
        "synthesis.b4.conv1.weight",
        "synthesis.b8.conv0.affine.weight",
        "synthesis.b8.torgb.weight",
        "synthesis.b4.const",
    ] {
        let variable = generator.weights().unwrap().get(name).unwrap();
        let start = variable.as_detached_tensor().copy().unwrap();
        let direction = values(start.dims(), 3);
        let gradient = found.gradients.get(variable).unwrap_or_else(|| panic!("{name} has none"));
        let slope = scalar(&(gradient.detach() * &direction).unwrap().sum_all().unwrap());
        const STEP: f64 = 1e-5;
        let at = |step: f64| {
            variable.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
            scalar(&penalty(generator.as_ref()).value) * config.weight * config.interval as f64
        };
        let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        variable.set(&start).unwrap();
        // The running mean is a constant of the gradient and follows the lengths in the difference, a hundredth of the way.
        assert!(
            (slope - difference).abs() < 3e-2 * difference.abs().max(1e-6),
            "{name}: {slope} and {difference}"
        );
    }
}
