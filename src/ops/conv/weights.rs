//! Weights of a dense convolution as its forward pass takes them, and which way that pass goes.

use super::dense::{self, PackedWeights};
use super::shape::Shape;
use super::store::Epilogue;
use super::winograd::{self, TransformedWeights};
use std::mem::MaybeUninit;

/// Weights `[O, depth]`, made ready.
pub enum Weights {
    /// For a product with the gathered image.
    Direct(PackedWeights),
    /// For products of transformed tiles.
    Winograd(TransformedWeights),
}

/// How often weights are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// For many batches.
    Kept,
    /// For one: making them ready counts.
    Once,
}

impl Weights {
    /// From the weight of each output channel and depth.
    pub fn new(shape: &Shape, usage: Usage, weight: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        match winograd::suits(shape, usage) {
            true => Self::Winograd(TransformedWeights::from_fn(shape, weight)),
            false => Self::Direct(PackedWeights::from_fn(shape.out_channels, shape.depth(), weight)),
        }
    }

    /// `out[b, o, y, x] = activation(sum of x * w + bias[o] + residual[b, o, y, x])`; writes every element.
    pub fn forward(&self, shape: &Shape, x: &[f32], epilogue: Epilogue, out: &mut [MaybeUninit<f32>]) {
        match self {
            Self::Direct(weights) => dense::forward(shape, x, weights, epilogue, out),
            Self::Winograd(weights) => winograd::forward(shape, x, weights, epilogue, out),
        }
    }
}
