//! R1 and its gradient in closed form.

use crate::support::keep_graphs;
use candle_core::{DType, Device, Tensor};
use pseudo_density::internals::finetune::r1_penalty;
use pseudo_density::internals::generate::{ForwardOptions, GeneratorRequest, Mode, initialise_discriminator};

/// Of D(x) = w . x + b the gradient is w for every image: R1 is gamma / 2 |w|^2, and its gradient gamma w.
#[test]
fn r1_of_a_linear_discriminator_is_the_norm_of_its_weights() {
    const GAMMA: f64 = 3.0;
    keep_graphs();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.json");
    let text = r#"{"family": "mlp-gan", "discriminator": {"widths": [16, 1], "image": [1, 4, 4]}}"#;
    std::fs::write(&config, text).unwrap();
    let request = GeneratorRequest::in_type(DType::F64);
    let d = initialise_discriminator(&config, 3, &request).unwrap();
    let images = Tensor::arange(0f64, 80.0, &Device::Cpu).unwrap().reshape((5, 1, 4, 4)).unwrap();
    let penalty = r1_penalty(d.as_ref(), &images, &ForwardOptions::default(), GAMMA).unwrap();
    let w = d.variables().get("0.weight").unwrap();
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let norm: f64 = numbers(w).iter().map(|w| w * w).sum();
    assert!((penalty.to_scalar::<f64>().unwrap() - GAMMA / 2.0 * norm).abs() < 1e-12);
    let gradients = penalty.backward().unwrap();
    for (gradient, w) in numbers(gradients.get(w).unwrap()).iter().zip(numbers(w)) {
        assert!((gradient - GAMMA * w).abs() < 1e-12);
    }
    let logits = d.logits(&images, &ForwardOptions::in_mode(Mode::train())).unwrap();
    assert_eq!(logits.dims(), [5]);
}
