//! Depthwise convolution (one filter per channel) on the CPU, forward and with respect to the input.
//! There is no product to pack: an output row is a few shifted rows of the padded plane, multiplied and added in registers.

use super::padded::Padded;
use super::shape::{Segment, Shape};
use super::store::{Epilogue, Place, Store};
use crate::ops::gemm::NR;
use crate::ops::simd::{self, Kernel};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Pixels of input or output per task: what a first-level cache holds.
const TASK_PIXELS: usize = 4096;

#[derive(Default)]
struct Scratch {
    padded: Vec<f32>,
    /// Of one plane of the output.
    sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Forward pass; `weights` is `[C, kh * kw]`, and `shape.in_channels` is 1 per filter (`out_channels` filters).
/// Writes every element of `out`.
pub(super) fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &[f32],
    epilogue: Epilogue,
    out: &mut [MaybeUninit<f32>],
) {
    let plane = shape.out_plane();
    if plane == 0 {
        return;
    }
    let group = (TASK_PIXELS / plane.max(shape.in_plane())).max(1);
    out.par_chunks_mut(group * plane).enumerate().for_each(|(i, out)| {
        SCRATCH.with_borrow_mut(|scratch| {
            let planes = Planes { shape, x, weights, epilogue, first: i * group, scratch, out };
            simd::run(planes);
        });
    });
}

/// Some output planes.
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

impl Kernel for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // Usual kernels are constants: the compiler unrolls their taps.
        match (self.shape.kernel_height, self.shape.kernel_width, self.shape.stride) {
            (3, 3, 1) => self.convolve((3, 3), 1),
            (3, 3, 2) => self.convolve((3, 3), 2),
            (5, 5, 1) => self.convolve((5, 5), 1),
            (5, 5, 2) => self.convolve((5, 5), 2),
            (height, width, stride) => self.convolve((height, width), stride),
        }
    }
}

impl Planes<'_> {
    #[inline(always)]
    fn convolve(self, kernel: (usize, usize), stride: usize) {
        let Self { shape, x, weights, epilogue, first, scratch, out } = self;
        let Scratch { padded, sums } = scratch;
        let (plane, in_plane) = (shape.out_plane(), shape.in_plane());
        let count = out.len() / plane;
        let padded = Padded::new(shape, stride, &x[first * in_plane..], count, padded);
        // Tiles are written whole.
        sums.resize(plane + NR, 0.0);
        let mut store = Store { epilogue, out };
        for index in 0..count {
            let channel = (first + index) % shape.out_channels;
            let weights = &weights[channel * shape.taps()..][..shape.taps()];
            Plane { padded: &padded, shape, weights, index }.tiles(kernel, stride, sums);
            for pixel in (0..plane).step_by(NR) {
                let (at, remaining) = (index * plane + pixel, plane - pixel);
                let place = Place { channel, at, whole: first * plane + at, remaining };
                store.run(&sums[pixel..], NR.min(remaining), place);
            }
        }
    }
}

/// How the pixels of an output plane come from a padded one.
struct Plane<'a> {
    padded: &'a Padded<'a>,
    shape: &'a Shape,
    weights: &'a [f32],
    /// Which of the padded planes this is.
    index: usize,
}

impl Plane<'_> {
    /// The sums of all pixels, in about eight registers of AVX2 whatever the width: enough of them at a time to hide how long one takes.
    /// Sums beyond the plane are undefined.
    #[inline(always)]
    fn tiles(&self, kernel: (usize, usize), stride: usize, sums: &mut [f32]) {
        match self.shape.out_width {
            0..=8 => self.compute::<8, 7>(kernel, stride, sums),
            9..=16 => self.compute::<16, 4>(kernel, stride, sums),
            _ => self.compute::<NR, 2>(kernel, stride, sums),
        }
    }

    /// Computes `ROWS` rows of `WIDTH` pixels at a time.
    #[inline(always)]
    fn compute<const WIDTH: usize, const ROWS: usize>(
        &self,
        kernel: (usize, usize),
        stride: usize,
        sums: &mut [f32],
    ) {
        let (height, width) = (self.shape.out_height, self.shape.out_width);
        for top in (0..height).step_by(ROWS) {
            // From right to left: what the last tile writes beyond the end of a row is overwritten by the first tile of the next row.
            for left in (0..width).step_by(WIDTH).rev() {
                let tile = self.tile::<WIDTH, ROWS>((top, left), kernel, stride);
                for (y, tile) in (top..height).zip(&tile) {
                    if let Some(sums) = sums[y * width + left..].first_chunk_mut::<WIDTH>() {
                        *sums = *tile;
                    }
                }
            }
        }
    }

    /// The sums of the pixels from (`top`, `left`) on; those beyond the plane are undefined.
    #[inline(always)]
    fn tile<const WIDTH: usize, const ROWS: usize>(
        &self,
        (top, left): (usize, usize),
        (kernel_height, kernel_width): (usize, usize),
        stride: usize,
    ) -> [[f32; WIDTH]; ROWS] {
        let mut tile = [[0.0; WIDTH]; ROWS];
        for ky in 0..kernel_height {
            let weights = &self.weights[ky * kernel_width..][..kernel_width];
            for phase in 0..stride.min(kernel_width) {
                let steps = (kernel_width - phase).div_ceil(stride);
                let mut lines = [&[][..]; ROWS];
                for (line, y) in lines.iter_mut().zip(top..) {
                    let row = y.min(self.shape.out_height - 1) * stride + ky;
                    *line = self.padded.line(self.index, row, phase, left, WIDTH + steps - 1);
                }
                for step in 0..steps {
                    let weight = weights[step * stride + phase];
                    for (tile, line) in tile.iter_mut().zip(lines) {
                        let line = &line[step..][..WIDTH];
                        for i in 0..WIDTH {
                            tile[i] = weight.mul_add(line[i], tile[i]);
                        }
                    }
                }
            }
        }
        tile
    }
}

/// `dx` from `dy`, the gradient of the output.
pub(super) fn input_grad(shape: &Shape, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
    let (plane, in_plane) = (shape.out_plane(), shape.in_plane());
    if in_plane == 0 {
        return;
    }
    dx.par_chunks_mut(in_plane).with_min_len(TASK_PIXELS.div_ceil(in_plane)).enumerate().for_each(
        |(i, dx)| {
            let weights = &weights[i % shape.out_channels * shape.taps()..][..shape.taps()];
            simd::run(PlaneGrad { shape, dy: &dy[i * plane..][..plane], weights, dx });
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

impl Kernel for PlaneGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
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
