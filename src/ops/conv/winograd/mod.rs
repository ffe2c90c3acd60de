//! Convolutions of 3 x 3 or 2 x 2 without stride by Winograd's minimal filtering: of a channel of the input, 4 x 4 outputs take 36
//! products instead of 144, or 2 x 2 outputs 16 instead of 36, or 9 instead of 16. F(M x M, K x K) of Lavin and Gray, 2015,
//! <https://arxiv.org/abs/1509.09308>, whose names are used here: `V = Bᵀ d B` of a tile `d` of (M + K - 1)² inputs,
//! `U = G g Gᵀ` of a kernel `g`, `Y = Aᵀ (U ⊙ V) A`.

mod transform;

use super::dense::{Task, for_each_task};
use super::shape::{Segments, Shape};
use super::staged::{Places, Region, Staged};
use super::store::{Epilogue, Store};
use super::usage::Usage;
use crate::ops::gemm::{self, MR, NR, Start, Tile, ZERO_TILE};
use crate::ops::host::LANES;
use crate::ops::simd::{self, Kernel};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use transform::{ROW, input_transform, kernel, output_transform, outputs, weight_transform};

/// Channels of either side below which the transforms cost more than they save.
const FEWEST_CHANNELS: usize = 16;
/// Tiles of an image below which weights that are used once are not worth transforming. The large tiles have four times the error of the
/// small ones, which samplers of diffusion magnify: they are for images where they save much.
const fn fewest_tiles(side: usize) -> usize {
    match side {
        6 => 1024,
        _ => 64,
    }
}

/// Floats of transformed tiles and their products that are held at once: about a core's share of the caches.
const HELD_FLOATS: usize = 512 * 1024;
/// Input channels whose kernels are transformed together.
const KERNELS: usize = 16;
/// Channels that are staged together.
const STAGED_CHANNELS: usize = 8;

/// The side of the tiles by which a convolution with weights `[O, C, kh, kw]` is computed, if by any. The number of images plays no
/// part: no result depends on it.
pub(super) fn side(dims: [usize; 4], stride: usize, usage: Usage) -> Option<usize> {
    let [out_channels, in_channels, kernel_height, kernel_width] = dims;
    if stride != 1 || kernel_height != kernel_width || in_channels.min(out_channels) < FEWEST_CHANNELS {
        return None;
    }
    [6, 4, 3].into_iter().find(|&side| {
        let worth = match usage {
            Usage::Kept => true,
            Usage::Once { height, width } => {
                height.div_ceil(outputs(side)) * width.div_ceil(outputs(side)) >= fewest_tiles(side)
            }
        };
        kernel(side) == kernel_width && worth
    })
}

/// The convolution as one with a kernel of a whole tile's inputs and a pixel for each tile.
fn tiles(shape: &Shape, side: usize) -> Shape {
    Shape {
        kernel_height: side,
        kernel_width: side,
        out_height: shape.out_height.div_ceil(outputs(side)),
        out_width: shape.out_width.div_ceil(outputs(side)),
        stride: outputs(side),
        ..*shape
    }
}

/// Transformed weights `[O / MR, SIDE * SIDE, C, MR]`.
pub(super) struct TransformedWeights {
    packed: Vec<f32>,
    in_channels: usize,
    side: usize,
}

impl TransformedWeights {
    /// From the weight of each output channel and depth of a convolution with tiles of this [side].
    pub(super) fn from_fn(
        out_channels: usize,
        in_channels: usize,
        side: usize,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        match side {
            3 => Self::of_side::<3>(out_channels, in_channels, weight),
            4 => Self::of_side::<4>(out_channels, in_channels, weight),
            _ => Self::of_side::<6>(out_channels, in_channels, weight),
        }
    }

