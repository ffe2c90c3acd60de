//! Dense convolution forward on the CPU: a packed matrix product whose right operand is gathered from the image
//! while it is packed, so that no column matrix lies in memory. Bias, addition and activation happen as a tile is stored.

use super::shape::{Segments, Shape};
use super::staged::{Places, Region, Staged};
use super::store::{Epilogue, Place, Store};
use crate::ops::gemm::{self, MR, NR, Start, Tile, ZERO_TILE};
use crate::ops::simd::{self, Kernel};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Depth of one pass, at most, unless the kernel alone has more taps.
const DEPTH_BLOCK: usize = 512;
/// Floats of the packed image block: a quarter of the second-level cache of a current server core.
const PACKED_FLOATS: usize = 64 * 1024;
/// Columns that a task should have at least: small images then share panels.
const MIN_COLUMNS: usize = 8 * NR;

/// Weights `[O, depth]` in panels of [`MR`] output channels.
pub(super) struct PackedWeights(Vec<f32>);

impl PackedWeights {
    /// From the weight of each output channel and depth.
    pub(super) fn from_fn(
        out_channels: usize,
        depth: usize,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let panel = depth * MR;
        let mut packed = vec![0.0; out_channels.div_ceil(MR) * panel];
        packed.par_chunks_exact_mut(panel.max(1)).enumerate().for_each(|(i, packed)| {
            gemm::pack_panel::<MR>(i, out_channels, packed, &weight);
        });
        Self(packed)
    }

    fn block(&self, panel: usize, total_depth: usize, first: usize, depth: usize) -> &[f32] {
        let start = (panel * total_depth + first) * MR;
        &self.0[start..start + depth * MR]
    }
}

#[derive(Default)]
struct Scratch {
    staged: Vec<f32>,
    packed: Vec<f32>,
    tiles: Vec<Tile>,
    offsets: Vec<usize>,
    segments: Vec<Segments>,
    places: Places,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `out[b, o, y, x] = activation(sum of x * w + bias[o] + residual[b, o, y, x])`; writes every element.
pub(super) fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &PackedWeights,
    epilogue: Epilogue,
    out: &mut [MaybeUninit<f32>],
) {
    let shape = &shape.flattened();
    for_each_task(shape, shape.out_plane(), out, |task, out| {
        SCRATCH.with_borrow_mut(|scratch| {
            let block = Block { shape, x, weights, epilogue, task };
            simd::run(Compute { block: &block, scratch, out });
        });
    });
}

/// A part of the output: some images whole, or some channels of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub first_image: usize,
    /// Of [`MR`] channels.
    pub first_panel: usize,
    pub panels: usize,
    /// Output channels of those panels.
    pub channels: usize,
}

impl Task {
    /// The place of a pixel of the task's image `image` and its output channel `channel`.
    #[inline(always)]
    pub(super) fn place(&self, shape: &Shape, image: usize, channel: usize, pixel: usize) -> Place {
        let plane = shape.out_plane();
        let at = (image * self.channels + channel) * plane + pixel;
        let channel = self.first_panel * MR + channel;
        let whole = ((self.first_image + image) * shape.out_channels + channel) * plane + pixel;
        Place { channel, at, whole, remaining: plane - pixel }
    }
}

/// Splits the output of a convolution into tasks and runs them on all threads; an image is `plane` columns of work. `compute` is given
/// the task's part of `out`.
pub(super) fn for_each_task(
    shape: &Shape,
    plane: usize,
    out: &mut [MaybeUninit<f32>],
    compute: impl Fn(Task, &mut [MaybeUninit<f32>]) + Sync,
) {
    let image = shape.out_channels * shape.out_plane();
    if image == 0 || shape.batch == 0 {
        return;
    }
    let panels = shape.out_channels.div_ceil(MR);
    let threads = rayon::current_num_threads();
    if shape.batch >= threads {
        let group = images_per_task(plane, shape.batch, threads);
        out.par_chunks_mut(group * image).enumerate().for_each(|(i, chunk)| {
            let channels = shape.out_channels;
            compute(Task { first_image: i * group, first_panel: 0, panels, channels }, chunk);
        });
    } else {
        let share = panels.div_ceil(threads);
        for (first_image, out) in out.chunks_mut(image).enumerate() {
            out.par_chunks_mut(share * MR * shape.out_plane()).enumerate().for_each(|(j, chunk)| {
                let first_panel = j * share;
                let panels = share.min(panels - first_panel);
                let channels = (panels * MR).min(shape.out_channels - first_panel * MR);
                compute(Task { first_image, first_panel, panels, channels }, chunk);
            });
        }
    }
}

