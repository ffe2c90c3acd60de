//! Dense convolution forward on the CPU: a packed matrix product whose right operand is gathered from the image
//! while it is packed, so that no column matrix lies in memory. Bias, addition and activation happen as a tile is stored.

use super::shape::{Segments, Shape};
use crate::ops::activation::Activation;
use crate::ops::gemm::{self, MR, NR, Tile, ZERO_TILE};
use rayon::prelude::*;
use std::cell::RefCell;

/// Depth of one pass: a panel of the image (64 KiB) stays near while the weights pass by.
const DEPTH_BLOCK: usize = 512;
/// Floats of the packed image block: a quarter of the second-level cache of a current server core.
const PACKED_FLOATS: usize = 64 * 1024;
/// Columns that a task should have at least, so that small images share panels.
const MIN_COLUMNS: usize = 8 * NR;

/// Weights `[O, depth]` in panels of [`MR`] output channels.
pub struct PackedWeights(Vec<f32>);

impl PackedWeights {
    /// From a row-major `[out_channels, depth]`.
    pub fn new(weights: &[f32], out_channels: usize, depth: usize) -> Self {
        let mut packed = Vec::new();
        gemm::pack::<MR>(out_channels, depth, &mut packed, |row, k| weights[row * depth + k]);
        Self(packed)
    }

    fn block(&self, panel: usize, total_depth: usize, first: usize, depth: usize) -> &[f32] {
        let start = (panel * total_depth + first) * MR;
        &self.0[start..start + depth * MR]
    }
}

/// What happens to a product before it is stored.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value per output channel.
    pub bias: Option<&'a [f32]>,
    /// Of the output's shape, added before the activation (a residual branch).
    pub residual: Option<&'a [f32]>,
    pub activation: Activation,
}

#[derive(Default)]
struct Scratch {
    packed: Vec<f32>,
    tiles: Vec<Tile>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `out[b, o, y, x] = activation(sum of x * w + bias[o] + residual[b, o, y, x])`.
pub fn forward(shape: &Shape, x: &[f32], weights: &PackedWeights, epilogue: Epilogue, out: &mut [f32]) {
    let shape = &shape.flattened();
    let plane = shape.out_plane();
    let image = shape.out_channels * plane;
    if image == 0 || shape.batch == 0 {
        return;
    }
    let panels = shape.out_channels.div_ceil(MR);
    let threads = rayon::current_num_threads();
    if shape.batch >= threads {
        let group = MIN_COLUMNS.div_ceil(plane).min(shape.batch / threads).max(1);
        out.par_chunks_mut(group * image).enumerate().for_each(|(i, chunk)| {
            Block { shape, x, weights, epilogue, first_image: i * group, first_panel: 0 }
                .compute(chunk, panels);
        });
    } else {
        let share = panels.div_ceil(2 * threads);
        for (i, out) in out.chunks_mut(image).enumerate() {
            out.par_chunks_mut(share * MR * plane).enumerate().for_each(|(j, chunk)| {
                let panels = share.min(panels - j * share);
                Block { shape, x, weights, epilogue, first_image: i, first_panel: j * share }
                    .compute(chunk, panels);
            });
        }
    }
}

/// The part of the output that one task computes: some images whole, or some channels of one image.
struct Block<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    weights: &'a PackedWeights,
    epilogue: Epilogue<'a>,
    first_image: usize,
    first_panel: usize,
}