    fn of_side<const SIDE: usize>(
        out_channels: usize,
        in_channels: usize,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let (panel, taps) = (SIDE * SIDE * in_channels * MR, kernel(SIDE) * kernel(SIDE));
        let mut packed = vec![0.0; out_channels.div_ceil(MR) * panel];
        packed.par_chunks_exact_mut(panel.max(1)).enumerate().for_each(|(i, packed)| {
            let rows = i * MR..out_channels.min((i + 1) * MR);
            let mut kernels = [[[0.0; LANES]; 9]; KERNELS];
            for first in (0..in_channels).step_by(KERNELS) {
                let channels = first..in_channels.min(first + KERNELS);
                for (g, channel) in kernels.iter_mut().zip(channels.clone()) {
                    for (lane, row) in rows.clone().enumerate() {
                        for (tap, g) in g.iter_mut().enumerate().take(taps) {
                            g[lane] = weight(row, channel * taps + tap);
                        }
                    }
                }
                let kernels = &kernels[..channels.len()];
                simd::run(Panel::<SIDE> { packed, kernels, first, in_channels });
            }
        });
        Self { packed, in_channels, side: SIDE }
    }

    fn of(&self, panel: usize, point: usize) -> &[f32] {
        let len = self.in_channels * MR;
        &self.packed[(panel * self.side * self.side + point) * len..][..len]
    }
}

/// The transformed weights of a panel of output channels, from the kernels of the input channels from `first` on.
struct Panel<'a, const SIDE: usize> {
    packed: &'a mut [f32],
    kernels: &'a [[[f32; LANES]; 9]],
    first: usize,
    in_channels: usize,
}

impl<const SIDE: usize> Kernel for Panel<'_, SIDE> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (mut between, mut u) = ([[[0.0; LANES]; 3]; SIDE], [[[0.0; LANES]; SIDE]; SIDE]);
        for (channel, g) in (self.first..).zip(self.kernels) {
            weight_transform::<SIDE>(g, &mut between, &mut u);
            let (rows, _) = self.packed[channel * MR..].as_chunks_mut::<MR>();
            for (row, u) in rows.iter_mut().step_by(self.in_channels).zip(u.as_flattened()) {
                row.copy_from_slice(&u[..MR]);
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    staged: Vec<f32>,
    offsets: Vec<usize>,
    inputs: Vec<f32>,
    products: Vec<Tile>,
    segments: Vec<Segments>,
    /// Of a panel's tiles and one channel: `[SIDE, SIDE, NR]`, and as much again that is overwritten.
    gathered: Vec<f32>,
    places: Places,
    /// Rows of the output.
    rows: Vec<[f32; ROW]>,
}

const _: () = assert!(MR <= LANES, "a panel's channels are transformed together");

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// As `dense::forward`.
pub(super) fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &TransformedWeights,
    epilogue: Epilogue,
    out: &mut [MaybeUninit<f32>],
) {
    let tiles = tiles(shape, weights.side);
    for_each_task(shape, tiles.out_plane(), out, |task, out| {
        SCRATCH.with_borrow_mut(|scratch| {
            let block = Block { shape, tiles: &tiles, x, weights, task };
            let store = Store { epilogue, out };
            simd::run(Compute { block, scratch, store });
        });
    });
}

/// The part of the output that one task computes.
struct Block<'a> {
    shape: &'a Shape,
    tiles: &'a Shape,
    x: &'a [f32],
    weights: &'a TransformedWeights,
    task: Task,
}

/// The work of one task, compiled for the registers of the machine.
struct Compute<'a> {
    block: Block<'a>,
    scratch: &'a mut Scratch,
    store: Store<'a>,
}

