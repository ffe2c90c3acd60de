//! Depthwise convolution (one filter per channel) on the CPU, forward and with respect to the input.
//! There is no product to pack: an output row is a few shifted rows of the staged plane, multiplied and added in registers.

use super::shape::{Segment, Shape};
use super::staged::{Region, Staged};
use super::store::{Epilogue, Place, Store};
use crate::ops::gemm::NR;
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Pixels, of input or output, that are worth a task: what a first-level cache holds.
const TASK_PIXELS: usize = 4096;

#[derive(Default)]
struct Scratch {
    staged: Vec<f32>,
    offsets: Vec<usize>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Forward pass; `weights` is `[C, kh * kw]`, and `shape.in_channels` is 1 per filter (`out_channels` filters).
/// Writes every element of `out`.
pub fn forward(shape: &Shape, x: &[f32], weights: &[f32], epilogue: Epilogue, out: &mut [MaybeUninit<f32>]) {
    let plane = shape.out_plane();
    if plane == 0 {
        return;
    }
    let group = (TASK_PIXELS / plane.max(shape.in_plane())).max(1);
    out.par_chunks_mut(group * plane).enumerate().for_each(|(i, out)| {
        SCRATCH.with_borrow_mut(|scratch| {
            let planes = Planes { shape, x, weights, epilogue, first: i * group, scratch, out };
            pulp::Arch::new().dispatch(planes);
        });
    });
}

/// Some output planes; a struct for the reason given at `dense::Compute`.
struct Planes<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    weights: &'a [f32],
    epilogue: Epilogue<'a>,
    /// Of the planes of the batch.
    first: usize,
    scratch: &'a mut Scratch,
    out: &'a mut [MaybeUninit<f32>],
}

impl pulp::WithSimd for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { shape, x, weights, epilogue, first, scratch, out } = self;
        let Scratch { staged, offsets } = scratch;
        let images = 0..out.len() / shape.out_plane();
        let region = Region { images: images.clone(), channels: 0..1, rows: 0..shape.out_height };
        let staged = Staged::copied(shape, &x[first * shape.in_plane()..], region, staged);
        staged.offsets(offsets);
        let mut store = Store { epilogue, out };
        for image in images {
            let channel = (first + image) % shape.out_channels;
            let weights = &weights[channel * shape.taps()..][..shape.taps()];
            let rows = Rows { staged: &staged, shape, weights, offsets, channel, first, image };
            // Four registers of AVX2, whatever the width: enough sums at a time to hide how long one takes.
            match shape.out_width {
                0..=8 => rows.compute::<8, 4>(&mut store),
                9..=16 => rows.compute::<16, 2>(&mut store),
                _ => rows.compute::<NR, 1>(&mut store),
            }
        }
    }
}

/// How the pixels of an output plane come from a staged one.
struct Rows<'a> {
    staged: &'a Staged<'a>,
    shape: &'a Shape,
    weights: &'a [f32],
    /// Of the taps.
    offsets: &'a [usize],
    channel: usize,
    /// The first plane that is staged, and which of them this is.
    first: usize,
    image: usize,
}

impl Rows<'_> {
    /// Computes `ROWS` rows of `WIDTH` pixels at a time.
    #[inline(always)]
    fn compute<const WIDTH: usize, const ROWS: usize>(&self, store: &mut Store) {
        let (height, width) = (self.shape.out_height, self.shape.out_width);
        for top in (0..height).step_by(ROWS) {
            for left in (0..width).step_by(WIDTH) {
                let len = WIDTH.min(width - left);
                let sums = self.sums::<WIDTH, ROWS>(top, left);
                for (sums, y) in sums.iter().zip(top..height) {
                    let pixel = y * width + left;
                    let (plane, room) = (height * width, height * width - pixel);
                    let at = self.image * plane + pixel;
                    let whole = self.first * plane + at;
                    store.run(sums, len, Place { channel: self.channel, at, whole, room });
                }
            }
        }
    }

    /// The sums of the pixels from (`top`, `left`) on; those beyond the plane are of no use.
    #[inline(always)]
    fn sums<const WIDTH: usize, const ROWS: usize>(&self, top: usize, left: usize) -> [[f32; WIDTH]; ROWS] {
        let mut bases = [0; ROWS];
        for (base, y) in bases.iter_mut().zip(top..) {
            let y = y.min(self.shape.out_height - 1);
            *base = self.staged.place(&Segment { at: 0, len: 1, image: self.image, y, x: left });
        }
        let mut sums = [[0.0; WIDTH]; ROWS];
        for (&weight, &offset) in self.weights.iter().zip(self.offsets) {
            for (sums, base) in sums.iter_mut().zip(bases) {
                let values = self.staged.run::<WIDTH>(base + offset);
                for i in 0..WIDTH {
                    sums[i] = weight.mul_add(values[i], sums[i]);
                }
            }
        }
        sums
    }
}

/// `dx` from `dy`, the gradient of the output.
pub fn input_grad(shape: &Shape, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
    let (plane, in_plane) = (shape.out_plane(), shape.in_plane());
    if in_plane == 0 {
        return;
    }
    dx.par_chunks_mut(in_plane).with_min_len(TASK_PIXELS.div_ceil(in_plane)).enumerate().for_each(
        |(i, dx)| {
            let weights = &weights[i % shape.out_channels * shape.taps()..][..shape.taps()];
            pulp::Arch::new().dispatch(PlaneGrad { shape, dy: &dy[i * plane..][..plane], weights, dx });
        },
    );
}

/// One plane of the gradient.
struct PlaneGrad<'a> {
    shape: &'a Shape,
    dy: &'a [f32],
    weights: &'a [f32],
    dx: &'a mut [f32],
}

impl pulp::WithSimd for PlaneGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { shape, dy, weights, dx } = self;
        dx.fill(0.0);
        for y in 0..shape.out_height {
            let row = &dy[y * shape.out_width..][..shape.out_width];
            let segment = Segment { at: 0, len: shape.out_width, image: 0, y, x: 0 };
            for (tap, &weight) in weights.iter().enumerate() {
                let (ky, kx) = (tap / shape.kernel_width, tap % shape.kernel_width);
                let Some(s) = shape.source(&segment, ky, kx) else { continue };
                let row = &row[s.skip..s.skip + s.len];
                let target = &mut dx[s.row * shape.width + s.column..];
                if shape.stride == 1 {
                    for (t, v) in target.iter_mut().zip(row) {
                        *t = weight.mul_add(*v, *t);
                    }
                } else {
                    for (t, v) in target.iter_mut().step_by(shape.stride).zip(row) {
                        *t = weight.mul_add(*v, *t);
                    }
                }
            }
        }
    }
}
