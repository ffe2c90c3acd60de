//! Gradient of a dense convolution with respect to its input. Input pixels with the same place in the stride form a phase;
//! the gradient of a phase is itself a convolution without stride, of the output's gradient with every stride-th row and
//! column of the kernel, reversed. So the forward pass does the work, and no value is added to twice.

use super::shape::Shape;
use super::store::Epilogue;
use super::usage::Usage;
use super::weights::Weights;
use crate::ops::activation::Activation;
use crate::ops::host::init_with;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Weights `[O, C, kh, kw]` as those of each phase's convolution, `[C, O, rows, columns]`, phases row by row.
pub(super) struct TransposedWeights(Vec<Weights>);

impl TransposedWeights {
    /// From the row-major weights of a convolution of this shape.
    pub(super) fn new(weights: &[f32], shape: &Shape, usage: Usage) -> Self {
        let (depth, stride) = (shape.depth(), shape.stride);
        let phases = (0..stride * stride).map(|phase| {
            let (py, px) = (phase / stride, phase % stride);
            let rows = taps_of_phase(py, shape.kernel_height, stride);
            let columns = taps_of_phase(px, shape.kernel_width, stride);
            let taps = rows * columns;
            let dims = [shape.in_channels, shape.out_channels, rows, columns];
            Weights::dense(dims, 1, usage, |channel, k| {
                let (out, tap) = (k / taps, k % taps);
                let ky = py + stride * (rows - 1 - tap / columns);
                let kx = px + stride * (columns - 1 - tap % columns);
                weights[out * depth + channel * shape.taps() + ky * shape.kernel_width + kx]
            })
        });
        Self(phases.collect())
    }
}

/// Kernel positions that reach the pixels of a phase, along one axis.
fn taps_of_phase(phase: usize, kernel: usize, stride: usize) -> usize {
    kernel.saturating_sub(phase).div_ceil(stride)
}

/// One axis of a phase's convolution.
struct Axis {
    taps: usize,
    /// The phase's first input pixel.
    first: usize,
    /// Outputs of the convolution before that pixel's.
    skip: usize,
    /// Zeros before the output's gradient.
    before: usize,
    /// Outputs of the convolution, those to skip included.
    len: usize,
}

impl Axis {
    /// `None` where no output depends on the phase.
    fn new(phase: usize, kernel: usize, stride: usize, padding: usize, size: usize) -> Option<Self> {
        let taps = taps_of_phase(phase, kernel, stride);
        let first = (phase + stride - padding % stride) % stride;
        if taps == 0 || first >= size {
            return None;
        }
        // The last output that pixel `first` takes part in; the others are the `taps - 1` before it.
        let last = (first + padding - phase) / stride;
        let start = last.min(taps - 1);
        let skip = last - start;
        let len = (size - first).div_ceil(stride) + skip;
        Some(Self { taps, first, skip, before: taps - 1 - start, len })
    }
}

/// What the convolution of a phase gives: some pixels of each plane.
struct Phase {
    rows: Axis,
    columns: Axis,
    /// `[planes, rows.len, columns.len]`
    values: Vec<f32>,
}

/// The gradient `[B, C, H, W]` of the input from `dy`, that of the output, `[B, O, OH, OW]`.
pub(super) fn input_grad(shape: &Shape, dy: &[f32], weights: &TransposedWeights) -> Vec<f32> {
    let shape = &shape.flattened();
    let stride = shape.stride;
    let n = shape.batch * shape.in_channels * shape.in_plane();
    let mut phases = Vec::with_capacity(weights.0.len());
    for (phase, weights) in weights.0.iter().enumerate() {
        let (py, px) = (phase / stride, phase % stride);
        let rows = Axis::new(py, shape.kernel_height, stride, shape.top, shape.height);
        let columns = Axis::new(px, shape.kernel_width, stride, shape.left, shape.width);
        let (Some(rows), Some(columns)) = (rows, columns) else { continue };
        let inner = Shape {
            batch: shape.batch,
            in_channels: shape.out_channels,
            height: shape.out_height,
            width: shape.out_width,
            out_channels: shape.in_channels,
            kernel_height: rows.taps,
            kernel_width: columns.taps,
            out_height: rows.len,
            out_width: columns.len,
            stride: 1,
            top: rows.before,
            left: columns.before,
        };
        let epilogue = Epilogue { bias: None, residual: None, activation: Activation::Identity };
        // SAFETY: a forward pass writes every element.
        let values = unsafe {
            init_with(inner.batch * inner.out_channels * inner.out_plane(), |out| {
                weights.forward(&inner, dy, epilogue, out);
            })
        };
        if values.len() == n && stride == 1 {
            return values;
        }
        phases.push(Phase { rows, columns, values });
    }
    // SAFETY: every pixel is of one phase, and phases that no output depends on are zeros.
    unsafe { init_with(n, |dx| scatter(shape, &phases, dx)) }
}

/// Puts the pixels of all phases where they belong, a plane at a time: it stays in the nearest cache.
fn scatter(shape: &Shape, phases: &[Phase], dx: &mut [MaybeUninit<f32>]) {
    let stride = shape.stride;
    dx.par_chunks_exact_mut(shape.in_plane().max(1)).enumerate().for_each(|(plane, dx)| {
        if phases.len() < stride * stride {
            dx.fill(MaybeUninit::new(0.0));
        }
        for Phase { rows, columns, values } in phases {
            let len = rows.len * columns.len;
            let values = &values[plane * len..][..len];
            let targets = dx.chunks_exact_mut(shape.width).skip(rows.first).step_by(stride);
            for (target, row) in targets.zip(values.chunks_exact(columns.len).skip(rows.skip)) {
                let target = target[columns.first..].iter_mut().step_by(stride);
                for (t, v) in target.zip(&row[columns.skip..]) {
                    t.write(*v);
                }
            }
        }
    });
}
