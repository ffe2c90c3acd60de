//! R1 of StyleGAN2's discriminator against NVIDIA's program: the penalty, the gradient of the logits that it is made of, and its own
//! gradient with respect to the parameters.

use crate::paths::generator_fixture;
use crate::support::keep_graphs;
use candle_core::{DType, Device, Tensor, Var};
use pseudo_density::internals::finetune::r1_penalty;
use pseudo_density::internals::formats::{HostTensor, StateDict, TensorData, read_state_dict};
use pseudo_density::internals::generate::{ForwardOptions, GeneratorRequest, Mode, load_discriminator};

fn expected(io: &StateDict, name: &str) -> Tensor {
    match io.get(name) {
        Some(HostTensor { shape, data: TensorData::F32(values) }) => {
            Tensor::from_slice(values, shape.as_slice(), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
        }
        other => panic!("{name} is {other:?}"),
    }
}

/// Largest difference as a share of the largest expected value.
#[track_caller]
fn assert_close(io: &StateDict, name: &str, found: &Tensor, tolerance: f64) {
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (found, expected) = (flat(found), flat(&expected(io, name)));
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let difference = found.iter().zip(&expected).fold(0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
    println!("{name} {difference:.1e}");
    assert!(difference < tolerance, "{name} differs by {difference:e}");
}

#[test]
fn r1_and_its_gradients_agree_in_both_precisions() {
    keep_graphs();
    for (name, conditional) in [("stylegan2", false), ("stylegan2-cond", true)] {
        let fixture = generator_fixture(name);
        let io = read_state_dict(fixture.join("io.safetensors")).unwrap();
        let classes: Option<Vec<u32>> =
            conditional.then(|| expected(&io, "c").argmax(1).unwrap().to_vec1().unwrap());
        for dtype in [DType::F32, DType::F64] {
            let request = GeneratorRequest::in_type(dtype);
            let d = load_discriminator(fixture.join("snapshot.pkl"), &request).unwrap();
            let images = expected(&io, "d_images").to_dtype(dtype).unwrap();
            let var = Var::from_tensor(&images).unwrap();
            let mut conditions = ForwardOptions::in_mode(Mode::train().second_order());
            conditions.classes = classes.as_deref();
            let logits = d.logits(&var, &conditions).unwrap();
            let grads = logits.sum_all().unwrap().backward().unwrap();
            let gradient = grads.get(&var).unwrap();
            assert_close(&io, "r1_grad_images", gradient, 1e-3);
            let squares = gradient.detach().sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap();
            assert_close(&io, "r1_per_sample", &squares, 1e-3);
            // The fixture's penalty is the plain sum over its 8 images.
            let penalty = r1_penalty(d.as_ref(), &images, &conditions, 16.0).unwrap();
            assert_close(&io, "r1_penalty", &penalty, 1e-3);
            let grads = penalty.backward().unwrap();
            for parameter in ["b16.conv0.weight", "b32.fromrgb.weight", "b4.conv.weight", "b8.skip.weight"] {
                let gradient = grads.get(d.variables().get(parameter).unwrap()).unwrap();
                assert_close(&io, &format!("grad_r1.D.{parameter}"), gradient, 1e-3);
            }
        }
    }
}
