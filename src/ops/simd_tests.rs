//! Every operation gives the same bits, values and gradients, with every instruction set that this machine has.

use super::activation::Activation;
use super::conv::{Conv2d, ConvConfig, Padding, PaddingRule, conv_transpose2d, conv2d};
use super::group_norm::{GroupNorm, group_norm};
use super::simd::testing::assert_same_bits;
use super::test_support::numbers;
use super::upfirdn::{Filter, Resample, upfirdn2d};
use super::{attention, batch_norm, gelu, layer_norm, leaky_relu, linear, modulate, pool};
use candle_core::{DType, Result, Tensor, Var};

fn tensor(dims: &[usize], seed: usize) -> Tensor {
    numbers(dims, seed).to_dtype(DType::F32).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Compares the value of `f` of tensors of these dimensions, and its gradient with respect to each.
fn check(dims: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    assert_same_bits(|| {
        let operands =
            dims.iter().enumerate().map(|(seed, dims)| Var::from_tensor(&tensor(dims, seed)).unwrap());
        let operands: Vec<Var> = operands.collect();
        let tensors: Vec<Tensor> = operands.iter().map(|v| v.as_tensor().clone()).collect();
        let y = f(&tensors).unwrap();
        let gradients = (&y * tensor(y.dims(), 9)).unwrap().backward().unwrap();
        let mut all = flat(&y);
        for operand in &operands {
            all.extend(flat(gradients.get(operand).unwrap()));
        }
        all
    });
}

fn config(padding: usize, stride: usize, groups: usize, activation: Activation) -> ConvConfig {
    ConvConfig { stride, padding: PaddingRule::Fixed(Padding::same(padding)), groups, activation }
}

#[test]
fn frozen_convolutions() {
    // Tiles of 6 x 6 and of 3 x 3, one product, and one in two passes.
    for (channels, outs, kernel, stride, activation) in [
        (20, 25, 3, 1, Activation::Relu),
        (17, 18, 2, 1, Activation::Identity),
        (5, 7, 3, 2, Activation::Relu6),
        (4, 6, 5, 1, Activation::Gelu),
        (600, 7, 1, 1, Activation::Relu),
    ] {
        let (weight, bias) = (tensor(&[outs, channels, kernel, kernel], 1), tensor(&[outs], 2));
        let layer =
            || Conv2d::new(weight.clone(), Some(bias.clone()), config(kernel / 2, stride, 1, activation));
        check(&[&[2, channels, 13, 9]], |t| layer()?.forward(&t[0]));
        let out = layer().unwrap().forward(&tensor(&[2, channels, 13, 9], 0)).unwrap();
        check(&[&[2, channels, 13, 9], out.dims()], |t| layer()?.forward_add(&t[0], &t[1]));
    }
}

#[test]
fn depthwise_convolutions() {
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (2, 3)] {
        let layer = Conv2d::new(
            tensor(&[6, 1, kernel, kernel], 1),
            Some(tensor(&[6], 2)),
            config(kernel / 2, stride, 6, Activation::Relu6),
        );
        let layer = layer.unwrap();
        check(&[&[2, 6, 14, 11]], |t| layer.forward(&t[0]));
    }
}

#[test]
fn trained_convolutions() {
    // Tiles of 4 x 4, and a product.
    check(&[&[1, 16, 17, 16], &[18, 16, 3, 3]], |t| conv2d(&t[0], &t[1], ConvConfig::padded(1)));
    check(&[&[2, 5, 9, 11], &[7, 5, 3, 3]], |t| conv2d(&t[0], &t[1], config(1, 2, 1, Activation::Identity)));
    check(&[&[2, 5, 6, 7], &[5, 4, 3, 3]], |t| conv_transpose2d(&t[0], &t[1], 2, 1));
}

#[test]
fn linear_layers_and_attention() {
    let (weight, bias) = (tensor(&[19, 33], 1), tensor(&[19], 2));
    let layer = linear::Linear::new(&weight, Some(bias), Activation::Gelu).unwrap();
    check(&[&[37, 33]], |t| layer.forward(&t[0]));
    check(&[&[2, 3 * 2 * 9, 37]], |t| attention::attention(&t[0], 2, 37));
    check(&[&[2, 3 * 2 * 9, 37]], |t| attention::attention(&t[0], 2, 5));
}

#[test]
fn activations() {
    // Over the whole range of the exponential, and its ends.
    for form in [gelu::Gelu::Exact, gelu::Gelu::Tanh, gelu::Gelu::Quick] {
        check(&[&[50_001]], |t| form.of(&(&t[0] * 20.0)?));
    }
    check(&[&[2, 3, 7, 9]], |t| leaky_relu::leaky_relu(&t[0], 0.2));
}

#[test]
fn normalisations() {
    let norm = layer_norm::LayerNorm::new(tensor(&[24], 1), tensor(&[24], 2), 1e-6).unwrap();
    check(&[&[2, 24, 70]], |t| norm.forward(&t[0]));
    check(&[&[2, 12, 7, 5], &[12], &[12]], |t| {
        group_norm(&t[0], &t[1], &t[2], GroupNorm { groups: 4, eps: 1e-5, silu: true })
    });
    for activation in [Activation::Identity, Activation::Relu] {
        check(&[&[3, 5, 7, 13], &[2, 5], &[3, 5, 7, 13]], |t| {
            let statistics = batch_norm::batch_statistics(&t[0], None)?;
            batch_norm::batch_norm(&t[0], &t[1], Some(&t[2]), &statistics, 1e-5, activation, None)
        });
    }
}

#[test]
fn pools_and_resampling() {
    for (kernel, stride, padding) in [(3, 2, 1), (3, 1, 1), (2, 2, 0), (5, 4, 2)] {
        let padding = PaddingRule::Fixed(Padding::same(padding));
        check(&[&[2, 3, 19, 21]], |t| pool::max_pool2d(&t[0], kernel, stride, padding));
        check(&[&[2, 3, 19, 21]], |t| pool::average_pool2d(&t[0], kernel, stride, padding));
    }
    check(&[&[2, 3, 19, 21]], |t| pool::global_average_pool(&t[0]));
    let filter = Filter::new(&tensor(&[4], 3)).unwrap();
    for (up, down) in [(2, 1), (1, 2), (3, 2), (1, 1)] {
        let resample = Resample { up, down, padding: (2, 1), gain: 1.5 };
        check(&[&[2, 3, 19, 21]], |t| upfirdn2d(&t[0], &filter, resample));
    }
}

#[test]
fn modulation() {
    check(&[&[2, 5, 9, 7], &[2, 5]], |t| modulate::scale_images(&t[0], &t[1]));
    check(&[&[2, 5, 9, 7], &[2, 1, 9, 7]], |t| modulate::add_map(&t[0], &t[1]));
}