impl Block<'_> {
    fn compute(&self, out: &mut [f32], panels: usize) {
        SCRATCH.with_borrow_mut(|scratch| self.compute_in(scratch, out, panels));
    }

    fn compute_in(&self, scratch: &mut Scratch, out: &mut [f32], panels: usize) {
        let shape = self.shape;
        let channels = (panels * MR).min(shape.out_channels - self.first_panel * MR);
        let columns = out.len() / channels;
        let depth = shape.depth();
        let width = (PACKED_FLOATS / depth.min(DEPTH_BLOCK) / NR * NR).max(NR);
        scratch.packed.resize(depth.min(DEPTH_BLOCK) * width, 0.0);
        for first in (0..columns).step_by(width) {
            let end = columns.min(first + width);
            let column_panels = (end - first).div_ceil(NR);
            scratch.tiles.clear();
            scratch.tiles.resize(panels * column_panels, ZERO_TILE);
            for k in (0..depth).step_by(DEPTH_BLOCK) {
                let block = DEPTH_BLOCK.min(depth - k);
                for p in 0..column_panels {
                    let segments = shape.segments(first + p * NR, end);
                    let panel = &mut scratch.packed[p * block * NR..][..block * NR];
                    pack_image(shape, self.image_block(), &segments, k, panel);
                }
                for m in 0..panels {
                    let a = self.weights.block(self.first_panel + m, depth, k, block);
                    for p in 0..column_panels {
                        let b = &scratch.packed[p * block * NR..][..block * NR];
                        gemm::multiply_panels(block, a, b, &mut scratch.tiles[m * column_panels + p]);
                    }
                }
            }
            for p in 0..column_panels {
                let segments = shape.segments(first + p * NR, end);
                for m in 0..panels {
                    self.store(&scratch.tiles[m * column_panels + p], &segments, m, channels, out);
                }
            }
        }
    }

    fn image_block(&self) -> &[f32] {
        &self.x[self.first_image * self.shape.in_channels * self.shape.in_plane()..]
    }

    fn store(&self, tile: &Tile, segments: &Segments, panel: usize, channels: usize, out: &mut [f32]) {
        let shape = self.shape;
        let plane = shape.out_plane();
        for (i, row) in tile.iter().enumerate().take(channels - panel * MR) {
            let local = panel * MR + i;
            let channel = self.first_panel * MR + local;
            let bias = self.epilogue.bias.map_or(0.0, |bias| bias[channel]);
            for segment in segments.iter() {
                let pixel = segment.y * shape.out_width + segment.x;
                let values = &row[segment.at..segment.at + segment.len];
                let target = &mut out[(segment.image * channels + local) * plane + pixel..][..segment.len];
                match self.epilogue.residual {
                    Some(residual) => {
                        let image = self.first_image + segment.image;
                        let added = &residual[(image * shape.out_channels + channel) * plane + pixel..]
                            [..segment.len];
                        for ((t, v), r) in target.iter_mut().zip(values).zip(added) {
                            *t = self.epilogue.activation.apply(v + bias + r);
                        }
                    }
                    None => {
                        for (t, v) in target.iter_mut().zip(values) {
                            *t = self.epilogue.activation.apply(v + bias);
                        }
                    }
                }
            }
        }
    }
}

/// Packs depths `first ..` of the column matrix for one panel of output pixels; `panel` is `[depths, NR]`.
pub fn pack_image(shape: &Shape, x: &[f32], segments: &Segments, first: usize, panel: &mut [f32]) {
    let (mut channel, mut ky, mut kx) = shape.tap(first);
    let plane = shape.in_plane();
    for line in panel.chunks_exact_mut(NR) {
        line[segments.columns..].fill(0.0);
        for segment in segments.iter() {
            let target = &mut line[segment.at..segment.at + segment.len];
            let Some(source) = shape.source(segment, ky, kx) else {
                target.fill(0.0);
                continue;
            };
            let row = &x[(segment.image * shape.in_channels + channel) * plane + source.row * shape.width..]
                [..shape.width];
            target[..source.skip].fill(0.0);
            target[source.skip + source.len..].fill(0.0);
            let target = &mut target[source.skip..source.skip + source.len];
            if shape.stride == 1 {
                copy(target, &row[source.column..source.column + source.len]);
            } else {
                for (t, v) in target.iter_mut().zip(row[source.column..].iter().step_by(shape.stride)) {
                    *t = *v;
                }
            }
        }
        kx += 1;
        if kx == shape.kernel_width {
            kx = 0;
            ky += 1;
            if ky == shape.kernel_height {
                ky = 0;
                channel += 1;
            }
        }
    }
}

/// Segments are short: eight at a time beats a call to `memcpy`.
#[inline(always)]
fn copy(target: &mut [f32], source: &[f32]) {
    let (targets, target_rest) = target.as_chunks_mut::<8>();
    let (sources, source_rest) = source.as_chunks::<8>();
    for (t, s) in targets.iter_mut().zip(sources) {
        *t = *s;
    }
    for (t, s) in target_rest.iter_mut().zip(source_rest) {
        *t = *s;
    }
}
