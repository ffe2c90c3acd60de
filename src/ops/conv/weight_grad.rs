//! Gradient of a dense convolution with respect to its weights: the output's gradient times the column matrix,
//! summed over images in groups of fixed size, so that the sum does not depend on the threads.

use super::shape::Shape;
use super::staged::{Region, Staged};
use crate::ops::gemm::{self, MR, NR, Tile, ZERO_TILE};
use rayon::prelude::*;

/// Images whose contributions one task sums.
const IMAGES_PER_TASK: usize = 8;

/// `dw` `[O, C * kh * kw]` from the input `x` and `dy`, the gradient of the output.
pub fn weight_grad(shape: &Shape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let shape = &shape.flattened();
    let (outs, depth, plane) = (shape.out_channels, shape.depth(), shape.out_plane());
    dw.fill(0.0);
    if dw.is_empty() || plane == 0 || shape.batch == 0 {
        return;
    }
    let row_panels = outs.div_ceil(MR);
    let pixels = plane.div_ceil(NR) * NR;
    // Both operands have the pixels as depth: dy as [image, row panel, pixel, MR].
    let image = row_panels * pixels * MR;
    let mut packed_dy = vec![0.0; shape.batch * image];
    packed_dy.par_chunks_exact_mut(pixels * MR).enumerate().for_each(|(i, chunk)| {
        let (b, m) = (i / row_panels, i % row_panels);
        for lane in 0..MR.min(outs - m * MR) {
            let row = &dy[(b * outs + m * MR + lane) * plane..][..plane];
            for (group, value) in chunk.chunks_exact_mut(MR).zip(row) {
                group[lane] = *value;
            }
        }
    });
    let column_panels = depth.div_ceil(NR);
    let groups = shape.batch.div_ceil(IMAGES_PER_TASK);
    let partial: Vec<Vec<Tile>> = (0..groups * column_panels)
        .into_par_iter()
        .map_init(
            || (Vec::new(), vec![0.0; (NR + 1) * NR], vec![0.0; NR * NR]),
            |(buffer, gathered, transposed), task| {
                let (group, panel) = (task / column_panels, task % column_panels);
                let mut tiles = vec![ZERO_TILE; row_panels];
                let first = panel * NR;
                let lines = NR.min(depth - first);
                let channels = first / shape.taps()..(first + lines - 1) / shape.taps() + 1;
                for b in group * IMAGES_PER_TASK..shape.batch.min((group + 1) * IMAGES_PER_TASK) {
                    let region =
                        Region { images: b..b + 1, channels: channels.clone(), rows: 0..shape.out_height };
                    let staged = Staged::new(shape, x, region, buffer);
                    let offsets: [usize; NR] =
                        std::array::from_fn(|i| staged.offset(first + i.min(lines - 1)));
                    for pixel in (0..plane).step_by(NR) {
                        let segments = shape.segments(b * plane + pixel, (b + 1) * plane);
                        staged.pack(&segments, &offsets[..lines], gathered);
                        transpose(&gathered[..lines * NR], transposed);
                        for (m, tile) in tiles.iter_mut().enumerate() {
                            let a = &packed_dy[b * image + (m * pixels + pixel) * MR..];
                            gemm::multiply_panels(segments.columns, a, transposed, tile);
                        }
                    }
                }
                tiles
            },
        )
        .collect();
    for (task, tiles) in partial.iter().enumerate() {
        let first = task % column_panels * NR;
        let lines = NR.min(depth - first);
        for (row, tile) in dw.chunks_exact_mut(depth).zip(tiles.iter().flatten()) {
            for (w, v) in row[first..first + lines].iter_mut().zip(tile) {
                *w += v;
            }
        }
    }
}

/// `[lines, NR]` to `[NR, NR]`; columns without a line keep what they held, and nobody reads them.
fn transpose(source: &[f32], target: &mut [f32]) {
    for (i, line) in source.chunks_exact(NR).enumerate() {
        for (target, value) in target.chunks_exact_mut(NR).zip(line) {
            target[i] = *value;
        }
    }
}
