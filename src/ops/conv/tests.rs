use super::*;
use candle_core::{Device, Var};
use proptest::prelude::*;

fn values(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let data: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 507.0 - 1.0).collect();
    Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
}

fn relative(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_dtype(DType::F64).unwrap(), b.to_dtype(DType::F64).unwrap());
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    assert_eq!(a.dims(), b.dims());
    norm(&(a - &b).unwrap()) / norm(&b).max(1e-30)
}

#[derive(Debug, Clone)]
struct Case {
    batch: usize,
    channels: usize,
    outs: usize,
    size: (usize, usize),
    kernel: usize,
    config: ConvConfig,
}

impl Case {
    fn image(&self) -> Tensor {
        values(&[self.batch, self.channels, self.size.0, self.size.1], 1)
    }

    fn weight(&self) -> Tensor {
        values(&[self.outs, self.channels / self.config.groups, self.kernel, self.kernel], 2)
    }
}

fn double(t: &Tensor) -> Tensor {
    t.to_dtype(DType::F64).unwrap()
}

struct Loops {
    y: Tensor,
    dx: Tensor,
    dw: Tensor,
}

/// The definition of a convolution and its two gradients, in float64.
fn loops(x: &Tensor, w: &Tensor, config: &ConvConfig, dy: &Tensor) -> Loops {
    let (batch, channels, height, width) = x.dims4().unwrap();
    let (outs, per_group, kh, kw) = w.dims4().unwrap();
    let (_, _, oh, ow) = dy.dims4().unwrap();
    let pad = config.padding.resolve(height, width, kh, config.stride);
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (xs, ws, dys) = (flat(x), flat(w), flat(dy));
    let (mut y, mut dx, mut dw) = (vec![0.0; dys.len()], vec![0.0; xs.len()], vec![0.0; ws.len()]);
    for b in 0..batch {
        for o in 0..outs {
            let first = if config.groups == 1 { 0 } else { o };
            for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
                let at_y = ((b * outs + o) * oh + oy) * ow + ox;
                for c in 0..per_group {
                    for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                        let (iy, ix) = (oy * config.stride + ky, ox * config.stride + kx);
                        if iy < pad.top || ix < pad.left || iy >= height + pad.top || ix >= width + pad.left {
                            continue;
                        }
                        let at_x =
                            ((b * channels + first + c) * height + iy - pad.top) * width + ix - pad.left;
                        let at_w = ((o * per_group + c) * kh + ky) * kw + kx;
                        y[at_y] += xs[at_x] * ws[at_w];
                        dx[at_x] += dys[at_y] * ws[at_w];
                        dw[at_w] += dys[at_y] * xs[at_x];
                    }
                }
            }
        }
    }
    let tensor = |v: Vec<f64>, like: &Tensor| Tensor::from_vec(v, like.dims(), &Device::Cpu).unwrap();
    Loops { y: tensor(y, dy), dx: tensor(dx, x), dw: tensor(dw, w) }
}

fn paddings() -> impl Strategy<Value = PaddingRule> {
    prop_oneof![
        Just(PaddingRule::TensorflowSame),
        (0usize..3).prop_map(|p| PaddingRule::Fixed(Padding::same(p)))
    ]
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Identity), Just(Activation::Relu), Just(Activation::Relu6)]
}

