//! Convolutions of 3 x 3 or 2 x 2 without stride by Winograd's minimal filtering: 2 x 2 outputs of a channel take 16 products with
//! each channel of the input instead of 36, or 9 instead of 16. F(2 x 2, K x K) of Lavin and Gray, 2015,
//! <https://arxiv.org/abs/1509.09308>, whose names are used here: `V = Bᵀ d B` of a tile `d` of (K + 1)² inputs, `U = G g Gᵀ` of a
//! kernel `g`, `Y = Aᵀ (U ⊙ V) A`.

mod transform;

use super::dense::{Task, deal};
use super::shape::{Segments, Shape};
use super::staged::{Region, Staged};
use super::store::{Epilogue, Store};
use super::weights::Usage;
use crate::ops::gemm::{self, MR, NR, Tile, ZERO_TILE};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use transform::{LANES, POINTS, input_transform, output_transform, weight_transform};

/// Pixels of an output tile along an axis.
const OUTPUTS: usize = 2;
/// Channels of either side below which the transforms cost more than they save.
const FEWEST_CHANNELS: usize = 16;
/// Tiles of an image below which weights that are used once are not worth transforming.
const FEWEST_TILES: usize = 64;
/// Floats of transformed tiles and their products that are held at once: what a core has of the caches, about.
const HELD_FLOATS: usize = 512 * 1024;
/// Channels that are staged together.
const STAGED_CHANNELS: usize = 8;

/// Whether a convolution with weights `[O, C, kh, kw]` is computed so. The number of images plays no part: no result depends on it.
pub fn suits(dims: [usize; 4], stride: usize, usage: Usage) -> bool {
    let [out_channels, in_channels, kernel_height, kernel_width] = dims;
    let kernel = matches!((kernel_height, kernel_width, stride), (3, 3, 1) | (2, 2, 1));
    let worth = match usage {
        Usage::Kept => true,
        Usage::Once { height, width } => height.div_ceil(OUTPUTS) * width.div_ceil(OUTPUTS) >= FEWEST_TILES,
    };
    kernel && worth && in_channels.min(out_channels) >= FEWEST_CHANNELS
}

/// The convolution as one with a kernel of a whole tile's inputs and a pixel for each tile.
fn tiles(shape: &Shape) -> Shape {
    Shape {
        kernel_height: OUTPUTS + shape.kernel_height - 1,
        kernel_width: OUTPUTS + shape.kernel_width - 1,
        out_height: shape.out_height.div_ceil(OUTPUTS),
        out_width: shape.out_width.div_ceil(OUTPUTS),
        stride: OUTPUTS,
        ..*shape
    }
}

/// Values of a transformed tile.
const fn points(kernel: usize) -> usize {
    (OUTPUTS + kernel - 1) * (OUTPUTS + kernel - 1)
}

/// Transformed weights `[O / MR, points, C, MR]`.
pub struct TransformedWeights {
    packed: Vec<f32>,
    in_channels: usize,
    kernel: usize,
}

impl TransformedWeights {
    /// From the weight of each output channel and depth of a convolution that this [suits].
    pub fn from_fn(
        out_channels: usize,
        in_channels: usize,
        kernel: usize,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        match kernel {
            2 => Self::of_kernels::<2>(out_channels, in_channels, weight),
            _ => Self::of_kernels::<3>(out_channels, in_channels, weight),
        }
    }

    fn of_kernels<const K: usize>(
        out_channels: usize,
        in_channels: usize,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let panel = points(K) * in_channels * MR;
        let mut packed = vec![0.0; out_channels.div_ceil(MR) * panel];
        packed.par_chunks_exact_mut(panel.max(1)).enumerate().for_each(|(i, packed)| {
            let rows = i * MR..out_channels.min((i + 1) * MR);
            for channel in 0..in_channels {
                let mut g = [[0.0; LANES]; POINTS];
                for (lane, row) in rows.clone().enumerate() {
                    for (tap, g) in g.iter_mut().enumerate().take(K * K) {
                        g[lane] = weight(row, channel * K * K + tap);
                    }
                }
                for (point, u) in weight_transform::<K>(&g).iter().enumerate().take(points(K)) {
                    packed[(point * in_channels + channel) * MR..][..MR].copy_from_slice(&u[..MR]);
                }
            }
        });
        Self { packed, in_channels, kernel: K }
    }

    fn of(&self, panel: usize, point: usize) -> &[f32] {
        let len = self.in_channels * MR;
        &self.packed[(panel * points(self.kernel) + point) * len..][..len]
    }
}

#[derive(Default)]
struct Scratch {
    staged: Vec<f32>,
    offsets: Vec<usize>,
    inputs: Vec<f32>,
    products: Vec<Tile>,
    segments: Vec<Segments>,
}