/// Images per task: at least [`MIN_COLUMNS`] columns, and among those numbers the one with which all threads finish first. Empty columns
/// of a panel count as work.
fn images_per_task(plane: usize, images: usize, threads: usize) -> usize {
    let most = (images / threads).max(1);
    let time = |task: &usize| {
        let rounds = images.div_ceil(*task).div_ceil(threads);
        rounds * (task * plane).next_multiple_of(gemm::HALF)
    };
    let least = MIN_COLUMNS.div_ceil(plane).min(most);
    (least..=most).min_by_key(time).unwrap_or(most)
}

/// What one task computes.
struct Block<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    weights: &'a PackedWeights,
    epilogue: Epilogue<'a>,
    task: Task,
}

/// A block's work, compiled for the registers of the machine.
struct Compute<'a> {
    block: &'a Block<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.block.compute(self.scratch, self.out);
    }
}

impl Block<'_> {
    #[inline(always)]
    fn compute(&self, scratch: &mut Scratch, out: &mut [MaybeUninit<f32>]) {
        let shape = self.shape;
        let Task { first_image, first_panel, panels, channels } = self.task;
        let x = &self.x[first_image * shape.in_channels * shape.in_plane()..];
        let Scratch { staged: buffer, packed, tiles, offsets, segments, places } = scratch;
        let columns = out.len() / channels;
        let depth = shape.depth();
        // Each pass takes whole channels, and all passes about as many.
        let passes = depth.div_ceil(DEPTH_BLOCK).min(shape.in_channels).max(1);
        let pass_depth = shape.in_channels.div_ceil(passes) * shape.taps();
        let width = (PACKED_FLOATS / pass_depth.max(1) / NR * NR).max(NR);
        if packed.len() < (pass_depth + 1) * width {
            packed.resize((pass_depth + 1) * width, 0.0);
        }
        let mut store = Store { epilogue: self.epilogue, out };
        let mut tile = ZERO_TILE;
        for first in (0..columns).step_by(width) {
            let end = columns.min(first + width);
            let column_panels = (end - first).div_ceil(NR);
            segments.clear();
            segments.extend((0..column_panels).map(|p| shape.segments(first + p * NR, end)));
            if passes > 1 && tiles.len() < panels * column_panels {
                tiles.resize(panels * column_panels, ZERO_TILE);
            }
            for pass in 0..passes {
                let k = pass * pass_depth;
                let block = pass_depth.min(depth.saturating_sub(k));
                let region = Region::of(shape, first..end, k / shape.taps()..(k + block) / shape.taps());
                let staged = Staged::new(shape, x, region, buffer);
                staged.offsets(offsets);
                let stride = (block + 1) * NR;
                staged.places(segments, stride, places);
                staged.pack(places, offsets, packed);
                for m in 0..panels {
                    let a = self.weights.block(first_panel + m, depth, k, block);
                    for (p, segments) in segments.iter().enumerate() {
                        let b = &packed[p * stride..][..block * NR];
                        let start = if pass == 0 { Start::Zeros } else { Start::Tile };
                        let columns = end - first - p * NR;
                        let tile = if passes == 1 { &mut tile } else { &mut tiles[m * column_panels + p] };
                        gemm::multiply_columns(columns, start, block, a, b, tile);
                        if pass + 1 == passes {
                            self.store(&mut store, tile, segments, m);
                        }
                    }
                }
            }
        }
    }

    /// Stores the tile of this task's panel `panel`.
    #[inline(always)]
    fn store(&self, store: &mut Store, tile: &Tile, segments: &Segments, panel: usize) {
        let channels = self.task.channels - panel * MR;
        for segment in segments.iter() {
            let pixel = segment.y * self.shape.out_width + segment.x;
            let place = self.task.place(self.shape, segment.image, panel * MR, pixel);
            store.tile(tile, (segment.at, segment.len), channels, place, self.shape.out_plane());
        }
    }
}
