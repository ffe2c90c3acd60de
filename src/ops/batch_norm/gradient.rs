//! The gradients of batch normalisation on the CPU: first the sums over each channel, then the input's, which needs them.

use super::statistics::{by_channel, planes};
use super::{Channel, Normalize};
use crate::ops::activation::{Activation, with_activation};
use crate::ops::host::{floats, written};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `[2, C]` from (x, dy, `[2, C]` of scale and shift): sums of `g * normalised x` and of `g`, the gradient before the activation.
pub(super) struct AffineGrad(pub Normalize);

impl CustomOp3 for AffineGrad {
    fn name(&self) -> &'static str {
        "batch-norm-affine-grad"
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
        let (_, channels, height, width) = xl.shape().dims4()?;
        let (x, dy, affine) = (floats(x, xl)?, floats(dy, dyl)?, floats(affine, al)?);
        let plane = height * width;
        Ok(by_channel(channels, |c| {
            let (mut scale, mut shift) = (0f64, 0f64);
            for (x, dy) in planes(x, c, channels, plane).zip(planes(dy, c, channels, plane)) {
                let sums = PlaneSums { channel: self.0.channel(affine, c), x, dy };
                let (products, values) = pulp::Arch::new().dispatch(sums);
                scale += products;
                shift += values;
            }
            ((scale * f64::from(self.0.inverse[c])) as f32, shift as f32)
        }))
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
        const LANES: usize = 8;
        let ((x, x_rest), (dy, dy_rest)) = (self.x.as_chunks::<LANES>(), self.dy.as_chunks::<LANES>());
        let (mut products, mut values) = ([0f64; LANES], [0f64; LANES]);
        for (x, dy) in x.iter().zip(dy) {
            for i in 0..LANES {
                let g = activation.masked(self.channel.before(x[i]), dy[i]);
                products[i] += f64::from(x[i] - self.channel.mean) * f64::from(g);
                values[i] += f64::from(g);
            }
        }
        for (i, (x, dy)) in x_rest.iter().zip(dy_rest).enumerate() {
            let g = activation.masked(self.channel.before(*x), *dy);
            products[i] += f64::from(x - self.channel.mean) * f64::from(g);
            values[i] += f64::from(g);
        }
        (products.iter().sum(), values.iter().sum())
    }
}

impl pulp::WithSimd for PlaneSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> (f64, f64) {
        with_activation!(self.channel.activation, activation => self.run(activation))
    }
}

/// The gradient of the input from (x, dy, `[4, C]` of scale, shift and the sums over all ranks of their gradients).
pub(super) struct InputGrad(pub Normalize);

impl CustomOp3 for InputGrad {
    fn name(&self) -> &'static str {
        "batch-norm-input-grad"
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
        let plane = (height * width).max(1);
        let count = (batch * plane * self.0.ranks.size()) as f32;
        if dy.len() != x.len() {
            bail!("batch norm: the gradient does not have the shape of the input");
        }
        let write = |dx: &mut [MaybeUninit<f32>]| {
            let planes = dx.par_chunks_mut(plane).zip(x.par_chunks(plane)).zip(dy.par_chunks(plane));
            planes.enumerate().for_each(|(i, ((dx, x), dy))| {
                let c = i % channels;
                let slope = affine[2 * channels + c] * self.0.inverse[c] / count;
                let offset = affine[3 * channels + c] / count;
                let channel = self.0.channel(affine, c);
                pulp::Arch::new().dispatch(PlaneGrad { channel, slope, offset, x, dy, dx });
            });
        };
        // SAFETY: input and gradients have the same planes, all of which are written.
        let dx = unsafe { written(x.len(), write) };
        Ok((CpuStorage::F32(dx), xl.shape().clone()))
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

impl pulp::WithSimd for PlaneGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        with_activation!(self.channel.activation, activation => self.run(activation));
    }
}