/// Convolutions that are computed by minimal filtering, the trained ones of larger images too.
fn cases_of_small_kernels() -> impl Strategy<Value = Case> {
    let counts = (1usize..5, 16usize..40, 16usize..40, 2usize..4);
    (counts, (2usize..24, 2usize..24), paddings(), activations()).prop_map(
        |((batch, channels, outs, kernel), size, padding, activation)| {
            let padding = if size.0.min(size.1) < 3 { PaddingRule::TensorflowSame } else { padding };
            let config = ConvConfig { stride: 1, padding, groups: 1, activation };
            Case { batch, channels, outs, size, kernel, config }
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    prop_oneof![2 => cases_of_any_kernel(), 1 => cases_of_small_kernels()]
}

fn cases_of_any_kernel() -> impl Strategy<Value = Case> {
    let counts = (1usize..6, 1usize..20, 1usize..20, any::<bool>());
    (counts, (5usize..20, 5usize..20), 1usize..6, 1usize..4, paddings(), activations()).prop_map(
        |((batch, channels, outs, depthwise), size, kernel, stride, padding, activation)| {
            let groups = if depthwise { channels } else { 1 };
            let outs = if depthwise { channels } else { outs };
            let config = ConvConfig { stride, padding, groups, activation };
            Case { batch, channels, outs, size, kernel, config }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_fused_and_the_composed_layer_agree_with_plain_loops_in_value_and_gradient(case in cases()) {
        let x = Var::from_tensor(&case.image()).unwrap();
        let weight = case.weight();
        let bias = values(&[case.outs], 3);
        let layer = Conv2d::new(weight.clone(), Some(bias.clone()), case.config).unwrap();
        let residual = Var::from_tensor(&values(layer.forward(&x).unwrap().dims(), 4)).unwrap();
        let fast = layer.forward_add(&x, &residual).unwrap();
        let (wide, wide_residual) = (Var::from_tensor(&double(&x)).unwrap(), Var::from_tensor(&double(&residual)).unwrap());
        let composed = layer.forward_add(&wide, &wide_residual).unwrap();
        prop_assert!(relative(&fast, &composed) < 1e-5);
        let probe = values(fast.dims(), 5);
        let grads = (&fast * &probe).unwrap().backward().unwrap();
        // From the fast output: one that rounds to the other side of a kink has the other gradient.
        let passes = activation::gradient(&double(&fast), &double(&probe), case.config.activation).unwrap();
        prop_assert!(relative(grads.get(&residual).unwrap(), &passes) < 1e-6);
        let loops = loops(&double(&x), &double(&weight), &case.config, &passes);
        prop_assert!(relative(grads.get(&x).unwrap(), &loops.dx) < 1e-5);
        let sum = (loops.y.broadcast_add(&double(&bias).reshape((1, (), 1, 1)).unwrap()).unwrap() + double(&residual)).unwrap();
        let expected = activation::plain(&sum, case.config.activation).unwrap();
        prop_assert!(relative(&fast, &expected) < 1e-5);
        prop_assert!(relative(&composed, &expected) < 1e-12);
        let composed_grads = (&composed * double(&probe)).unwrap().backward().unwrap();
        let passes = activation::gradient(&composed, &double(&probe), case.config.activation).unwrap();
        prop_assert!(relative(composed_grads.get(&wide_residual).unwrap(), &passes) < 1e-12);
        let loops = super::tests::loops(&double(&x), &double(&weight), &case.config, &passes);
        prop_assert!(relative(composed_grads.get(&wide).unwrap(), &loops.dx) < 1e-12);
    }

    #[test]
    fn the_trained_convolution_has_the_gradients_of_plain_loops(case in cases()) {
        let x = Var::from_tensor(&case.image()).unwrap();
        let w = Var::from_tensor(&case.weight()).unwrap();
        let fast = conv2d(&x, &w, case.config).unwrap();
        let probe = values(fast.dims(), 5);
        let grads = (&fast * &probe).unwrap().backward().unwrap();
        let loops = loops(&double(&x), &double(&w), &case.config, &double(&probe));
        prop_assert!(relative(&fast, &loops.y) < 1e-5);
        prop_assert!(relative(grads.get(&x).unwrap(), &loops.dx) < 1e-5);
        prop_assert!(relative(grads.get(&w).unwrap(), &loops.dw) < 1e-5);
        let (x, w) = (Var::from_tensor(&double(&x)).unwrap(), Var::from_tensor(&double(&w)).unwrap());
        let composed = conv2d(&x, &w, case.config).unwrap();
        let grads = (&composed * double(&probe)).unwrap().backward().unwrap();
        prop_assert!(relative(&composed, &loops.y) < 1e-12);
        prop_assert!(relative(grads.get(&x).unwrap(), &loops.dx) < 1e-12);
        prop_assert!(relative(grads.get(&w).unwrap(), &loops.dw) < 1e-12);
    }

    #[test]
    fn an_image_gives_the_same_bits_alone_and_in_a_batch(case in cases()) {
        let x = case.image();
        let layer = Conv2d::new(case.weight(), None, case.config).unwrap();
        let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let together = layer.forward(&x).unwrap();
        for b in 0..case.batch {
            let alone = layer.forward(&x.narrow(0, b, 1).unwrap()).unwrap();
            prop_assert_eq!(flat(alone), flat(together.narrow(0, b, 1).unwrap()));
        }
    }
}

#[test]
fn deep_convolutions_are_summed_over_several_blocks() {
    let x = values(&[2, 130, 9, 7], 1);
    let config = ConvConfig { stride: 2, ..ConvConfig::padded(1) };
    let layer = Conv2d::new(values(&[17, 130, 3, 3], 2), None, config).unwrap();
    let plain = layer.forward(&double(&x)).unwrap();
    assert!(relative(&layer.forward(&x).unwrap(), &plain) < 1e-5);
}

#[test]
fn the_thread_count_does_not_change_a_bit() {
    let run = |threads, size: usize| {
        let x = Var::from_tensor(&values(&[9, 20, size, size], 1)).unwrap();
        let w = Var::from_tensor(&values(&[40, 20, 3, 3], 2)).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let y = conv2d(&x, &w, ConvConfig::padded(1)).unwrap();
            let grads = y.sqr().unwrap().backward().unwrap();
            [&y, grads.get(&x).unwrap(), grads.get(&w).unwrap()]
                .map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        })
    };
    for size in [9, 17] {
        assert_eq!(run(1, size), run(3, size));
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let layer = Conv2d::new(values(&[4, 3, 5, 5], 1), None, ConvConfig::padded(0)).unwrap();
    assert!(layer.forward(&values(&[1, 2, 9, 9], 1)).is_err());
    assert!(layer.forward(&values(&[1, 3, 4, 4], 1)).is_err());
    assert!(layer.forward_add(&values(&[1, 3, 9, 9], 1), &values(&[1, 4, 9, 9], 1)).is_err());
}

#[test]
fn composed_gelu_is_differentiated_at_the_value_before_it() {
    let config = ConvConfig { activation: Activation::Gelu, ..ConvConfig::padded(1) };
    let layer = Conv2d::new(values(&[5, 3, 3, 3], 2), Some(values(&[5], 3)), config).unwrap();
    let x = Var::from_tensor(&values(&[2, 3, 6, 7], 1)).unwrap();
    let wide = Var::from_tensor(&double(&x)).unwrap();
    let (fast, composed) = (layer.forward(&x).unwrap(), layer.forward(&wide).unwrap());
    assert!(relative(&fast, &composed) < 1e-5);
    assert!(relative(&layer.forward(&wide.detach()).unwrap(), &composed) < 1e-12);
    let (fast, composed) =
        (fast.sqr().unwrap().backward().unwrap(), composed.sqr().unwrap().backward().unwrap());
    assert!(relative(fast.get(&x).unwrap(), composed.get(&wide).unwrap()) < 1e-5);
}
