//! Weights of a convolution prepared for its forward pass, which selects the algorithm of that pass.

use super::dense::{self, PackedWeights};
use super::depthwise;
use super::shape::Shape;
use super::store::Epilogue;
use super::usage::Usage;
use super::winograd::{self, TransformedWeights};
use std::mem::MaybeUninit;

/// Prepared weights.
pub(super) enum Weights {
    /// For a product with the gathered image.
    Direct(PackedWeights),
    /// For products of transformed tiles.
    Winograd(TransformedWeights),
    /// One kernel for each channel, as given.
    Depthwise(Vec<f32>),
}

impl Weights {
    /// Of a dense convolution with weights `dims` `[O, C, kh, kw]`, from the weight of each output channel and depth.
    pub(super) fn dense(
        dims: [usize; 4],
        stride: usize,
        usage: Usage,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let [out_channels, in_channels, height, width] = dims;
        match winograd::side(dims, stride, usage) {
            Some(side) => {
                Self::Winograd(TransformedWeights::from_fn(out_channels, in_channels, side, weight))
            }
            None => Self::Direct(PackedWeights::from_fn(out_channels, in_channels * height * width, weight)),
        }
    }

    /// `out[b, o, y, x] = activation(sum of x * w + bias[o] + residual[b, o, y, x])`; writes every element.
    pub(super) fn forward(&self, shape: &Shape, x: &[f32], epilogue: Epilogue, out: &mut [MaybeUninit<f32>]) {
        match self {
            Self::Direct(weights) => dense::forward(shape, x, weights, epilogue, out),
            Self::Winograd(weights) => winograd::forward(shape, x, weights, epilogue, out),
            Self::Depthwise(weights) => depthwise::forward(shape, x, weights, epilogue, out),
        }
    }
}
