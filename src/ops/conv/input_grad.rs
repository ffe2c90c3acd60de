//! Gradient of a dense convolution with respect to its input: the transposed weights times the output's gradient,
//! each product tile added to the pixels it came from.

use super::shape::Shape;
use crate::ops::gemm::{self, MR, NR, ZERO_TILE};
use rayon::prelude::*;

/// Weights `[O, C, kh, kw]` as `[C / MR, taps, O, MR]`: a panel holds one kernel position of [`MR`] channels.
pub struct TransposedWeights(Vec<f32>);

impl TransposedWeights {
    /// From the row-major weights of a convolution of this shape.
    pub fn new(weights: &[f32], shape: &Shape) -> Self {
        let (depth, taps, outs) = (shape.depth(), shape.taps(), shape.out_channels);
        let groups = shape.in_channels.div_ceil(MR);
        let mut packed = vec![0.0; groups * taps * outs * MR];
        for (panel, chunk) in packed.chunks_exact_mut((outs * MR).max(1)).enumerate() {
            let (group, tap) = (panel / taps, panel % taps);
            for i in 0..MR.min(shape.in_channels - group * MR) {
                for o in 0..outs {
                    chunk[o * MR + i] = weights[o * depth + (group * MR + i) * taps + tap];
                }
            }
        }
        Self(packed)
    }

    fn panel(&self, panel: usize, outs: usize) -> &[f32] {
        &self.0[panel * outs * MR..(panel + 1) * outs * MR]
    }
}

/// `dx` from `dy = gradient of the output` `[B, O, OH, OW]`.
pub fn input_grad(shape: &Shape, dy: &[f32], weights: &TransposedWeights, dx: &mut [f32]) {
    let shape = &shape.flattened();
    let (outs, plane) = (shape.out_channels, shape.out_plane());
    let panels = plane.div_ceil(NR);
    let image = outs * panels * NR;
    dx.fill(0.0);
    if image == 0 || dx.is_empty() {
        return;
    }
    let mut packed = vec![0.0; shape.batch * image];
    packed.par_chunks_exact_mut(outs * NR).enumerate().for_each(|(i, chunk)| {
        let (b, p) = (i / panels, i % panels);
        let first = p * NR;
        let len = NR.min(plane - first);
        for (o, line) in chunk.chunks_exact_mut(NR).enumerate() {
            line[..len].copy_from_slice(&dy[(b * outs + o) * plane + first..][..len]);
        }
    });
    let groups = shape.in_channels.div_ceil(MR);
    let in_plane = shape.in_plane();
    let mut tasks: Vec<(usize, usize, &mut [f32])> = Vec::with_capacity(shape.batch * groups);
    for (b, dx) in dx.chunks_mut(shape.in_channels * in_plane).enumerate() {
        tasks.extend(dx.chunks_mut(MR * in_plane).enumerate().map(|(group, dx)| (b, group, dx)));
    }
    tasks.into_par_iter().for_each(|(b, group, dx)| {
        for p in 0..panels {
            let columns = &packed[b * image + p * outs * NR..][..outs * NR];
            let segments = shape.segments(p * NR, plane);
            for tap in 0..shape.taps() {
                let (ky, kx) = (tap / shape.kernel_width, tap % shape.kernel_width);
                let mut tile = ZERO_TILE;
                gemm::multiply_panels(
                    outs,
                    weights.panel(group * shape.taps() + tap, outs),
                    columns,
                    &mut tile,
                );
                for (row, dx) in tile.iter().zip(dx.chunks_exact_mut(in_plane)) {
                    for segment in segments.iter() {
                        let Some(source) = shape.source(segment, ky, kx) else { continue };
                        let values = &row[segment.at + source.skip..][..source.len];
                        let target = &mut dx[source.row * shape.width + source.column..];
                        for (t, v) in target.iter_mut().step_by(shape.stride).zip(values) {
                            *t += v;
                        }
                    }
                }
            }
        }
    });
}