const _: () = assert!(MR <= LANES, "a panel's channels are transformed together");

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// As `dense::forward`.
pub fn forward(
    shape: &Shape,
    x: &[f32],
    weights: &TransformedWeights,
    epilogue: Epilogue,
    out: &mut [MaybeUninit<f32>],
) {
    let tiles = tiles(shape);
    deal(shape, tiles.out_plane(), out, |task, out| {
        SCRATCH.with_borrow_mut(|scratch| {
            let block = Block { shape, tiles: &tiles, x, weights, task };
            let store = Store { epilogue, out };
            pulp::Arch::new().dispatch(Compute { block, scratch, store });
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

/// A struct for the reason given at `dense::Compute`.
struct Compute<'a> {
    block: Block<'a>,
    scratch: &'a mut Scratch,
    store: Store<'a>,
}

impl pulp::WithSimd for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        match self.block.weights.kernel {
            2 => self.block.compute::<2>(self.scratch, self.store),
            _ => self.block.compute::<3>(self.scratch, self.store),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn compute<const K: usize>(&self, scratch: &mut Scratch, mut store: Store) {
        let Task { panels, channels, .. } = self.task;
        let images = store.out.len() / (channels * self.shape.out_plane());
        let columns = images * self.tiles.out_plane();
        let line = self.shape.in_channels * NR;
        let held = HELD_FLOATS / (points(K) * (line + panels * MR * NR));
        let width = held.max(1) * NR;
        // Transformed tiles lie a line apart from a power of two, which all fall on the same lines of the caches; and transforms
        // write whole registers.
        let stride = line + NR;
        for first in (0..columns).step_by(width) {
            let end = columns.min(first + width);
            let column_panels = (end - first).div_ceil(NR);
            scratch.segments.clear();
            scratch.segments.extend((0..column_panels).map(|p| self.tiles.segments(first + p * NR, end)));
            if scratch.inputs.len() < column_panels * points(K) * stride {
                scratch.inputs.resize(column_panels * points(K) * stride, 0.0);
            }
            if scratch.products.len() < panels * column_panels * points(K) {
                scratch.products.resize(panels * column_panels * points(K), ZERO_TILE);
            }
            self.transform_inputs::<K>(first..end, stride, scratch);
            for point in 0..points(K) {
                for m in 0..panels {
                    let u = self.weights.of(self.task.first_panel + m, point);
                    for p in 0..column_panels {
                        let v = &scratch.inputs[(p * points(K) + point) * stride..][..line];
                        let product = &mut scratch.products[(m * column_panels + p) * points(K) + point];
                        *product = ZERO_TILE;
                        let columns = end - first - p * NR;
                        gemm::multiply_columns(columns, self.shape.in_channels, u, v, product);
                    }
                }
            }
            for (i, products) in
                scratch.products[..panels * column_panels * points(K)].chunks(points(K)).enumerate()
            {
                self.store::<K>(
                    &mut store,
                    products,
                    &scratch.segments[i % column_panels],
                    i / column_panels,
                );
            }
        }
    }

    /// `V` of tiles `columns`, `[panel, points, C, NR]` with `stride` values between points.
    #[inline(always)]
    fn transform_inputs<const K: usize>(&self, columns: Range<usize>, stride: usize, scratch: &mut Scratch) {
        let Scratch { staged: buffer, offsets, inputs, segments, .. } = scratch;
        let x = &self.x[self.task.first_image * self.shape.in_channels * self.shape.in_plane()..];
        let ins = self.shape.in_channels;
        for first in (0..ins).step_by(STAGED_CHANNELS) {
            let channels = first..ins.min(first + STAGED_CHANNELS);
            let region = Region::of(self.tiles, columns.clone(), channels.clone());
            let staged = Staged::copied(self.tiles, x, region, buffer);
            staged.offsets(offsets);
            for (panel, segments) in segments.iter().enumerate() {
                let inputs = &mut inputs[panel * points(K) * stride..][..points(K) * stride];
                for (channel, offsets) in channels.clone().zip(offsets.chunks_exact(points(K))) {
                    // In order: each run overwrites what the one before left beyond its own end.
                    for segment in segments.iter() {
                        let place = staged.place(segment);
                        for j in (0..segment.len).step_by(LANES) {
                            let mut d = [[0.0; LANES]; POINTS];
                            for (d, offset) in d.iter_mut().zip(offsets) {
                                *d = *staged.run::<LANES>(place + offset + j);
                            }
                            let at = channel * NR + segment.at + j;
                            let v = input_transform::<K>(&d);
                            for (point, v) in v.iter().enumerate().take(points(K)) {
                                inputs[point * stride + at..][..LANES].copy_from_slice(v);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Stores the outputs of a panel of tiles for the channels of the task's panel `panel`.
    #[inline(always)]
    fn store<const K: usize>(&self, store: &mut Store, products: &[Tile], segments: &Segments, panel: usize) {
        let width = self.shape.out_width;
        for i in 0..MR.min(self.task.channels - panel * MR) {
            // With room for whole registers after the last run.
            let mut rows = [[0.0; OUTPUTS * NR + LANES]; OUTPUTS];
            for j in (0..NR).step_by(LANES) {
                let mut product = [[0.0; LANES]; POINTS];
                for (product, tile) in product.iter_mut().zip(products) {
                    product.copy_from_slice(&tile[i][j..j + LANES]);
                }
                let y = output_transform::<K>(&product);
                for (row, [left, right]) in rows.iter_mut().zip(&y) {
                    let row = &mut row[OUTPUTS * j..][..OUTPUTS * LANES];
                    for lane in 0..LANES {
                        row[OUTPUTS * lane] = left[lane];
                        row[OUTPUTS * lane + 1] = right[lane];
                    }
                }
            }
            for segment in segments.iter() {
                let x = OUTPUTS * segment.x;
                let len = (OUTPUTS * segment.len).min(width - x);
                for (dy, row) in rows.iter().enumerate().take(self.shape.out_height - OUTPUTS * segment.y) {
                    let pixel = (OUTPUTS * segment.y + dy) * width + x;
                    let mut place = self.task.place(self.shape, segment.image, panel * MR + i, pixel);
                    if dy + 1 < OUTPUTS && x > 0 {
                        // The row below is written already, but for a run from its beginning.
                        place.room = width - x;
                    }
                    store.run(&row[OUTPUTS * segment.at..], len, place);
                }
            }
        }
    }
}
