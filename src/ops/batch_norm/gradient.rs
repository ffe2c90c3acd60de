//! The gradients of batch normalisation on the CPU, all of one channel after the other.

use super::statistics::planes;
use super::{Channel, Normalize};
use crate::ops::activation::{Activation, with_activation};
use crate::ops::all_reduce::processes;
use crate::ops::host::{dot, floats, init_with, sum};
use crate::ops::simd::{self, Kernel};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// From (x, dy, `[2, C]` of scale and shift), in one row: the gradient of x, then `[2, C]` of those of scale and shift on this process.
/// The gradient of x needs the sums over a channel, and is computed while the channel is still in the cache.
pub(super) struct Gradients(pub Normalize);

impl CustomOp3 for Gradients {
    fn name(&self) -> &'static str {
        "batch-norm-grad"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
        affine: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = xl.shape().dims4()?;
        let (x, dy, affine) = (floats(x, xl)?, floats(dy, dyl)?, floats(affine, al)?);
        if dy.len() != x.len() {
            bail!("batch norm: the gradient does not have the shape of the input");
        }
        let plane = (height * width).max(1);
        let several = processes(self.0.reducer.as_ref());
        let count = (batch * plane * several) as f32;
        let pairs = |c| planes(x, c, channels, plane).zip(planes(dy, c, channels, plane));
        let sums = |c| {
            let (mut scale, mut shift) = (0f64, 0f64);
            for (x, dy) in pairs(c) {
                let (products, values) = simd::run(PlaneSums { channel: self.0.channel(affine, c), x, dy });
                scale += products;
                shift += values;
            }
            [(scale * f64::from(self.0.inverse[c])) as f32, shift as f32]
        };
        // The statistics are those of all processes, and so are the sums by which the gradient goes through them.
        let over_processes = self.0.reducer.as_ref().filter(|reducer| reducer.size() > 1).map(|reducer| {
            let own: Vec<[f32; 2]> = (0..channels).into_par_iter().map(sums).collect();
            let mut all = own.clone();
            reducer.all_reduce_sum(all.as_flattened_mut());
            (own, all)
        });
        let write = |out: &mut [MaybeUninit<f32>]| {
            let (dx, d_affine) = out.split_at_mut(x.len());
            let (d_scale, d_shift) = d_affine.split_at_mut(channels);
            let mut of_channel: Vec<Vec<_>> = (0..channels).map(|_| Vec::with_capacity(batch)).collect();
            for (i, dx) in dx.chunks_mut(plane).enumerate() {
                of_channel[i % channels].push(dx);
            }
            let outputs = of_channel.into_par_iter().zip(d_scale.par_iter_mut().zip(d_shift));
            outputs.enumerate().for_each(|(c, (dx, (d_scale, d_shift)))| {
                let (own, all) = match &over_processes {
                    Some((own, all)) => (own[c], all[c]),
                    None => {
                        let own = sums(c);
                        (own, own)
                    }
                };
                d_scale.write(own[0]);
                d_shift.write(own[1]);
                let channel = self.0.channel(affine, c);
                let (slope, offset) = (all[0] * self.0.inverse[c] / count, all[1] / count);
                for (dx, (x, dy)) in dx.into_iter().zip(pairs(c)) {
                    simd::run(PlaneGrad { channel, slope, offset, x, dy, dx });
                }
            });
        };
        let n = x.len() + 2 * channels;
        // SAFETY: every plane of the input is one of a channel, and every channel writes its planes and its two sums.
        let out = unsafe { init_with(n, write) };
        Ok((CpuStorage::F32(out), Shape::from(n)))
    }
}

/// The sums of `g * (x - mean)` and of `g` in one plane.
struct PlaneSums<'a> {
    channel: Channel,
    x: &'a [f32],
    dy: &'a [f32],
}

impl PlaneSums<'_> {
    #[inline(always)]
    fn run(self, activation: Activation) -> (f64, f64) {
        // A block of gradients at a time, in float32: what is summed under a condition does not become vector code.
        const BLOCK: usize = 256;
        let mut block = [0f32; BLOCK];
        let (mut products, mut values) = (0f64, 0f64);
        for (x, dy) in self.x.chunks(BLOCK).zip(self.dy.chunks(BLOCK)) {
            let g = &mut block[..x.len()];
            for ((g, x), dy) in g.iter_mut().zip(x).zip(dy) {
                *g = activation.masked(self.channel.before(*x), *dy);
            }
            products += dot(x, g, |x| x - self.channel.mean);
            values += sum(g, |g| g);
        }
        (products, values)
    }
}

impl Kernel for PlaneSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn call(self) -> (f64, f64) {
        with_activation!(self.channel.activation, activation => self.run(activation))
    }
}

/// One plane of the input's gradient.
struct PlaneGrad<'a> {
    channel: Channel,
    slope: f32,
    offset: f32,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [MaybeUninit<f32>],
}

impl PlaneGrad<'_> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        let Channel { mean, scale, .. } = self.channel;
        for ((dx, x), dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            let g = activation.masked(self.channel.before(*x), *dy);
            dx.write(scale * (g - self.offset - (x - mean) * self.slope));
        }
    }
}

impl Kernel for PlaneGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        with_activation!(self.channel.activation, activation => self.run(activation));
    }
}
