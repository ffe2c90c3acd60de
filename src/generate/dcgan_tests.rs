//! DCGAN against PyTorch: evaluation, gradients and one whole training step.

use super::test_support::{Expected, fixture, relative, values};
use super::*;
use candle_core::{DType, Tensor, Var};

fn generator(dtype: DType) -> Box<dyn Generator> {
    load(fixture("dcgan/weights.safetensors"), &GeneratorRequest { dtype, ..GeneratorRequest::default() })
        .unwrap()
}

fn discriminator(dtype: DType) -> Box<dyn Discriminator> {
    let request = GeneratorRequest { dtype, ..GeneratorRequest::default() };
    load_discriminator(fixture("dcgan/weights_d.safetensors"), &request).unwrap()
}

const TRAIN: ForwardOptions<'static> = ForwardOptions {
    classes: None,
    space: None,
    truncation: None,
    noise: NoiseMode::Const,
    keys: None,
    mode: Mode::train(),
};

#[test]
fn images_logits_and_the_gradient_of_z_agree_with_pytorch() {
    let io = Expected::read("dcgan/io.safetensors");
    for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 5e-6)] {
        let (g, d) = (generator(dtype), discriminator(dtype));
        assert_eq!(g.info().image_shape, ImageShape { channels: 3, height: 32, width: 32 });
        assert_eq!(d.info().image_shape, g.info().image_shape);
        let z = io.get("z", dtype).flatten_from(1).unwrap();
        let options = ForwardOptions::default();
        io.assert("d_logits_real", &d.logits(&io.get("real", dtype), &options).unwrap(), tolerance);
        let result =
            value_and_gradient(g.as_ref(), &z, &options, |images| d.logits(images, &options)).unwrap();
        io.assert("img", &result.images, tolerance);
        io.assert("d_logits", &result.value, tolerance);
        io.assert("grad_z", &result.gradient, 10.0 * tolerance);
    }
}

/// `-log sigmoid(x)` of each logit, averaged: binary cross entropy with label 1; with label 0 it is that of `-x`.
fn cross_entropy(logits: &Tensor) -> Tensor {
    // log(1 + exp(-|x|)) + max(-x, 0)
    let tail = (logits.abs().unwrap().neg().unwrap().exp().unwrap() + 1.0).unwrap().log().unwrap();
    (tail + logits.neg().unwrap().relu().unwrap()).unwrap().mean_all().unwrap()
}

/// The first step of Adam: both moments are those of one gradient, so that it moves by the rate against the sign.
fn adam_step(var: &Var, gradient: &Tensor) -> Tensor {
    let step = (gradient / (gradient.abs().unwrap() + 1e-8).unwrap()).unwrap();
    (var.as_tensor() - (step * 2e-4).unwrap()).unwrap()
}

#[test]
fn the_gradients_of_a_training_step_agree_with_pytorch() {
    let io = Expected::read("dcgan/io.safetensors");
    for dtype in [DType::F32, DType::F64] {
        let (g, d) = (generator(dtype), discriminator(dtype));
        let z = io.get("z", dtype).flatten_from(1).unwrap();
        let images = g.generate(&z, &TRAIN).unwrap();
        io.assert("train.img", &images, 2e-5);
        let real = d.logits(&io.get("real", dtype), &TRAIN).unwrap();
        io.assert("train.d_logits_real", &real, 2e-5);
        let fake = d.logits(&images.detach(), &TRAIN).unwrap();
        io.assert("train.d_logits_fake", &fake, 2e-5);
        let loss = (cross_entropy(&real) + cross_entropy(&fake.neg().unwrap())).unwrap();
        io.assert("train.d_loss", &loss, 2e-5);
        let grads = loss.backward().unwrap();
        for name in ["main.0.weight", "main.5.weight", "main.3.bias"] {
            let var = d.variables().get(name).unwrap();
            io.assert(&format!("train.grad_d_loss.D.{name}"), grads.get(var).unwrap(), 2e-4);
            io.assert(&format!("train.after_adam.D.{name}"), &adam_step(var, grads.get(var).unwrap()), 2e-4);
        }
        for name in ["main.3.running_mean", "main.3.running_var"] {
            io.assert(&format!("train.after_d_step.D.{name}"), d.variables().get(name).unwrap(), 2e-5);
        }
        let through = ForwardOptions { mode: Mode::train().inputs_only(), ..TRAIN };
        let loss = cross_entropy(&d.logits(&images, &through).unwrap());
        io.assert("train.g_loss", &loss, 2e-5);
        let grads = loss.backward().unwrap();
        assert!(d.variables().parameters().all(|(_, var)| grads.get(var).is_none()));
        for name in ["main.0.weight", "main.6.weight", "main.4.weight"] {
            let var = g.weights().unwrap().get(name).unwrap();
            io.assert(&format!("train.grad_g_loss.G.{name}"), grads.get(var).unwrap(), 1e-3);
            io.assert(&format!("train.after_adam.G.{name}"), &adam_step(var, grads.get(var).unwrap()), 1e-3);
        }
        for name in ["main.1.running_mean", "main.1.running_var"] {
            io.assert(&format!("train.after_g_step.G.{name}"), g.weights().unwrap().get(name).unwrap(), 2e-5);
        }
        let counter = g.weights().unwrap().get("main.1.num_batches_tracked").unwrap();
        let before =
            Expected::read("dcgan/weights.safetensors").get("main.1.num_batches_tracked", DType::I64);
        assert_eq!(counter.to_scalar::<i64>().unwrap(), before.to_scalar::<i64>().unwrap() + 1);
    }
}

#[test]
fn an_image_and_its_gradient_are_the_same_bits_alone_and_in_a_batch() {
    let (g, d) = (generator(DType::F32), discriminator(DType::F32));
    let z = values(&[5, 16], 3, DType::F32);
    let options = ForwardOptions::default();
    let run = |z: &Tensor| {
        let result =
            value_and_gradient(g.as_ref(), z, &options, |images| d.logits(images, &options)).unwrap();
        [result.images, result.value, result.gradient].map(|t| t.flatten_from(1.min(t.rank() - 1)).unwrap())
    };
    let together = run(&z);
    for row in 0..5 {
        for (alone, together) in run(&z.narrow(0, row, 1).unwrap()).iter().zip(&together) {
            let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(alone), bits(&together.narrow(0, row, 1).unwrap()));
        }
    }
}

#[test]
fn truncation_scales_the_latent() {
    let g = generator(DType::F32);
    let z = values(&[2, 16], 3, DType::F32);
    let truncation = Some(Truncation { psi: 0.5, cutoff: None });
    let truncated = g.generate(&z, &ForwardOptions { truncation, ..ForwardOptions::default() }).unwrap();
    let scaled = g.generate(&(z * 0.5).unwrap(), &ForwardOptions::default()).unwrap();
    assert_eq!(relative(&truncated, &scaled), 0.0);
}
