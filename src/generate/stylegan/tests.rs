//! StyleGAN2 and StyleGAN3 against NVIDIA's programs, from snapshots laid out as these write them.

use super::super::test_support::{Expected, fixture, relative, values};
use super::super::*;
use candle_core::{DType, Tensor, Var};

/// Of the largest value.
const VALUES: f64 = 1e-4;
const GRADIENTS: f64 = 1e-3;

fn request(dtype: DType) -> GeneratorRequest {
    GeneratorRequest { dtype, ..GeneratorRequest::default() }
}

fn generator(name: &str, dtype: DType) -> Box<dyn Generator> {
    load(fixture(name).join("snapshot.pkl"), &request(dtype)).unwrap()
}

fn discriminator(name: &str, dtype: DType) -> Box<dyn Discriminator> {
    load_discriminator(fixture(name).join("snapshot.pkl"), &request(dtype)).unwrap()
}

fn expected(name: &str) -> Expected {
    Expected::read(&format!("{name}/io.safetensors"))
}

/// The class of each row of one-hot labels.
fn classes(io: &Expected, conditional: bool) -> Option<Vec<u32>> {
    conditional.then(|| io.get("c", DType::F32).argmax(1).unwrap().to_vec1().unwrap())
}

/// `softplus(x)`, averaged.
fn softplus(x: &Tensor) -> Tensor {
    let tail = (x.abs().unwrap().neg().unwrap().exp().unwrap() + 1.0).unwrap().log().unwrap();
    (tail + x.relu().unwrap()).unwrap().mean_all().unwrap()
}

const STYLEGAN2: [(&str, bool); 2] = [("stylegan2", false), ("stylegan2-cond", true)];

#[test]
fn images_of_both_spaces_agree_under_truncation_and_noise_modes() {
    for (name, conditional) in STYLEGAN2 {
        let io = expected(name);
        let classes = classes(&io, conditional);
        for dtype in [DType::F32, DType::F64] {
            let g = generator(name, dtype);
            assert_eq!((g.family(), g.image_shape().dims()), ("stylegan2", [3, 32, 32]));
            assert_eq!(g.class_count(), if conditional { 4 } else { 0 });
            let z = io.get("z", dtype);
            let plain = Conditions { classes: classes.as_deref(), ..Conditions::default() };
            let cut = |cutoff| Conditions { truncation: Some(Truncation { psi: 0.7, cutoff }), ..plain };
            for (suffix, conditions) in [("", plain), ("_psi0.7", cut(None)), ("_psi0.7_cutoff", cut(Some(3)))] {
                io.assert(&format!("img{suffix}"), &g.generate(&z, &conditions).unwrap(), VALUES);
                let ws = g.map_latents(&z, "w", &conditions).unwrap();
                io.assert(&format!("ws{suffix}"), &ws, VALUES);
                let from_w = Conditions { space: Some("w"), truncation: None, ..conditions };
                io.assert(&format!("img{suffix}"), &g.generate(&ws, &from_w).unwrap(), VALUES);
            }
            let none = Conditions { noise: NoiseMode::None, ..plain };
            io.assert("img_noise_none", &g.generate(&z, &none).unwrap(), VALUES);
            let mixed = Conditions { space: Some("w"), ..plain };
            io.assert("img_ws_mixed", &g.generate(&io.get("ws_mixed", dtype), &mixed).unwrap(), VALUES);
            let d = discriminator(name, dtype);
            assert_eq!((d.family(), d.image_shape()), ("stylegan2", g.image_shape()));
            let images = io.get("d_images", dtype);
            io.assert("d_logits_images", &d.logits(&images, &plain).unwrap(), VALUES);
            let first = Conditions { classes: classes.as_ref().map(|c| &c[..3]), ..plain };
            let made = io.get("img", dtype);
            io.assert("d_logits", &d.logits(&made, &plain).unwrap(), VALUES);
            let three = made.narrow(0, 0, 3).unwrap();
            let logits = d.logits(&three, &first).unwrap();
            if io.difference("d_logits_first3", &logits) > VALUES {
                let three = images.narrow(0, 0, 3).unwrap();
                io.assert("d_logits_first3", &d.logits(&three, &first).unwrap(), VALUES);
            }
        }
    }
}

#[test]
fn gradients_of_latents_and_of_both_losses_agree() {
    for (name, conditional) in STYLEGAN2 {
        let io = expected(name);
        let classes = classes(&io, conditional);
        for dtype in [DType::F32, DType::F64] {
            let (g, d) = (generator(name, dtype), discriminator(name, dtype));
            let (z, proj) = (io.get("z", dtype), io.get("proj", dtype));
            let eval = Conditions { classes: classes.as_deref(), ..Conditions::default() };
            let result =
                value_and_gradient(g.as_ref(), &z, &eval, |images| Ok((images * &proj)?.sum_all()?)).unwrap();
            io.assert("proj_sum", &result.value, VALUES);
            io.assert("grad_z", &result.gradient, GRADIENTS);

            let train = Conditions { mode: Mode::Train, ..eval };
            let images = g.generate(&z, &train).unwrap();
            io.assert("w_avg_after_train_step", g.variables().get("mapping.w_avg").unwrap(), VALUES);
            let through = Conditions { mode: Mode::Through, ..eval };
            let loss = softplus(&d.logits(&images, &through).unwrap().neg().unwrap());
            io.assert("g_loss", &loss, VALUES);
            let grads = loss.backward().unwrap();
            assert!(d.variables().parameters().all(|(_, var)| grads.get(var).is_none()));
            for parameter in [
                "mapping.fc0.weight",
                "synthesis.b16.conv0.weight",
                "synthesis.b8.conv1.noise_strength",
                "synthesis.b32.torgb.affine.weight",
                "synthesis.b4.const",
            ] {
                let gradient = grads.get(g.variables().get(parameter).unwrap()).unwrap();
                io.assert(&format!("grad_g_loss.G.{parameter}"), gradient, GRADIENTS);
            }

            let fake = d.logits(&images.detach(), &train).unwrap();
            let real = d.logits(&io.get("d_images", dtype), &train).unwrap();
            let loss = (softplus(&fake) + softplus(&real.neg().unwrap())).unwrap();
            io.assert("d_loss", &loss, VALUES);
            let grads = loss.backward().unwrap();
            for parameter in ["b16.conv0.weight", "b32.fromrgb.weight", "b4.conv.weight", "b8.skip.weight"] {
                let gradient = grads.get(d.variables().get(parameter).unwrap()).unwrap();
                io.assert(&format!("grad_d_loss.D.{parameter}"), gradient, GRADIENTS);
            }
        }
    }
}