impl Kernel for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        match self.block.weights.side {
            3 => self.block.compute::<3>(self.scratch, self.store),
            4 => self.block.compute::<4>(self.scratch, self.store),
            _ => self.block.compute::<6>(self.scratch, self.store),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn compute<const SIDE: usize>(&self, scratch: &mut Scratch, mut store: Store) {
        let Task { panels, channels, .. } = self.task;
        let points = SIDE * SIDE;
        let images = store.out.len() / (channels * self.shape.out_plane());
        let columns = images * self.tiles.out_plane();
        let line = self.shape.in_channels * NR;
        let held = HELD_FLOATS / (points * (line + panels * MR * NR));
        let width = held.max(1) * NR;
        // The stride is one line longer than needed: powers of two would put all tiles on the same lines of the cache, and
        // transforms write whole registers.
        let stride = line + NR;
        for first in (0..columns).step_by(width) {
            let end = columns.min(first + width);
            let column_panels = (end - first).div_ceil(NR);
            scratch.segments.clear();
            scratch.segments.extend((0..column_panels).map(|p| self.tiles.segments(first + p * NR, end)));
            if scratch.inputs.len() < column_panels * points * stride {
                scratch.inputs.resize(column_panels * points * stride, 0.0);
            }
            if scratch.products.len() < panels * column_panels * points {
                scratch.products.resize(panels * column_panels * points, ZERO_TILE);
            }
            self.transform_inputs::<SIDE>(first..end, stride, scratch);
            for point in 0..points {
                for m in 0..panels {
                    let u = self.weights.of(self.task.first_panel + m, point);
                    for p in 0..column_panels {
                        let v = &scratch.inputs[(p * points + point) * stride..][..line];
                        let product = &mut scratch.products[(m * column_panels + p) * points + point];
                        let columns = end - first - p * NR;
                        gemm::multiply_columns(columns, Start::Zeros, self.shape.in_channels, u, v, product);
                    }
                }
            }
            let products = &scratch.products[..panels * column_panels * points];
            for (i, products) in products.chunks(points).enumerate() {
                let segments = &scratch.segments[i % column_panels];
                self.store::<SIDE>(&mut store, products, segments, i / column_panels, &mut scratch.rows);
            }
        }
    }

    /// `V` of tiles `columns`, `[panel, points, C, NR]` with `stride` values between points.
    #[inline(always)]
    fn transform_inputs<const SIDE: usize>(
        &self,
        columns: Range<usize>,
        stride: usize,
        scratch: &mut Scratch,
    ) {
        let points = SIDE * SIDE;
        let Scratch { staged: buffer, offsets, inputs, segments, gathered, places, .. } = scratch;
        gathered.resize((points + 1) * NR, 0.0);
        let mut between = [[[0.0; LANES]; SIDE]; SIDE];
        let x = &self.x[self.task.first_image * self.shape.in_channels * self.shape.in_plane()..];
        let ins = self.shape.in_channels;
        for first in (0..ins).step_by(STAGED_CHANNELS) {
            let channels = first..ins.min(first + STAGED_CHANNELS);
            let region = Region::of(self.tiles, columns.clone(), channels.clone());
            let staged = Staged::new(self.tiles, x, region, buffer);
            staged.offsets(offsets);
            for (panel, segments) in segments.iter().enumerate() {
                staged.places(std::slice::from_ref(segments), 0, places);
                let inputs = &mut inputs[panel * points * stride..][..points * stride];
                for (channel, offsets) in channels.clone().zip(offsets.chunks_exact(points)) {
                    staged.pack(places, offsets, gathered);
                    let (lines, _) = gathered.as_chunks();
                    for j in (0..segments.columns()).step_by(LANES) {
                        let v = &mut inputs[channel * NR + j..];
                        input_transform::<SIDE>((&lines[j / LANES..], NR / LANES), &mut between, (v, stride));
                    }
                }
            }
        }
    }

    /// Stores the outputs of a panel of tiles for the channels of the task's panel `panel`.
    #[inline(always)]
    fn store<const SIDE: usize>(
        &self,
        store: &mut Store,
        products: &[Tile],
        segments: &Segments,
        panel: usize,
        rows: &mut Vec<[f32; ROW]>,
    ) {
        let (outs, width) = (outputs(SIDE), self.shape.out_width);
        rows.resize(outs, [0.0; ROW]);
        let mut between = [[[0.0; LANES]; SIDE]; SIDE];
        for i in 0..MR.min(self.task.channels - panel * MR) {
            for j in (0..segments.columns()).step_by(LANES) {
                output_transform::<SIDE>((products, i, j), &mut between, rows);
            }
            for segment in segments.iter() {
                let x = outs * segment.x;
                let len = (outs * segment.len).min(width - x);
                for (dy, row) in rows.iter().enumerate().take(self.shape.out_height - outs * segment.y) {
                    let pixel = (outs * segment.y + dy) * width + x;
                    let mut place = self.task.place(self.shape, segment.image, panel * MR + i, pixel);
                    if dy + 1 < outs && x > 0 {
                        // The start of the row below is already stored, unless this run starts its row.
                        place.remaining = width - x;
                    }
                    store.run(&row[outs * segment.at..], len, place);
                }
            }
        }
    }
}
