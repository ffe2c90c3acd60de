//! The gradient of R1 against central differences.

use crate::paths::generator_fixture;
use crate::support::keep_graphs;
use candle_core::{DType, Device, Tensor};
use pseudo_density::internals::generate::{
    Discriminator, ForwardOptions, GeneratorRequest, Mode, initialise_discriminator, load_discriminator,
};

fn images(dims: &[usize], dtype: DType) -> Tensor {
    let count: usize = dims.iter().product();
    let data: Vec<f64> = (0..count).map(|i| ((i * 7919) % 1013) as f64 / 507.0 - 1.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// R1 without its factor: the sum of squares of the gradient of the logits with respect to the images.
fn penalty(d: &dyn Discriminator, images: &Tensor) -> Tensor {
    let images = candle_core::Var::from_tensor(images).unwrap();
    let conditions = ForwardOptions::in_mode(Mode::train().second_order());
    let logits = d.logits(&images, &conditions).unwrap();
    let grads = logits.sum_all().unwrap().backward().unwrap();
    grads.get(&images).unwrap().sqr().unwrap().sum_all().unwrap()
}

fn number(t: &Tensor) -> f64 {
    t.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

fn check(make: impl Fn(DType) -> Box<dyn Discriminator>, parameters: &[&str]) {
    const STEP: f64 = 1e-6;
    let exact = make(DType::F64);
    let [channels, height, width] = exact.info().image_shape.dims();
    let x = images(&[3, channels, height, width], DType::F64);
    for dtype in [DType::F64, DType::F32] {
        let d = make(dtype);
        let grads = penalty(d.as_ref(), &x.to_dtype(dtype).unwrap()).backward().unwrap();
        for name in parameters {
            let gradient = grads.get(d.variables().get(name).unwrap()).unwrap().to_dtype(DType::F64).unwrap();
            // Along the gradient itself, in float64, the slope is its squared norm over its norm.
            let norm = number(&gradient.sqr().unwrap().sum_all().unwrap()).sqrt();
            let direction = (&gradient / norm).unwrap();
            let var = exact.variables().get(name).unwrap();
            let start = var.as_tensor().copy().unwrap();
            let at = |step: f64| {
                var.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
                number(&penalty(exact.as_ref(), &x))
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            var.set(&start).unwrap();
            assert!((difference - norm).abs() < 1e-3 * norm, "{name} {dtype:?}: {difference} and {norm}");
        }
    }
}

#[test]
fn the_gradient_of_r1_is_right_to_second_order_in_both_precisions() {
    keep_graphs();
    let weights = generator_fixture("dcgan/weights_d.safetensors");
    let request = |dtype| GeneratorRequest::in_type(dtype);
    check(
        |dtype| load_discriminator(&weights, &request(dtype)).unwrap(),
        &["main.0.weight", "main.3.weight", "main.5.weight", "main.8.weight"],
    );
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.json");
    let text = r#"{"family": "mlp-gan", "discriminator": {"widths": [16, 12, 8, 1], "image": [1, 4, 4]}}"#;
    std::fs::write(&config, text).unwrap();
    check(
        |dtype| initialise_discriminator(&config, 3, &request(dtype)).unwrap(),
        &["0.weight", "2.weight", "4.weight"],
    );
}
