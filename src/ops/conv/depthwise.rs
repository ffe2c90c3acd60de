//! Depthwise convolution (one filter per channel) on the CPU, forward and with respect to the input.
//! There is no product to pack: each plane is a few shifted rows, multiplied and added.

use super::shape::{Segment, Shape};
use super::store::Epilogue;
use rayon::prelude::*;

/// Planes below this many pixels are grouped, so that a task is worth its dispatch.
const MIN_PIXELS: usize = 4096;

/// Forward pass; `weights` is `[C, kh * kw]`, and `shape.in_channels` is 1 per filter (`out_channels` filters).
pub fn forward(shape: &Shape, x: &[f32], weights: &[f32], epilogue: Epilogue, out: &mut [f32]) {
    let plane = shape.out_plane();
    if plane == 0 {
        return;
    }
    out.par_chunks_mut(plane).with_min_len(MIN_PIXELS.div_ceil(plane)).enumerate().for_each(|(i, out)| {
        let channel = i % shape.out_channels;
        let x = &x[i * shape.in_plane()..][..shape.in_plane()];
        let weights = &weights[channel * shape.taps()..][..shape.taps()];
        let bias = epilogue.bias.map_or(0.0, |bias| bias[channel]);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for_each_run(shape, |y, tap, at, len, from| {
                    let row = &mut out[y * shape.out_width..][..shape.out_width];
                    if tap == 0 {
                        row.fill(0.0);
                    }
                    multiply_add(&mut row[at..at + len], &x[from..], weights[tap], shape.stride);
                });
                match epilogue.residual {
                    Some(residual) => {
                        for (o, r) in out.iter_mut().zip(&residual[i * plane..]) {
                            *o = epilogue.activation.apply(*o + bias + r);
                        }
                    }
                    None => out.iter_mut().for_each(|o| *o = epilogue.activation.apply(*o + bias)),
                }
            },
        );
    });
}

/// `dx` from `dy`, the gradient of the output.
pub fn input_grad(shape: &Shape, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
    let (plane, in_plane) = (shape.out_plane(), shape.in_plane());
    if in_plane == 0 {
        return;
    }
    dx.par_chunks_mut(in_plane).with_min_len(MIN_PIXELS.div_ceil(in_plane)).enumerate().for_each(
        |(i, dx)| {
            let weights = &weights[i % shape.out_channels * shape.taps()..][..shape.taps()];
            let dy = &dy[i * plane..][..plane];
            dx.fill(0.0);
            for_each_run(shape, |y, tap, at, len, from| {
                let row = &dy[y * shape.out_width + at..][..len];
                for (t, v) in dx[from..].iter_mut().step_by(shape.stride).zip(row) {
                    *t = weights[tap].mul_add(*v, *t);
                }
            });
        },
    );
}

/// Calls `run(output row, tap, first output column, columns, first input pixel)`; tap 0 comes first for each row, even when empty.
#[inline(always)]
fn for_each_run(shape: &Shape, mut run: impl FnMut(usize, usize, usize, usize, usize)) {
    for y in 0..shape.out_height {
        let segment = Segment { at: 0, len: shape.out_width, image: 0, y, x: 0 };
        for ky in 0..shape.kernel_height {
            for kx in 0..shape.kernel_width {
                let tap = ky * shape.kernel_width + kx;
                match shape.source(&segment, ky, kx) {
                    Some(s) => run(y, tap, s.skip, s.len, s.row * shape.width + s.column),
                    None if tap == 0 => run(y, tap, 0, 0, 0),
                    None => {}
                }
            }
        }
    }
}

#[inline(always)]
fn multiply_add(row: &mut [f32], x: &[f32], weight: f32, stride: usize) {
    if stride == 1 {
        for (o, v) in row.iter_mut().zip(x) {
            *o = weight.mul_add(*v, *o);
        }
    } else {
        for (o, v) in row.iter_mut().zip(x.iter().step_by(stride)) {
            *o = weight.mul_add(*v, *o);
        }
    }
}
